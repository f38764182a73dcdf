//! When to send again what has not been acknowledged: after [`RESEND`], and each time in vain after twice as long as before, so
//! that a link that needs longer for it is not filled with copies. The first word of progress begins anew.
//!
//! What fits into one message is soon sent again at the latest: its receiver may have been away for a moment, and must not be
//! accused when it is back. What is longer may simply need its time.

use std::time::Duration;

use super::limits::MESSAGE_BYTES_MAX;
use crate::clock::Time;
use crate::timings::{RESEND, RESEND_LONG_MAX, RESEND_MAX};

/// The pauses of one receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resend {
    /// When what is under way began to be, was sent again, or got on.
    since: Time,
    pause: Duration,
}

impl Resend {
    /// Nothing has been sent in vain.
    pub(super) fn new(now: Time) -> Resend {
        Resend { since: now, pause: RESEND }
    }

    /// Something was sent, and nothing else was under way: what follows it does not put off the time at which it is sent again.
    pub(super) fn on_sent(&mut self, now: Time) {
        self.since = now;
    }

    /// Whether that has to be sent again.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.is_over(now, self.since)
    }

    /// Whether what was sent at `since` has to be.
    pub(super) fn is_over(&self, now: Time, since: Time) -> bool {
        now.since(since) >= self.pause
    }

    /// So many bytes are sent again.
    pub(super) fn on_resent(&mut self, now: Time, bytes: usize) {
        let most = if bytes > MESSAGE_BYTES_MAX { RESEND_LONG_MAX } else { RESEND_MAX };
        (self.since, self.pause) = (now, (2 * self.pause).min(most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which milliseconds `bytes` are sent again within two seconds, if nothing gets on.
    fn resent_at(bytes: usize) -> Vec<u64> {
        let start = Time(1_000_000_000);
        let mut resend = Resend::new(start);
        let mut at = Vec::new();
        for ms in (0..2_000).step_by(10) {
            let now = start + Duration::from_millis(ms);
            if resend.is_due(now) {
                resend.on_resent(now, bytes);
                at.push(ms);
            }
        }
        at
    }

    #[test]
    fn pauses_double_up_to_a_bound_that_is_longer_for_more() {
        assert_eq!(resent_at(100), [50, 150, 350, 550, 750, 950, 1_150, 1_350, 1_550, 1_750, 1_950]);
        assert_eq!(resent_at(1 << 20), [50, 150, 350, 750, 1_550]);
    }
}
