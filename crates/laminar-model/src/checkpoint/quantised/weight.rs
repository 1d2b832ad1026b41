//! One quantised weight matrix: its codes, scales and zero points, and rows of it in other forms.

use std::ops::Range;

use half::f16;
use laminar_kernels::{WeightType, quantize};

use super::super::error::CheckpointError;
use super::super::tensor::ByteTensor;

/// Columns of a block of the kernels' formats.
const BLOCK: usize = 32;
/// Which output each code of an AWQ word belongs to, from the lowest bits on.
const AWQ_ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// A matrix that was quantised by another program, `rows` outputs of `cols` inputs.
#[derive(Debug, Clone)]
pub struct QuantisedWeight<'a> {
    pub(super) name: String,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) codes: Codes<'a>,
    pub(super) grid: Grid,
}

/// How codes are stored.
#[derive(Debug, Clone)]
pub(super) enum Codes<'a> {
    /// 8-bit floats (E4M3), row by row.
    Floats(ByteTensor<'a>),
    /// 8-bit signed integers, row by row.
    Integers(ByteTensor<'a>),
    /// Words of several codes of a row.
    Rows { words: ByteTensor<'a>, bits: u32 },
    /// Words of several codes of a column of rows: GPTQ's, `[cols / codes, rows]`.
    Columns { words: ByteTensor<'a>, bits: u32 },
    /// AWQ's: words of eight outputs of an input, `[cols, rows / 8]`.
    Awq { words: ByteTensor<'a> },
}

/// Scales and zero points. Each belongs to some rows and a group of columns.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    /// `[row groups, column groups]`.
    pub scales: Vec<f32>,
    /// As many; for signed codes what they count from.
    pub zeros: Vec<i32>,
    /// Rows of a row group.
    pub height: usize,
    pub column_groups: usize,
    pub columns: Columns,
}

/// To which group a column belongs.
#[derive(Debug, Clone)]
pub(super) enum Columns {
    /// So many neighbours a group.
    Runs(usize),
    /// As listed.
    Listed(Vec<u32>),
}

impl Grid {
    fn group(&self, column: usize) -> usize {
        match &self.columns {
            Columns::Runs(width) => column / width,
            Columns::Listed(groups) => groups[column] as usize,
        }
    }

    fn at(&self, row: usize, group: usize) -> usize {
        row / self.height * self.column_groups + group
    }

    /// Whether blocks of the kernels' formats lie in one group each.
    fn has_whole_blocks(&self) -> bool {
        matches!(self.columns, Columns::Runs(width) if width.is_multiple_of(BLOCK))
    }
}

impl Codes<'_> {
    fn bits(&self) -> u32 {
        match self {
            Codes::Floats(_) | Codes::Integers(_) => 8,
            Codes::Rows { bits, .. } | Codes::Columns { bits, .. } => *bits,
            Codes::Awq { .. } => 4,
        }
    }

    /// The code that stands for zero in the kernels' symmetric formats.
    fn middle(&self) -> i32 {
        match self {
            Codes::Floats(_) | Codes::Integers(_) => 0,
            _ => 1 << (self.bits() - 1),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[4 * at..4 * at + 4]);
    u32::from_le_bytes(word)
}

/// The value of an 8-bit float: a sign, four bits of exponent with a bias of 7, three of mantissa; no infinities, and all
/// ones is not a number.
fn e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let size = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 512.0,
        _ => (1.0 + mantissa / 8.0) * f32::from_bits(((exponent - 7 + 127) as u32) << 23),
    };
    if code & 0x80 == 0 { size } else { -size }
}

impl QuantisedWeight<'_> {
    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The name of the weight, without endings.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The nearest of the kernels' formats.
    pub fn ty(&self) -> WeightType {
        if !self.cols.is_multiple_of(BLOCK) {
            return WeightType::F32;
        }
        let middle = self.codes.middle();
        let symmetric = self.grid.zeros.iter().all(|zero| *zero == middle);
        match (self.codes.bits(), self.grid.has_whole_blocks()) {
            (4, true) if symmetric => WeightType::Q4_0,
            (4, true) => WeightType::Q4_1,
            _ => WeightType::Q8_0,
        }
    }

    /// The values of some rows, exactly, in place of what `out` held.
    pub fn values(&self, rows: Range<usize>, out: &mut Vec<f32>) {
        out.clear();
        out.resize(rows.len() * self.cols, 0.0);
        let first = rows.start;
        if let Codes::Floats(codes) = &self.codes {
            for (row, out) in rows.zip(out.chunks_exact_mut(self.cols)) {
                let codes = &codes.data[row * self.cols..][..self.cols];
                for (column, (value, code)) in out.iter_mut().zip(codes).enumerate() {
                    *value = e4m3(*code) * self.grid.scales[self.grid.at(row, self.grid.group(column))];
                }
            }
            return;
        }
        let mut codes = Vec::new();
        self.codes(rows, &mut codes);
        for (row, (out, codes)) in out.chunks_exact_mut(self.cols).zip(codes.chunks_exact(self.cols)).enumerate() {
            for (column, (value, code)) in out.iter_mut().zip(codes).enumerate() {
                let at = self.grid.at(first + row, self.grid.group(column));
                *value = (i32::from(*code) - self.grid.zeros[at]) as f32 * self.grid.scales[at];
            }
        }
    }

    /// Some rows in the format of [`QuantisedWeight::ty`], in place of what `out` held.
    ///
    /// # Errors
    /// None for a weight that was opened.
    pub fn read(&self, rows: Range<usize>, out: &mut Vec<u8>) -> Result<(), CheckpointError> {
        out.clear();
        let ty = self.ty();
        let exact = self.grid.has_whole_blocks() && !matches!(self.codes, Codes::Floats(_));
        let symmetric = self.grid.zeros.iter().all(|zero| *zero == self.codes.middle());
        match ty {
            WeightType::Q4_0 | WeightType::Q4_1 => self.blocks(rows, ty, out),
            WeightType::Q8_0 if exact && symmetric && self.codes.bits() == 8 => self.blocks(rows, ty, out),
            _ => {
                let mut values = Vec::new();
                self.values(rows, &mut values);
                quantize(ty, &values, out).map_err(|source| CheckpointError::Values {
                    file: "checkpoint".to_owned(),
                    tensor: self.name.clone(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Blocks with the codes as they are.
    fn blocks(&self, rows: Range<usize>, ty: WeightType, out: &mut Vec<u8>) {
        let mut codes = Vec::new();
        self.codes(rows.clone(), &mut codes);
        let middle = self.codes.middle();
        for (row, codes) in rows.zip(codes.chunks_exact(self.cols)) {
            for (block, codes) in codes.chunks_exact(BLOCK).enumerate() {
                let at = self.grid.at(row, self.grid.group(block * BLOCK));
                let (scale, zero) = (self.grid.scales[at], self.grid.zeros[at]);
                out.extend(f16::from_f32(scale).to_le_bytes());
                if ty == WeightType::Q8_0 {
                    out.extend(codes.iter().map(|code| (i32::from(*code) - middle) as i8 as u8));
                    continue;
                }
                if ty == WeightType::Q4_1 {
                    out.extend(f16::from_f32(-scale * zero as f32).to_le_bytes());
                }
                let (low, high) = codes.split_at(BLOCK / 2);
                out.extend(low.iter().zip(high).map(|(low, high)| (*low as u8 & 15) | (*high as u8) << 4));
            }
        }
    }

    /// The integer codes of some rows, in place of what `out` held.
    fn codes(&self, rows: Range<usize>, out: &mut Vec<i16>) {
        let cols = self.cols;
        out.clear();
        out.resize(rows.len() * cols, 0);
        match &self.codes {
            Codes::Floats(_) => {}
            Codes::Integers(codes) => {
                let codes = &codes.data[rows.start * cols..rows.end * cols];
                out.iter_mut().zip(codes).for_each(|(out, code)| *out = i16::from(*code as i8));
            }
            Codes::Rows { words, bits } => {
                let each = (32 / bits) as usize;
                let per_row = cols.div_ceil(each);
                for (row, out) in rows.zip(out.chunks_exact_mut(cols)) {
                    for (i, out) in out.chunks_mut(each).enumerate() {
                        split(word(words.data, row * per_row + i), *bits, out.iter_mut());
                    }
                }
            }
            Codes::Columns { words, bits } => {
                let each = (32 / bits) as usize;
                for i in 0..cols / each {
                    for (row, out) in rows.clone().zip(out.chunks_exact_mut(cols)) {
                        split(word(words.data, i * self.rows + row), *bits, out[i * each..][..each].iter_mut());
                    }
                }
            }
            Codes::Awq { words } => {
                let per_column = self.rows / 8;
                for column in 0..cols {
                    for group in rows.start / 8..rows.end.div_ceil(8) {
                        let word = word(words.data, column * per_column + group);
                        for (place, output) in AWQ_ORDER.iter().enumerate() {
                            let row = group * 8 + output;
                            if rows.contains(&row) {
                                out[(row - rows.start) * cols + column] = (word >> (4 * place) & 15) as i16;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The codes of a word, from the lowest bits on.
fn split<'a>(word: u32, bits: u32, out: impl Iterator<Item = &'a mut i16>) {
    let mask = (1u32 << bits) - 1;
    for (i, out) in (0..).zip(out) {
        *out = (word >> (bits * i) & mask) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bit_floats_have_their_values() {
        for (code, value) in [
            (0x00, 0.0),
            (0x01, 1.0 / 512.0),
            (0x07, 7.0 / 512.0),
            (0x08, 1.0 / 64.0),
            (0x38, 1.0),
            (0x39, 1.125),
            (0x7e, 448.0),
            (0xfe, -448.0),
            (0xb8, -1.0),
        ] {
            assert_eq!(e4m3(code), value, "{code:#x}");
        }
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan());
    }

    #[test]
    fn words_are_split_from_their_lowest_bits_on() {
        let mut codes = [0i16; 8];
        split(0x8765_4321, 4, codes.iter_mut());
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8]);
        let mut codes = [0i16; 4];
        split(0xff80_0201, 8, codes.iter_mut());
        assert_eq!(codes, [1, 2, 128, 255]);
    }
}
