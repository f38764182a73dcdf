//! A process's own clock: it began somewhere else than true time, and runs up to a tenth faster or slower. It goes on while
//! the process is paused.

use std::time::Duration;

use dht_server::clock::Time;

/// True rate of a clock, millionths.
pub(super) const TRUE_RATE: u64 = 1_000_000;

/// A clock. Invariant: [`Clock::local`] never falls as true time rises.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// True time from which the rate holds, and what the clock showed then, nanoseconds.
    since: u64,
    shown: u64,
    /// Millionths of the true rate.
    rate: u64,
}

impl Clock {
    /// A clock that shows `shown` at true time `now`.
    pub(super) const fn new(now: u64, shown: u64, rate: u64) -> Clock {
        Clock { since: now, shown, rate }
    }

    /// What it shows at true time `now`.
    pub(super) const fn local(&self, now: u64) -> Time {
        Time(self.shown + (now - self.since) * self.rate / TRUE_RATE)
    }

    /// How long its own span takes in truth, nanoseconds.
    pub(super) const fn true_span(&self, span: Duration) -> u64 {
        span.as_nanos() as u64 * TRUE_RATE / self.rate
    }

    /// From true time `now` on it runs at another rate.
    pub(super) const fn set_rate(&mut self, now: u64, rate: u64) {
        self.shown = self.local(now).0;
        self.since = now;
        self.rate = rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_rate_is_no_step() {
        let mut clock = Clock::new(1_000, 50, 1_100_000);
        assert_eq!(clock.local(1_000), Time(50));
        assert_eq!(clock.local(2_000), Time(1_150));
        clock.set_rate(2_000, 900_000);
        assert_eq!(clock.local(2_000), Time(1_150));
        assert_eq!(clock.local(3_000), Time(2_050));
        assert_eq!(clock.true_span(Duration::from_nanos(900)), 1_000);
    }
}
