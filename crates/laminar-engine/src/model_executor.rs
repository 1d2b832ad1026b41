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

use crate::Pooling;
use crate::executor::{Batch, DecodeInput, ExecuteError, Executor, MemberInput, TileInput};
use crate::parked::{CohortRows, Parked};
use crate::pooling::Pools;
use crate::prior::prior;
use laminar_kernels::Pool;
use laminar_model::{BLOCK_LEN, ExpertLoads, KvCache, KvType, Model, PartialLayer, RowSpan, Scratch};
use laminar_schedule::{CostPrior, Experts, Extent, Part, ROW_STEP, SequenceId};
use std::ops::Range;
use std::sync::Arc;

const _: () = assert!(ROW_STEP.is_multiple_of(PartialLayer::ROW_STEP), "the scheduler cuts rows where a model can");

/// A model with its KV memory, threads and buffers.
pub struct ModelExecutor {
    model: Arc<Model>,
    pool: Pool,
    costs: CostPrior,
    kv: KvCache,
    scratch: Scratch,
    parked: Parked,
    pools: Pools,
    /// Rows behind the final norm, of prompts that are pooled.
    normed: Vec<f32>,
    /// The decode rows of the running step.
    decode: Vec<f32>,
    /// The rows of a tile that run, where others between them do not.
    gathered: Vec<f32>,
    /// Rows of ended prompts that logits are wanted of.
    last: Vec<f32>,
    loads: ExpertLoads,
}

impl ModelExecutor {
    /// An executor with `kv_blocks` empty KV blocks.
    pub fn new(model: Arc<Model>, pool: Pool, kv_blocks: usize, kv_type: KvType) -> Self {
        let kv = KvCache::new(model.config(), kv_blocks, BLOCK_LEN, kv_type);
        Self {
            costs: prior(&model, kv_type),
            model,
            pool,
            kv,
            scratch: Scratch::default(),
            parked: Parked::default(),
            pools: Pools::default(),
            normed: Vec::new(),
            decode: Vec::new(),
            gathered: Vec::new(),
            last: Vec::new(),
            loads: ExpertLoads::default(),
        }
    }

    /// The tile's rows, from the embedding or from where they were parked.
    fn unpark(&mut self, tile: &TileInput<'_>) -> Result<CohortRows, ExecuteError> {
        check(tile, self.model.config().experts.as_ref().map(|experts| experts.count))?;
        let width = self.model.config().hidden;
        let mut rows = self.parked.take(tile, width)?;
        if rows.hidden.is_empty() {
            rows.hidden.reserve_exact(tile.members.iter().map(|member| member.rows * width).sum());
            for member in &tile.members {
                let end = rows.hidden.len() + member.rows * width;
                self.model.embed(member.tokens, &mut rows.hidden)?;
                // A member that has left already has places and no tokens.
                rows.hidden.resize(end, 0.0);
            }
        }
        Ok(rows)
    }

    /// Keeps the tile's rows, or, at the top of the stack, the last rows of prompts that end here.
    fn park(&mut self, tile: &TileInput<'_>, rows: CohortRows) -> Result<(), ExecuteError> {
        if tile.to.layer < self.model.layers() {
            self.parked.park(tile.cohort, tile.to, rows);
            return Ok(());
        }
        let width = self.model.config().hidden;
        let mut end = 0;
        for member in &tile.members {
            let begin = end;
            end += member.rows * width;
            if self.pools.wants(member.sequence) && !member.dropped {
                self.model.final_norm(&self.pool, &rows.hidden[begin..end], &mut self.normed)?;
                self.pools.add(member.sequence, &self.normed, width);
            }
            if member.ends_prompt && !member.dropped {
                self.last.extend_from_slice(&rows.hidden[end - width..end]);
            }
        }
        self.parked.recycle(rows);
        Ok(())
    }

    /// Runs the decode rows alone through some layers.
    fn decode_alone(&mut self, decode: &[DecodeInput<'_>], layers: Range<usize>) -> Result<(), ExecuteError> {
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
        let width = self.model.config().hidden;
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

    /// Runs a tile through a part of one layer.
    fn part(&mut self, tile: &TileInput<'_>, part: &Part, rows: &mut CohortRows) -> Result<(), ExecuteError> {
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

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn kv_blocks(&self) -> usize {
        self.kv.blocks()
    }

    fn execute(&mut self, batch: &Batch<'_>, logits: &mut Vec<f32>) -> Result<ExpertLoads, ExecuteError> {
        self.loads = ExpertLoads::default();
        self.decode.clear();
        self.last.clear();
        let tokens: Vec<u32> = batch.decode.iter().map(|row| row.token).collect();
        self.model.embed(&tokens, &mut self.decode)?;

        // Layers that the decode rows have passed.
        let mut passed = 0;
        for (index, tile) in batch.tiles.iter().enumerate() {
            let mut rows = self.unpark(tile)?;
            for part in &tile.parts {
                match part {
                    Part::Layers(layers) if index == 0 => {
                        self.decode_alone(&batch.decode, passed..layers.start)?;
                        self.layers(tile, &batch.decode, layers.clone(), &mut rows)?;
                        passed = layers.end;
                    }
                    _ => self.part(tile, part, &mut rows)?,
                }
            }
            self.park(tile, rows)?;
        }
        self.decode_alone(&batch.decode, passed..self.model.layers())?;

        self.decode.extend_from_slice(&self.last);
        self.model.logits(&self.pool, &mut self.scratch, &self.decode, logits)?;
        Ok(self.loads)
    }

    fn pool(&mut self, sequence: SequenceId, pooling: Pooling) {
        self.pools.begin(sequence, pooling);
    }

    fn take_pooled(&mut self, sequence: SequenceId) -> Option<Vec<f32>> {
        self.pools.take(sequence)
    }

    fn forget(&mut self, sequence: SequenceId) {
        self.parked.forget(sequence);
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
        let first_pos = member.start + (from - first);
        let span =
            RowSpan { first_row: from, rows: to.saturating_sub(from), first_pos, blocks: member.blocks, prefill: true };
        (span.rows > 0 && !member.dropped).then_some(span)
    })
}

fn decode_span<'a>(row: &DecodeInput<'a>) -> RowSpan<'a> {
    RowSpan { first_row: 0, rows: 1, first_pos: row.position, blocks: row.blocks, prefill: false }
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
