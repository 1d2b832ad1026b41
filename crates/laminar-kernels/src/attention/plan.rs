//! Which tasks a call is cut into. The choice doesn't show in the results.

use std::cmp::Reverse;
use std::ops::Range;

use super::Span;
use super::tile::{Call, Tile};

/// Queries of a tile, so that keys and values are widened once for all of them; fewer when there are few tiles.
const QUERIES: usize = 192;
const FEWEST_QUERIES: usize = 24;

/// Tasks for each thread that make a fair share, whichever thread is late.
const SHARES: usize = 4;

/// The tasks of a call, the longest first.
pub(super) struct Plan<'a> {
    pub tiles: Vec<Tile<'a>>,
    pub tasks: Vec<Task>,
    /// Tiles, each through one head, whose splits are tasks.
    pub cut: Vec<Cut>,
    /// Floats that the parts of all splits in `cut` take.
    pub parts_len: usize,
}

/// A task.
#[derive(Clone, Copy)]
pub(super) enum Task {
    /// All splits of a tile through a head.
    Whole { tile: usize, head: usize },
    /// Some splits of `plan.cut[cut]`.
    Splits { cut: usize, first: usize, end: usize },
}

/// A tile through one head in several tasks.
pub(super) struct Cut {
    pub tile: usize,
    pub head: usize,
    pub splits: Range<usize>,
    /// Tasks it is cut into.
    pub tasks: usize,
    /// Where the parts of its splits begin.
    pub parts: usize,
}

impl<'a> Plan<'a> {
    pub(super) fn new(call: &Call<'a>, spans: &[Span<'a>], threads: usize) -> Plan<'a> {
        let (heads, window) = (call.shape.kv_heads, call.shape.window);
        let shares = threads * SHARES;
        let group = call.shape.heads / heads;
        let mut tile_rows = (QUERIES / group).max(1);
        let count = |rows: usize| spans.iter().map(|span| span.rows.div_ceil(rows)).sum::<usize>() * heads;
        while count(tile_rows) < shares && tile_rows / 2 * group >= FEWEST_QUERIES {
            tile_rows /= 2;
        }
        let mut tiles = Vec::new();
        for span in spans {
            for from in (0..span.rows).step_by(tile_rows) {
                tiles.push(Tile {
                    first_row: span.first_row + from,
                    rows: tile_rows.min(span.rows - from),
                    first_pos: span.first_pos + from,
                    blocks: span.blocks,
                });
            }
        }
        // One more row costs as much as its positions, and keys and values must be read for any number of rows.
        let cost = |tile: &Tile<'_>| tile.positions(window).len() * (tile.rows * group + 1);
        tiles.sort_by_key(|tile| Reverse(cost(tile)));
        let total: usize = tiles.iter().map(|tile| cost(tile) * heads).sum();

        let (mut tasks, mut cut, mut parts_len) = (Vec::new(), Vec::new(), 0);
        for (number, tile) in tiles.iter().enumerate() {
            let splits = tile.splits(window);
            for head in 0..heads {
                // Pieces of half a share.
                let pieces = (cost(tile) * shares * 2).div_ceil(total);
                let len = splits.len().div_ceil(pieces);
                if threads == 1 || len == splits.len() {
                    tasks.push(Task::Whole { tile: number, head });
                    continue;
                }
                let starts = splits.clone().step_by(len);
                let number_of_tasks = starts.len();
                tasks.extend(starts.map(|first| {
                    let end = splits.end.min(first + len);
                    Task::Splits { cut: cut.len(), first, end }
                }));
                cut.push(Cut { tile: number, head, splits: splits.clone(), tasks: number_of_tasks, parts: parts_len });
                parts_len += splits.len() * call.part_len(tile);
            }
        }
        Plan { tiles, tasks, cut, parts_len }
    }
}
