//! Requests that took long, for the slow log: what they were and how large, never a key or a value.

use std::time::Instant;

use dht_protocol::header::Header;
use dht_protocol::ids::PartitionId;
use dht_protocol::limits::HEADER_BYTES;
use dht_protocol::op::Op;

use super::Frame;

/// A request that took as long as was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowRequest {
    /// What was to be done.
    pub op: Op,
    /// On which partition; `None`: on several, or on none.
    pub partition: Option<PartitionId>,
    /// Bytes of its frame.
    pub request_bytes: usize,
    /// Bytes of its answer's frame.
    pub answer_bytes: usize,
    /// How long its own work took, nanoseconds: from when the answer before it in the batch stood in the output to
    /// when its own did. Reading, hashing and fetching from memory ahead, which a batch does in one, are not in it,
    /// and neither is the time for which it waited for others.
    pub took_ns: u64,
}

impl SlowRequest {
    /// How long it took, milliseconds with three places.
    #[must_use]
    pub fn took_ms(&self) -> f64 {
        (self.took_ns / 1_000) as f64 / 1_000.0
    }
}

/// Times the requests of one batch, one after the other.
pub(super) struct SlowWatch {
    slow_ns: u64,
    last: Instant,
}

impl SlowWatch {
    /// Starts timing for requests of at least `slow_ns`.
    pub(super) fn start(slow_ns: u64) -> SlowWatch {
        SlowWatch { slow_ns, last: Instant::now() }
    }

    /// The request of `frame` has been answered: what to tell of it, if it was slow.
    pub(super) fn lap(
        &mut self,
        frame: &Frame<'_>,
        answer_bytes: usize,
        partition: Option<PartitionId>,
    ) -> Option<SlowRequest> {
        let now = Instant::now();
        let took_ns = (now - self.last).as_nanos() as u64;
        self.last = now;
        let Header { code, .. } = frame.header;
        // What is no operation was refused, and counted as that.
        let op = Op::from_number(code)?;
        let request_bytes = HEADER_BYTES + frame.body.len();
        (took_ns >= self.slow_ns).then_some(SlowRequest {
            op,
            partition,
            request_bytes,
            answer_bytes,
            took_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_protocol::ids::{Epoch, RequestId};

    #[test]
    fn only_what_took_so_long_is_told() {
        let header = |code| Header { version: 1, code, flags: 0, request_id: RequestId(1), epoch: Epoch(1) };
        let get = Frame { header: header(Op::Get as u8), body: &[0; 5] };
        let partition = Some(PartitionId(7));
        let slow = SlowWatch::start(0).lap(&get, 30, partition).unwrap();
        assert_eq!((slow.op, slow.partition), (Op::Get, partition));
        assert_eq!((slow.request_bytes, slow.answer_bytes), (HEADER_BYTES + 5, 30));
        assert_eq!(SlowWatch::start(u64::MAX - 1).lap(&get, 30, partition), None);
        let unknown = Frame { header: header(255), ..get };
        assert_eq!(SlowWatch::start(0).lap(&unknown, 30, None), None);
        assert_eq!(SlowRequest { took_ns: 1_234_567, ..slow }.took_ms(), 1.234);
    }
}
