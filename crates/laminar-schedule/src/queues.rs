//! The sequences a scheduler knows, in their order, and the admission of new ones.

use crate::blocks::BlockPool;
use crate::sequence::{Phase, Sequence};
use crate::{BlockId, DecodeRow, NewSequence, SchedulerConfig, SchedulerStats, SequenceId, TileRows};
use std::collections::{BTreeMap, VecDeque};

/// All living sequences. Each is in exactly one of the three queues.
#[derive(Debug)]
pub(crate) struct Queues {
    sequences: BTreeMap<SequenceId, Sequence>,
    /// In order of arrival.
    waiting: VecDeque<SequenceId>,
    /// In order of admission.
    prefilling: Vec<SequenceId>,
    /// In order of their first token.
    decoding: Vec<SequenceId>,
    pool: BlockPool,
    max_sequences: usize,
    block_len: usize,
    prefix_lookup_tokens: u64,
    prefix_hit_tokens: u64,
}

impl Queues {
    /// No sequences, all blocks free.
    pub fn new(config: &SchedulerConfig) -> Self {
        Self {
            sequences: BTreeMap::new(),
            waiting: VecDeque::new(),
            prefilling: Vec::new(),
            decoding: Vec::new(),
            pool: BlockPool::new(config.kv_blocks),
            max_sequences: config.max_sequences,
            block_len: config.block_len,
            prefix_lookup_tokens: 0,
            prefix_hit_tokens: 0,
        }
    }

    /// Puts a sequence at the end of the waiting queue. The caller has checked it.
    pub fn enqueue(&mut self, new: NewSequence) {
        let NewSequence { id, prompt_tokens, max_tokens, prefix } = new;
        self.waiting.push_back(id);
        let chain = prefix.map(|prefix| self.pool.chain(prefix, prompt_tokens, self.block_len));
        let phase = Phase::Waiting;
        self.sequences.insert(id, Sequence { prompt_tokens, max_tokens, phase, chain, blocks: None, cancelled: false });
    }

    /// A sequence by its name.
    pub fn get(&self, id: SequenceId) -> Option<&Sequence> {
        self.sequences.get(&id)
    }

    /// A sequence by its name.
    pub fn get_mut(&mut self, id: SequenceId) -> Option<&mut Sequence> {
        self.sequences.get_mut(&id)
    }

    /// Sequences waiting for admission.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no sequence lives.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Admitted sequences with prompt left, in order of admission: name and rows left.
    pub fn unfinished(&self) -> impl Iterator<Item = (SequenceId, usize)> {
        self.prefilling.iter().filter_map(|id| Some((*id, self.sequences.get(id)?.remaining())))
    }

    /// Prompt rows that the waiting queue's head would have to run, if it can be admitted now.
    ///
    /// The head alone decides: a later sequence that needs fewer blocks does not overtake it, so no sequence waits for
    /// ever.
    pub fn admissible(&self) -> Option<usize> {
        if self.prefilling.len() + self.decoding.len() >= self.max_sequences {
            return None;
        }
        let head = self.sequences.get(self.waiting.front()?)?;
        let hit = self.find(head);
        self.pool.fits(self.blocks_for(head), &hit).then_some(head.prompt_tokens - hit.len() * self.block_len)
    }

    /// Admits the waiting queue's head: it gets its blocks and can run to its end from now on. What the prefix cache holds
    /// of its prompt is done already.
    pub fn admit(&mut self) -> Option<SequenceId> {
        self.admissible()?;
        let id = *self.waiting.front()?;
        let head = self.sequences.get(&id)?;
        let (needed, hit) = (self.blocks_for(head), self.find(head));
        let table = self.pool.allocate(needed, &hit)?;
        let sequence = self.sequences.get_mut(&id)?;
        let done = hit.len() * self.block_len;
        if let Some(chain) = &mut sequence.chain {
            chain.published = hit.len();
            self.prefix_lookup_tokens += sequence.prompt_tokens as u64;
            self.prefix_hit_tokens += done as u64;
        }
        sequence.blocks = Some(table);
        sequence.phase = Phase::Prefilling { done };
        self.waiting.pop_front();
        self.prefilling.push(id);
        Some(id)
    }

    /// The next `rows` prompt rows of an admitted sequence (fewer at its end).
    pub fn next_rows(&self, id: SequenceId, rows: usize) -> Option<TileRows> {
        let sequence = self.sequences.get(&id)?;
        let rows = rows.min(sequence.remaining());
        let ends_prompt = rows == sequence.remaining();
        (rows > 0).then_some(TileRows { sequence: id, start: sequence.done(), rows, ends_prompt })
    }

    /// One row for every decoding sequence.
    pub fn decode_rows(&self) -> Vec<DecodeRow> {
        self.decoding.iter().filter_map(|id| self.sequences.get(id)?.decode_row(*id)).collect()
    }

    /// The rows have passed all layers; a prompt that is done brings its sequence among the decoding ones, with one
    /// token. Returns whether that token was the last one allowed.
    pub fn complete_rows(&mut self, rows: &TileRows) -> bool {
        let Some(sequence) = self.sequences.get_mut(&rows.sequence) else {
            return false;
        };
        if !rows.ends_prompt {
            sequence.phase = Phase::Prefilling { done: rows.start + rows.rows };
            return false;
        }
        let last = sequence.count_token();
        self.prefilling.retain(|id| *id != rows.sequence);
        self.decoding.push(rows.sequence);
        last
    }

    /// Invariant 4: the rows have passed all layers, so the prompt blocks that they fill can be found from now on.
    pub fn publish_rows(&mut self, rows: &TileRows) {
        if let Some(sequence) = self.sequences.get_mut(&rows.sequence)
            && !sequence.cancelled
            && let (Some(chain), Some(table)) = (&mut sequence.chain, &sequence.blocks)
        {
            self.pool.publish(chain, table, (rows.start + rows.rows) / self.block_len);
        }
    }

    /// A sequence is gone: its blocks are free, or cached without it, at once.
    pub fn remove(&mut self, id: SequenceId) {
        let Some(sequence) = self.sequences.remove(&id) else {
            return;
        };
        if let Some(table) = sequence.blocks {
            self.pool.release(table);
        }
        match sequence.phase {
            Phase::Waiting => self.waiting.retain(|other| *other != id),
            Phase::Prefilling { .. } => self.prefilling.retain(|other| *other != id),
            Phase::Decoding { .. } => self.decoding.retain(|other| *other != id),
        }
    }

    /// The gauges.
    pub fn stats(&self) -> SchedulerStats {
        SchedulerStats {
            running: self.decoding.len(),
            prefilling: self.prefilling.len(),
            waiting: self.waiting.len(),
            used_blocks: self.pool.used(),
            cached_blocks: self.pool.cached(),
            total_blocks: self.pool.total(),
            prefix_lookup_tokens: self.prefix_lookup_tokens,
            prefix_hit_tokens: self.prefix_hit_tokens,
        }
    }

    fn find(&self, sequence: &Sequence) -> Vec<BlockId> {
        sequence.chain.as_ref().map(|chain| self.pool.find(chain)).unwrap_or_default()
    }

    fn blocks_for(&self, sequence: &Sequence) -> usize {
        (sequence.prompt_tokens + sequence.max_tokens).div_ceil(self.block_len)
    }
}
