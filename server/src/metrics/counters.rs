//! Counters. Each worker has its own set and is the only one who writes it, so that counting costs no shared
//! cache line; a reader adds them up.

use std::sync::atomic::{AtomicU64, Ordering};

use dht_protocol::op::Op;
use dht_protocol::status::Status;

use super::histogram::Histogram;
use crate::resp::VERBS_COUNT;

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

/// Counters by number, some of them of no use, so that counting needs no search.
#[derive(Debug)]
struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Counters<N> {
        Counters(std::array::from_fn(|_| Counter::default()))
    }
}

const OPCODE_MAX: usize = Op::ALL[Op::ALL.len() - 1] as usize;
const STATUS_MAX: usize = Status::ALL[Status::ALL.len() - 1] as usize;

/// The counters of the acceptor.
#[derive(Debug, Default)]
pub struct AcceptorMetrics {
    /// Connections closed at once because there were as many as may be.
    pub connections_refused: Counter,
    /// Connections closed at once because too many waited for their worker.
    pub connections_refused_busy: Counter,
    /// Times that the system had no descriptor or memory for one more connection.
    pub accept_failures: Counter,
}

/// The counters of one worker. Aligned so that two workers' never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// Requests by opcode.
    requests: Counters<{ OPCODE_MAX + 1 }>,
    /// Answers by number of status.
    answers: Counters<{ STATUS_MAX + 1 }>,
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
    /// Connections closed because they were silent for the idle time-out.
    pub connections_closed_idle: Counter,
    /// Connections closed because they sent part of a request and no more.
    pub connections_closed_request: Counter,
    /// Connections closed because they took no answers.
    pub connections_closed_answers: Counter,
    /// Requests that took as long as the slow log asks for.
    pub slow_requests: Counter,
    /// Frames that were refused before a request could be read from them, or whose request was malformed.
    pub frames_refused: Counter,
    /// Times that a connection was not served because its peer does not take its answers.
    pub output_stalls: Counter,
    /// Events for a connection that had gone.
    pub stale_events: Counter,
    /// Requests over HTTP that were answered, whatever the answer.
    pub http_requests: Counter,
    /// Commands over RESP, by number of the command.
    commands: Counters<VERBS_COUNT>,
    /// Commands over RESP that are not known or have a wrong number of words.
    pub resp_refused: Counter,
    /// Requests that were sent to other nodes.
    pub peer_requests: Counter,
    /// Requests to other nodes that were not answered.
    pub peer_failures: Counter,
    /// How long requests of the binary protocol and commands over RESP took.
    pub request_durations: Histogram,
}

impl WorkerMetrics {
    /// Counts a request.
    #[inline]
    pub fn count_request(&self, op: Op) {
        self.requests.0[op as usize].add(1);
    }

    /// Counts an answer.
    #[inline]
    pub fn count_answer(&self, status: Status) {
        self.answers.0[status as usize].add(1);
    }

    /// Counts a RESP command.
    #[inline]
    pub fn count_command(&self, number: usize) {
        self.commands.0[number].add(1);
    }

    /// Commands over RESP, by number of the command.
    pub fn commands(&self) -> impl Iterator<Item = u64> {
        self.commands.0.iter().map(Counter::get)
    }

    /// Requests of each operation.
    pub fn requests(&self) -> impl Iterator<Item = (Op, u64)> {
        Op::ALL.iter().map(|op| (*op, self.requests.0[*op as usize].get()))
    }

    /// Answers of each status.
    pub fn answers(&self) -> impl Iterator<Item = (Status, u64)> {
        Status::ALL.iter().map(|status| (*status, self.answers.0[*status as usize].get()))
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
