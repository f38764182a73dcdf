//! What one worker has counted, and the sum over all.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::limits::LATENCY_NS_MAX;
use crate::bench::pipeline::{Answer, Outcome};
use crate::bench::source::Kind;

/// Digits of a latency that are kept.
const LATENCY_DIGITS: u8 = 3;

/// Kinds of operations that are told apart.
pub(crate) const KINDS: usize = 5;

/// Where a kind's figures stand.
pub(crate) fn place_of(kind: Kind) -> usize {
    match kind {
        Kind::Read => 0,
        Kind::Update => 1,
        Kind::Insert => 2,
        Kind::Scan { .. } => 3,
        Kind::ReadModifyWrite => 4,
    }
}

/// Counts and latencies of a run.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Operations that were answered and not refused.
    pub(crate) ops_count: u64,
    /// Refusals, and requests lost with their connection.
    pub(crate) errors_count: u64,
    /// Reads that found their key, and scans that found an entry.
    pub(crate) hits_count: u64,
    /// Reads and scans that found none.
    pub(crate) misses_count: u64,
    /// Writes that were done; a read-modify-write is one.
    pub(crate) writes_count: u64,
    /// Under a rate, operations that were due and not even sent when the run ended.
    pub(crate) backlog_count: u64,
    /// Under a rate, operations that were sent and not answered when the run ended.
    pub(crate) unanswered_count: u64,
    /// The first thing that went wrong.
    pub(crate) first_error: Option<String>,
    /// Nanoseconds of every request in `ops_count`.
    pub(crate) latency_ns: Histogram<u64>,
    /// The same by kind, in the places of [`place_of`]; `None` where there was no such operation.
    pub(crate) kinds_latency_ns: [Option<Histogram<u64>>; KINDS],
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            ops_count: 0,
            errors_count: 0,
            hits_count: 0,
            misses_count: 0,
            writes_count: 0,
            backlog_count: 0,
            unanswered_count: 0,
            first_error: None,
            latency_ns: new_histogram(),
            kinds_latency_ns: [const { None }; KINDS],
        }
    }

    /// Counts an answer.
    pub(crate) fn on_answer(&mut self, answer: Answer) {
        if let Outcome::Refused(why) = answer.outcome {
            // Trouble counts in the warm-up too: a run that had it is not clean.
            self.on_errors(1, || why);
            return;
        }
        if !answer.operation.counted {
            return;
        }
        self.ops_count += 1;
        self.hits_count += u64::from(answer.outcome == Outcome::Hit);
        self.misses_count += u64::from(answer.outcome == Outcome::Miss);
        self.writes_count += u64::from(answer.outcome == Outcome::Written);
        let latency_ns = nanos(answer.latency);
        self.latency_ns.saturating_record(latency_ns);
        let of_kind = &mut self.kinds_latency_ns[place_of(answer.operation.kind)];
        of_kind.get_or_insert_with(new_histogram).saturating_record(latency_ns);
    }

    /// Counts `count` errors; `why` is asked for the first one only.
    pub(crate) fn on_errors(&mut self, count: u64, why: impl FnOnce() -> String) {
        self.errors_count += count;
        self.first_error.get_or_insert_with(why);
    }

    /// Adds what another worker counted.
    pub(crate) fn add(&mut self, other: Tally) {
        self.ops_count += other.ops_count;
        self.errors_count += other.errors_count;
        self.hits_count += other.hits_count;
        self.misses_count += other.misses_count;
        self.writes_count += other.writes_count;
        self.backlog_count += other.backlog_count;
        self.unanswered_count += other.unanswered_count;
        self.first_error = self.first_error.take().or(other.first_error);
        // Histograms of one range always add up.
        let _ = self.latency_ns.add(&other.latency_ns);
        for (mine, others) in self.kinds_latency_ns.iter_mut().zip(other.kinds_latency_ns) {
            if let Some(others) = others {
                let _ = mine.get_or_insert_with(new_histogram).add(others);
            }
        }
    }
}

/// An empty histogram of latencies.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS)
        .expect("the bounds are constants that the histogram takes: a test makes one")
}

/// A latency for the histogram.
pub(crate) fn nanos(latency: Duration) -> u64 {
    u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::source::Operation;

    fn answer(outcome: Outcome, micros: u64, counted: bool) -> Answer {
        let kind = if outcome == Outcome::Written { Kind::Insert } else { Kind::Read };
        let operation = Operation { key: 0, kind, counted };
        Answer { operation, latency: Duration::from_micros(micros), outcome }
    }

    #[test]
    fn every_outcome_is_counted_in_its_place() {
        let mut tally = Tally::new();
        tally.on_answer(answer(Outcome::Hit, 10, true));
        tally.on_answer(answer(Outcome::Miss, 20, true));
        tally.on_answer(answer(Outcome::Written, 30, true));
        tally.on_answer(answer(Outcome::Written, 1000, false));
        tally.on_answer(answer(Outcome::Refused("BUSY: first".to_owned()), 40, true));
        let mut sum = Tally::new();
        sum.on_errors(2, || "lost".to_owned());
        sum.add(tally);
        assert_eq!((sum.ops_count, sum.errors_count), (3, 3));
        assert_eq!((sum.hits_count, sum.misses_count, sum.writes_count), (1, 1, 1));
        assert_eq!(sum.first_error.as_deref(), Some("lost"));
        assert_eq!(sum.latency_ns.len(), 3);
        let of_kinds = sum.kinds_latency_ns.each_ref().map(|of| of.as_ref().map(Histogram::len));
        assert_eq!(of_kinds, [Some(2), None, Some(1), None, None]);
        assert!(sum.latency_ns.max().abs_diff(30_000) <= 30);
    }

    #[test]
    fn an_hour_is_a_minute() {
        let mut tally = Tally::new();
        tally.on_answer(answer(Outcome::Hit, 3_600_000_000, true));
        assert_eq!(tally.latency_ns.len(), 1);
        assert_eq!(nanos(Duration::ZERO), 1);
    }
}
