//! Rotary position embedding (Su et al., arXiv 2104.09864).

use crate::Pool;
use crate::pool::for_each_row;

/// Which elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// Pairs `(2i, 2i + 1)`: GGUF files of the `llama` architecture, whose converter reorders the heads.
    Interleaved,
    /// Pairs `(i, i + d / 2)`: the NeoX and Hugging Face layout.
    Half,
}

/// Cosines and sines of the rotation angles by position.
#[derive(Debug, Clone)]
pub struct RopeTable {
    inv_freq: Vec<f32>,
    attention_factor: f32,
    /// For each position the cosines, then the sines.
    values: Vec<f32>,
}

impl RopeTable {
    /// A table without positions yet. Pair `i` turns by `inv_freq[i]` radians with each position, and the
    /// result is multiplied by `attention_factor` (1, except with YaRN scaling).
    ///
    /// With fewer frequencies than half a head, only the first `2 * inv_freq.len()` values of a head are
    /// rotated.
    pub fn new(inv_freq: Vec<f32>, attention_factor: f32) -> RopeTable {
        RopeTable { inv_freq, attention_factor, values: Vec::new() }
    }

    /// Makes the positions `0..positions` available.
    pub fn ensure(&mut self, positions: usize) {
        // The angle is rounded to f32 before the cosine, as the models were trained.
        for position in self.positions()..positions {
            let angles = self.inv_freq.iter().map(|f| f64::from(position as f32 * f));
            let factor = self.attention_factor;
            let cosines = angles.clone().map(|a| a.cos() as f32 * factor);
            let sines = angles.map(|a| a.sin() as f32 * factor);
            self.values.extend(cosines.chain(sines));
        }
    }

    /// Positions available.
    pub fn positions(&self) -> usize {
        match self.inv_freq.len() {
            0 => usize::MAX,
            pairs => self.values.len() / (2 * pairs),
        }
    }

    fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let pairs = self.inv_freq.len();
        let start = position * 2 * pairs * usize::from(pairs > 0);
        self.values[start..start + 2 * pairs].split_at(pairs)
    }
}

/// Rotates every head of every row; row `r` stands at `positions[r]`.
///
/// `x` is `positions.len()` rows of `heads` heads of `head_dim` values.
///
/// # Panics
///
/// If `x` has another length, the table rotates more than `head_dim` values, or a position is not in it.
pub fn rope(
    pool: &Pool,
    x: &mut [f32],
    heads: usize,
    head_dim: usize,
    positions: &[u32],
    table: &RopeTable,
    style: RopeStyle,
) {
    let row_len = heads * head_dim;
    let pairs = table.inv_freq.len();
    assert!(
        x.len() == positions.len() * row_len,
        "{} values are not {} rows of {heads} heads x {head_dim}",
        x.len(),
        positions.len()
    );
    assert!(2 * pairs <= head_dim, "{pairs} pairs in {head_dim} values");
    for_each_row(pool, x, row_len, &|row, x| {
        let (cosines, sines) = table.at(positions[row] as usize);
        for head in x.chunks_exact_mut(head_dim) {
            match style {
                RopeStyle::Half => {
                    let (first, second) = head[..2 * pairs].split_at_mut(pairs);
                    for i in 0..pairs {
                        let (a, b) = (first[i], second[i]);
                        first[i] = a * cosines[i] - b * sines[i];
                        second[i] = b * cosines[i] + a * sines[i];
                    }
                }
                RopeStyle::Interleaved => {
                    for (i, pair) in head[..2 * pairs].chunks_exact_mut(2).enumerate() {
                        let (a, b) = (pair[0], pair[1]);
                        pair[0] = a * cosines[i] - b * sines[i];
                        pair[1] = b * cosines[i] + a * sines[i];
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_matches_complex_multiplication() {
        let (heads, dim, pairs) = (3, 10, 4);
        let frequencies: Vec<f32> = (0..pairs).map(|i| 100f32.powf(-(i as f32) / 4.0)).collect();
        let mut table = RopeTable::new(frequencies.clone(), 1.5);
        table.ensure(3);
        table.ensure(1000);
        assert_eq!(table.positions(), 1000);
        let positions = [0u32, 7, 999];
        let x: Vec<f32> = (0..positions.len() * heads * dim).map(|i| (i as f32).sin()).collect();
        for style in [RopeStyle::Interleaved, RopeStyle::Half] {
            let mut y = x.clone();
            rope(&Pool::new(2), &mut y, heads, dim, &positions, &table, style);
            for (row, position) in positions.iter().enumerate() {
                for head in 0..heads {
                    let at = (row * heads + head) * dim;
                    for (i, frequency) in frequencies.iter().enumerate() {
                        let (a, b) = match style {
                            RopeStyle::Interleaved => (at + 2 * i, at + 2 * i + 1),
                            RopeStyle::Half => (at + i, at + i + pairs),
                        };
                        let angle = f64::from(*position as f32 * frequency);
                        let (re, im) = (f64::from(x[a]), f64::from(x[b]));
                        let expected =
                            (1.5 * (re * angle.cos() - im * angle.sin()), 1.5 * (re * angle.sin() + im * angle.cos()));
                        assert!((f64::from(y[a]) - expected.0).abs() < 1e-6);
                        assert!((f64::from(y[b]) - expected.1).abs() < 1e-6);
                    }
                    assert_eq!(y[at + 2 * pairs..at + dim], x[at + 2 * pairs..at + dim]);
                }
            }
        }
    }
}
