//! When operations are due under `--rate`: an open loop, as of users who do not wait for each other.
//!
//! Operation i of a worker is due at `start + (i + phase) × period`, whatever became of those before it, and its
//! latency counts from then. While the connections are full, operations become overdue and none is forgotten: a
//! node that stands still for 100 ms at 1,000 operations a second shows in a hundred latencies, not in one. To
//! time from the sending instead is known as *coordinated omission* (Gil Tene, *How NOT to Measure Latency*,
//! Strange Loop 2015; his wrk2 is the model). The queue of overdue operations is a number, so it is as long as it
//! must be, in constant memory. No clock.

use std::time::{Duration, Instant};

/// The schedule of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    start: Instant,
    /// From one operation to the next, nanoseconds.
    period_ns: f64,
    /// Where in a period this worker begins, 0 to 1, so that workers take turns.
    phase: f64,
    /// Operations that were taken.
    taken_count: u64,
}

impl Pace {
    /// The schedule of worker number `worker` out of `workers`, which share `rate` operations a second evenly.
    pub(crate) fn new(start: Instant, rate: f64, worker: usize, workers: usize) -> Pace {
        let period_ns = 1e9 * workers as f64 / rate;
        Pace { start, period_ns, phase: worker as f64 / workers as f64, taken_count: 0 }
    }

    /// When the next operation is due. Only [`Pace::poll_due`] changes it.
    pub(crate) fn next_due(&self) -> Instant {
        let after_ns = (self.taken_count as f64 + self.phase) * self.period_ns;
        self.start + Duration::from_nanos(after_ns as u64)
    }

    /// Takes an operation that is due by `now`, and gives when it was; `None` when none is.
    pub(crate) fn poll_due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next_due();
        if due > now {
            return None;
        }
        self.taken_count += 1;
        Some(due)
    }

    /// Operations that were due before `now` and not taken.
    pub(crate) fn overdue_count(&self, now: Instant) -> u64 {
        let passed_ns = now.saturating_duration_since(self.start).as_nanos() as f64;
        // The cast takes what is below 0 for 0.
        let due_count = (passed_ns / self.period_ns - self.phase).ceil() as u64;
        due_count.saturating_sub(self.taken_count)
    }
}

#[cfg(test)]
mod tests {
    use dht_protocol::cursor::Cursor;
    use dht_protocol::frame::{Cut, cut};
    use dht_protocol::ids::{Epoch, Version};
    use dht_protocol::limits::BODY_BYTES_MAX;
    use dht_protocol::request::Key;
    use dht_protocol::response::Response;
    use dht_protocol::value::{ValueRef, ValueType};
    use hdrhistogram::Histogram;

    use super::*;
    use crate::bench::pipeline::{Job, Pipeline};
    use crate::bench::source::{Kind, Operation};
    use crate::bench::tally::Tally;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn operations_are_due_one_period_after_another() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 1000.0, 1, 2);
        assert_eq!(pace.poll_due(start), None, "half a period of 2 ms later than the first worker");
        assert_eq!(pace.next_due(), start + MS);
        assert_eq!((pace.poll_due(start + MS), pace.poll_due(start + MS)), (Some(start + MS), None));
        // Late by three: they are due when they were.
        assert_eq!(pace.overdue_count(start + 8 * MS), 3);
        for due in [3, 5, 7] {
            assert_eq!(pace.poll_due(start + 8 * MS), Some(start + due * MS));
        }
        assert_eq!((pace.poll_due(start + 8 * MS), pace.overdue_count(start + 8 * MS)), (None, 0));
        assert_eq!(pace.overdue_count(start), 0);
    }

    /// Two seconds at 1,000 reads a second, one at a time, of a node that answers within 10 µs, but not between
    /// 1.0 s and 1.1 s. With `is_open`, latencies count from when operations are due, else from their sending.
    fn latencies_with_a_stall(is_open: bool) -> Histogram<u64> {
        let start = Instant::now();
        let (tick, stall) = (Duration::from_micros(10), start + 1000 * MS..start + 1100 * MS);
        let mut pace = Pace::new(start, 1000.0, 0, 1);
        let (mut pipeline, mut tally) = (Pipeline::new(1, Epoch(3)), Tally::new());
        let operation = Operation { key: 0, kind: Kind::Read, counted: true };
        let job = Job {
            operation,
            key: Key::new(b"k").unwrap(),
            value: b"",
            cursor: Cursor::START,
            partitions: &[],
        };
        for now in (0..200_000).map(|step| start + tick * step) {
            if !stall.contains(&now)
                && let Cut::Frame { header, .. } = cut(pipeline.to_send(), BODY_BYTES_MAX)
            {
                pipeline.on_sent(pipeline.to_send().len());
                let value = ValueRef { value_type: ValueType::BYTES, bytes: b"v" };
                let mut answer = vec![];
                Response::Found { version: Version(1), value }.encode(
                    header.request_id,
                    Epoch(3),
                    &mut answer,
                );
                pipeline.on_received(&answer, now, |answer| tally.on_answer(answer)).unwrap();
            }
            if pipeline.has_room()
                && let Some(due) = pace.poll_due(now)
            {
                pipeline.push(&job, if is_open { due } else { now });
            }
        }
        assert!(pace.overdue_count(start + 2000 * MS) == 0 && tally.ops_count >= 1999);
        tally.latency_ns
    }

    #[test]
    fn a_stall_of_100_ms_shows_in_p99() {
        let open = latencies_with_a_stall(true);
        let ms = |histogram: &Histogram<u64>, at| histogram.value_at_quantile(at) as f64 / 1e6;
        // A hundred of two thousand are late, by 100 ms, 99 ms, …: the upper fifth of those is past p99.
        assert!((75.0..=85.0).contains(&ms(&open, 0.99)), "p99 {} ms", ms(&open, 0.99));
        assert!(ms(&open, 0.5) < 0.1 && ms(&open, 1.0) >= 99.0);
        let closed = latencies_with_a_stall(false);
        assert!(ms(&closed, 0.99) < 0.1, "what the schedule is for: one late operation hides the others");
    }

    #[test]
    fn a_node_that_is_too_slow_leaves_a_backlog() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 1000.0, 0, 1);
        // It takes one in two.
        for step in 0..1000 {
            assert!(pace.poll_due(start + 2 * step * MS).is_some());
        }
        let end = start + 2000 * MS;
        assert_eq!(pace.overdue_count(end), 1000);
        assert_eq!(pace.next_due(), start + 1000 * MS, "what is sent at the end is a second late");
    }
}
