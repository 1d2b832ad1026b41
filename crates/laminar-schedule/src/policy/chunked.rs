//! `chunked`: a step runs at most so many prompt tokens, through all layers.
//!
//! This is chunked prefill as in Sarathi-Serve (OSDI 2024): decode rows ride along with every chunk, so no stream waits
//! longer than one chunk takes. The price is that each chunk passes all layers and so reads the experts again: a prompt of
//! `n` tokens reads them up to `ceil(n / tokens)` times.

use crate::TileRows;
use crate::queues::Queues;

/// Fills the budget with started prompts first, then with newcomers, each in its order; the last one is cut to fit.
pub(super) fn gather(queues: &mut Queues, tokens: usize) -> Vec<TileRows> {
    let mut members: Vec<TileRows> = Vec::new();
    let mut budget = tokens;
    for (id, _) in queues.unfinished() {
        let Some(rows) = queues.next_rows(id, budget) else {
            break;
        };
        budget -= rows.rows;
        members.push(rows);
    }
    while budget > 0 && queues.admissible().is_some() {
        let Some(rows) = queues.admit().and_then(|id| queues.next_rows(id, budget)) else {
            break;
        };
        budget -= rows.rows;
        members.push(rows);
    }
    members
}
