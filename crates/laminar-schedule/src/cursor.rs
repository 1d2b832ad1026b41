//! Places in a cohort's walk over the layers, and what lies between two of them.
//!
//! A layer has two stages. *Attention* is causal, so it may stop after any row: each row writes its keys and values,
//! attends, and is routed. The *feed-forward* stage of a mixture of experts runs the experts in ascending order, each over all
//! rows routed to it, and may stop between two experts: so each expert's weights are read once a cohort however finely the
//! walk is cut. A dense feed-forward network may stop after any row. (An executor may run an expert in slices over several steps;
//! the walk stands before that expert until it is done.)

use std::ops::Range;

/// Rows inside a cohort are cut at multiples of this (or at the cohort's end): executors keep rows in such bundles.
pub const ROW_STEP: usize = 4;

/// A place in a cohort's walk. Of two places, the smaller one is passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The layer.
    pub layer: usize,
    /// How far into it.
    pub stage: Stage,
}

/// How far into a layer.
///
/// A stage that is complete is written as the begin of the next one, so that each place has one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// So many rows of the cohort, its members one after the other, have passed the attention stage.
    Attention {
        /// The rows.
        rows: usize,
    },
    /// All rows have passed attention, and so many units of the feed-forward stage are done.
    FeedForward {
        /// Experts of a mixture, rows of a dense network.
        units: usize,
    },
}

/// Work that an executor does in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All rows through whole layers.
    Layers(Range<usize>),
    /// Some rows through one layer's attention stage.
    Attention {
        /// The layer.
        layer: usize,
        /// Rows of the cohort, its members one after the other.
        rows: Range<usize>,
    },
    /// A part of one layer's feed-forward stage.
    FeedForward {
        /// The layer.
        layer: usize,
        /// Experts of a mixture, rows of a dense network.
        units: Range<usize>,
    },
}

/// What a cursor must know of the plane it walks: how long the stages of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows of the cohort.
    pub rows: usize,
    /// Units of a feed-forward stage: the experts of a mixture, the rows of a dense network.
    pub units: usize,
}

impl Cursor {
    /// The place before a layer; with the number of layers, the end of the walk.
    pub fn at_layer(layer: usize) -> Self {
        Self { layer, stage: Stage::Attention { rows: 0 } }
    }

    /// Whether the place is between two layers.
    pub fn is_between_layers(&self) -> bool {
        self.stage == Stage::Attention { rows: 0 }
    }

    /// The place after so many rows of this layer's attention stage.
    pub fn after_attention(layer: usize, rows: usize, extent: Extent) -> Self {
        let stage = if rows >= extent.rows { Stage::FeedForward { units: 0 } } else { Stage::Attention { rows } };
        Self { layer, stage }
    }

    /// The place after so many units of this layer's feed-forward stage.
    pub fn after_feed_forward(layer: usize, units: usize, extent: Extent) -> Self {
        if units >= extent.units {
            Self::at_layer(layer + 1)
        } else {
            Self { layer, stage: Stage::FeedForward { units } }
        }
    }

    /// Whether a walk of this extent may stop here. In a mixture it may stop between any two experts.
    pub(crate) fn is_stop(&self, extent: Extent, is_mixture: bool) -> bool {
        match self.stage {
            Stage::Attention { rows } => rows.is_multiple_of(ROW_STEP) && (rows == 0 || rows < extent.rows),
            Stage::FeedForward { units } => (is_mixture || units.is_multiple_of(ROW_STEP)) && units < extent.units,
        }
    }

    /// The work from here to a later place, in order: what is left of a layer, whole layers, the begin of a layer.
    pub fn parts(self, to: Cursor, extent: Extent) -> Vec<Part> {
        let mut parts = Vec::with_capacity(4);
        let mut at = self;
        while at < to {
            let (layer, last) = (at.layer, at.layer == to.layer);
            match at.stage {
                Stage::Attention { rows: 0 } if !last => {
                    parts.push(Part::Layers(layer..to.layer));
                    at = Cursor::at_layer(to.layer);
                }
                Stage::Attention { rows } => {
                    let end = match to.stage {
                        Stage::Attention { rows } if last => rows,
                        _ => extent.rows,
                    };
                    parts.push(Part::Attention { layer, rows: rows..end });
                    if last && matches!(to.stage, Stage::Attention { .. }) {
                        break;
                    }
                    at = Cursor { layer, stage: Stage::FeedForward { units: 0 } };
                }
                Stage::FeedForward { units } => {
                    let end = match to.stage {
                        Stage::FeedForward { units } if last => units,
                        _ => extent.units,
                    };
                    parts.push(Part::FeedForward { layer, units: units..end });
                    if last {
                        break;
                    }
                    at = Cursor::at_layer(layer + 1);
                }
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent { rows: 10, units: 4 };

    fn attention(layer: usize, rows: usize) -> Cursor {
        Cursor::after_attention(layer, rows, EXTENT)
    }

    fn feed_forward(layer: usize, units: usize) -> Cursor {
        Cursor::after_feed_forward(layer, units, EXTENT)
    }

    #[test]
    fn a_stage_that_is_complete_is_the_begin_of_the_next_one() {
        assert_eq!(attention(2, 10), feed_forward(2, 0));
        assert_eq!(feed_forward(2, 4), Cursor::at_layer(3));
    }

    #[test]
    fn parts_are_the_rest_of_a_layer_whole_layers_and_the_begin_of_one() {
        let part = |from: Cursor, to| from.parts(to, EXTENT);
        assert_eq!(part(Cursor::at_layer(1), Cursor::at_layer(3)), [Part::Layers(1..3)]);
        assert_eq!(part(attention(1, 4), attention(1, 8)), [Part::Attention { layer: 1, rows: 4..8 }]);
        assert_eq!(
            part(attention(0, 4), feed_forward(3, 2)),
            [
                Part::Attention { layer: 0, rows: 4..10 },
                Part::FeedForward { layer: 0, units: 0..4 },
                Part::Layers(1..3),
                Part::Attention { layer: 3, rows: 0..10 },
                Part::FeedForward { layer: 3, units: 0..2 },
            ]
        );
        assert_eq!(part(feed_forward(1, 1), Cursor::at_layer(2)), [Part::FeedForward { layer: 1, units: 1..4 }]);
        assert_eq!(part(feed_forward(1, 1), feed_forward(1, 2)), [Part::FeedForward { layer: 1, units: 1..2 }]);
        assert_eq!(part(attention(1, 4), feed_forward(1, 0)), [Part::Attention { layer: 1, rows: 4..10 }]);
        assert!(part(attention(1, 4), attention(1, 4)).is_empty());
    }

    #[test]
    fn consecutive_walks_do_the_same_work_as_one() {
        let mut places = Vec::new();
        for layer in 0..3 {
            places.push(Cursor::at_layer(layer));
            places.extend([4, 8].map(|rows| attention(layer, rows)));
            places.extend([0, 1, 3].map(|units| feed_forward(layer, units)));
        }
        places.push(Cursor::at_layer(3));
        assert!(places.is_sorted());
        // Every (layer, stage, place) that a walk covers, once.
        let cells = |from: Cursor, to: Cursor| {
            let mut cells = Vec::new();
            for part in from.parts(to, EXTENT) {
                match part {
                    Part::Layers(layers) => {
                        for layer in layers {
                            cells.extend((0..10).map(|row| (layer, 0, row)));
                            cells.extend((0..4).map(|unit| (layer, 1, unit)));
                        }
                    }
                    Part::Attention { layer, rows } => cells.extend(rows.map(|row| (layer, 0, row))),
                    Part::FeedForward { layer, units } => cells.extend(units.map(|unit| (layer, 1, unit))),
                }
            }
            cells
        };
        for (i, from) in places.iter().enumerate() {
            for (j, middle) in places.iter().enumerate().skip(i) {
                for to in &places[j..] {
                    let two = [cells(*from, *middle), cells(*middle, *to)].concat();
                    assert_eq!(two, cells(*from, *to), "{from:?} {middle:?} {to:?}");
                }
            }
        }
    }
}
