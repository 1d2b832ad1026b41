//! How much longer than predicted the slow ones among the steps take.

/// Steps that are remembered.
const WINDOW: usize = 128;

/// Steps before the window is trusted.
const ENOUGH: usize = 16;

/// The share of steps that end within the tail.
const QUANTILE: f64 = 0.95;

/// The factor until enough steps were seen.
const DEFAULT: f64 = 1.25;

/// The largest ratio that is remembered. While few steps are known a single stall decides the quantile, and a server that
/// planned for far worse than this would stop working instead.
const LARGEST: f64 = 3.0;

/// A high percentile of actual to predicted time over the latest steps of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tail {
    /// Ratios in the order of the steps; a ring.
    ring: [f64; WINDOW],
    /// Where the next ratio goes.
    next: usize,
    /// The same ratios, ascending: the first `len` places.
    sorted: [f64; WINDOW],
    len: usize,
    factor: f64,
}

impl Tail {
    pub fn new() -> Self {
        Self { ring: [0.0; WINDOW], next: 0, sorted: [0.0; WINDOW], len: 0, factor: DEFAULT }
    }

    /// What to multiply a prediction with, at least 1.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Remembers a step that took `ratio` times the prediction.
    pub fn push(&mut self, ratio: f64) {
        let ratio = ratio.min(LARGEST);
        if self.len == WINDOW {
            self.take(self.ring[self.next]);
        }
        self.ring[self.next] = ratio;
        self.next = (self.next + 1) % WINDOW;
        let place = self.place(ratio);
        self.sorted.copy_within(place..self.len, place + 1);
        self.sorted[place] = ratio;
        self.len += 1;
        self.update();
    }

    /// Forgets the latest steps.
    pub fn forget(&mut self, steps: usize) {
        for _ in 0..steps.min(self.len) {
            self.next = (self.next + WINDOW - 1) % WINDOW;
            self.take(self.ring[self.next]);
        }
        self.update();
    }

    /// Removes a ratio from the sorted ones.
    fn take(&mut self, ratio: f64) {
        let place = self.place(ratio);
        self.sorted.copy_within(place + 1..self.len, place);
        self.len -= 1;
    }

    fn place(&self, ratio: f64) -> usize {
        self.sorted[..self.len].partition_point(|other| *other < ratio)
    }

    fn update(&mut self) {
        self.factor = if self.len < ENOUGH {
            DEFAULT
        } else {
            // One place higher than the sample's own quantile: the next step is not among the sample.
            let rank = (QUANTILE * (self.len + 1) as f64).ceil() as usize;
            self.sorted[rank.min(self.len) - 1].clamp(1.0, LARGEST)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_steps_give_the_default() {
        let mut tail = Tail::new();
        (1..ENOUGH).for_each(|_| tail.push(1.0));
        assert_eq!(tail.factor(), 1.25);
        tail.push(1.0);
        assert_eq!(tail.factor(), 1.0);
    }

    #[test]
    fn the_factor_is_the_95th_percentile_of_the_latest_steps() {
        let mut tail = Tail::new();
        (0..500).for_each(|_| tail.push(2.9));
        // 128 different ratios push the old ones out; 37 has no common divisor with 128, so their order is mixed.
        (0..WINDOW).for_each(|step| tail.push(1.0 + (step * 37 % WINDOW) as f64 / 1000.0));
        assert_eq!(tail.factor(), 1.0 + 122.0 / 1000.0);
    }

    #[test]
    fn fast_steps_never_push_the_factor_below_one() {
        let mut tail = Tail::new();
        (0..50).for_each(|_| tail.push(0.5));
        assert_eq!(tail.factor(), 1.0);
    }

    #[test]
    fn one_stall_does_not_stop_a_server() {
        let mut tail = Tail::new();
        (0..20).for_each(|step| tail.push(if step == 3 { 1e6 } else { 1.0 }));
        assert!(tail.factor() <= LARGEST);
    }

    #[test]
    fn forgotten_steps_leave_no_trace() {
        for before in [0, 20, 127, 128, 300] {
            let mut tail = Tail::new();
            (0..before).for_each(|step| tail.push(1.0 + (step % 7) as f64 / 10.0));
            let mut other = tail.clone();
            (0..8).for_each(|_| other.push(2.5));
            other.forget(8);
            // What had already fallen out of the window does not come back.
            assert_eq!(other.len, before.min(WINDOW - 8));
            assert!(other.sorted[..other.len].is_sorted());
            assert!(other.sorted[..other.len].iter().all(|ratio| *ratio < 2.0));
        }
    }
}
