//! Counting expert loads: how often, and how many bytes of, expert weights a forward pass touches.

use std::ops::Range;

use laminar_kernels::Routing;

/// Expert loads of the layer calls since the last reset.
///
/// One *load* is one expert of one layer that at least one row of a call is routed to: the routing count behind the
/// paper's expert-traffic tables (arXiv 2510.08055, table 7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpertLoads {
    /// Distinct experts per layer call, over prefill rows alone.
    pub prefill: u64,
    /// Distinct experts per layer call, over all rows.
    pub total: u64,
    /// File bytes of the experts counted in `prefill`.
    pub prefill_bytes: u64,
    /// File bytes of the experts counted in `total`.
    pub total_bytes: u64,
}

impl ExpertLoads {
    /// Adds the loads of one layer call, or of the part of it that runs `experts`; `prefill_row(r)` says whether row
    /// `r` belongs to a prompt.
    pub(crate) fn count(
        &mut self,
        routing: &Routing,
        expert_bytes: &[u64],
        experts: Range<usize>,
        prefill_row: impl Fn(usize) -> bool,
        seen: &mut Vec<u8>,
    ) {
        seen.clear();
        seen.resize(expert_bytes.len(), 0);
        for (row, ids) in routing.ids.chunks_exact(routing.top_k.max(1)).enumerate() {
            let mark = if prefill_row(row) { 3 } else { 1 };
            for &id in ids {
                seen[id as usize] |= mark;
            }
        }
        for (mark, &bytes) in seen.iter().zip(expert_bytes).take(experts.end).skip(experts.start) {
            if mark & 1 != 0 {
                self.total += 1;
                self.total_bytes += bytes;
            }
            if mark & 2 != 0 {
                self.prefill += 1;
                self.prefill_bytes += bytes;
            }
        }
    }
}
