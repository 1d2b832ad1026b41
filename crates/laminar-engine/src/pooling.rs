//! One vector for a whole prompt, from the hidden states of its rows.

use laminar_schedule::SequenceId;
use std::collections::BTreeMap;

/// How the rows of a prompt become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The last row: it has seen the whole prompt.
    Last,
    /// The mean of all rows.
    Mean,
    /// The first row, for models in which every row sees the whole prompt.
    Cls,
}

/// The prompts that are being pooled.
#[derive(Debug, Default)]
pub(crate) struct Pools(BTreeMap<SequenceId, Pooled>);

#[derive(Debug)]
struct Pooled {
    pooling: Pooling,
    /// Summed in the order of the positions, so that the cut of a prompt into tiles changes no bit.
    sum: Vec<f64>,
    rows: usize,
}

impl Pools {
    /// The rows of a sequence are to be pooled; what was pooled of it before does not count.
    pub fn begin(&mut self, sequence: SequenceId, pooling: Pooling) {
        self.0.insert(sequence, Pooled { pooling, sum: Vec::new(), rows: 0 });
    }

    /// Whether the rows of a sequence are wanted.
    pub fn wants(&self, sequence: SequenceId) -> bool {
        self.0.contains_key(&sequence)
    }

    /// Takes the next rows of a sequence, `width` values each.
    pub fn add(&mut self, sequence: SequenceId, rows: &[f32], width: usize) {
        let Some(pooled) = self.0.get_mut(&sequence) else {
            return;
        };
        for row in rows.chunks_exact(width) {
            match pooled.pooling {
                Pooling::Cls if pooled.rows > 0 => {}
                Pooling::Mean if pooled.rows > 0 => {
                    pooled.sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
                }
                _ => pooled.sum = row.iter().map(|value| f64::from(*value)).collect(),
            }
            pooled.rows += 1;
        }
    }

    /// The vector of a sequence all of whose rows have come.
    pub fn take(&mut self, sequence: SequenceId) -> Option<Vec<f32>> {
        let Pooled { pooling, sum, rows } = self.0.remove(&sequence).filter(|pooled| pooled.rows > 0)?;
        let divisor = if pooling == Pooling::Mean { rows as f64 } else { 1.0 };
        Some(sum.into_iter().map(|value| (value / divisor) as f32).collect())
    }

    /// Drops what is kept for a sequence.
    pub fn forget(&mut self, sequence: SequenceId) {
        self.0.remove(&sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_one_vector() {
        for (pooling, expected) in
            [(Pooling::Last, [5.0, 6.0]), (Pooling::Mean, [3.0, 4.0]), (Pooling::Cls, [1.0, 2.0])]
        {
            let mut pools = Pools::default();
            let id = SequenceId(1);
            pools.begin(id, pooling);
            pools.add(id, &[9.0, 9.0], 2);
            pools.begin(id, pooling);
            pools.add(id, &[1.0, 2.0, 3.0, 4.0], 2);
            pools.add(id, &[5.0, 6.0], 2);
            pools.add(SequenceId(2), &[7.0, 7.0], 2);
            assert!(pools.wants(id) && !pools.wants(SequenceId(2)));
            assert_eq!(pools.take(id).unwrap(), expected);
            assert_eq!(pools.take(id), None);
        }
    }
}
