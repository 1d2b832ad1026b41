//! What `laminar bench` measures.

pub mod driver;
pub mod engine;
pub mod machine;
pub mod plot;
pub mod probes;
pub mod report;
pub mod roof;
pub mod serve;
pub mod spread;
pub mod work;
