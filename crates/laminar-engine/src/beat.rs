//! When tokens are handed out: in a steady beat while prompts fill the steps.
//!
//! A step that a prompt fills never ends exactly when it should: the last piece of its tile was slow, or a neighbour took a
//! core for a while. Streams would see all of that. So the tokens of such steps have a moment at which they are due, one beat
//! behind the tokens before them, and wait for it where they are done earlier; the next step does not wait, it begins at once.
//! Steps aim at being done some time before, the *lead*, and what delays one of them by less than that reaches nobody; what one
//! of them is early by is the next one's.
//!
//! ```text
//! steps   |--- 1 ---|---- 2 ----|------- 3, slow -------|--- 4 ---|
//! due               |. 1          |. 2          |. 3          |. 4
//! ```
//!
//! No time is lost by it: steps are as long as the beat on average, and the lead, once built up, is given back when the prompt
//! is through. What it costs is that the tokens in between arrive later by the lead, once.

use laminar_schedule::Deadline;
use std::time::{Duration, Instant};

/// The longest lead as a share of the beat, ..
const LEAD: f64 = 0.8;

/// .. and at most.
const MOST: Duration = Duration::from_millis(60);

/// Steps aim at this share of the longest lead: what one of them is done early by is then kept for the next.
const AIM: f64 = 0.8;

/// Share of a beat that a step gives for the lead as long as there is too little. A few steps are enough then, since what is
/// late before there is a lead is seen.
const BUILD: f64 = 0.25;

/// Time between the tokens of one step and the begin of the next one, beyond which somebody else has taken it.
const BETWEEN_STEPS: Duration = Duration::from_millis(20);

/// The beat of one engine.
#[derive(Debug, Default)]
pub(crate) struct Beat {
    /// When the newest tokens are due, or were.
    due: Option<Instant>,
}

impl Beat {
    /// When the step that begins now should be over: somewhat before its tokens are due.
    pub fn end(&self, begun: Instant, deadline: Deadline) -> Instant {
        let since = self.since(begun);
        let beat = deadline.until;
        let lead = since.saturating_duration_since(begun) + beat.mul_f64(BUILD);
        // A lead beyond the aim makes the step longer than the beat.
        since + beat.saturating_sub(lead.min(longest_lead(beat).mul_f64(AIM)))
    }

    /// When the newest tokens are due, or were.
    pub fn newest(&self) -> Option<Instant> {
        self.due
    }

    /// When the tokens of a step that began at `begun` and is done now are due: at once, unless they keep a beat.
    pub fn due(&mut self, begun: Instant, now: Instant, beat: Option<Duration>) -> Instant {
        // A step that was done much earlier than it might have is not waited for: it had no more to do.
        let due = beat.map_or(now, |beat| now.max((self.since(begun) + beat).min(now + longest_lead(beat))));
        self.due = Some(due);
        due
    }

    /// A step has had no tokens: there is nobody to keep a beat for.
    pub fn pauses(&mut self) {
        self.due = None;
    }

    /// Since when the streams wait: since their newest tokens, not since the step was planned.
    fn since(&self, begun: Instant) -> Instant {
        self.due.filter(|due| begun.saturating_duration_since(*due) < BETWEEN_STEPS).unwrap_or(begun)
    }
}

fn longest_lead(beat: Duration) -> Duration {
    beat.mul_f64(LEAD).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn deadline(until: Duration) -> Deadline {
        Deadline { until, decode: Duration::ZERO }
    }

    /// The gaps between the tokens of steps that end so many milliseconds behind their ends.
    fn gaps(late: impl IntoIterator<Item = u32>) -> (Vec<Duration>, Vec<Duration>) {
        let mut beat = Beat::default();
        let mut now = Instant::now();
        let mut before = beat.due(now, now, None);
        let mut gaps = Vec::new();
        let mut steps = Vec::new();
        for late in late {
            let end = beat.end(now, deadline(100 * MS)) + late * MS;
            steps.push(end - now);
            let due = beat.due(now, end, Some(100 * MS));
            gaps.push(due - before);
            (now, before) = (end, due);
        }
        (gaps, steps)
    }

    #[test]
    fn what_is_late_by_less_than_the_lead_reaches_nobody() {
        let slow = (0..400).map(|step| if step > 10 && step % 9 == 0 { 38 } else { 0 });
        let (gaps, steps) = gaps(slow);
        assert!(gaps.iter().all(|gap| *gap == 100 * MS), "{gaps:?}");
        let whole: Duration = steps.iter().sum();
        assert!(whole > 399 * 100 * MS, "the steps are as long as the beat: {whole:?}");
    }

    #[test]
    fn what_is_early_is_kept() {
        // Steps end up to 9 ms before and behind their ends in turn, which is 0 to 18 behind 9 ms before.
        let mut beat = Beat::default();
        let begun = Instant::now();
        let mut now = begun;
        beat.due(now, now, None);
        for step in 0..400 {
            let end = beat.end(now, deadline(100 * MS)) - 9 * MS + (step % 2) * 18 * MS;
            beat.due(now, end, Some(100 * MS));
            now = end;
        }
        assert!(now - begun > 399 * 100 * MS, "{:?}", now - begun);
    }

    #[test]
    fn what_is_later_is_seen_once() {
        let (gaps, _) = gaps((0..100).map(|step| if step == 50 { 90 } else { 0 }));
        let late: Vec<_> = gaps.iter().filter(|gap| **gap != 100 * MS).collect();
        assert_eq!(late, [&(142 * MS)], "the lead takes 48 of 90");
    }

    #[test]
    fn the_lead_is_built_up_in_the_first_steps() {
        let (_, steps) = gaps([0; 4]);
        assert_eq!(steps, [75, 77, 100, 100].map(|ms| ms * MS), "48 ms in all");
    }

    #[test]
    fn tokens_wait_no_longer_than_the_lead() {
        let mut beat = Beat::default();
        let begun = Instant::now();
        assert_eq!(beat.due(begun, begun + 5 * MS, Some(100 * MS)), begun + 65 * MS);
        assert_eq!(beat.due(begun + 5 * MS, begun + 9 * MS, Some(2000 * MS)), begun + 69 * MS);
    }

    #[test]
    fn without_a_beat_tokens_are_due_at_once_and_a_pause_ends_the_old_one() {
        let mut beat = Beat::default();
        let begun = Instant::now();
        assert_eq!(beat.due(begun, begun + 30 * MS, None), begun + 30 * MS);
        assert_eq!(beat.end(begun + 35 * MS, deadline(100 * MS)), begun + (30 + 75) * MS);
        assert_eq!(
            beat.end(begun + 60 * MS, deadline(100 * MS)),
            begun + (60 + 75) * MS,
            "somebody else took the time"
        );
        beat.pauses();
        assert_eq!(beat.end(begun + 31 * MS, deadline(100 * MS)), begun + (31 + 75) * MS);
    }
}
