//! How many lines a worker writes about what peers do: a peer that comes again and again must not fill the disk.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::limits::REFUSALS_LOGGED_PER_SECOND_MAX;

/// The lines that are left of this second. One worker's.
#[derive(Debug)]
pub(crate) struct LogBudget {
    /// When the second that is counted began.
    begun: Instant,
    /// Lines allowed in it so far.
    written_count: u32,
    /// Lines not allowed since the last one that was.
    withheld_count: u64,
}

impl LogBudget {
    pub(crate) fn new(now: Instant) -> LogBudget {
        LogBudget { begun: now, written_count: 0, withheld_count: 0 }
    }

    /// Writes that a frame of `peer` was refused and why, if there is a line left.
    pub(crate) fn log_refusal(&mut self, peer: SocketAddr, why: &str) {
        match self.take(Instant::now()) {
            None => {}
            Some(0) => log::warn!("frame refused: peer={peer} reason=\"{why}\""),
            Some(withheld) => {
                log::warn!("frame refused: peer={peer} reason=\"{why}\" not_logged_before={withheld}");
            }
        }
    }

    /// Whether one more line may be written. If so, how many were withheld before it, so that it can say so.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.begun) >= Duration::from_secs(1) {
            self.begun = now;
            self.written_count = 0;
        }
        if self.written_count == REFUSALS_LOGGED_PER_SECOND_MAX {
            self.withheld_count += 1;
            return None;
        }
        self.written_count += 1;
        Some(std::mem::take(&mut self.withheld_count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_tells_of_the_others() {
        let begun = Instant::now();
        let mut budget = LogBudget::new(begun);
        for _ in 0..REFUSALS_LOGGED_PER_SECOND_MAX {
            assert_eq!(budget.take(begun), Some(0));
        }
        let soon = begun + Duration::from_millis(999);
        assert_eq!((budget.take(soon), budget.take(soon)), (None, None));
        let later = begun + Duration::from_secs(1);
        assert_eq!((budget.take(later), budget.take(later)), (Some(2), Some(0)));
    }
}
