//! Measurements, one folder each.

pub mod serve;
