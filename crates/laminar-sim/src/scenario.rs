//! What happens to a scheduler, from its configuration to the last call.

use crate::{Faults, FeedForward, ModelShape};
use laminar_schedule::SchedulerConfig;
use std::time::Duration;

/// Everything that [`run`](crate::run) needs to know; the same scenario always gives the same run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The scheduler's configuration. One that cannot work must be refused.
    pub config: SchedulerConfig,
    /// What goes wrong in its steps.
    pub faults: Faults,
    /// What happens, in order. Afterwards nobody comes any more, and all who are there must end.
    pub ops: Vec<Op>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Sequences come.
    Arrive(Arrival),
    /// One of the living sequences, which the number chooses, is cancelled.
    Cancel(u16),
    /// So many steps.
    Steps(u16),
    /// Nothing for a while.
    Pause(Duration),
}

/// Sequences that come at the same time and are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// How many; more than one is a burst.
    pub copies: u8,
    /// They come between the plan and the commit of the next step, not before it.
    pub in_flight: bool,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// The text ends by itself after so many tokens.
    pub ends_after: usize,
    /// What the prompt consists of.
    pub content: Content,
    /// Whether the scheduler is told the generated tokens.
    pub told: bool,
    /// Whose it is.
    pub tenant: u8,
    /// Its priority.
    pub priority: i8,
    /// Its own target for the time between tokens.
    pub tbt: Option<Duration>,
    /// Its own target for the time to the first token.
    pub ttft: Option<Duration>,
}

/// What a prompt consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// It does not take part in the prefix cache.
    Hidden,
    /// Its beginning is that of a family of prompts; the rest is its own.
    Family {
        /// The family.
        family: u8,
        /// Tokens in common.
        common: usize,
        /// Whom it shares with.
        salt: u8,
        /// The adapter.
        adapter: u8,
        /// Part of an image, and where it stands.
        image: Option<(usize, u8)>,
        /// So many tokens at its end are not shown to the scheduler.
        hidden: usize,
    },
    /// It begins with the prompt and the answer of an earlier sequence, which the number chooses.
    Continuation(u16),
}

impl Scenario {
    /// The model: small, with the layers and experts of the configuration.
    pub fn shape(&self) -> ModelShape {
        let feed_forward = match self.config.experts {
            Some(experts) => FeedForward::Experts { count: experts.count, top_k: experts.top_k, width: 384 },
            None => FeedForward::Dense { width: 3072 },
        };
        ModelShape { layers: self.config.layers, feed_forward, ..ModelShape::MOE_DEEP }
    }
}
