//! Virtual hardware in virtual time, driving the real scheduler.
//!
//! The scheduler of `laminar-schedule` is pure: it plans a step, is told what came of it, and never learns who executed it.
//! So a machine that exists only as a few numbers can stand in for the real one, and hours of serving pass in a second.
//! This crate has two uses for that:
//!
//! - **What would it cost?** A [`VirtualMachine`] is a [`ModelShape`] under the [`Roofs`] of a machine. It tells how long a
//!   step takes and how many experts it reads, by the same rules of sharing as the real engine. The example `policies`
//!   compares the scheduler's policies on it.
//! - **What can go wrong?** A [`Scenario`] is a configuration, [`Faults`] and everything that happens: arrivals, bursts,
//!   cancels, failed and slow steps, clocks that jump. [`run`] plays it against the scheduler while an [`Auditor`] keeps a
//!   second set of books and checks every [`Rule`] after every call. The example `worlds` makes up thousands of them from
//!   seeds; [`trace`] prints one call by call.
//!
//! Nothing here reads a clock or draws a number that a seed has not fixed: the same scenario gives the same run everywhere.
//!
//! ```
//! use laminar_schedule::{NewSequence, Policy, Scheduler, SchedulerConfig, SequenceId};
//! use laminar_sim::{ModelShape, Roofs, VirtualMachine};
//! use std::time::Duration;
//!
//! let shape = ModelShape::QWEN3_30B_8L;
//! let mut scheduler = Scheduler::new(SchedulerConfig {
//!     policy: Policy::LAYERED,
//!     layers: shape.layers,
//!     experts: shape.experts(),
//!     costs: shape.cost_prior(),
//!     max_sequences: 4,
//!     kv_blocks: 256,
//!     block_len: 32,
//!     max_waiting: 16,
//!     context: 4096,
//! })?;
//! let mut machine = VirtualMachine::new(shape, Roofs::REFERENCE);
//! let mut now = Duration::ZERO;
//! scheduler.submit(NewSequence::new(SequenceId(1), 2048, 1), now)?;
//!
//! let mut loads = 0;
//! while !scheduler.is_idle() {
//!     let step = scheduler.plan(now);
//!     let report = machine.execute(&step);
//!     now += report.duration;
//!     loads += report.prefill_expert_loads;
//!     scheduler.commit(&report)?;
//! }
//! // Four groups of two layers, and each layer's 128 experts were read once.
//! assert_eq!(loads, 8 * 128);
//! assert!((7.0..8.0).contains(&now.as_secs_f64()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod auditor;
mod faults;
mod machine;
mod random;
mod scenario;
mod shape;
mod violation;
mod world;

pub use auditor::{Auditor, Ended, Tokens};
pub use faults::{Clock, Failure, Fault, Faults};
pub use machine::{Roofs, VirtualMachine};
pub use scenario::{Arrival, Content, Op, Scenario};
pub use shape::{FeedForward, ModelShape};
pub use violation::{Rule, Violation};
pub use world::{Summary, run, trace};
