//! When a connection last did something, and whether its silence has lasted too long. Time is counted in rounds of
//! the worker's sweep, each at least a second: noting it costs a store, and no look at a clock.

use crate::tuning::SilenceLimits;

/// When something last happened, by the number of the round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    /// Bytes came.
    heard_round: u32,
    /// The peer took bytes of an answer, or none waited.
    taken_round: u32,
}

/// Why a connection that has been silent is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Nothing was under way.
    Idle,
    /// Part of a request has come, and no more of it.
    Request,
    /// Answers wait, and the peer takes none.
    Answers,
}

/// What is under way on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// Answers wait for the peer to take them.
    pub(crate) answers: bool,
    /// Part of a request has come.
    pub(crate) request: bool,
}

impl Activity {
    pub(crate) fn on_heard(&mut self, round: u32) {
        self.heard_round = round;
    }

    pub(crate) fn on_taken(&mut self, round: u32) {
        self.taken_round = round;
    }

    /// Whether it has been silent for longer than `limits` allow. A limit of `n` seconds is reached after more than
    /// `n` whole rounds.
    pub(crate) fn overdue(&self, round: u32, under_way: UnderWay, limits: SilenceLimits) -> Option<Overdue> {
        let (since, limit_s, what) = if under_way.answers {
            (self.taken_round, limits.stall_s, Overdue::Answers)
        } else if under_way.request {
            (self.heard_round, limits.stall_s, Overdue::Request)
        } else {
            (self.heard_round.max(self.taken_round), limits.idle_s, Overdue::Idle)
        };
        (limit_s > 0 && round.saturating_sub(since) > limit_s).then_some(what)
    }
}

impl Overdue {
    pub(crate) fn why(self) -> &'static str {
        match self {
            Overdue::Idle => "idle for --idle-timeout",
            Overdue::Request => "request not finished within --stall-timeout",
            Overdue::Answers => "answers not taken within --stall-timeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: UnderWay = UnderWay { answers: false, request: false };
    const HALF: UnderWay = UnderWay { answers: false, request: true };
    const UNTAKEN: UnderWay = UnderWay { answers: true, request: true };
    const LIMITS: SilenceLimits = SilenceLimits { idle_s: 10, stall_s: 3 };

    #[test]
    fn silence_is_judged_by_what_is_under_way() {
        let mut activity = Activity::default();
        activity.on_taken(5);
        assert_eq!(activity.overdue(15, IDLE, LIMITS), None);
        assert_eq!(activity.overdue(16, IDLE, LIMITS), Some(Overdue::Idle));
        activity.on_heard(16);
        assert_eq!(activity.overdue(19, HALF, LIMITS), None);
        assert_eq!(activity.overdue(20, HALF, LIMITS), Some(Overdue::Request));
        assert_eq!(activity.overdue(20, IDLE, LIMITS), None);
        // Who goes on asking and takes nothing is no better than who is silent.
        activity.on_heard(20);
        assert_eq!(activity.overdue(20, UNTAKEN, LIMITS), Some(Overdue::Answers));
        activity.on_taken(20);
        assert_eq!(activity.overdue(23, UNTAKEN, LIMITS), None);
    }

    #[test]
    fn without_a_limit_nobody_is_overdue() {
        let off = SilenceLimits { idle_s: 0, stall_s: 0 };
        for under_way in [IDLE, HALF, UNTAKEN] {
            assert_eq!(Activity::default().overdue(u32::MAX, under_way, off), None);
        }
    }
}
