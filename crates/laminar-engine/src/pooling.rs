//! One vector for a whole prompt, from the hidden states of its rows.

use laminar_schedule::SequenceId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The least value that [`Pooling::Ggem`] raises to a power, as in GeM pooling.
const LEAST: f64 = 1e-6;

/// How the rows of a prompt become one vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Pooling {
    /// The last row: it has seen the whole prompt.
    Last,
    /// The mean of all rows.
    Mean,
    /// The first row, for models in which every row sees the whole prompt.
    Cls,
    /// Group generalised mean (Ko et al., *Group Generalized Mean Pooling for Vision Transformer*, arXiv 2212.04114): the
    /// columns are cut into as many groups of neighbours as there are powers, and column c of the group with power p
    /// becomes (mean over the rows of max(x_c, 1e-6)^p)^(1/p). Power 1 is the mean of what is positive, a large power
    /// the maximum, one group GeM.
    Ggem(Arc<[f32]>),
}

impl Pooling {
    /// Whether this pooling fits rows of so many values: GGeM's groups are of equal size, its powers above zero.
    pub fn fits(&self, width: usize) -> bool {
        match self {
            Pooling::Ggem(powers) => {
                !powers.is_empty()
                    && width.is_multiple_of(powers.len())
                    && powers.iter().all(|power| power.is_finite() && *power > 0.0)
            }
            Pooling::Last | Pooling::Mean | Pooling::Cls => true,
        }
    }
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
        if let Some(pooled) = self.0.get_mut(&sequence) {
            rows.chunks_exact(width).for_each(|row| pooled.add(row));
        }
    }

    /// The vector of a sequence all of whose rows have come.
    pub fn take(&mut self, sequence: SequenceId) -> Option<Vec<f32>> {
        self.0.remove(&sequence).filter(|pooled| pooled.rows > 0).map(Pooled::vector)
    }

    /// Drops what is kept for a sequence.
    pub fn forget(&mut self, sequence: SequenceId) {
        self.0.remove(&sequence);
    }
}

impl Pooled {
    fn add(&mut self, row: &[f32]) {
        let is_first = self.rows == 0;
        self.rows += 1;
        match &self.pooling {
            Pooling::Cls if !is_first => return,
            Pooling::Last | Pooling::Cls => self.sum.clear(),
            Pooling::Mean | Pooling::Ggem(_) => {}
        }
        self.sum.resize(row.len(), 0.0);
        let group = group(&self.pooling, row.len());
        for (column, (sum, value)) in self.sum.iter_mut().zip(row).enumerate() {
            let value = f64::from(*value);
            *sum += match &self.pooling {
                Pooling::Ggem(powers) => value.max(LEAST).powf(power(powers, column / group)),
                Pooling::Last | Pooling::Mean | Pooling::Cls => value,
            };
        }
    }

    fn vector(self) -> Vec<f32> {
        let Pooled { pooling, sum, rows } = self;
        let group = group(&pooling, sum.len());
        let columns = sum.into_iter().enumerate().map(|(column, sum)| match &pooling {
            Pooling::Last | Pooling::Cls => sum,
            Pooling::Mean => sum / rows as f64,
            Pooling::Ggem(powers) => (sum / rows as f64).powf(1.0 / power(powers, column / group)),
        });
        columns.map(|value| value as f32).collect()
    }
}

/// Columns of a group.
fn group(pooling: &Pooling, width: usize) -> usize {
    match pooling {
        Pooling::Ggem(powers) => (width / powers.len().max(1)).max(1),
        Pooling::Last | Pooling::Mean | Pooling::Cls => width.max(1),
    }
}

fn power(powers: &[f32], group: usize) -> f64 {
    f64::from(powers.get(group).copied().unwrap_or(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of rows that come in two pieces, behind one that no longer counts.
    fn pool(pooling: &Pooling, rows: &[f32], width: usize) -> Vec<f32> {
        let mut pools = Pools::default();
        let id = SequenceId(1);
        pools.begin(id, pooling.clone());
        pools.add(id, &vec![9.0; width], width);
        pools.begin(id, pooling.clone());
        let (first, rest) = rows.split_at(width);
        pools.add(id, first, width);
        pools.add(SequenceId(2), &vec![7.0; width], width);
        pools.add(id, rest, width);
        assert!(pools.wants(id) && !pools.wants(SequenceId(2)));
        let vector = pools.take(id).unwrap();
        assert_eq!(pools.take(id), None);
        vector
    }

    fn ggem(powers: &[f32]) -> Pooling {
        Pooling::Ggem(powers.into())
    }

    #[test]
    fn rows_become_one_vector() {
        let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        for (pooling, expected) in
            [(Pooling::Last, [5.0, 6.0]), (Pooling::Mean, [3.0, 4.0]), (Pooling::Cls, [1.0, 2.0])]
        {
            assert_eq!(pool(&pooling, &rows, 2), expected);
        }
        // Negative values count in a mean.
        assert_eq!(pool(&Pooling::Mean, &[-1.0, -2.0, 0.0, 4.0], 2), [-0.5, 1.0]);
    }

    #[test]
    fn ggem_is_a_generalised_mean_of_each_group() {
        // sqrt((3^2 + 4^2 + 0) / 3) and so on: columns 0 and 1 have power 2, columns 2 and 3 power 1.
        let rows = [3.0, 1.0, 2.0, 8.0, 4.0, 2.0, 4.0, 1.0, 5.0, 2.0, 6.0, 0.0];
        let expected = [(50.0f32 / 3.0).sqrt(), (9.0f32 / 3.0).sqrt(), 4.0, 3.0];
        for (found, expected) in pool(&ggem(&[2.0, 1.0]), &rows, 4).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        // A harmonic mean is not among them, a cube root is: one group is GeM.
        let gem = pool(&ggem(&[3.0]), &[1.0, 2.0, 3.0, 2.0], 2);
        assert!((gem[0] - 14.0f32.cbrt()).abs() < 1e-5 && (gem[1] - 2.0).abs() < 1e-6, "{gem:?}");
    }

    #[test]
    fn ggem_goes_from_the_mean_to_the_maximum() {
        let rows = [0.5, 2.0, 1.5, 0.25, 1.0, 4.0];
        let mean = pool(&Pooling::Mean, &rows, 2);
        for (found, expected) in pool(&ggem(&[1.0]), &rows, 2).into_iter().zip(&mean) {
            assert!((found - expected).abs() < 1e-6);
        }
        let most = pool(&ggem(&[64.0]), &rows, 2);
        assert!((most[0] - 1.5).abs() < 0.03 && (most[1] - 4.0).abs() < 0.08, "{most:?}");
        // What is not positive counts as the least value.
        let least = pool(&ggem(&[1.0]), &[-5.0, 1.0], 1);
        assert!((least[0] - 0.500_000_5).abs() < 1e-6, "{least:?}");
    }

    #[test]
    fn groups_are_of_equal_size() {
        assert!(ggem(&[3.0, 1.0]).fits(4) && Pooling::Mean.fits(5));
        for wrong in [ggem(&[3.0, 1.0]).fits(5), ggem(&[]).fits(4), ggem(&[0.0]).fits(4), ggem(&[f32::NAN]).fits(4)] {
            assert!(!wrong);
        }
    }
}
