//! A connection of the binary door: its part of a turn, from bytes to frames to the dispatcher.

use std::time::Instant;

use dht_protocol::frame::{Cut, FrameError, cut};
use dht_protocol::header::Header;
use dht_protocol::limits::{BODY_BYTES_MAX, HEADER_BYTES};
use dht_protocol::op::{Op, flags};
use dht_protocol::response::Refusal;
use dht_protocol::status::Status;

use super::connection::Connection;
use super::turn::{Round, TurnContext, note_durations};
use crate::dispatch::{Frame, SlowRequest};
use crate::limits::BATCH_REQUESTS_MAX;

impl Connection {
    /// Answers the whole frames at the front of `bytes` until a bound is reached; says how many bytes they took.
    pub(super) fn answer_frames(&mut self, bytes: &[u8], round: Round, context: &TurnContext<'_>) -> usize {
        let Round { bounds, mut begun } = round;
        let mut used = 0;
        loop {
            let (frames, refused) = cut_batch(&bytes[used..]);
            if !frames.is_empty() {
                let end = context.dispatcher.answer(
                    &mut self.session,
                    &frames,
                    &mut self.output,
                    bounds,
                    context.metrics,
                );
                begun = note_durations(begun, end.frames_done, context.metrics);
                used += frames[..end.frames_done]
                    .iter()
                    .map(|frame| HEADER_BYTES + frame.body.len())
                    .sum::<usize>();
                if !end.slow.is_empty() {
                    self.note_slow(&end.slow, begun, context);
                }
                for status in end.refused() {
                    self.note_refusal(status.name(), context);
                }
                if end.close {
                    self.begin_close("protocol version");
                    return bytes.len();
                }
                if end.frames_done < frames.len() {
                    return used;
                }
            }
            if let Some((error, header)) = refused {
                self.refuse_stream(error, header, context);
                return bytes.len();
            }
            if frames.len() < BATCH_REQUESTS_MAX || begun >= bounds.turn_ends {
                return used;
            }
        }
    }

    fn refuse_stream(&mut self, error: FrameError, header: Option<Header>, context: &TurnContext<'_>) {
        let (status, text) = match error {
            FrameError::TooShort => (Status::Malformed, "a frame's length is at least 12"),
            FrameError::TooLong => (Status::TooLarge, "the frame is longer than the limit"),
        };
        self.note_refusal(text, context);
        if let Some(header) = header {
            self.refuse(&header, Refusal::Other(status, text.into()), context);
        }
        self.begin_close(text);
    }

    /// Refuses a request whose frame has passed by unread for lack of memory. If it was sent before, nobody knows
    /// here what became of its earlier copy, so it must not be called "not done".
    pub(super) fn refuse_passed(&mut self, header: &Header, context: &TurnContext<'_>) {
        let known_flags = Op::from_number(header.code).map_or(0, Op::flags_known);
        let sent_before = header.flags & known_flags & flags::RETRY != 0;
        let status = if sent_before { Status::OutcomeUnknown } else { Status::OutOfMemory };
        self.refuse(header, Refusal::of(status), context);
    }

    fn refuse(&mut self, header: &Header, refusal: Refusal<'_>, context: &TurnContext<'_>) {
        context.metrics.count_answer(refusal.status());
        context.dispatcher.refuse(&Frame { header: *header, body: &[] }, refusal, &mut self.output);
    }

    /// Writes slow requests to the log: what they were, never a key or a value.
    fn note_slow(&self, slow: &[SlowRequest], now: Instant, context: &TurnContext<'_>) {
        context.metrics.slow_requests.add(slow.len() as u64);
        for request in slow {
            let Some(suppressed) = context.slow_lines.admit(now) else { continue };
            let partition = request.partition.map(|partition| partition.0);
            log::warn!(
                operation = request.op.name(), took_ms = request.took_ms(), partition,
                request_bytes = request.request_bytes, answer_bytes = request.answer_bytes, peer:% = self.peer,
                suppressed;
                "slow request"
            );
        }
    }
}

/// The whole frames at the front of `bytes`, at most a batch, and what is wrong after them.
fn cut_batch(bytes: &[u8]) -> (Vec<Frame<'_>>, Option<(FrameError, Option<Header>)>) {
    let mut frames = Vec::with_capacity((bytes.len() / HEADER_BYTES).min(BATCH_REQUESTS_MAX));
    let mut rest = bytes;
    while frames.len() < BATCH_REQUESTS_MAX {
        match cut(rest, BODY_BYTES_MAX) {
            Cut::Frame { header, body, frame_bytes } => {
                frames.push(Frame { header, body });
                rest = &rest[frame_bytes..];
            }
            Cut::NeedMore { .. } => break,
            Cut::Refused { error, header } => return (frames, Some((error, header))),
        }
    }
    (frames, None)
}
