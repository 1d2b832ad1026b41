//! Virtual hardware.

mod machine;
mod random;
mod shape;

pub use machine::{Roofs, VirtualMachine};
pub use shape::{FeedForward, ModelShape};
