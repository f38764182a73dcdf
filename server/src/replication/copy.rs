//! Filling a newcomer, as the primary does it: one ordered stream of parts, each acknowledged.
//!
//! ```text
//!   hashes  ├──── passed ────┤frontier├──── not yet ────┤
//!            effects follow             effects are left to
//!            in the stream              the piece that will come
//! ```
//!
//! A piece is cut from the table and the frontier moves past its hashes in the same step. From then on whatever is committed
//! for a hash that was passed goes into the stream, behind the piece; what is committed for another is in the table
//! when its piece is cut. So the newcomer ends with what the table holds, whichever way the two are interleaved. (A
//! delete that overtook its piece would leave the entry behind for good.)
//!
//! A newcomer that has applied some of this very history, and misses no more than what is kept of it, gets just that.
//!
//! Sent again is everything from the first part that was not acknowledged (go-back-N): simple, and a link loses little.
//!
//! Invariants:
//! 1. Parts have numbers that follow each other; `queue` begins with number `first`.
//! 2. After `End` nothing is added: what follows goes to the newcomer as to a backup.

use std::collections::VecDeque;
use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::{Cfg, Member, PartitionId, Version};
use dht_protocol::peer::{CopiedEntry, CopyItem, Effect, LogEntry, PeerBody};
use dht_protocol::placement::hash::KeyHash;

use super::applied::Applied;
use super::context::{Context, at};
use super::limits::{COPY_QUEUE_MAX, CopyPace, OUTCOMES_PER_PART, PIECE_BYTES_MAX};
use super::replica_store::ReplicaStore;
use crate::clock::Time;
use crate::planted::{Bug, is_planted};
use crate::timings::{COPY_STALL, RESEND};

/// A copy under way.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) newcomer: Member,
    stream: u64,
    /// Everything before it has been cut; `None`: no pieces, the newcomer goes on from what it has.
    frontier: Option<Cursor>,
    queue: VecDeque<Queued>,
    /// Number of the first part in the queue.
    first: u64,
    /// Parts of the queue that have been sent.
    sent: usize,
    /// Number behind the last part that has ever been sent.
    sent_upto: u64,
    sent_at: Time,
    progress_at: Time,
    has_ended: bool,
}

#[derive(Debug)]
enum Queued {
    Item(CopyItem),
    /// A fragment, from this offset: cut when it is sent.
    Fragment(CopiedEntry, usize),
}

/// What an acknowledgement says of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    GoesOn,
    /// All of it has arrived.
    Arrived,
    /// The newcomer has no memory for it.
    Refused,
}

impl Copy {
    /// Begins to fill `newcomer`, which says that `has` was the last entry it applied.
    pub(super) fn begin<S: ReplicaStore>(
        now: Time,
        stream: u64,
        newcomer: Member,
        has: Version,
        applied: &Applied<S>,
    ) -> Copy {
        let mut copy = Copy {
            newcomer,
            stream,
            frontier: Some(applied.store.range().0),
            queue: VecDeque::new(),
            first: 0,
            sent: 0,
            sent_upto: 0,
            sent_at: now,
            progress_at: now,
            has_ended: false,
        };
        let missed = if has.is_absent() { None } else { applied.kept.since(has) };
        copy.push(CopyItem::Begin { fresh: missed.is_none() });
        if let Some(missed) = missed {
            copy.frontier = None;
            copy.queue.extend(missed.map(|entry| Queued::Item(CopyItem::Committed { entry: entry.clone() })));
        }
        copy
    }

    /// Whether the newcomer has stood still for too long, or has fallen too far behind.
    pub(super) fn is_hopeless(&self, now: Time) -> bool {
        now.since(self.progress_at) >= COPY_STALL || self.queue.len() > COPY_QUEUE_MAX
    }

    /// Cuts further pieces while there is room for them; true: the last part has just been added.
    pub(super) fn fill<S: ReplicaStore>(&mut self, pace: CopyPace, applied: &Applied<S>) -> bool {
        if self.has_ended {
            return false;
        }
        let (_, end) = applied.store.range();
        while let Some(frontier) = self.frontier.filter(|frontier| *frontier < end) {
            if self.queue.len() >= pace.window {
                return false;
            }
            let (entries, next) = applied.store.piece(frontier, pace.piece_bytes);
            self.frontier = Some(next);
            self.push_piece(entries);
        }
        if self.queue.len() >= pace.window {
            return false;
        }
        let (records, forgotten, overflowed) = applied.outcomes.to_copy();
        for part in records.chunks(OUTCOMES_PER_PART) {
            self.push(CopyItem::Outcomes {
                records: part.to_vec(),
                forgotten: Vec::new(),
                overflowed: false,
            });
        }
        self.push(CopyItem::Outcomes { records: Vec::new(), forgotten, overflowed });
        self.push(CopyItem::End { commit: applied.committed });
        self.has_ended = true;
        true
    }

    /// Adds what was cut from the table: short entries together, long ones in fragments.
    fn push_piece(&mut self, entries: Vec<CopiedEntry>) {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        for entry in entries {
            let entry_bytes = entry.key.len() + entry.value.len();
            if entry.value.len() > PIECE_BYTES_MAX {
                let offsets = (0..entry.value.len()).step_by(PIECE_BYTES_MAX);
                self.queue.extend(offsets.map(|offset| Queued::Fragment(entry.clone(), offset)));
                continue;
            }
            if bytes + entry_bytes > PIECE_BYTES_MAX && !piece.is_empty() {
                self.push(CopyItem::Piece { entries: std::mem::take(&mut piece) });
                bytes = 0;
            }
            bytes += entry_bytes;
            piece.push(entry);
        }
        if !piece.is_empty() {
            self.push(CopyItem::Piece { entries: piece });
        }
    }

    fn push(&mut self, item: CopyItem) {
        self.queue.push_back(Queued::Item(item));
    }

    /// An entry was committed; `hash` is its key's.
    pub(super) fn on_committed(&mut self, entry: &LogEntry, hash: Option<KeyHash>) {
        let is_passed = match (self.frontier, hash) {
            (None, _) => true,
            (Some(frontier), Some(hash)) => Cursor::of_hash(hash) < frontier,
            // It changes only outcomes, which come at the end.
            (Some(_), None) => false,
        };
        if self.has_ended || !is_passed {
            return;
        }
        let item = Queued::Item(CopyItem::Committed { entry: entry.clone() });
        if is_planted(Bug::DeleteOvertakesPiece) && matches!(entry.effect, Effect::Delete { .. }) {
            return; // As good as having come first.
        }
        self.queue.push_back(item);
    }

    /// The newcomer says how far it is.
    pub(super) fn on_ack(&mut self, now: Time, stream: u64, next: u64, refused: bool) -> Progress {
        if stream != self.stream {
            return Progress::GoesOn;
        }
        if refused {
            return Progress::Refused;
        }
        let arrived =
            next.min(self.sent_upto).saturating_sub(self.first).min(self.queue.len() as u64) as usize;
        if arrived > 0 {
            self.queue.drain(..arrived);
            self.first += arrived as u64;
            self.sent = self.sent.saturating_sub(arrived);
            (self.progress_at, self.sent_at) = (now, now);
        }
        if self.has_ended && self.queue.is_empty() { Progress::Arrived } else { Progress::GoesOn }
    }

    /// Sends what the window allows, again what was not acknowledged in time.
    pub(super) fn send(&mut self, context: &mut Context<'_>, partition: PartitionId, cfg: Cfg) {
        if self.sent > 0 && context.now.since(self.sent_at) >= RESEND {
            self.sent = 0;
        }
        while self.sent < self.queue.len().min(context.pace.window) {
            let item = self.queue[self.sent].item();
            let index = self.first + self.sent as u64;
            let body = PeerBody::Copy { at: at(partition, cfg), stream: self.stream, index, item };
            context.send(self.newcomer, body);
            self.sent += 1;
            self.sent_upto = self.sent_upto.max(index + 1);
            self.sent_at = context.now;
        }
    }
}

impl Queued {
    fn item(&self) -> CopyItem {
        match self {
            Queued::Item(item) => item.clone(),
            Queued::Fragment(entry, offset) => {
                let end = entry.value.len().min(offset + PIECE_BYTES_MAX);
                CopyItem::Fragment {
                    key: Arc::clone(&entry.key),
                    version: entry.version,
                    value_type: entry.value_type,
                    value_bytes: entry.value.len() as u32,
                    offset: *offset as u32,
                    bytes: Arc::from(&entry.value[*offset..end]),
                }
            }
        }
    }
}
