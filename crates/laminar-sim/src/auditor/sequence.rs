//! What the auditor knows of a sequence, from what it was told and what it has seen.

use crate::random::mix;
use laminar_schedule::{
    BlockId, CohortId, ExtraKey, NewSequence, PRIORITY_LEVEL, Prefix, SequenceId, StateSlots, TenantId,
};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

/// All that makes a sequence's keys and values, whether the scheduler sees it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// What else stands at some positions.
    pub extra: Arc<[ExtraKey]>,
    /// The salt. One that shows no prefix needs one that nobody else has.
    pub salt: u64,
    /// The adapter.
    pub adapter: u64,
}

impl Tokens {
    /// The prefix to show to the scheduler, less so many tokens at its end.
    pub fn prefix(&self, hidden: usize) -> Prefix {
        let shown = self.prompt.len().saturating_sub(hidden);
        let tokens = self.prompt.iter().take(shown).copied().collect();
        Prefix { tokens, salt: self.salt, adapter: self.adapter, extra: Arc::clone(&self.extra) }
    }
}

/// Where a sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Waiting,
    Prefilling,
    Decoding,
}

#[derive(Debug)]
pub(super) struct Sequence {
    pub prompt: usize,
    pub max_tokens: usize,
    pub prefix: bool,
    pub has_ttft_target: bool,
    pub tenant: TenantId,
    pub priority: i8,
    pub number: u64,
    /// When it came, less its head start, in microseconds.
    pub virtual_arrival: i128,
    pub generated: usize,
    /// What the keys and values of each row are; they depend on everything up to it.
    pub rows: Vec<u64>,
    extra: Arc<[ExtraKey]>,
    root: u64,
    pub place: Place,
    pub table: Vec<BlockId>,
    /// In the step in flight.
    pub state: StateSlots,
    /// Rows that it found when it was admitted; not known before its first tile.
    pub hit: Option<usize>,
    /// Rows that have passed all layers.
    pub done: usize,
    pub cohort: Option<CohortId>,
    /// Cancelled in the step in flight.
    pub cancelled: bool,
}

impl Sequence {
    pub fn new(new: &NewSequence, tokens: &Tokens, max_tokens: usize, now: Duration, number: u64) -> Self {
        let head_start = i128::from(new.priority) * PRIORITY_LEVEL.as_micros() as i128;
        let mut sequence = Self {
            prompt: new.prompt_tokens,
            max_tokens,
            prefix: new.prefix.is_some(),
            has_ttft_target: new.ttft_target.is_some(),
            tenant: new.tenant,
            priority: new.priority,
            number,
            virtual_arrival: now.as_micros() as i128 - head_start,
            generated: 0,
            rows: Vec::with_capacity(new.prompt_tokens + max_tokens),
            extra: Arc::clone(&tokens.extra),
            root: mix(tokens.salt, tokens.adapter),
            place: Place::Waiting,
            table: Vec::new(),
            state: StateSlots::default(),
            hit: None,
            done: 0,
            cohort: None,
            cancelled: false,
        };
        tokens.prompt.iter().for_each(|token| sequence.push(*token));
        sequence
    }

    /// The sequence goes on with this token.
    pub fn push(&mut self, token: u32) {
        let mut row = mix(self.rows.last().copied().unwrap_or(self.root), u64::from(token));
        for extra in self.extra.iter().filter(|extra| extra.position == self.rows.len()) {
            row = mix(row, extra.id);
        }
        // 0 is a cell that holds nothing, 1 one that holds rubbish.
        self.rows.push(row | 2);
    }

    /// Tokens there are.
    pub fn tokens(&self) -> usize {
        self.prompt + self.generated
    }

    /// Rows that prefill must run after the hit.
    pub fn to_run(&self) -> usize {
        self.tokens() - self.hit.unwrap_or(0)
    }

    pub fn is_running(&self) -> bool {
        self.place != Place::Waiting
    }

    /// Larger for those who lose their blocks later.
    pub fn seniority(&self) -> (i8, Reverse<u64>) {
        (self.priority, Reverse(self.number))
    }

    /// Smaller for those who are admitted earlier, within a tenant.
    pub fn order(&self) -> (i128, u64) {
        (self.virtual_arrival, self.number)
    }

    /// It starts anew.
    pub fn restart(&mut self) {
        self.place = Place::Waiting;
        self.table = Vec::new();
        (self.hit, self.done, self.cohort) = (None, 0, None);
    }

    /// The token that a model would give here: one of few, so that other sequences may say the same.
    pub fn next_token(&self) -> u32 {
        (self.rows.last().copied().unwrap_or(0) >> 17) as u32 % 3
    }
}

/// How messages name a sequence.
pub(super) struct Name(pub SequenceId);

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "s{}", self.0.0)
    }
}
