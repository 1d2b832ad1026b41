//! Virtual hardware.

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
