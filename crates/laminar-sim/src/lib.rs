//! Virtual hardware in virtual time, driving the real scheduler.
//!
//! The scheduler of `laminar-schedule` is pure: it plans a step, is told what came of it, and never learns who executed it.
//! So a machine that exists only as a few numbers can stand in for the real one, and hours of serving pass in a second.
//! This crate has three uses for that:
//!
//! - **What would it cost?** A [`VirtualMachine`] is a [`ModelShape`] under the [`Roofs`] of a machine. It tells how long a
//!   step takes and how many experts it reads, by the same rules of sharing as the real engine. The example `policies`
//!   compares the scheduler's policies on it.
//! - **What would a server do on a machine that is not here?** A [`Roofline`] puts a [`ModelProfile`] on [`Hardware`] known from
//!   its data sheet; [`serve`] lets a [`workload`] come to a [`Server`] of it; [`paper`] repeats the published experiments of
//!   layered prefill. `laminar simulate` is all of that.
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
//!     snapshots: None,
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
mod early;
mod faults;
mod figures;
mod gaps;
mod hardware;
mod jobs;
mod machine;
mod model_profile;
pub mod paper;
mod perfetto;
mod plan_error;
mod random;
mod roofline;
mod routing;
mod scenario;
mod serving;
mod shape;
mod slo;
mod violation;
pub mod workload;
mod world;

pub use auditor::{Auditor, Ended, Tokens};
pub use faults::{Clock, Failure, Fault, Faults};
pub use figures::Figures;
pub use gaps::Gaps;
pub use hardware::{Disk, Hardware, Host, Kernels, Power};
pub use jobs::{Job, run_all};
pub use machine::{Roofs, VirtualMachine};
pub use model_profile::{Latent, ModelProfile};
pub use perfetto::Perfetto;
pub use plan_error::PlanError;
pub use roofline::{Cost, Roofline};
pub use routing::Routing;
pub use scenario::{Arrival, Content, Op, Scenario};
pub use serving::{Moment, Outcome, Served, Server, serve};
pub use shape::{FeedForward, ModelShape};
pub use slo::Slo;

pub use violation::{Rule, Violation};
pub use world::{Summary, run, trace};
