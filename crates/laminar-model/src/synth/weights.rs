//! Random weights, reproducible on every machine and quick to make.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use laminar_kernels::{WeightType, quantize};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::build::Plan;
use crate::checkpoint::{CheckpointError, TensorSpec};

/// Tensors of at most so many values are drawn value by value; larger ones from a pool of quantised pieces of rows.
const DRAWN_BY_VALUE: usize = 1 << 18;
/// The pieces in a pool.
const POOL_PIECES: usize = 1 << 14;
/// Rows of fewer pieces are drawn by value too: from this number on, equal rows do not occur in practice.
const LEAST_PIECES: usize = 4;
/// The values in the table of normal values; the top bit of a draw is the sign.
const TABLE: usize = 1 << 15;
/// How fast the states of heads fade.
const LASTING: [f32; 4] = [0.0078125, 0.0625, 0.5, 2.0];
/// About so many bytes are written at once.
const BATCH_BYTES: usize = 1 << 20;

/// Draws the data of a plan's tensors.
pub(super) struct Source {
    std: f32,
    seed: u64,
    normal: Vec<f32>,
    pools: HashMap<(WeightType, usize, u32), Vec<u8>>,
}

impl Source {
    pub fn new(plan: &Plan, seed: u64) -> Result<Self, CheckpointError> {
        let normal = normal_table(&mut generator(seed, "normal values"));
        Ok(Self { std: plan.shape.std, seed, normal, pools: HashMap::new() })
    }

    /// Writes one tensor's data.
    pub fn fill(&mut self, tensor: &TensorSpec, out: &mut dyn Write) -> Result<(), CheckpointError> {
        let elements: usize = tensor.shape.iter().product();
        if tensor.name.ends_with("norm.weight") {
            return put(tensor, out, &encode(tensor, &vec![1.0; elements])?);
        }
        if tensor.name.starts_with("rope_factors_") {
            // Divisors from 1, faster for the long set.
            let step = if tensor.name.contains("long") { 0.5 } else { 0.05 };
            let divisors: Vec<f32> = (0..elements).map(|pair| 1.0 + step * pair as f32).collect();
            return put(tensor, out, &encode(tensor, &divisors)?);
        }
        if tensor.name.ends_with(".ssm_a") {
            // States that last for long beside some that do not, as models learn them.
            let rates: Vec<f32> = (0..elements).map(|head| -LASTING[head % LASTING.len()]).collect();
            return put(tensor, out, &encode(tensor, &rates)?);
        }
        // Embeddings and sinks are of the size of hidden states, all else of the size of weights.
        let large = tensor.name == "token_embd.weight" || tensor.name.ends_with("attn_sinks.weight");
        let std = if large { 1.0 } else { self.std };
        let mut rng = generator(self.seed, &tensor.name);
        let cols = tensor.shape.last().copied().unwrap_or(1);
        let piece = piece_len(tensor.ty, cols);
        if elements <= DRAWN_BY_VALUE || cols / piece < LEAST_PIECES {
            let values = self.draw(&mut rng, elements, std);
            return put(tensor, out, &encode(tensor, &values)?);
        }
        self.fill_from_pool(tensor, piece, std, &mut rng, out)
    }

    fn fill_from_pool(
        &mut self,
        tensor: &TensorSpec,
        piece: usize,
        std: f32,
        rng: &mut ChaCha8Rng,
        out: &mut dyn Write,
    ) -> Result<(), CheckpointError> {
        let key = (tensor.ty, piece, std.to_bits());
        if !self.pools.contains_key(&key) {
            let mut pool_rng = generator(self.seed, &format!("pool of {} {piece} {std}", tensor.ty.name()));
            let values = self.draw(&mut pool_rng, POOL_PIECES * piece, std);
            self.pools.insert(key, encode(tensor, &values)?);
        }
        let pool = self.pools.get(&key).map(Vec::as_slice).unwrap_or_default();
        let piece_bytes = (pool.len() / POOL_PIECES).max(1);
        let mut left = tensor.bytes / piece_bytes;
        let mut batch = Vec::with_capacity(BATCH_BYTES + piece_bytes);
        let mut draws = [0u8; 4096];
        while left > 0 {
            rng.fill_bytes(&mut draws);
            for draw in draws.as_chunks::<2>().0.iter().take(left) {
                let at = usize::from(u16::from_le_bytes(*draw)) % POOL_PIECES * piece_bytes;
                batch.extend_from_slice(pool.get(at..at + piece_bytes).unwrap_or_default());
            }
            left = left.saturating_sub(draws.len() / 2);
            if batch.len() >= BATCH_BYTES || left == 0 {
                put(tensor, out, &batch)?;
                batch.clear();
            }
        }
        Ok(())
    }

    /// Values of a normal distribution.
    fn draw(&self, rng: &mut ChaCha8Rng, count: usize, std: f32) -> Vec<f32> {
        let mut bytes = vec![0; (2 * count).next_multiple_of(4)];
        rng.fill_bytes(&mut bytes);
        let value = |draw: &[u8; 2]| {
            let draw = u16::from_le_bytes(*draw);
            let size = self.normal.get(usize::from(draw) % TABLE).copied().unwrap_or_default() * std;
            if usize::from(draw) >= TABLE { -size } else { size }
        };
        bytes.as_chunks::<2>().0.iter().take(count).map(value).collect()
    }
}

/// A generator for one purpose: ChaCha8 keyed by the seed, with a stream of its own.
fn generator(seed: u64, purpose: &str) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    // FNV-1a, 64 bits.
    let stream = purpose
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    rng.set_stream(stream);
    rng
}

/// Normal values as sums of twelve uniform ones (Irwin and Hall): integer arithmetic only, so that every machine makes
/// the same weights, which `ln` and `cos` of the system's library would not promise.
fn normal_table(rng: &mut ChaCha8Rng) -> Vec<f32> {
    let unit = f64::from(u32::MAX) + 1.0;
    (0..TABLE)
        .map(|_| {
            let sum: u64 = (0..12).map(|_| u64::from(rng.next_u32())).sum();
            (sum as f64 / unit - 6.0) as f32
        })
        .collect()
}

/// The length of a pool's pieces: whole blocks that divide a row, several to a row where that is possible.
fn piece_len(ty: WeightType, cols: usize) -> usize {
    let block = ty.block_len();
    (1..=cols / LEAST_PIECES / block)
        .map(|blocks| blocks * block)
        .find(|len| *len >= 128 && cols.is_multiple_of(*len))
        .unwrap_or(if cols.is_multiple_of(block.max(32)) { block.max(32) } else { cols })
}

fn encode(tensor: &TensorSpec, values: &[f32]) -> Result<Vec<u8>, CheckpointError> {
    let mut bytes = Vec::with_capacity(tensor.bytes.min(1 << 24));
    quantize(tensor.ty, values, &mut bytes).map_err(|source| CheckpointError::Values {
        file: "new file".to_string(),
        tensor: tensor.name.clone(),
        source,
    })?;
    Ok(bytes)
}

fn put(tensor: &TensorSpec, out: &mut dyn Write, bytes: &[u8]) -> Result<(), CheckpointError> {
    out.write_all(bytes).map_err(|e| CheckpointError::io("write", Path::new(&tensor.name), e))
}
