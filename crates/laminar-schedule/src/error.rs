//! The scheduler's errors: one type for each of its doors.

use crate::{CohortId, SequenceId};
use std::time::Duration;

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A count is zero that must be at least one.
    #[error("scheduler setting `{field}` is 0; it must be at least 1")]
    Zero {
        /// The setting.
        field: &'static str,
    },
    /// Prompts cannot walk in more groups than there are layers.
    #[error("{groups} layer groups are asked for but the model has {layers} layers; ask for at most {layers}")]
    MoreGroupsThanLayers {
        /// The groups asked for.
        groups: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// More experts are chosen for a row than there are.
    #[error("{top_k} experts are chosen for each row but a layer has {count}")]
    TooFewExperts {
        /// Experts of a layer.
        count: usize,
        /// Experts of a row.
        top_k: usize,
    },
    /// The time to the first token contains at least one time between two tokens.
    #[error("tbt_target is {tbt:?} but ttft_target is {ttft:?}; the time to the first token cannot be the shorter one")]
    ContradictoryTargets {
        /// The longest time between two tokens.
        tbt: Duration,
        /// The longest time to the first token.
        ttft: Duration,
    },
    /// The context holds not even one prompt token and one generated token.
    #[error("scheduler setting `context` is {context}; it must be at least 2 (one prompt token, one generated token)")]
    ContextTooSmall {
        /// The context asked for.
        context: usize,
    },
}

/// A sequence that is not accepted. Nothing changes in the scheduler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// There is no prompt to run.
    #[error("the prompt is empty; it needs at least one token")]
    EmptyPrompt,
    /// No token is asked for.
    #[error("max_tokens is 0; at least one token must be asked for")]
    NothingToGenerate,
    /// The prompt leaves no room for a generated token.
    #[error(
        "the prompt has {prompt_tokens} tokens but the context holds {context}, one of them for the answer; shorten the prompt"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Positions of the context.
        context: usize,
    },
    /// A target that nothing can meet.
    #[error("{field} is 0; leave it out for the server's own")]
    ZeroTarget {
        /// The target.
        field: &'static str,
    },
    /// The time to the first token contains at least one time between two tokens.
    #[error("tbt_target is {tbt:?} but ttft_target is {ttft:?}; the time to the first token cannot be the shorter one")]
    ContradictoryTargets {
        /// The longest time between two tokens.
        tbt: Duration,
        /// The longest time to the first token.
        ttft: Duration,
    },
    /// All KV blocks together could not hold the sequence.
    #[error("the request needs {needed} KV blocks but there are only {total}; lower max_tokens or shorten the prompt")]
    NeverFits {
        /// Blocks for prompt and answer.
        needed: usize,
        /// Blocks there are.
        total: usize,
    },
    /// The waiting queue is full.
    #[error("{waiting} requests are waiting already, which is the limit; try again later")]
    QueueFull {
        /// Sequences waiting now.
        waiting: usize,
    },
    /// The id belongs to a sequence that has not ended.
    #[error("sequence {} is known already; ids must be new", .id.0)]
    Duplicate {
        /// The id.
        id: SequenceId,
    },
}

/// A report that belongs to no step in flight. Nothing changes in the scheduler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// No step is waiting for its report.
    #[error("report for step {reported} but no step is in flight; plan first")]
    NoStep {
        /// The step the report names.
        reported: u64,
    },
    /// The report names a sequence that the step does not have.
    #[error("the report of step {step} names sequence {}, which is not in it", .id.0)]
    NotInStep {
        /// The sequence.
        id: SequenceId,
        /// The step.
        step: u64,
    },
    /// The report says that a cohort has reached a place that its tile does not pass.
    #[error("the report of step {step} says that cohort {} has reached a place that is not on its way", .cohort.0)]
    NotOnItsWay {
        /// The cohort.
        cohort: CohortId,
        /// The step.
        step: u64,
    },
    /// The report names another step than the one in flight.
    #[error("report for step {reported} while step {in_flight} is in flight")]
    WrongStep {
        /// The step the report names.
        reported: u64,
        /// The step in flight.
        in_flight: u64,
    },
}
