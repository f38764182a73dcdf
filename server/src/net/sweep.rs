//! When to look for connections that have been silent for too long, and at which. No clock: time comes in, places of
//! the connection table go out.
//!
//! There is no timer a connection. All are looked at once a round, a bounded number in one go. Silence is counted in
//! rounds, not by the clock: a process that was held up (stopped, swapped out, a paused machine) has made no rounds
//! meanwhile, so it does not close everybody when it wakes.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::limits::{SWEEP_PERIOD_MS, SWEEP_SLOTS_MAX};

/// The sweep of one worker.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// Rounds begun so far; each takes at least `SWEEP_PERIOD_MS`.
    round: u32,
    /// Place of the table to go on from.
    next_slot: usize,
    /// When to go on; `None` while there is nothing to look for.
    due: Option<Instant>,
}

impl Sweep {
    /// The number of the round in hand, by which connections note when they were heard.
    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// How long the worker may sleep; `None`: for as long as it likes.
    pub(crate) fn timeout(&self, now: Instant) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now))
    }

    /// There is nothing to look for.
    pub(crate) fn rest(&mut self) {
        self.due = None;
    }

    /// It is `now`, and the table has `slots_count` places: those to look at, if it is time.
    pub(crate) fn on_time(&mut self, now: Instant, slots_count: usize) -> Option<Range<usize>> {
        let slices_count = slots_count.div_ceil(SWEEP_SLOTS_MAX).max(1) as u32;
        let pause = Duration::from_millis(SWEEP_PERIOD_MS) / slices_count;
        match self.due {
            Some(due) if now >= due => {}
            Some(_) => return None,
            None => {
                self.due = Some(now + pause);
                return None;
            }
        }
        self.due = Some(now + pause);
        let start = self.next_slot.min(slots_count);
        let end = (start + SWEEP_SLOTS_MAX).min(slots_count);
        self.next_slot = if end < slots_count { end } else { 0 };
        if self.next_slot == 0 {
            self.round += 1;
        }
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_table_is_looked_at_whole_once_a_period() {
        let mut sweep = Sweep::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(sweep.timeout(start), None);
        assert_eq!(sweep.on_time(at(0), 5), None, "it begins");
        assert_eq!(sweep.timeout(at(1)), Some(Duration::from_millis(SWEEP_PERIOD_MS - 1)));
        assert_eq!(sweep.on_time(at(SWEEP_PERIOD_MS - 1), 5), None);
        assert_eq!((sweep.on_time(at(SWEEP_PERIOD_MS), 5), sweep.round()), (Some(0..5), 1));
        // However late: one round, and the next a whole period after.
        let late = 100 * SWEEP_PERIOD_MS;
        assert_eq!((sweep.on_time(at(late), 5), sweep.round()), (Some(0..5), 2));
        assert_eq!(sweep.on_time(at(late + SWEEP_PERIOD_MS - 1), 5), None);
        sweep.rest();
        assert_eq!(sweep.timeout(at(late)), None);
    }

    #[test]
    fn a_long_table_is_looked_at_in_slices_within_the_period() {
        let slots_count = 3 * SWEEP_SLOTS_MAX + 1;
        let mut sweep = Sweep::default();
        let mut now = Instant::now();
        assert_eq!(sweep.on_time(now, slots_count), None);
        let mut seen = vec![];
        for _ in 0..4 {
            let pause = sweep.timeout(now).unwrap();
            assert_eq!(pause, Duration::from_millis(SWEEP_PERIOD_MS) / 4);
            assert_eq!(sweep.round(), 0);
            now += pause;
            let slice = sweep.on_time(now, slots_count).unwrap();
            assert!(slice.len() <= SWEEP_SLOTS_MAX);
            seen.extend(slice);
        }
        assert_eq!(seen, (0..slots_count).collect::<Vec<_>>());
        assert_eq!(sweep.round(), 1);
        // A table that has become shorter ends the round.
        now += Duration::from_secs(1);
        assert_eq!(sweep.on_time(now, slots_count), Some(0..SWEEP_SLOTS_MAX));
        now += Duration::from_secs(1);
        assert_eq!((sweep.on_time(now, 7), sweep.round()), (Some(7..7), 2));
    }
}
