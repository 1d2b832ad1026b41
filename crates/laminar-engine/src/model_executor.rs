//! Executes steps with a model on the CPU.
//!
//! Tiles run in their order, each through its parts. The decode rows pass every layer once: in the layers that the first
//! tile passes as a whole they share its call, so that the weights of those layers are read once for both; in all other
//! layers they run alone.
//!
//! ```text
//! layers       0 ......... a ============ b ......... L
//! decode         alone       with tile 0    alone      -> logits
//! tile 0       parked   ...  whole layers   ...   parked again, or, at L, the last rows of ended prompts -> logits
//! other tiles  parked   ...  alone          ...   parked again, or as above
//! ```
//!
//! At `...` a tile begins or ends inside a layer, with [`Model::attend`] and [`Model::feed_forward`].
//!
//! What the decode rows do not share they run as early as they can: then all that is left of the step is pieces of prompts,
//! which may stop when the time is over ([`crate::pace`]).

use crate::executor::{Batch, DecodeInput, ExecuteError, Executor, MemberInput, TileInput, last_rows};
use crate::pace::{Pace, behind, rest};
use crate::parked::{CohortRows, Parked};
use crate::pooling::Pools;
use crate::prior::prior;
use crate::scores::{ROWS_AT_ONCE, Scores};
use crate::{Pooling, TokenLogprobs};
use laminar_kernels::Pool;
use laminar_model::{BLOCK_LEN, ExpertLoads, KvCache, KvType, Model, PartialLayer, RowSpan, Scratch, Snapshot};
use laminar_schedule::{CostPrior, Cursor, Experts, Extent, Part, ROW_STEP, SequenceId, StateSlots};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An expert with fewer rows takes as long as with so many: its weights have to be read.
const LEAST_EXPERT_ROWS: u32 = 8;

/// Positions behind those in use whose keys and values get their pages ahead of time (but at most a quarter of all there are).
const PREPARED: usize = 8192;

const _: () = assert!(ROW_STEP.is_multiple_of(PartialLayer::ROW_STEP), "the scheduler cuts rows where a model can");

/// A model with its KV memory, threads and buffers.
pub struct ModelExecutor {
    model: Arc<Model>,
    pool: Pool,
    costs: CostPrior,
    kv: KvCache,
    /// Blocks below the highest one that any row has been in.
    used: usize,
    kv_type: KvType,
    snapshots: usize,
    scratch: Scratch,
    parked: Parked,
    pools: Pools,
    scores: Scores,
    /// Logits of prompt rows that are scored.
    scored: Vec<f32>,
    /// Rows behind the final norm, of prompts that are pooled.
    normed: Vec<f32>,
    /// The decode rows of the running step.
    decode: Vec<f32>,
    /// The rows of a tile that run, where others between them do not.
    gathered: Vec<f32>,
    /// Rows of ended prompts that logits are wanted of.
    last: Vec<f32>,
    pace: Pace,
    /// Layers that the decode rows have passed.
    passed: usize,
    /// Whether the decode rows have their logits.
    decoded: bool,
    /// What their logits took.
    head: Duration,
    /// What they took in all, where no tile shared their way.
    alone: Option<Duration>,
    /// Rows of each expert in the layer a cohort is in, and what each costs beside the others.
    expert_rows: Vec<u32>,
    weights: Vec<f64>,
    /// Logits of ended prompts.
    last_logits: Vec<f32>,
    loads: ExpertLoads,
}

impl ModelExecutor {
    /// An executor with `kv_blocks` empty KV blocks, and room for one state in recurrent layers.
    pub fn new(model: Arc<Model>, pool: Pool, kv_blocks: usize, kv_type: KvType) -> Self {
        let kv = KvCache::new(model.config(), kv_blocks, BLOCK_LEN, kv_type);
        Self {
            costs: prior(&model, kv_type),
            model,
            pool,
            kv,
            used: 0,
            kv_type,
            snapshots: 0,
            scratch: Scratch::default(),
            parked: Parked::default(),
            pools: Pools::default(),
            scores: Scores::default(),
            scored: Vec::new(),
            normed: Vec::new(),
            decode: Vec::new(),
            gathered: Vec::new(),
            last: Vec::new(),
            pace: Pace::default(),
            passed: 0,
            decoded: false,
            head: Duration::ZERO,
            alone: None,
            expert_rows: Vec::new(),
            weights: Vec::new(),
            last_logits: Vec::new(),
            loads: ExpertLoads::default(),
        }
    }

    /// The same with room for the states of `sequences`, and for `snapshots` more.
    pub fn with_states(self, sequences: usize, snapshots: usize) -> Self {
        let slots = sequences.saturating_add(snapshots);
        if KvCache::bytes_per_state(self.model.config()) == 0 {
            return self;
        }
        let kv = KvCache::with_states(self.model.config(), self.kv.blocks(), BLOCK_LEN, self.kv_type, slots);
        Self { kv, snapshots, ..self }
    }

    /// The tile's rows, from where they were parked; of a cohort that begins, room for them.
    fn unpark(&mut self, tile: &TileInput<'_>) -> Result<CohortRows, ExecuteError> {
        check(tile, self.model.config().experts.as_ref().map(|experts| experts.count))?;
        let width = self.model.config().row_width();
        let mut rows = self.parked.take(tile, width)?;
        rows.hidden.reserve_exact((self.extent(tile).rows * width).saturating_sub(rows.hidden.len()));
        Ok(rows)
    }

    /// Embeds the rows of a cohort up to `end`, where they have not been before. All at once would take a long prompt's first
    /// step longer than streams may wait.
    fn embed(&self, tile: &TileInput<'_>, end: usize, rows: &mut CohortRows) -> Result<(), ExecuteError> {
        let width = self.model.config().row_width();
        let mut first = 0;
        for member in &tile.members {
            let embedded = rows.hidden.len() / width;
            let own = embedded.saturating_sub(first)..end.saturating_sub(first).min(member.rows);
            if let Some(tokens) = member.tokens.get(own.clone()) {
                self.model.embed(tokens, &mut rows.hidden)?;
            } else if !own.is_empty() {
                // A member that has left already has places and no tokens.
                rows.hidden.resize((first + own.end) * width, 0.0);
            }
            first += member.rows;
        }
        Ok(())
    }

    /// Keeps the tile's rows, or, at the top of the stack, the last rows of prompts that end here.
    fn park(&mut self, tile: &TileInput<'_>, rows: CohortRows) -> Result<(), ExecuteError> {
        if tile.to.layer < self.model.layers() {
            // Where nothing has run there is nothing to keep.
            match tile.to == Cursor::at_layer(0) {
                true => self.parked.recycle(rows),
                false => self.parked.park(tile.cohort, tile.to, rows),
            }
            return Ok(());
        }
        let width = self.model.config().row_width();
        let mut end = 0;
        for member in &tile.members {
            let begin = end;
            end += member.rows * width;
            if self.pools.wants(member.sequence) && !member.dropped {
                let rows = &rows.hidden[begin..end];
                self.model.final_norm(&self.pool, &mut self.scratch, rows, &mut self.normed)?;
                self.pools.add(member.sequence, &self.normed, self.model.config().hidden);
            }
            if !member.dropped {
                self.score_rows(member, &rows.hidden[begin..end])?;
            }
            if member.ends_prompt && !member.dropped {
                self.last.extend_from_slice(&rows.hidden[end - width..end]);
            }
        }
        self.parked.recycle(rows);
        Ok(())
    }

    /// Computes the logits of prompt rows behind the last layer, where they are wanted, a few rows at a time.
    fn score_rows(&mut self, member: &MemberInput<'_>, hidden: &[f32]) -> Result<(), ExecuteError> {
        let (width, vocab) = (self.model.config().row_width(), self.model.vocab_size());
        let wanted = self.scores.wanted(member.sequence, member.start, member.rows);
        let mut position = member.start;
        for rows in hidden[..wanted * width].chunks(ROWS_AT_ONCE * width) {
            self.model.logits(&self.pool, &mut self.scratch, rows, &mut self.scored)?;
            for logits in self.scored.chunks_exact(vocab) {
                self.scores.add(member.sequence, position, logits);
                position += 1;
            }
        }
        Ok(())
    }

    /// Runs the decode rows alone up to a layer.
    fn decode_alone(&mut self, decode: &[DecodeInput<'_>], layer: usize) -> Result<(), ExecuteError> {
        let layers = self.passed..layer;
        self.passed = self.passed.max(layer);
        if decode.is_empty() || layers.is_empty() {
            return Ok(());
        }
        let spans = side_by_side(decode.iter().map(decode_span));
        let Self { model, pool, kv, scratch, loads, .. } = self;
        Ok(model.forward(pool, kv, scratch, layers, &spans, &mut self.decode, loads)?)
    }

    /// Runs a tile through whole layers; the decode rows of `riders` share the call.
    fn layers(
        &mut self,
        tile: &TileInput<'_>,
        riders: &[DecodeInput<'_>],
        layers: Range<usize>,
        rows: &mut CohortRows,
    ) -> Result<(), ExecuteError> {
        let width = self.model.config().row_width();
        self.embed(tile, self.extent(tile).rows, rows)?;
        let gaps = tile.members.iter().any(|member| member.dropped);
        if gaps {
            let mut gathered = std::mem::take(&mut self.gathered);
            gathered.clear();
            live_values(tile, width).for_each(|values| gathered.extend_from_slice(&rows.hidden[values]));
            self.gathered = std::mem::replace(&mut rows.hidden, gathered);
        }
        let own = rows.hidden.len();
        if !riders.is_empty() {
            // Exact, since a long prompt's buffer would otherwise double for them.
            rows.hidden.reserve_exact(self.decode.len());
            rows.hidden.extend_from_slice(&self.decode);
        }
        let members = spans(&tile.members, 0..usize::MAX);
        let spans = side_by_side(members.chain(riders.iter().map(decode_span)));
        let Self { model, pool, kv, scratch, loads, .. } = self;
        model.forward(pool, kv, scratch, layers, &spans, &mut rows.hidden, loads)?;
        if !riders.is_empty() {
            self.decode.copy_from_slice(&rows.hidden[own..]);
            rows.hidden.truncate(own);
        }
        if gaps {
            std::mem::swap(&mut rows.hidden, &mut self.gathered);
            let mut from = 0;
            for values in live_values(tile, width) {
                let end = from + values.len();
                rows.hidden[values].copy_from_slice(&self.gathered[from..end]);
                from = end;
            }
        }
        Ok(())
    }

    /// Takes the decode rows to the end of their way, from wherever they are, and computes their logits.
    fn finish_decode(&mut self, decode: &[DecodeInput<'_>], logits: &mut Vec<f32>) -> Result<(), ExecuteError> {
        if std::mem::replace(&mut self.decoded, true) {
            return Ok(());
        }
        let begun = Instant::now();
        let alone = self.passed == 0;
        self.decode_alone(decode, self.model.layers())?;
        let passed = Instant::now();
        let width = self.model.config().row_width();
        // Rows in front of a sequence's newest one have told all they had to when their keys and values were written.
        let mut kept = 0;
        for (place, _) in last_rows(decode) {
            self.decode.copy_within(place * width..(place + 1) * width, kept * width);
            kept += 1;
        }
        self.decode.truncate(kept * width);
        self.model.logits(&self.pool, &mut self.scratch, &self.decode, logits)?;
        self.head = passed.elapsed();
        self.alone = alone.then(|| begun.elapsed());
        Ok(())
    }

    /// Runs a tile; the first one of a step meets the decode rows. Returns the place that it has reached, which is the place
    /// it was to reach unless the time was over before.
    fn tile(
        &mut self,
        tile: &TileInput<'_>,
        decode: &[DecodeInput<'_>],
        is_first: bool,
        rows: &mut CohortRows,
        logits: &mut Vec<f32>,
    ) -> Result<Cursor, ExecuteError> {
        let is_shared = |part: &Part| is_first && matches!(part, Part::Layers(_));
        if !tile.parts.iter().any(is_shared) {
            self.finish_decode(decode, logits)?;
        }
        self.pace.meets(tile.cohort, self.extent(tile).rows);
        let mut at = tile.from;
        for part in &tile.parts {
            let mut riders = is_shared(part).then_some(decode);
            let mut next = Some(part.clone());
            while let Some(part) = next {
                next = match self.pieces(tile, &part, riders, rows, &mut at)? {
                    Some(Part::Layers(layers)) if self.pace.cuts_layers() => {
                        if riders.take().is_some() {
                            self.finish_decode(decode, logits)?;
                        }
                        if !self.stages(tile, layers.start, rows, &mut at)? {
                            return Ok(at);
                        }
                        (layers.len() > 1).then(|| Part::Layers(layers.start + 1..layers.end))
                    }
                    Some(_) => return Ok(at),
                    None => None,
                };
            }
            if riders.is_some() {
                self.finish_decode(decode, logits)?;
            }
        }
        Ok(at)
    }

    /// Runs what there is time for of a layer that there is no time for as a whole. Returns whether it was all of it.
    fn stages(
        &mut self,
        tile: &TileInput<'_>,
        layer: usize,
        rows: &mut CohortRows,
        at: &mut Cursor,
    ) -> Result<bool, ExecuteError> {
        let extent = self.extent(tile);
        for stage in
            [Part::Attention { layer, rows: 0..extent.rows }, Part::FeedForward { layer, units: 0..extent.units }]
        {
            if self.pieces(tile, &stage, None, rows, at)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs what there is time for of a part, from `at`, in pieces; the decode rows of `riders` share them. Returns what is
    /// left of it, if anything is.
    fn pieces(
        &mut self,
        tile: &TileInput<'_>,
        part: &Part,
        riders: Option<&[DecodeInput<'_>]>,
        rows: &mut CohortRows,
        at: &mut Cursor,
    ) -> Result<Option<Part>, ExecuteError> {
        let extent = self.extent(tile);
        if let (Some(decode), Part::Layers(layers)) = (riders, part) {
            self.decode_alone(decode, layers.start)?;
        }
        self.weights.clear();
        if let (Part::FeedForward { layer, units }, Some(experts), true) = (part, self.experts(), self.pace.is_set()) {
            rows.partial.rows_by_expert(experts.count, &mut self.expert_rows);
            self.weights.extend(self.expert_rows.iter().map(|rows| f64::from((*rows).max(LEAST_EXPERT_ROWS))));
            if let (Some(next), Some(all)) = (self.weights.get_mut(units.start), self.model.slices(*layer)) {
                *next *= 1.0 - rows.partial.begun_slices() as f64 / all as f64;
            }
        }
        let mut left = Some(part.clone());
        while let Some(part) = &left {
            // What the decode rows have before them, unless they go along.
            let layer = self.pace.decode_layer();
            let decoding = layer * (self.model.layers() - self.passed) as u32;
            let after = decoding + if self.decoded { Duration::ZERO } else { self.head };
            let spared = if riders.is_some() { layer } else { Duration::ZERO };
            let Some(piece) = self.pace.piece(part, after, spared, &self.weights) else {
                if self.slices(part, after, rows)? {
                    continue;
                }
                break;
            };
            let begun = Instant::now();
            match (&piece, riders) {
                (Part::Layers(layers), Some(decode)) => {
                    self.layers(tile, decode, layers.clone(), rows)?;
                    self.passed = layers.end;
                }
                _ => self.part(tile, &piece, rows)?,
            }
            self.pace.ran(&piece, begun, &self.weights);
            *at = behind(&piece, extent);
            if at.is_between_layers() {
                self.pace.layer_ends();
            }
            left = rest(part, &piece);
        }
        Ok(left)
    }

    /// Runs what there is time for of an expert that there is no time for as a whole. Returns whether it was any of it.
    fn slices(&mut self, part: &Part, after: Duration, rows: &mut CohortRows) -> Result<bool, ExecuteError> {
        let Part::FeedForward { layer, units } = part else { return Ok(false) };
        let Some(all) = self.model.slices(*layer) else { return Ok(false) };
        let has = all.saturating_sub(rows.partial.begun_slices());
        let Some(count) = self.pace.slices(part, after, &self.weights, has) else { return Ok(false) };
        let begun = Instant::now();
        let Self { model, pool, scratch, loads, .. } = self;
        model.feed_forward_slices(pool, scratch, *layer, count, &rows.hidden, &mut rows.partial, loads)?;
        if let Some(left) = self.weights.get_mut(units.start) {
            let ran = *left * count as f64 / has as f64;
            self.pace.ran_slices(ran, begun);
            *left -= ran;
        }
        Ok(true)
    }

    /// How long a tile's stages are.
    fn extent(&self, tile: &TileInput<'_>) -> Extent {
        let rows = tile.members.iter().map(|member| member.rows).sum();
        Extent { rows, units: self.experts().map_or(rows, |experts| experts.count) }
    }

    /// Runs a tile through a part of one layer.
    fn part(&mut self, tile: &TileInput<'_>, part: &Part, rows: &mut CohortRows) -> Result<(), ExecuteError> {
        if let Part::Attention { rows: part, .. } = part {
            self.embed(tile, part.end, rows)?;
        }
        let Self { model, pool, kv, scratch, loads, .. } = self;
        let CohortRows { hidden, partial, .. } = rows;
        match part {
            Part::Layers(layers) => self.layers(tile, &[], layers.clone(), rows)?,
            Part::Attention { layer, rows } => {
                let spans: Vec<RowSpan<'_>> = spans(&tile.members, rows.clone()).collect();
                model.attend(pool, kv, scratch, *layer, rows.clone(), &spans, hidden, partial)?;
            }
            Part::FeedForward { layer, units } => {
                model.feed_forward(pool, scratch, *layer, units.clone(), hidden, partial, loads)?;
            }
        }
        Ok(())
    }
}

impl Executor for ModelExecutor {
    fn layers(&self) -> usize {
        self.model.layers()
    }

    fn experts(&self) -> Option<Experts> {
        let experts = self.model.config().experts.as_ref()?;
        Some(Experts { count: experts.count, top_k: experts.top_k })
    }

    fn costs(&self) -> CostPrior {
        self.costs.clone()
    }

    fn ends_early(&self) -> bool {
        true
    }

    fn decode_time(&self) -> Option<Duration> {
        self.alone
    }

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn kv_blocks(&self) -> usize {
        self.kv.blocks()
    }

    fn prepare(&mut self) -> bool {
        let ahead = (PREPARED / BLOCK_LEN).min(self.kv.blocks() / 4);
        self.kv.provide(self.used + ahead)
    }

    fn snapshots(&self) -> Option<usize> {
        self.model.config().recurrent.as_ref().map(|_| self.snapshots)
    }

    fn execute(&mut self, batch: &mut Batch<'_>, logits: &mut Vec<f32>) -> Result<ExpertLoads, ExecuteError> {
        self.loads = ExpertLoads::default();
        // A decode row's other blocks have been those of a prompt, or the last one of an earlier row.
        let newest = batch.decode.iter().filter_map(|row| row.blocks.last());
        let prompts = batch.tiles.iter().flat_map(|tile| &tile.members).flat_map(|member| member.blocks);
        self.used = newest.chain(prompts).fold(self.used, |used, block| used.max(*block as usize + 1));
        self.decode.clear();
        self.last.clear();
        let tokens: Vec<u32> = batch.decode.iter().map(|row| row.token).collect();
        self.model.embed(&tokens, &mut self.decode)?;

        if let Some(moment) = batch.handed_out {
            self.pool.give_way_at(moment);
        }
        self.pace.begin(batch.end, self.model.layers());
        let mut over = false;
        self.passed = 0;
        self.decoded = false;
        self.alone = None;
        for (index, tile) in batch.tiles.iter_mut().enumerate() {
            if over {
                tile.to = tile.from;
                continue;
            }
            let mut rows = self.unpark(tile)?;
            let reached = self.tile(tile, &batch.decode, index == 0, &mut rows, logits)?;
            over = reached < tile.to;
            tile.to = reached;
            self.park(tile, rows)?;
        }
        self.pace.ends(!batch.tiles.is_empty());
        self.finish_decode(&batch.decode, logits)?;
        if !self.last.is_empty() {
            self.model.logits(&self.pool, &mut self.scratch, &self.last, &mut self.last_logits)?;
            logits.extend_from_slice(&self.last_logits);
        }
        Ok(self.loads)
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn run_tasks(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.pool.run(tasks, task);
    }

    fn pool(&mut self, sequence: SequenceId, pooling: Pooling) {
        self.pools.begin(sequence, pooling);
    }

    fn take_pooled(&mut self, sequence: SequenceId) -> Option<Vec<f32>> {
        self.pools.take(sequence)
    }

    fn score(&mut self, sequence: SequenceId, prompt: Arc<[u32]>, top: usize) {
        self.scores.begin(sequence, prompt, top);
    }

    fn take_scores(&mut self, sequence: SequenceId) -> Option<Vec<TokenLogprobs>> {
        self.scores.take(sequence)
    }

    fn forget(&mut self, sequence: SequenceId) {
        self.parked.forget(sequence);
        self.scores.forget(sequence);
        self.pools.forget(sequence);
    }
}

/// That a tile has rows and tokens, and parts that lead from where it begins to where it ends.
fn check(tile: &TileInput<'_>, experts: Option<usize>) -> Result<(), ExecuteError> {
    let cohort = tile.cohort.0;
    for member in &tile.members {
        let tokens = if member.dropped { 0 } else { member.rows };
        if member.rows == 0 || member.tokens.len() != tokens {
            let (rows, found) = (member.rows, member.tokens.len());
            return Err(format!("a member of cohort {cohort} has {rows} rows and {found} tokens").into());
        }
    }
    let rows = tile.members.iter().map(|member| member.rows).sum();
    let extent = Extent { rows, units: experts.unwrap_or(rows) };
    if rows == 0 || tile.parts.is_empty() || tile.from.parts(tile.to, extent) != tile.parts {
        let (from, to) = (tile.from, tile.to);
        return Err(format!("cohort {cohort} does not get from {from:?} to {to:?} by {:?}", tile.parts).into());
    }
    Ok(())
}

/// Those of `rows` of a cohort whose sequences are still there.
fn spans<'a>(members: &[MemberInput<'a>], rows: Range<usize>) -> impl Iterator<Item = RowSpan<'a>> {
    let mut end = 0;
    members.iter().filter_map(move |member| {
        let first = end;
        end += member.rows;
        let (from, to) = (first.max(rows.start), end.min(rows.end));
        let (first_pos, state) = (member.start + (from - first), states(member.state));
        let span = RowSpan {
            first_row: from,
            rows: to.saturating_sub(from),
            first_pos,
            blocks: member.blocks,
            state,
            prefill: true,
        };
        (span.rows > 0 && !member.dropped).then_some(span)
    })
}

fn decode_span<'a>(row: &DecodeInput<'a>) -> RowSpan<'a> {
    let state = states(row.state);
    RowSpan { first_row: 0, rows: 1, first_pos: row.position, blocks: row.blocks, state, prefill: false }
}

/// The scheduler's slots as a model takes them.
fn states(slots: StateSlots) -> laminar_model::StateSlots {
    let snapshot = |of: laminar_schedule::Snapshot| Snapshot { slot: of.slot, position: of.position };
    laminar_model::StateSlots { own: slots.own, begin: slots.begin.map(snapshot), keep: slots.keep.map(snapshot) }
}

/// The spans one after the other.
fn side_by_side<'a>(spans: impl Iterator<Item = RowSpan<'a>>) -> Vec<RowSpan<'a>> {
    let mut end = 0;
    let place = |span: RowSpan<'a>| {
        let first_row = end;
        end += span.rows;
        RowSpan { first_row, ..span }
    };
    spans.map(place).collect()
}

/// Where the values of members that are still there lie in the cohort's.
fn live_values(tile: &TileInput<'_>, width: usize) -> impl Iterator<Item = Range<usize>> {
    spans(&tile.members, 0..usize::MAX).map(move |s| s.first_row * width..(s.first_row + s.rows) * width)
}
