//! What steps cost: from decode rows and tiles to the work that the cost model prices.
//!
//! Executors run the decode rows through all layers, and let the first tile's whole layers share those passes: the weights of
//! such a layer are read once for both. All other work of tiles stands alone. The works here follow that rule.

use crate::cohort::{Cohort, Member};
use crate::cost::{CostModel, CostPrior, Coverage, StepKind, Work};
use crate::{Cursor, Experts, Extent, Part, Report, Step};
use std::ops::{AddAssign, Range};

/// The live cost model, and the shape of the model whose steps it prices.
#[derive(Debug)]
pub(crate) struct Costs {
    model: CostModel,
    coverage: Option<(Experts, Coverage)>,
    layers: usize,
}

/// The decode rows of a step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Batch {
    pub rows: usize,
    /// Positions they attend to, all together.
    pub context: f64,
}

/// Work with the expert loads expected of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Estimate {
    pub work: Work,
    prefill_loads: f64,
    total_loads: f64,
    /// Seconds in whole layers, in parts of attention and in parts of feed-forward stages.
    shares: [f64; 3],
}

impl AddAssign for Estimate {
    fn add_assign(&mut self, other: Self) {
        self.work += other.work;
        self.prefill_loads += other.prefill_loads;
        self.total_loads += other.total_loads;
        self.shares.iter_mut().zip(other.shares).for_each(|(share, other)| *share += other);
    }
}

impl Estimate {
    /// This and more.
    pub fn and(mut self, other: Self) -> Self {
        self += other;
        self
    }

    fn times(self, times: f64) -> Self {
        Self {
            work: self.work * times,
            prefill_loads: self.prefill_loads * times,
            total_loads: self.total_loads * times,
            ..self
        }
    }

    fn less(self, other: Self) -> Self {
        Self {
            work: self.work - other.work,
            prefill_loads: self.prefill_loads - other.prefill_loads,
            total_loads: self.total_loads - other.total_loads,
            ..self
        }
    }
}

/// Rows that walk together, for pricing: their number and the positions they attend to in each layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub rows: usize,
    pub context: f64,
}

impl Rows {
    /// Consecutive rows of one sequence.
    pub fn of(start: usize, rows: usize) -> Self {
        Self { rows, context: Work::context_of(start, rows) }
    }

    /// These and others.
    pub fn and(self, other: Rows) -> Self {
        Self { rows: self.rows + other.rows, context: self.context + other.context }
    }

    /// The rows of a cohort, those of dropped members excluded.
    pub fn of_members(members: &[Member]) -> Self {
        Self::in_range(members, 0..usize::MAX)
    }

    /// Rows of a cohort, counted over its members in order, those of dropped members excluded.
    pub fn in_range(members: &[Member], range: Range<usize>) -> Self {
        let (mut rows, mut context, mut first) = (0, 0.0, 0);
        for Member { rows: member, .. } in members {
            let begin = range.start.clamp(first, first + member.rows) - first;
            let end = range.end.clamp(first, first + member.rows) - first;
            if !member.dropped && end > begin {
                rows += end - begin;
                context += Work::context_of(member.start + begin, end - begin);
            }
            first += member.rows;
        }
        Self { rows, context }
    }
}

impl Costs {
    /// Nothing measured yet.
    pub fn new(prior: CostPrior, experts: Option<Experts>, layers: usize) -> Self {
        let coverage = experts.map(|experts| (experts, Coverage::new(experts.count, experts.top_k)));
        Self { model: CostModel::new(prior), coverage, layers }
    }

    /// The cost model.
    pub fn model(&self) -> &CostModel {
        &self.model
    }

    /// Layers of the model.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Whether the feed-forward networks are mixtures of experts.
    pub fn is_mixture(&self) -> bool {
        self.coverage.is_some()
    }

    /// How many times longer than the median the slow ones take among the steps with prefill.
    pub fn prefill_tail(&self) -> f64 {
        self.model.tail_factor(StepKind::Prefill)
    }

    /// The same among the steps of decode rows alone.
    pub fn decode_tail(&self) -> f64 {
        self.model.tail_factor(StepKind::Decode)
    }

    /// Median seconds.
    pub fn seconds(&self, estimate: &Estimate) -> f64 {
        self.model.predict(&estimate.work)
    }

    /// Units of a cohort's feed-forward stage, beside its rows.
    pub fn extent(&self, rows: usize) -> Extent {
        Extent { rows, units: self.coverage.as_ref().map_or(rows, |(experts, _)| experts.count) }
    }

    /// A step of decode rows alone.
    pub fn decode(&self, batch: Batch) -> Estimate {
        let mut step = Estimate { work: Work::STEP, ..Estimate::default() };
        step += self.layer(batch, Rows { rows: 0, context: 0.0 }).times(self.layers as f64);
        step += self.head(batch.rows);
        step
    }

    /// One pass of decode rows and prefill rows through a whole layer.
    pub fn layer(&self, batch: Batch, tile: Rows) -> Estimate {
        let rows = batch.rows + tile.rows;
        let mut layer = Estimate::default();
        layer.work += Work::attention(rows, self.model.knees()) + Work::context(tile.context, batch.context);
        let loads = |rows, kind| self.loads(rows, kind);
        layer += match &self.coverage {
            None => Estimate { work: Work::dense(rows, self.model.knees()), ..Estimate::default() },
            Some((experts, _)) => {
                let (decode, prefill) = (loads(batch.rows, StepKind::Decode), loads(tile.rows, StepKind::Prefill));
                // Chance decides which experts the two have in common.
                let total = decode + prefill - decode * prefill / experts.count as f64;
                let pairs = (rows * experts.top_k) as f64;
                let work = Work::experts(pairs, total, self.model.knees());
                Estimate { work, prefill_loads: prefill, total_loads: total, shares: [0.0; 3] }
            }
        };
        layer
    }

    /// What prefill rows add to a decode step in each whole layer that they share with it.
    pub fn shared_layer(&self, batch: Batch, tile: Rows) -> Estimate {
        self.layer(batch, tile).less(self.layer(batch, Rows { rows: 0, context: 0.0 }))
    }

    /// Prefill rows alone in a whole layer.
    pub fn own_layer(&self, tile: Rows) -> Estimate {
        self.layer(Batch::default(), tile)
    }

    /// Prefill rows in a part of an attention stage.
    pub fn attention(&self, part: Rows) -> Estimate {
        let work = Work::attention(part.rows, self.model.knees()) + Work::context(part.context, 0.0);
        Estimate { work, ..Estimate::default() }
    }

    /// So many units of the feed-forward stage of a cohort of so many rows.
    pub fn feed_forward(&self, rows: usize, units: usize) -> Estimate {
        match &self.coverage {
            None => Estimate { work: Work::dense(units, self.model.knees()), ..Estimate::default() },
            Some((experts, _)) => {
                let share = units as f64 / experts.count as f64;
                let pairs = (rows * experts.top_k) as f64 * share;
                let loads = self.loads(rows, StepKind::Prefill) * share;
                let work = Work::experts(pairs, loads, self.model.knees());
                Estimate { work, prefill_loads: loads, total_loads: loads, shares: [0.0; 3] }
            }
        }
    }

    /// The output matrix for so many rows.
    pub fn head(&self, rows: usize) -> Estimate {
        Estimate { work: Work::head(rows, self.model.knees()), ..Estimate::default() }
    }

    /// What a tile adds to a step. Only the step's first tile may share passes with the decode rows.
    pub fn tile(&self, cohort: &Cohort, to: Cursor, batch: Batch, first: bool) -> Estimate {
        let members = cohort.members();
        let extent = self.extent(cohort.rows());
        let mut tile = Estimate::default();
        for part in cohort.cursor().parts(to, extent) {
            let (kind, estimate) = match part {
                Part::Layers(layers) => {
                    let rows = Rows::of_members(members);
                    let layer = if first { self.shared_layer(batch, rows) } else { self.own_layer(rows) };
                    (0, layer.times(layers.len() as f64))
                }
                Part::Attention { rows, .. } => (1, self.attention(Rows::in_range(members, rows))),
                Part::FeedForward { units, .. } => (2, self.feed_forward(extent.rows, units.len())),
            };
            tile += estimate;
            tile.shares[kind] += self.seconds(&estimate);
        }
        if to.layer >= self.layers {
            tile += self.last_rows(cohort, batch);
        }
        tile
    }

    /// What the rows that sample behind a cohort's last layer add to a step.
    pub fn last_rows(&self, cohort: &Cohort, batch: Batch) -> Estimate {
        let ending = cohort.members().iter().filter(|member| member.rows.ends_prompt && !member.rows.dropped);
        self.more_heads(batch, ending.count())
    }

    /// What so many more rows that sample add to a step.
    pub fn more_heads(&self, batch: Batch, rows: usize) -> Estimate {
        self.head(batch.rows + rows).less(self.head(batch.rows))
    }

    /// About the seconds that rows take alone at full speed through all layers. Cheaper than the other estimates: many waiting prompts are
    /// compared by it.
    pub fn service(&self, rows: Rows) -> f64 {
        let Rows { rows, context } = rows;
        let (knees, count) = (self.model.knees(), rows as f64);
        let feed_forward = match &self.coverage {
            None => Work::dense(rows, knees),
            Some((Experts { count: experts, top_k }, _)) => {
                let pairs = count * *top_k as f64;
                Work::experts(pairs, pairs.min(*experts as f64), knees)
            }
        };
        let layer = Work::attention(rows, knees) + Work::context(context, 0.0) + feed_forward;
        self.model.predict(&(layer * self.layers as f64 + Work::STEP + Work::head(1, knees)))
    }

    /// Learns from a step that went well: its decode rows and what its tiles added, each by itself where they were timed
    /// apart. `had_tiles` says that the step was planned with some; those of `step` have got somewhere.
    pub fn learn(&mut self, step: &Step, had_tiles: bool, decode: &Estimate, tiles: &Estimate, report: &Report) {
        let [whole, attention, feed_forward] = tiles.shares;
        let kind = match step.tiles.is_empty() {
            true => StepKind::Decode,
            false if whole > 0.0 => StepKind::Prefill,
            false if attention > feed_forward => StepKind::Attention,
            false => StepKind::FeedForward,
        };
        let apart = report.decode.filter(|_| had_tiles && !step.decode.is_empty());
        let estimate = decode.and(*tiles);
        let mut work = if apart.is_some() { tiles.work } else { estimate.work };
        if let Some((_, coverage)) = &mut self.coverage {
            let (prefill, total) = (report.prefill_expert_loads as f64, report.total_expert_loads as f64);
            match kind {
                StepKind::Decode => coverage.learn(StepKind::Decode, estimate.total_loads, total - prefill),
                _ => coverage.learn(StepKind::Prefill, estimate.prefill_loads, prefill),
            }
            if total > 0.0 {
                let more = if apart.is_some() { prefill - tiles.prefill_loads } else { total - estimate.total_loads };
                work = work.with_loads(more, self.model.knees());
            }
        }
        let mut duration = report.duration;
        if let Some(apart) = apart {
            self.model.learn(&decode.work, StepKind::Decode, apart.as_secs_f64());
            duration = duration.saturating_sub(apart);
            // The rest went into what no place is behind yet, an expert that takes several steps.
            if step.tiles.is_empty() {
                return;
            }
        }
        self.model.learn(&work, kind, duration.as_secs_f64());
    }

    fn loads(&self, rows: usize, kind: StepKind) -> f64 {
        self.coverage.as_ref().map_or(0.0, |(_, coverage)| coverage.loads(rows, kind))
    }
}
