//! Finding the tensors that a quantised weight is made of, and checking that they fit each other.

use super::super::error::CheckpointError;
use super::super::hf::HfFolder;
use super::super::safetensors::Bytewise;
use super::super::tensor::ByteTensor;
use super::scheme::Scheme;
use super::weight::{Codes, Columns, Grid, QuantisedWeight};

/// The endings of the tensors that belong to a quantised weight, beside that of its codes.
const ENDINGS: [&str; 9] = [
    ".qzeros",
    ".scales",
    ".g_idx",
    ".weight_scale",
    ".weight_scale_inv",
    ".weight_shape",
    ".weight_zero_point",
    ".weight_g_idx",
    ".input_scale",
];

/// Whether a tensor says something of the weight beside it and has no meaning of its own.
pub(crate) fn is_part(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Puts together the weight whose tensors begin with `base` (`model.layers.0.mlp.up_proj`); `None` if there are none.
///
/// # Errors
/// Parts that are missing or do not fit each other.
pub(crate) fn weight_of<'a>(
    folder: &'a HfFolder,
    scheme: Scheme,
    base: &str,
) -> Result<Option<QuantisedWeight<'a>>, CheckpointError> {
    let parts = Parts { folder, base };
    match scheme {
        Scheme::Fp8 { block } => parts.plain(block),
        Scheme::Awq { group } => parts.awq(group),
        Scheme::Gptq { bits, one_less } => parts.gptq(bits, one_less),
        Scheme::Compressed { bits } => match parts.packed(bits)? {
            Some(weight) => Ok(Some(weight)),
            None => parts.plain(None),
        },
    }
}

struct Parts<'a, 'n> {
    folder: &'a HfFolder,
    base: &'n str,
}

/// Values of a float tensor, and its shape.
type Floats = (Vec<f32>, Vec<usize>);

type Found<'a> = Result<Option<QuantisedWeight<'a>>, CheckpointError>;

impl<'a> Parts<'a, '_> {
    fn name(&self, ending: &str) -> String {
        format!("{}.{ending}", self.base)
    }

    fn bytes(&self, ending: &str) -> Option<ByteTensor<'a>> {
        self.folder.byte_tensor(&self.name(ending))
    }

    fn fault(&self, ending: &str, problem: impl Into<String>) -> CheckpointError {
        let file = self.folder.path().display().to_string();
        CheckpointError::malformed(file, format!("tensor {:?}", self.name(ending)), problem)
    }

    /// Words of 32 bits of that shape.
    fn words(&self, ending: &str, shape: &[usize]) -> Result<ByteTensor<'a>, CheckpointError> {
        let tensor = self.bytes(ending).ok_or_else(|| self.fault(ending, "is missing; fetch the model again"))?;
        if tensor.kind != Bytewise::I32 || tensor.shape != shape {
            let found = format!("{} of shape {:?}", tensor.kind.name(), tensor.shape);
            return Err(self.fault(ending, format!("is {found}, expected I32 of shape {shape:?}")));
        }
        Ok(tensor)
    }

    /// Numbers of a float tensor, and its shape.
    fn floats(&self, ending: &str) -> Result<Option<Floats>, CheckpointError> {
        match self.folder.tensor(&self.name(ending)) {
            Some(tensor) => Ok(Some((tensor.to_f32()?, tensor.shape))),
            None => Ok(None),
        }
    }

    fn require_floats(&self, ending: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        match self.floats(ending)? {
            Some((values, found)) if found == shape => Ok(values),
            Some((_, found)) => Err(self.fault(ending, format!("has shape {found:?}, expected {shape:?}"))),
            None => Err(self.fault(ending, "is missing; fetch the model again")),
        }
    }

    fn weight(&self, rows: usize, cols: usize, codes: Codes<'a>, grid: Grid) -> QuantisedWeight<'a> {
        QuantisedWeight { name: self.base.to_owned(), rows, cols, codes, grid }
    }

    fn awq(&self, group: usize) -> Found<'a> {
        let Some(codes) = self.bytes("qweight") else { return Ok(None) };
        let &[cols, packed] = codes.shape.as_slice() else {
            return Err(self.fault("qweight", format!("the shape {:?} is no matrix", codes.shape)));
        };
        let rows = packed.saturating_mul(8);
        let words = self.words("qweight", &[cols, packed])?;
        let group = if group == 0 { cols } else { group };
        if !cols.is_multiple_of(group) {
            return Err(self.fault("qweight", format!("{cols} columns do not divide into groups of {group}")));
        }
        let groups = cols / group;
        let scales = self.require_floats("scales", &[groups, rows])?;
        let zeros = self.words("qzeros", &[groups, packed])?;
        let order = [0, 4, 1, 5, 2, 6, 3, 7];
        // Place of an output's code in its word: the other way round.
        let zero = |group: usize, row: usize| {
            let word = number(zeros.data, group * packed + row / 8);
            (word >> (4 * order[row % 8]) & 15) as i32
        };
        let grid = by_row(rows, groups, &scales, zero, Columns::Runs(group));
        Ok(Some(self.weight(rows, cols, Codes::Awq { words }, grid)))
    }

    fn gptq(&self, bits: u32, one_less: bool) -> Found<'a> {
        let Some(codes) = self.bytes("qweight") else { return Ok(None) };
        let &[packed, rows] = codes.shape.as_slice() else {
            return Err(self.fault("qweight", format!("the shape {:?} is no matrix", codes.shape)));
        };
        let each = (32 / bits) as usize;
        let cols = packed.saturating_mul(each);
        let words = self.words("qweight", &[packed, rows])?;
        let (scales, shape) = self.floats("scales")?.ok_or_else(|| self.fault("scales", "is missing"))?;
        let groups = match shape.as_slice() {
            &[groups, width] if width == rows && groups <= cols => groups,
            _ => return Err(self.fault("scales", format!("has shape {shape:?}, expected one of {rows} columns"))),
        };
        let zero_words = rows.div_ceil(each);
        let zeros = self.words("qzeros", &[groups, zero_words])?;
        let zero = |group: usize, row: usize| {
            let word = number(zeros.data, group * zero_words + row / each);
            let stored = word >> (bits as usize * (row % each)) & ((1 << bits) - 1);
            stored as i32 + i32::from(one_less)
        };
        let columns = self.columns(cols, groups)?;
        let grid = by_row(rows, groups, &scales, zero, columns);
        Ok(Some(self.weight(rows, cols, Codes::Columns { words, bits }, grid)))
    }

    /// The group of each column: as `g_idx` lists them, or equal runs.
    fn columns(&self, cols: usize, groups: usize) -> Result<Columns, CheckpointError> {
        let width = cols.div_ceil(groups.max(1));
        let Some(_) = self.bytes("g_idx") else { return Ok(Columns::Runs(width)) };
        let listed = self.words("g_idx", &[cols])?;
        let listed: Vec<u32> = (0..cols).map(|column| number(listed.data, column)).collect();
        if let Some(group) = listed.iter().find(|group| **group as usize >= groups) {
            return Err(self.fault("g_idx", format!("names group {group} of {groups}")));
        }
        let runs = listed.iter().enumerate().all(|(column, group)| *group as usize == column / width);
        Ok(if runs { Columns::Runs(width) } else { Columns::Listed(listed) })
    }

    /// `compressed-tensors`, codes in words.
    fn packed(&self, bits: u32) -> Found<'a> {
        let Some(codes) = self.bytes("weight_packed") else { return Ok(None) };
        let &[rows, packed] = codes.shape.as_slice() else {
            return Err(self.fault("weight_packed", format!("the shape {:?} is no matrix", codes.shape)));
        };
        let words = self.words("weight_packed", &[rows, packed])?;
        let (scales, shape) = self.floats("weight_scale")?.ok_or_else(|| self.fault("weight_scale", "is missing"))?;
        let each = (32 / bits) as usize;
        let cols = self.stated_cols(rows)?.unwrap_or(packed.saturating_mul(each));
        let groups = match shape.as_slice() {
            &[height, groups] if height == rows && cols.is_multiple_of(groups) => groups,
            _ => return Err(self.fault("weight_scale", format!("has shape {shape:?}, expected one of {rows} rows"))),
        };
        if cols.div_ceil(each) != packed {
            return Err(self.fault("weight_packed", format!("{packed} words a row do not hold {cols} codes")));
        }
        if self.bytes("weight_g_idx").is_some() {
            return Err(self.fault("weight_g_idx", "columns in any order are not supported in this format"));
        }
        let mut zeros = vec![1 << (bits - 1); scales.len()];
        if self.bytes("weight_zero_point").is_some() {
            // Packed along rows, with the same offset as codes.
            let stored = self.words("weight_zero_point", &[rows.div_ceil(each), groups])?;
            for (at, zero) in zeros.iter_mut().enumerate() {
                let (row, group) = (at / groups, at % groups);
                let word = number(stored.data, row / each * groups + group);
                *zero = (word >> (bits as usize * (row % each)) & ((1 << bits) - 1)) as i32;
            }
        }
        let columns = Columns::Runs(cols / groups);
        let grid = Grid { scales, zeros, height: 1, column_groups: groups, columns };
        Ok(Some(self.weight(rows, cols, Codes::Rows { words, bits }, grid)))
    }

    /// Columns by `weight_shape`, which counts what the last word of a row holds too many.
    fn stated_cols(&self, rows: usize) -> Result<Option<usize>, CheckpointError> {
        let Some(shape) = self.bytes("weight_shape") else { return Ok(None) };
        let size = shape.kind.size();
        let numbers: Vec<u64> = shape
            .data
            .chunks_exact(size)
            .map(|bytes| bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
            .collect();
        match numbers.as_slice() {
            [found, cols] if *found == rows as u64 && *cols > 0 && *cols <= 1 << 24 => Ok(Some(*cols as usize)),
            _ => Err(self.fault("weight_shape", format!("is {numbers:?}, which does not fit {rows} rows"))),
        }
    }

    /// A code a byte: floats or integers; `stated`: rows and columns of a block.
    fn plain(&self, stated: Option<[usize; 2]>) -> Found<'a> {
        let Some(codes) = self.bytes("weight") else { return Ok(None) };
        let &[rows, cols] = codes.shape.as_slice() else {
            return Err(self.fault("weight", format!("the shape {:?} is no matrix", codes.shape)));
        };
        let (ending, (scales, shape)) = match (self.floats("weight_scale_inv")?, self.floats("weight_scale")?) {
            (Some(found), _) => ("weight_scale_inv", found),
            (None, Some(found)) => ("weight_scale", found),
            (None, None) => return Err(self.fault("weight_scale", "is missing; fetch the model again")),
        };
        let (height, width) = match shape.as_slice() {
            [1] => (rows, cols),
            &[tall] if tall == rows => (1, cols),
            // As many blocks as cover the matrix, the last ones cut short.
            &[tall, wide] => match stated {
                Some([height, width]) if tall == rows.div_ceil(height) && wide == cols.div_ceil(width) => {
                    (height, width)
                }
                _ => (even(rows, tall), even(cols, wide)),
            },
            _ => (0, 0),
        };
        if height == 0 || width == 0 || rows.div_ceil(height) * cols.div_ceil(width) != scales.len() {
            let problem = format!("has shape {shape:?}, which does not fit a weight of {rows} x {cols}");
            return Err(self.fault(ending, problem));
        }
        let codes = match codes.kind {
            Bytewise::F8E4M3 => Codes::Floats(codes),
            Bytewise::I8 => Codes::Integers(codes),
            other => return Err(self.fault("weight", format!("{} is no type of codes", other.name()))),
        };
        let zeros = vec![0; scales.len()];
        let grid = Grid { scales, zeros, height, column_groups: cols.div_ceil(width), columns: Columns::Runs(width) };
        Ok(Some(self.weight(rows, cols, codes, grid)))
    }
}

/// Values that a scale is for, along a dimension of `all` that `scales` of them divide evenly; 0 if they do not.
fn even(all: usize, scales: usize) -> usize {
    if scales > 0 && all.is_multiple_of(scales) { all / scales } else { 0 }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(4 * at..4 * at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// A grid with the rows' numbers side by side, from `scales` by column group.
fn by_row(rows: usize, groups: usize, scales: &[f32], zero: impl Fn(usize, usize) -> i32, columns: Columns) -> Grid {
    let pairs = (0..rows).flat_map(|row| (0..groups).map(move |group| (row, group)));
    let scales_by_row = pairs.clone().map(|(row, group)| scales[group * rows + row]).collect();
    let zeros = pairs.map(|(row, group)| zero(group, row)).collect();
    Grid { scales: scales_by_row, zeros, height: 1, column_groups: groups, columns }
}
