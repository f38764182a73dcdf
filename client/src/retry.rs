//! When to send a call again, and what to say when that ends. No I/O and no clock: the caller reports what
//! happened and when.
//!
//! 1. A write is in doubt from the first time that its request may have arrived without an answer. Whatever
//!    ends a call in doubt, its outcome is unknown.
//! 2. A write in doubt goes again only to the node that may have it, under the same incarnation: a restarted node does
//!    not remember what it did before, nor does another node, and would do it twice.
//!    Where outcomes are replicated ([`Retry::replicated`]) every node that serves the key knows them, and it may go to
//!    any.
//! 3. Reads are never in doubt.
//! 4. What a node refuses says nothing of an earlier attempt that is in doubt, unless it would have refused that one in the
//!    same way, or says what became of it.

use std::time::{Duration, Instant};

use dht_protocol::ids::{Incarnation, NodeId};
use dht_protocol::status::{Meaning, Status};

use super::error::Outcome;
use super::limits::{BACKOFF_MAX, BACKOFF_MIN};

/// The state of one call.
#[derive(Debug)]
pub(crate) struct Retry {
    is_write: bool,
    /// Whether what a write came to is known wherever its key is served.
    outcomes_are_replicated: bool,
    deadline: Instant,
    attempts_left: u32,
    backoff: Duration,
    random: u64,
    /// Where a write may have arrived; at most one entry an attempt.
    doubts: Vec<(NodeId, Incarnation)>,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No byte of it left.
    NotSent,
    /// It may have arrived.
    Lost(NodeId, Incarnation),
    /// The node said that it did not do it, for now.
    Refused,
    /// The node did not do it, as it cannot tell it from writes that it forgot. It was the only copy, so the write may
    /// go again under a new number.
    Forgotten,
    /// The node said that it does not own the key, and there is a newer map now.
    Moved,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Try again at this time.
    Again(Instant),
    /// Say that the time is up.
    TimeUp,
    /// Say that the last failure was one too many.
    AttemptsUsedUp,
}

/// What the status of an answer means for its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The node does not own the key. The attempt has failed as [`Failure::Moved`] if there is a newer map, else as
    /// [`Failure::Refused`].
    NotOwner,
    /// The attempt has failed so.
    Failed(Failure),
    /// It ends the call; if it is no answer to what was asked, with this outcome.
    Final(Outcome),
}

impl Retry {
    pub(crate) fn new(is_write: bool, deadline: Instant, attempts_max: u32, seed: u64) -> Retry {
        Retry {
            is_write,
            outcomes_are_replicated: false,
            deadline,
            attempts_left: attempts_max.max(1),
            backoff: BACKOFF_MIN,
            random: seed,
            doubts: Vec::new(),
        }
    }

    /// As [`Retry::new`], for a cluster in which the outcomes of writes are replicated along with them.
    #[cfg_attr(not(test), allow(dead_code, reason = "so far no map says that a cluster is replicated"))]
    pub(crate) fn replicated(is_write: bool, deadline: Instant, attempts_max: u32, seed: u64) -> Retry {
        Retry { outcomes_are_replicated: true, ..Retry::new(is_write, deadline, attempts_max, seed) }
    }

    /// Whether the call may be sent to this start of that node (rule 2).
    pub(crate) fn may_send(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.outcomes_are_replicated || self.doubts.iter().all(|doubt| *doubt == (node, incarnation))
    }

    /// Whether an earlier attempt may have arrived without an answer.
    pub(crate) fn in_doubt(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// What to report if the call ends now without an answer.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.in_doubt() { Outcome::Unknown } else { Outcome::NotDone }
    }

    /// An attempt was answered with this status.
    pub(crate) fn judge(&self, status: Status) -> Verdict {
        if status == Status::NotOwner {
            return Verdict::NotOwner;
        }
        if status.may_retry() {
            return Verdict::Failed(Failure::Refused);
        }
        let depends_on_the_moment = matches!(
            status,
            Status::OutOfMemory | Status::Crowded | Status::SpanTooWide | Status::HelloRequired
        );
        match status.meaning() {
            Meaning::Unknown if self.in_doubt() => Verdict::Final(Outcome::Unknown),
            Meaning::Unknown => Verdict::Failed(Failure::Forgotten),
            Meaning::NotDone if depends_on_the_moment => Verdict::Final(self.outcome()),
            Meaning::NotDone => Verdict::Final(Outcome::NotDone),
            Meaning::Done => Verdict::Final(self.outcome()),
        }
    }

    /// An attempt has failed.
    pub(crate) fn on_failure(&mut self, now: Instant, failure: Failure) -> Step {
        if let Failure::Lost(node, incarnation) = failure
            && self.is_write
        {
            self.doubts.push((node, incarnation));
        }
        self.attempts_left -= 1;
        if now >= self.deadline {
            return Step::TimeUp;
        }
        if self.attempts_left == 0 {
            return Step::AttemptsUsedUp;
        }
        if failure == Failure::Moved {
            return Step::Again(now);
        }
        let at = now + self.jittered_backoff();
        if at >= self.deadline { Step::TimeUp } else { Step::Again(at) }
    }

    /// Between half and all of the back-off, so that clients that failed together do not return together.
    fn jittered_backoff(&mut self) -> Duration {
        let backoff = self.backoff;
        self.backoff = (backoff * 2).min(BACKOFF_MAX);
        self.random = splitmix64(self.random);
        backoff / 2 + (backoff / 2).mul_f64((self.random >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*, 2014).
pub(crate) fn splitmix64(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);
    const BEFORE: Incarnation = Incarnation(10);
    const AFTER: Incarnation = Incarnation(11);

    fn write(attempts: u32) -> (Retry, Instant) {
        let now = Instant::now();
        (Retry::new(true, now + Duration::from_secs(5), attempts, 42), now)
    }

    fn again(step: Step) -> Instant {
        match step {
            Step::Again(at) => at,
            Step::TimeUp | Step::AttemptsUsedUp => panic!("{step:?}"),
        }
    }

    #[test]
    fn a_dead_node_is_tried_again_with_growing_pauses_and_leaves_no_doubt() {
        let (mut retry, start) = write(16);
        let (mut now, mut bound) = (start, BACKOFF_MIN);
        for _ in 0..15 {
            let at = again(retry.on_failure(now, Failure::NotSent));
            assert!(at >= now + bound / 2 && at <= now + bound, "{:?} of {bound:?}", at - now);
            (now, bound) = (at, (bound * 2).min(BACKOFF_MAX));
        }
        assert_eq!(retry.on_failure(now, Failure::NotSent), Step::AttemptsUsedUp);
        assert_eq!(retry.outcome(), Outcome::NotDone);
        assert!(now - start > Duration::from_millis(1_500), "a failover must fit in: {:?}", now - start);
    }

    #[test]
    fn a_write_that_was_lost_goes_on_as_a_retry_but_not_to_a_restarted_node() {
        let (mut retry, now) = write(16);
        assert!(retry.may_send(NODE, BEFORE) && !retry.in_doubt());
        again(retry.on_failure(now, Failure::Lost(NODE, BEFORE)));
        assert!(retry.in_doubt());
        assert!(retry.may_send(NODE, BEFORE));
        assert!(!retry.may_send(NODE, AFTER));
        assert!(!retry.may_send(NodeId(2), BEFORE));
        assert_eq!(retry.outcome(), Outcome::Unknown);
    }

    #[test]
    fn where_outcomes_are_replicated_a_write_in_doubt_goes_to_whoever_serves_it() {
        let now = Instant::now();
        let mut retry = Retry::replicated(true, now + Duration::from_secs(5), 3, 42);
        again(retry.on_failure(now, Failure::Lost(NODE, BEFORE)));
        assert!(retry.may_send(NODE, AFTER) && retry.may_send(NodeId(2), BEFORE));
        again(retry.on_failure(now, Failure::Lost(NodeId(2), BEFORE)));
        assert!(retry.may_send(NodeId(3), BEFORE));
        assert!(retry.in_doubt(), "it goes as a retry");
        assert_eq!(retry.on_failure(now, Failure::Refused), Step::AttemptsUsedUp);
        assert_eq!(retry.outcome(), Outcome::Unknown);
    }

    #[test]
    fn a_refusal_after_a_loss_does_not_take_the_doubt_away() {
        let (mut retry, now) = write(2);
        again(retry.on_failure(now, Failure::Lost(NODE, BEFORE)));
        assert_eq!(retry.on_failure(now, Failure::Refused), Step::AttemptsUsedUp);
        assert_eq!(retry.outcome(), Outcome::Unknown);
    }

    #[test]
    fn a_read_that_was_lost_leaves_no_doubt() {
        let now = Instant::now();
        let mut retry = Retry::new(false, now + Duration::from_secs(1), 16, 1);
        again(retry.on_failure(now, Failure::Lost(NODE, BEFORE)));
        assert!(retry.may_send(NODE, AFTER) && !retry.in_doubt());
        assert_eq!(retry.outcome(), Outcome::NotDone);
    }

    #[test]
    fn what_a_status_means_depends_on_whether_the_write_is_in_doubt() {
        let (mut retry, now) = write(3);
        assert_eq!(retry.judge(Status::NotOwner), Verdict::NotOwner);
        assert_eq!(retry.judge(Status::Busy), Verdict::Failed(Failure::Refused));
        assert_eq!(retry.judge(Status::OutcomeUnknown), Verdict::Failed(Failure::Forgotten));
        assert_eq!(retry.judge(Status::OutOfMemory), Verdict::Final(Outcome::NotDone));
        again(retry.on_failure(now, Failure::Lost(NODE, BEFORE)));
        assert_eq!(retry.judge(Status::Busy), Verdict::Failed(Failure::Refused));
        assert_eq!(retry.judge(Status::OutcomeUnknown), Verdict::Final(Outcome::Unknown));
        assert_eq!(retry.judge(Status::OutOfMemory), Verdict::Final(Outcome::Unknown));
        assert_eq!(retry.judge(Status::ConditionFailed), Verdict::Final(Outcome::NotDone), "or it is done");
    }

    #[test]
    fn a_newer_map_is_followed_at_once() {
        let (mut retry, now) = write(3);
        assert_eq!(retry.on_failure(now, Failure::Moved), Step::Again(now));
        assert_eq!(retry.on_failure(now, Failure::Moved), Step::Again(now));
        assert_eq!(retry.on_failure(now, Failure::Moved), Step::AttemptsUsedUp);
    }

    #[test]
    fn the_deadline_ends_it_before_a_pause_that_would_pass_it() {
        let (mut retry, now) = write(16);
        let late = now + Duration::from_secs(5) - Duration::from_nanos(1);
        assert_eq!(retry.on_failure(late, Failure::Refused), Step::TimeUp);
        assert_eq!(retry.on_failure(now + Duration::from_secs(6), Failure::Moved), Step::TimeUp);
        let mut none = Retry::new(true, now + Duration::from_secs(1), 0, 1);
        assert_eq!(none.on_failure(now, Failure::NotSent), Step::AttemptsUsedUp);
    }
}
