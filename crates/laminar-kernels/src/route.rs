//! The router of a mixture-of-experts layer: which experts each row goes to, and with what weight.

use crate::Pool;
use crate::exp::exp;
use crate::pool::SharedMut;

/// Which experts each row goes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routing {
    /// Experts of a row.
    pub top_k: usize,
    /// `rows * top_k` expert numbers; those of a row are distinct.
    pub ids: Vec<u32>,
    /// `rows * top_k` factors on the experts' outputs.
    pub weights: Vec<f32>,
}

impl Routing {
    /// Drops all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.weights.clear();
    }

    /// Adds rows behind those there are: `choose` gets the number of each, counted from 0, and the places of its experts and
    /// their weights. So many rows `together` are a task.
    ///
    /// # Panics
    ///
    /// If the rows so far go to another number of experts.
    pub(crate) fn append(
        &mut self,
        pool: &Pool,
        rows: usize,
        top_k: usize,
        together: usize,
        choose: impl Fn(usize, &mut [u32], &mut [f32]) + Sync,
    ) {
        let before = self.ids.len();
        assert!(before == 0 || self.top_k == top_k, "{top_k} experts behind rows of {}", self.top_k);
        self.top_k = top_k;
        self.ids.resize(before + rows * top_k, 0);
        self.weights.resize(before + rows * top_k, 0.0);
        let ids = SharedMut::new(&mut self.ids[before..]);
        let weights = SharedMut::new(&mut self.weights[before..]);
        pool.run(rows.div_ceil(together), &|task| {
            for row in task * together..rows.min((task + 1) * together) {
                // SAFETY: each row is visited once.
                let (ids, weights) = unsafe { (ids.slice(row * top_k, top_k), weights.slice(row * top_k, top_k)) };
                choose(row, ids, weights);
            }
        });
    }
}

/// Softmax over all experts of each row of `logits`, then the `top_k` largest, largest first.
///
/// Equal logits go to the lower expert number. With `normalise` the weights of a row are divided by their
/// sum. `routing` is overwritten.
///
/// # Panics
///
/// If `top_k` is 0 or larger than `experts`, or `logits` is not whole rows.
pub fn route_top_k(pool: &Pool, logits: &[f32], experts: usize, top_k: usize, normalise: bool, routing: &mut Routing) {
    routing.clear();
    append_top_k(pool, logits, experts, top_k, normalise, routing);
}

/// [`route_top_k`] with the new rows behind those that `routing` holds, so that rows can be routed as they come.
///
/// # Panics
///
/// As [`route_top_k`], or if the rows so far go to another number of experts.
pub fn append_top_k(pool: &Pool, logits: &[f32], experts: usize, top_k: usize, normalise: bool, routing: &mut Routing) {
    assert!(
        (1..=experts).contains(&top_k) && logits.len().is_multiple_of(experts),
        "{top_k} of {experts} experts, {} logits",
        logits.len()
    );
    // A row takes a microsecond or two.
    routing.append(pool, logits.len() / experts, top_k, 32, |row, ids, weights| {
        route_row(&logits[row * experts..][..experts], normalise, ids, weights);
    });
}

fn route_row(logits: &[f32], normalise: bool, ids: &mut [u32], weights: &mut [f32]) {
    for chosen in 0..ids.len() {
        let mut best: Option<usize> = None;
        for (expert, logit) in logits.iter().enumerate() {
            let better = match best {
                None => true,
                Some(best) => *logit > logits[best],
            };
            if better && !ids[..chosen].contains(&(expert as u32)) {
                best = Some(expert);
            }
        }
        // There are at least as many experts as places, so one is always found.
        ids[chosen] = best.unwrap_or(0) as u32;
    }
    let max = logits[ids[0] as usize];
    for (weight, id) in weights.iter_mut().zip(&*ids) {
        *weight = exp(logits[*id as usize] - max);
    }
    // The sum over the chosen is enough when they are normalised: the full one cancels out.
    let sum: f32 = match normalise {
        true => weights.iter().sum(),
        false => logits.iter().map(|l| exp(l - max)).sum(),
    };
    for weight in weights {
        *weight /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_chosen_and_weighted_by_softmax() {
        let (experts, top_k, rows) = (16, 4, 70);
        let logits: Vec<f32> = (0..rows * experts).map(|i| ((i * 7919) % 613) as f32 / 100.0 - 3.0).collect();
        for normalise in [false, true] {
            let mut routing = Routing::default();
            route_top_k(&Pool::new(2), &logits, experts, top_k, normalise, &mut routing);
            for row in 0..rows {
                let logits = &logits[row * experts..][..experts];
                let mut order: Vec<usize> = (0..experts).collect();
                order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
                let soft: Vec<f64> = logits.iter().map(|l| f64::from(*l).exp()).collect();
                let total: f64 = match normalise {
                    true => order[..top_k].iter().map(|e| soft[*e]).sum(),
                    false => soft.iter().sum(),
                };
                for k in 0..top_k {
                    assert_eq!(routing.ids[row * top_k + k] as usize, order[k]);
                    let weight = f64::from(routing.weights[row * top_k + k]);
                    assert!((weight - soft[order[k]] / total).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn rows_routed_as_they_come_are_routed_alike() {
        let (experts, top_k, rows) = (16, 3, 90);
        let logits: Vec<f32> = (0..rows * experts).map(|i| ((i * 7919) % 613) as f32 / 100.0 - 3.0).collect();
        let pool = Pool::new(2);
        let (mut whole, mut parts) = (Routing::default(), Routing::default());
        route_top_k(&pool, &logits, experts, top_k, true, &mut whole);
        for cuts in [&[0, 40, 41, 90][..], &[0, 0, 1, 89, 90]] {
            parts.clear();
            for cut in cuts.windows(2) {
                append_top_k(&pool, &logits[cut[0] * experts..cut[1] * experts], experts, top_k, true, &mut parts);
            }
            assert_eq!(parts, whole);
        }
    }

    #[test]
    fn ties_go_to_the_lower_number_and_nan_keeps_ids_distinct() {
        let mut routing = Routing::default();
        let pool = Pool::new(1);
        route_top_k(&pool, &[1.0, 2.0, 2.0, 2.0], 4, 2, true, &mut routing);
        assert_eq!(routing.ids, [1, 2]);
        assert_eq!(routing.weights, [0.5, 0.5]);
        route_top_k(&pool, &[f32::NAN; 4], 4, 3, true, &mut routing);
        assert_eq!(routing.ids, [0, 1, 2]);
    }
}
