//! What `quantization_config` of a `config.json` says.

use serde_json::Value as Json;

/// How the linear layers of a folder are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// 8-bit floats with a scale for each block of values, each row, or all of them (DeepSeek's and Qwen's `fp8`).
    Fp8 {
        /// Rows and columns of a block.
        block: Option<[usize; 2]>,
    },
    /// AWQ's order for matrix products: 4-bit codes packed along outputs, zero points.
    Awq {
        /// Columns that share a scale.
        group: usize,
    },
    /// GPTQ: codes packed along inputs, columns in groups that may be of any order.
    Gptq {
        bits: u32,
        /// What is stored of a zero point is one less than it is (the first version of the format).
        one_less: bool,
    },
    /// `compressed-tensors`: codes packed along inputs, or 8-bit integers or floats as they are.
    Compressed { bits: u32 },
}

impl Scheme {
    /// The scheme of a configuration; `None` where weights are plain, or in MXFP4, which is read elsewhere.
    ///
    /// # Errors
    /// A sentence that says what is not supported.
    pub fn of(config: &Json) -> Result<Option<Self>, String> {
        let Some(own) = config.get("quantization_config").filter(|own| own.is_object()) else {
            return Ok(None);
        };
        let text = |field: &str| own.get(field).and_then(Json::as_str);
        let number = |field: &str| own.get(field).and_then(Json::as_u64);
        match text("quant_method").unwrap_or_default() {
            "mxfp4" => Ok(None),
            "fp8" => {
                let sizes = own.get("weight_block_size").and_then(Json::as_array);
                let sizes: Option<Vec<usize>> =
                    sizes.map(|sizes| sizes.iter().filter_map(Json::as_u64).map(|n| n as usize).collect());
                let block = match sizes.as_deref() {
                    Some([height, width]) if *height > 0 && *width > 0 => Some([*height, *width]),
                    Some(_) => return Err("FP8 with a weight_block_size that is not two numbers".to_owned()),
                    None => None,
                };
                Ok(Some(Scheme::Fp8 { block }))
            }
            "awq" => {
                let (version, bits) = (text("version").unwrap_or("gemm"), number("bits").unwrap_or(4));
                if version != "gemm" || bits != 4 {
                    return Err(format!("AWQ of version {version:?} with {bits} bits; supported: \"gemm\" with 4"));
                }
                let group = number("group_size").unwrap_or(128) as usize;
                Ok(Some(Scheme::Awq { group }))
            }
            "gptq" => {
                let bits = number("bits").unwrap_or(4);
                if bits != 4 && bits != 8 {
                    return Err(format!("GPTQ with {bits} bits; supported: 4 and 8"));
                }
                let one_less = text("checkpoint_format") != Some("gptq_v2");
                Ok(Some(Scheme::Gptq { bits: bits as u32, one_less }))
            }
            "compressed-tensors" => compressed(own).map(Some),
            other => {
                Err(format!("weights quantised by {other:?}; supported: fp8, awq, gptq, compressed-tensors, mxfp4"))
            }
        }
    }

    /// Bits of a code.
    pub fn bits(self) -> u32 {
        match self {
            Scheme::Fp8 { .. } => 8,
            Scheme::Awq { .. } => 4,
            Scheme::Gptq { bits, .. } | Scheme::Compressed { bits } => bits,
        }
    }
}

fn compressed(own: &Json) -> Result<Scheme, String> {
    let groups = own.get("config_groups").and_then(Json::as_object);
    let mut bits = None;
    for group in groups.into_iter().flat_map(|groups| groups.values()) {
        let weights = group.get("weights").unwrap_or(&Json::Null);
        let found = weights.get("num_bits").and_then(Json::as_u64).unwrap_or(0);
        if !matches!(found, 4 | 8) || bits.is_some_and(|bits| bits != found) {
            return Err(format!("compressed-tensors with weights of {found} bits; supported: 4 or 8 in all layers"));
        }
        bits = Some(found);
    }
    match (own.get("format").and_then(Json::as_str).unwrap_or_default(), bits) {
        ("pack-quantized" | "float-quantized" | "int-quantized" | "naive-quantized", Some(bits)) => {
            Ok(Scheme::Compressed { bits: bits as u32 })
        }
        (format, _) => Err(format!(
            "compressed-tensors of format {format:?}; supported: pack-quantized, float-quantized, int-quantized"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemes_are_told_apart() {
        let of = |own: Json| Scheme::of(&json!({ "quantization_config": own }));
        assert_eq!(
            of(json!({"quant_method": "fp8", "weight_block_size": [128, 128]})),
            Ok(Some(Scheme::Fp8 { block: Some([128, 128]) }))
        );
        assert_eq!(of(json!({"quant_method": "fp8"})), Ok(Some(Scheme::Fp8 { block: None })));
        let awq = json!({"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm", "zero_point": true});
        assert_eq!(of(awq), Ok(Some(Scheme::Awq { group: 64 })));
        let gptq = |format: &str| json!({"quant_method": "gptq", "bits": 8, "checkpoint_format": format});
        assert_eq!(of(gptq("gptq")), Ok(Some(Scheme::Gptq { bits: 8, one_less: true })));
        assert_eq!(of(gptq("gptq_v2")), Ok(Some(Scheme::Gptq { bits: 8, one_less: false })));
        assert_eq!(of(json!({"quant_method": "mxfp4"})), Ok(None));
        assert_eq!(Scheme::of(&json!({})), Ok(None));
        for (own, word) in [
            (json!({"quant_method": "bitsandbytes"}), "bitsandbytes"),
            (json!({"quant_method": "awq", "version": "gemv"}), "gemv"),
            (json!({"quant_method": "gptq", "bits": 3}), "3 bits"),
            (json!({"quant_method": "compressed-tensors", "format": "marlin-24"}), "marlin-24"),
        ] {
            assert!(of(own).unwrap_err().contains(word));
        }
    }
}
