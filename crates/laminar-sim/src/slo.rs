//! What a request must keep to count as served in time.

use serde::{Deserialize, Serialize};

/// Latency targets of a request. It is in time if its first token and every one of its gaps keep them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Seconds to the first token.
    pub ttft_s: f64,
    /// Seconds between two tokens.
    pub tbt_s: f64,
}
