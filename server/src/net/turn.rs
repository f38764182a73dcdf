//! A connection's turn: what the worker lends for it, how far it may go, and how it ends.

use std::time::Instant;

use mio::Token;

use super::peer_links::PeerLinks;
use crate::dispatch::{AnswerBounds, Dispatcher};
use crate::limits::{
    OUTPUT_BYTES_MAX, OUTPUT_BYTES_MAX_AT_MEMORY_LIMIT, READ_BUFFER_BYTES, READ_BYTES_MAX_AT_MEMORY_LIMIT,
};
use crate::metrics::WorkerMetrics;
use crate::resp::Scratch;
use crate::throttle::Throttle;

/// What a worker lends to a connection for a turn.
pub(crate) struct TurnContext<'a> {
    pub(crate) dispatcher: &'a Dispatcher,
    pub(crate) metrics: &'a WorkerMetrics,
    /// Where bytes are read to; its content is of no meaning between turns.
    pub(crate) read_buffer: &'a mut [u8],
    /// Round of the worker's sweep.
    pub(crate) round: u32,
    /// Where a turn leaves the time at which it began.
    pub(crate) now: &'a mut Instant,
    /// Lines about refused frames.
    pub(crate) refused_lines: &'a Throttle,
    pub(crate) slow_lines: &'a Throttle,
    /// What answering RESP commands needs for a moment.
    pub(crate) scratch: &'a mut Scratch,
    /// The connection's own token, by which answers of other nodes find it.
    pub(crate) token: Token,
    /// The worker's links to other nodes.
    pub(crate) links: &'a mut PeerLinks,
}

/// One reading of a connection and what is answered of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) bounds: AnswerBounds,
    /// When it began, just before the bytes were read.
    pub(super) begun: Instant,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnEnd {
    /// Nothing to do until the socket is ready again.
    Wait,
    /// There is more to read: take another turn after the others have had theirs.
    Again,
    /// Close it; the word says why.
    Close(&'static str),
}

/// Counts for each of a batch's requests the time since the batch began: each waits for the others. One look at the
/// clock a batch, which is also when the next one begins.
pub(super) fn note_durations(begun: Instant, requests_count: usize, metrics: &WorkerMetrics) -> Instant {
    let ended = Instant::now();
    metrics.request_durations.record((ended - begun).as_nanos() as u64, requests_count as u64);
    ended
}

fn memory_is_used_up(context: &TurnContext<'_>) -> bool {
    let memory = context.dispatcher.memory();
    memory.used_bytes() >= memory.limit_bytes()
}

/// Bytes of answers that one connection may have waiting.
pub(super) fn output_bytes_max(context: &TurnContext<'_>) -> usize {
    if memory_is_used_up(context) { OUTPUT_BYTES_MAX_AT_MEMORY_LIMIT } else { OUTPUT_BYTES_MAX }
}

/// Bytes that one read may bring: what of it cannot be answered at once has to be kept.
pub(super) fn read_bytes_max(context: &TurnContext<'_>) -> usize {
    if memory_is_used_up(context) { READ_BYTES_MAX_AT_MEMORY_LIMIT } else { READ_BUFFER_BYTES }
}
