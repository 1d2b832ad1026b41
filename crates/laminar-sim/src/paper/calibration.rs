//! The free constants, and how they were found.
//!
//! Six constants are fitted on the load and time of one prompt by chunk size (section 2.3 of our notes) and on the time of a
//! decode step (section 2.1) alone; the skew of the experts' popularity is fitted with them on the published coverage of decode
//! batches (section 2.2). Everything else that the paper published is predicted.
//!
//! [`fit`] repeats the fit: the sum of squared logarithms of ours over theirs, least by a pattern search. A test compares its
//! result with the constants that are built in.

use super::published::{BY_CHUNK, BY_CHUNK_MODEL, BY_CHUNK_TOKENS, COVERAGE, DECODE_STEP, DECODE_STEP_MS};
use crate::{Cost, Hardware, ModelProfile, PlanError, Roofline, Routing};
use laminar_schedule::{CohortId, Cursor, DecodeRow, SequenceId, Step, Tile, TileRows};
use serde::Serialize;

/// The fitted constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Constants {
    /// [`crate::Kernels::expert_read`].
    pub expert_read: f64,
    /// [`crate::Kernels::expert_compute`].
    pub expert_compute: f64,
    /// [`crate::Kernels::attention_us`].
    pub attention_us: f64,
    /// [`crate::Kernels::row_passes`].
    pub row_passes: f64,
    /// [`crate::Host::sequence_us`].
    pub sequence_us: f64,
    /// [`Routing::Skewed::kinship`].
    pub kinship: f64,
    /// [`Routing::Skewed::shape`], fitted on the coverage of decode batches.
    pub shape: f64,
}

impl Constants {
    /// Those that are built in.
    ///
    /// # Errors
    ///
    /// Never, unless a built-in profile is broken.
    pub fn built_in() -> Result<Self, PlanError> {
        let Hardware { kernels, host, .. } = Hardware::named("h100-sxm")?;
        let (shape, kinship) = match Routing::FITTED {
            Routing::Skewed { shape, kinship } => (shape, kinship),
            Routing::Uniform => (1.0, 1.0),
        };
        Ok(Self {
            expert_read: kernels.expert_read,
            expert_compute: kernels.expert_compute,
            attention_us: kernels.attention_us,
            row_passes: kernels.row_passes,
            sequence_us: host.sequence_us,
            kinship,
            shape,
        })
    }

    /// Puts a model on the paper's two H100 with these constants.
    fn place(&self, hardware: &Hardware, model: &ModelProfile) -> Result<Roofline, PlanError> {
        let mut hardware = hardware.clone();
        hardware.kernels.expert_read = self.expert_read;
        hardware.kernels.expert_compute = self.expert_compute;
        hardware.kernels.attention_us = self.attention_us;
        hardware.kernels.row_passes = self.row_passes;
        hardware.host.sequence_us = self.sequence_us;
        Roofline::new(hardware, model.clone(), Routing::Skewed { shape: self.shape, kinship: self.kinship })
    }

    fn list(&mut self) -> [&mut f64; 7] {
        [
            &mut self.shape,
            &mut self.kinship,
            &mut self.expert_read,
            &mut self.expert_compute,
            &mut self.attention_us,
            &mut self.row_passes,
            &mut self.sequence_us,
        ]
    }
}

/// What one prompt costs in chunks that pass all layers.
pub(super) fn prompt_in_chunks(roofline: &Roofline, tokens: usize, chunk: usize) -> Cost {
    let layers = roofline.model().layers;
    let mut cost = Cost::default();
    let mut start = 0;
    while start < tokens {
        let rows = chunk.min(tokens - start);
        let ends_prompt = start + rows == tokens;
        let members = vec![TileRows { sequence: SequenceId(0), start, rows, ends_prompt, dropped: false }];
        let (from, to) = (Cursor::at_layer(0), Cursor::at_layer(layers));
        let tiles = vec![Tile { cohort: CohortId(0), members, from, to }];
        cost += roofline.step(&Step { tiles, ..Step::default() });
        start += rows;
    }
    cost
}

/// What a decode step costs.
pub(super) fn decode_step(roofline: &Roofline, rows: usize, context: usize) -> Cost {
    let row = |id| DecodeRow { sequence: SequenceId(id as u64), position: context };
    roofline.step(&Step { decode: (0..rows).map(row).collect(), ..Step::default() })
}

/// Squared logarithm of a ratio.
fn miss(ours: f64, theirs: f64) -> f64 {
    (ours / theirs).ln().powi(2)
}

/// How far constants are from what they are fitted on.
fn distance(constants: &Constants, hardware: &Hardware, models: &[ModelProfile]) -> Result<f64, PlanError> {
    let mut sum = 0.0;
    for (model, (_, published)) in models.iter().zip(DECODE_STEP_MS) {
        let roofline = constants.place(hardware, model)?;
        let (rows, context) = DECODE_STEP;
        sum += miss(decode_step(&roofline, rows, context).seconds(), published * 1e-3);
        if model.name != BY_CHUNK_MODEL {
            continue;
        }
        for row in BY_CHUNK {
            let cost = prompt_in_chunks(&roofline, BY_CHUNK_TOKENS, row.chunk);
            sum += miss(cost.expert_bytes, row.load_gb * 1e9) + miss(cost.experts_s, row.experts_ms * 1e-3);
            sum += miss(cost.seconds(), row.total_ms * 1e-3);
            sum += row.attention_ms.map_or(0.0, |published| miss(cost.attention_s, published * 1e-3));
            sum += row.script_ms.map_or(0.0, |published| miss(cost.seconds(), published * 1e-3));
        }
    }
    let routing = Routing::Skewed { shape: constants.shape, kinship: constants.kinship };
    for (rows, published) in COVERAGE {
        let ours = 100.0 * routing.coverage(128, 8, rows as f64);
        // Bounds from above count where they are broken.
        if [32, 128].contains(&rows) || ours > published {
            sum += miss(ours, published);
        }
    }
    Ok(sum)
}

/// Finds the constants anew, from a poor guess.
///
/// # Errors
///
/// Never, unless a built-in profile is broken.
pub fn fit() -> Result<Constants, PlanError> {
    let models = DECODE_STEP_MS.map(|(name, _)| ModelProfile::named(name));
    let models: Vec<ModelProfile> = models.into_iter().collect::<Result<_, _>>()?;
    let hardware = Hardware::named("h100-sxm")?.with_devices(2);
    let mut best = Constants {
        expert_read: 0.5,
        expert_compute: 0.3,
        attention_us: 50.0,
        row_passes: 50.0,
        sequence_us: 50.0,
        kinship: 0.8,
        shape: 1.0,
    };
    let mut least = distance(&best, &hardware, &models)?;
    let mut factor: f64 = 1.3;
    while factor > 1.000_5 {
        let before = least;
        for index in 0..best.list().len() {
            for factor in [factor, 1.0 / factor] {
                let mut candidate = best;
                *candidate.list()[index] *= factor;
                let candidate_distance = distance(&candidate, &hardware, &models)?;
                if candidate_distance < least {
                    (best, least) = (candidate, candidate_distance);
                }
            }
        }
        if least > before - 1e-7 {
            factor = factor.sqrt();
        }
    }
    Ok(best)
}
