//! Counters. Each worker has its own set and is the only one who writes it, so that counting costs no shared
//! cache line; a reader adds them up.

use std::sync::atomic::{AtomicU64, Ordering};

use dht_protocol::op::Op;
use dht_protocol::status::Status;

/// A number that one thread raises and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. Only the owning thread may call this: it is a load and a store, not one atomic step.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes `amount` off again, as for connections that end. Only the owning thread may call this.
    #[inline]
    pub fn subtract(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// The number as it is, perhaps a moment old.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one worker. Aligned so that two workers' never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// Requests by operation, in the order of [`Op::ALL`].
    requests: [Counter; Op::ALL.len()],
    /// Answers by status, in the order of [`Status::ALL`].
    answers: [Counter; Status::ALL.len()],
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// Connections open now.
    pub connections: Counter,
    /// Connections taken over since the start.
    pub connections_total: Counter,
    /// Connections closed at once because there were too many.
    pub connections_refused: Counter,
    /// Frames that were refused before a request could be read from them, or whose request was malformed.
    pub frames_refused: Counter,
    /// Times that a connection was not served because its peer does not take its answers.
    pub output_stalls: Counter,
    /// Events for a connection that had gone.
    pub stale_events: Counter,
}

impl WorkerMetrics {
    /// Counts a request.
    #[inline]
    pub fn count_request(&self, op: Op) {
        if let Some(at) = Op::ALL.iter().position(|known| *known == op) {
            self.requests[at].add(1);
        }
    }

    /// Counts an answer.
    #[inline]
    pub fn count_answer(&self, status: Status) {
        if let Some(at) = Status::ALL.iter().position(|known| *known == status) {
            self.answers[at].add(1);
        }
    }

    /// Requests of each operation.
    pub fn requests(&self) -> impl Iterator<Item = (Op, u64)> {
        Op::ALL.iter().zip(&self.requests).map(|(op, counter)| (*op, counter.get()))
    }

    /// Answers of each status.
    pub fn answers(&self) -> impl Iterator<Item = (Status, u64)> {
        Status::ALL.iter().zip(&self.answers).map(|(status, counter)| (*status, counter.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_told_apart() {
        let metrics = WorkerMetrics::default();
        metrics.count_request(Op::Get);
        metrics.count_request(Op::Get);
        metrics.count_answer(Status::NotFound);
        let requests: u64 = metrics.requests().filter(|(op, _)| *op == Op::Get).map(|(_, count)| count).sum();
        assert_eq!(requests, 2);
        assert_eq!(metrics.requests().map(|(_, count)| count).sum::<u64>(), 2);
        assert_eq!(metrics.answers().find(|(_, count)| *count > 0), Some((Status::NotFound, 1)));
    }
}
