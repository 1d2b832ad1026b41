//! What runs next: Laminar's scheduler.
//!
//! The crate is pure. It does no input or output, reads no clock, starts no thread and sees neither text nor tensors:
//! it knows sequences by number, prompts by length and token ids (numbers that it compares, nothing else), and time only
//! as the value it is handed. So every run of it can be replayed from a trace ([`replay`]), and the same scheduler drives
//! the real engine and a simulated one.
//!
//! The life of a step:
//!
//! 1. [`Scheduler::plan`] returns a [`Step`]: the sequences that decode and the prefill [`Tile`]s beside them.
//! 2. Somebody executes it: every decode row yields one token, and so does every prompt whose last row passes the last
//!    layer.
//! 3. [`Scheduler::commit`] takes the [`Report`] and moves the sequences on.
//!
//! [`Scheduler::submit`] and [`Scheduler::cancel`] may come at any moment. What a prompt does between its arrival and its
//! first token is the [`Policy`]'s business; the policies stand side by side in `policy/`. KV memory is handed out in
//! blocks: those of its prompt at a sequence's admission, the others one by one as its answer grows. When none is left, the
//! most junior sequence loses its own and starts anew later ([`Step::preempted`]), so the most senior one always finishes. A
//! prompt that begins like an earlier one ([`Prefix`]) shares that one's full blocks and starts behind them. Sequences of models
//! with recurrent layers have a slot for their state besides ([`StateSlots`]), from their admission to their end.
//!
//! ```
//! use laminar_schedule::{CostPrior, NewSequence, Part, Policy, Report, Scheduler, SchedulerConfig, SequenceId};
//! use std::time::Duration;
//!
//! let mut scheduler = Scheduler::new(SchedulerConfig {
//!     policy: Policy::Layered { group_tokens: 512, cohort_tokens: 8192, groups: None },
//!     layers: 8,
//!     experts: None,
//!     costs: CostPrior::default(),
//!     max_sequences: 4,
//!     kv_blocks: 256,
//!     block_len: 32,
//!     max_waiting: 16,
//!     context: 4096,
//!     snapshots: None,
//! })?;
//! scheduler.submit(NewSequence::new(SequenceId(1), 1024, 2), Duration::ZERO)?;
//!
//! // 1024 tokens are two groups of 512: the prompt walks four layers in each of two steps.
//! let step = scheduler.plan(Duration::ZERO);
//! assert_eq!(step.tiles[0].parts(None), [Part::Layers(0..4)]);
//! scheduler.commit(&Report { step: step.number, ..Report::default() })?;
//! let step = scheduler.plan(Duration::ZERO);
//! assert_eq!(step.tiles[0].parts(None), [Part::Layers(4..8)]);
//! scheduler.commit(&Report { step: step.number, ..Report::default() })?;
//! // The first token is there; the next one is fed at position 1024.
//! assert_eq!(scheduler.plan(Duration::ZERO).decode[0].position, 1024);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod cache;
mod cohort;
mod config;
mod cost;
mod costs;
mod cursor;
mod error;
mod explain;
mod index;
mod number_map;
mod policy;
mod prefix;
mod queues;
mod scheduler;
mod sequence;
mod state;
mod states;
mod stats;
mod step;
mod trace;
mod waiting;

pub use blocks::BlockId;
pub use config::{Experts, SchedulerConfig};
pub use cost::{CostModel, CostPrior, Coverage, KNEES, Knees, MachineGuess, ModelDimensions, StepKind, Work};
pub use cursor::{Cursor, Extent, Part, ROW_STEP, Stage};
pub use error::{CommitError, ConfigError, SubmitError};
pub use explain::Explanation;
pub use policy::{Policy, Targets};
pub use prefix::{ExtraKey, Prefix};
pub use scheduler::Scheduler;
pub use sequence::{NewSequence, PRIORITY_LEVEL, SequenceId, TenantId};
pub use states::{Snapshot, StateId, StateSlots};
pub use stats::SchedulerStats;
pub use step::{CohortId, Deadline, DecodeRow, Report, Step, Tile, TileRows};
pub use trace::{Event, Recorder, replay};
