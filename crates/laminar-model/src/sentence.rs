//! How the rows of a text become one vector, where a checkpoint says so: models that are made for embeddings do.

use serde_json::Value;

use crate::checkpoint::{Checkpoint, CheckpointError, HfFolder, Metadata};

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatedPooling {
    /// The last row.
    Last,
    /// The mean of all rows.
    Mean,
    /// The first row.
    Cls,
    /// Something that we do not compute, in words.
    Unsupported(String),
}

/// The pooling that `checkpoint` states: `{architecture}.pooling_type` of a GGUF file (as llama.cpp numbers them), or the
/// pooling module of a `sentence-transformers` folder, which `modules.json` names and which is usually `1_Pooling`.
///
/// # Errors
/// A file that is there and cannot be read, or a key of the wrong type.
pub fn stated_pooling(checkpoint: &Checkpoint) -> Result<Option<StatedPooling>, CheckpointError> {
    match checkpoint {
        Checkpoint::Gguf(file) => gguf(file.metadata()),
        Checkpoint::HuggingFace(folder) => sentence_transformers(folder),
    }
}

fn gguf(metadata: &Metadata) -> Result<Option<StatedPooling>, CheckpointError> {
    let Some(architecture) = metadata.str("general.architecture")? else {
        return Ok(None);
    };
    Ok(match metadata.u32(&format!("{architecture}.pooling_type"))? {
        None | Some(0) => None,
        Some(1) => Some(StatedPooling::Mean),
        Some(2) => Some(StatedPooling::Cls),
        Some(3) => Some(StatedPooling::Last),
        Some(4) => Some(StatedPooling::Unsupported("ranks texts, it makes no vectors".to_owned())),
        Some(other) => Some(StatedPooling::Unsupported(format!("has the pooling type {other}"))),
    })
}

fn sentence_transformers(folder: &HfFolder) -> Result<Option<StatedPooling>, CheckpointError> {
    let modules = folder.json("modules.json")?;
    let modules = modules.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let kind = |module: &Value| {
        let kind = module["type"].as_str().unwrap_or_default();
        kind.rsplit('.').next().unwrap_or_default().to_owned()
    };
    let path = modules.iter().find(|module| kind(module) == "Pooling").and_then(|module| module["path"].as_str());
    let Some(config) = folder.json(&format!("{}/config.json", path.unwrap_or("1_Pooling")))? else {
        return Ok(None);
    };
    if let Some(module) =
        modules.iter().find(|module| !["Transformer", "Pooling", "Normalize"].contains(&&*kind(module)))
    {
        return Ok(Some(StatedPooling::Unsupported(format!("has a `{}` module behind its layers", kind(module)))));
    }
    let modes = [
        ("pooling_mode_cls_token", Some(StatedPooling::Cls)),
        ("pooling_mode_mean_tokens", Some(StatedPooling::Mean)),
        ("pooling_mode_lasttoken", Some(StatedPooling::Last)),
        ("pooling_mode_max_tokens", None),
        ("pooling_mode_mean_sqrt_len_tokens", None),
        ("pooling_mode_weightedmean_tokens", None),
    ];
    let mut chosen = modes.into_iter().filter(|(mode, _)| config[*mode] == true);
    Ok(match (chosen.next(), chosen.next()) {
        (None, _) => None,
        (Some((_, Some(pooling))), None) => Some(pooling),
        (Some((mode, None)), None) => Some(StatedPooling::Unsupported(format!("pools by `{mode}`"))),
        (Some(_), Some(_)) => Some(StatedPooling::Unsupported("joins several poolings".to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Gguf;
    use crate::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};
    use serde_json::json;

    #[test]
    fn gguf_files_state_a_number() {
        for (number, expected) in [
            (None, None),
            (Some(0), None),
            (Some(1), Some(StatedPooling::Mean)),
            (Some(2), Some(StatedPooling::Cls)),
            (Some(3), Some(StatedPooling::Last)),
        ] {
            let mut metadata = Metadata::new("test");
            metadata.set("general.architecture", "qwen3");
            if let Some(number) = number {
                metadata.set("qwen3.pooling_type", number as u32);
            }
            assert_eq!(gguf(&metadata).unwrap(), expected);
        }
        let mut metadata = Metadata::new("test");
        metadata.set("general.architecture", "qwen3");
        metadata.set("qwen3.pooling_type", 4u32);
        assert!(matches!(gguf(&metadata).unwrap(), Some(StatedPooling::Unsupported(_))));
        let bytes = to_vec(&SynthOptions::new(Preset::Tiny), &byte_tokenizer()).unwrap();
        assert_eq!(stated_pooling(&Checkpoint::Gguf(Gguf::from_vec(bytes).unwrap())).unwrap(), None);
    }

    #[test]
    fn sentence_transformers_state_a_mode() {
        let module =
            |kind: &str, path: &str| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
        let stated = |modules: Value, path: &str, config: Value| {
            let folder = std::env::temp_dir().join(format!("laminar-{}-sentence", std::process::id()));
            let write = |name: &str, value: &Value| {
                let path = folder.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, value.to_string()).unwrap();
            };
            write("config.json", &json!({"model_type": "qwen3"}));
            std::fs::write(folder.join("model.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
            if !modules.is_null() {
                write("modules.json", &modules);
            }
            write(&format!("{path}/config.json"), &config);
            let checkpoint = Checkpoint::HuggingFace(HfFolder::open(&folder).unwrap());
            let stated = stated_pooling(&checkpoint).unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
            stated
        };
        let usual =
            json!([module("Transformer", ""), module("Pooling", "1_Pooling"), module("Normalize", "2_Normalize")]);
        let mean = json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false});
        assert_eq!(stated(usual.clone(), "1_Pooling", mean.clone()), Some(StatedPooling::Mean));
        assert_eq!(stated(Value::Null, "1_Pooling", mean.clone()), Some(StatedPooling::Mean));
        assert_eq!(stated(Value::Null, "other", mean.clone()), None);
        assert_eq!(
            stated(json!([module("Pooling", "pool")]), "pool", json!({"pooling_mode_lasttoken": true})),
            Some(StatedPooling::Last)
        );
        assert_eq!(
            stated(usual.clone(), "1_Pooling", json!({"pooling_mode_cls_token": true})),
            Some(StatedPooling::Cls)
        );
        for (modules, config) in [
            (usual.clone(), json!({"pooling_mode_max_tokens": true})),
            (usual.clone(), json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})),
            (json!([module("Pooling", "1_Pooling"), module("Dense", "2_Dense")]), mean.clone()),
        ] {
            assert!(matches!(stated(modules, "1_Pooling", config), Some(StatedPooling::Unsupported(_))));
        }
        // A path out of the folder is none.
        assert_eq!(stated(json!([module("Pooling", "../1_Pooling")]), "1_Pooling", mean), None);
    }
}
