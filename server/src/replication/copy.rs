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
//! A long value waits by reference, and is cut into fragments as the window has room for them. All of them are cut from
//! the one value that the reference was taken to, so they are of one version, whatever has become of the key since; what has is
//! committed behind them in the stream. While a long value waits no further piece is cut, so few are kept from being freed.
//!
//! Sent again is everything from the first part that was not acknowledged (go-back-N): simple, and a link loses little.
//!
//! Invariants:
//! 1. Parts have numbers that follow each other; `window` begins with number `first`, and each of its parts has been sent.
//! 2. After `End` nothing is added: what follows goes to the newcomer as to a backup.
//! 3. `long_count` and `committed_bytes` are those of `waiting`.

use std::collections::VecDeque;
use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::{Cfg, Member, PartitionId, Version};
use dht_protocol::peer::{CopyItem, Effect, LogEntry, PeerBody};
use dht_protocol::placement::hash::KeyHash;

use super::applied::Applied;
use super::budget::price_of;
use super::context::{Context, at};
use super::limits::{
    COPY_QUEUE_BYTES_MAX, COPY_QUEUE_MAX, CopyPace, OUTCOME_BYTES, OUTCOMES_PER_PART, PIECE_BYTES_MAX,
};
use super::replica_store::{LongEntry, Piece, ReplicaStore};
use super::resend::Resend;
use crate::clock::Time;
use crate::planted::{Bug, is_planted};
use crate::timings::COPY_STALL;

/// A copy under way.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) newcomer: Member,
    stream: u64,
    /// Everything before it has been cut; `None`: no pieces, the newcomer goes on from what it has.
    frontier: Option<Cursor>,
    /// What has no number yet, in order.
    waiting: VecDeque<Queued>,
    /// Long values in `waiting`.
    long_count: usize,
    /// Bytes of keys and values in what was committed and waits.
    committed_bytes: usize,
    /// Parts that have been sent and not acknowledged.
    window: VecDeque<Queued>,
    /// Number of the first part in the window.
    first: u64,
    /// Parts of the window that need not be sent now.
    sent: usize,
    resend: Resend,
    progress_at: Time,
    has_ended: bool,
}

#[derive(Debug)]
enum Queued {
    Item(CopyItem),
    /// In the window: a fragment, from this offset. Waiting: all fragments from there on.
    Fragment(LongEntry, usize),
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
            waiting: VecDeque::new(),
            long_count: 0,
            committed_bytes: 0,
            window: VecDeque::new(),
            first: 0,
            sent: 0,
            resend: Resend::new(now),
            progress_at: now,
            has_ended: false,
        };
        let missed = if has.is_absent() { None } else { applied.kept.since(has) };
        copy.push(CopyItem::Begin { fresh: missed.is_none() });
        if let Some(missed) = missed {
            copy.frontier = None;
            missed.for_each(|entry| copy.push_committed(entry));
        }
        copy
    }

    /// Whether the newcomer has stood still for too long, or has fallen too far behind.
    pub(super) fn is_hopeless(&self, now: Time) -> bool {
        now.since(self.progress_at) >= COPY_STALL
            || self.queued_count() > COPY_QUEUE_MAX
            || self.committed_bytes > COPY_QUEUE_BYTES_MAX
    }

    /// What the committed entries that wait take of memory. (What was cut from the table is in it, or was just now.)
    pub(super) fn log_bytes(&self) -> u64 {
        price_of(self.waiting.len(), self.committed_bytes)
    }

    fn queued_count(&self) -> usize {
        self.waiting.len() + self.window.len()
    }

    /// Whether what waits is enough for now.
    fn has_enough_queued(&self, pace: CopyPace) -> bool {
        self.queued_count() >= pace.window || self.long_count > 0
    }

    /// Cuts further pieces while there is room for them; true: the last part has just been added, which it is only where
    /// `may_end`.
    pub(super) fn fill<S: ReplicaStore>(
        &mut self,
        pace: CopyPace,
        applied: &Applied<S>,
        may_end: bool,
    ) -> bool {
        if self.has_ended {
            return false;
        }
        let (_, end) = applied.store.range();
        while let Some(frontier) = self.frontier.filter(|frontier| *frontier < end) {
            if self.has_enough_queued(pace) {
                return false;
            }
            let piece = applied.store.cut(frontier, pace.piece_bytes);
            self.frontier = Some(piece.next);
            self.push_piece(piece);
        }
        if self.has_enough_queued(pace) || !may_end {
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

    /// Adds what was cut from the table: short entries together, long ones each for itself.
    fn push_piece(&mut self, cut: Piece) {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        for entry in cut.entries {
            let entry_bytes = entry.key.len() + entry.value.len();
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
        self.long_count += cut.long.len();
        self.waiting.extend(cut.long.into_iter().map(|entry| Queued::Fragment(entry, 0)));
    }

    fn push(&mut self, item: CopyItem) {
        self.waiting.push_back(Queued::Item(item));
    }

    fn push_committed(&mut self, entry: &LogEntry) {
        self.committed_bytes += entry.effect.bytes();
        self.push(CopyItem::Committed { entry: entry.clone() });
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
        if is_planted(Bug::DeleteOvertakesPiece) && matches!(entry.effect, Effect::Delete { .. }) {
            return; // As good as having come first.
        }
        self.push_committed(entry);
    }

    /// The newcomer says how far it is.
    pub(super) fn on_ack(&mut self, now: Time, stream: u64, next: u64, refused: bool) -> Progress {
        if stream != self.stream {
            return Progress::GoesOn;
        }
        if refused {
            return Progress::Refused;
        }
        let arrived = next.saturating_sub(self.first).min(self.window.len() as u64) as usize;
        if arrived > 0 {
            self.window.drain(..arrived);
            self.first += arrived as u64;
            self.sent = self.sent.saturating_sub(arrived);
            (self.progress_at, self.resend) = (now, Resend::new(now));
        }
        if self.has_ended && self.queued_count() == 0 { Progress::Arrived } else { Progress::GoesOn }
    }

    /// Takes the next part from what waits; false: there is none.
    fn open_window(&mut self) -> bool {
        if let Some(Queued::Fragment(entry, offset)) = self.waiting.front_mut()
            && entry.value.bytes().len() - *offset > PIECE_BYTES_MAX
        {
            self.window.push_back(Queued::Fragment(entry.clone(), *offset));
            *offset += PIECE_BYTES_MAX;
            return true;
        }
        let Some(next) = self.waiting.pop_front() else { return false };
        match &next {
            Queued::Fragment(..) => self.long_count -= 1,
            Queued::Item(CopyItem::Committed { entry }) => self.committed_bytes -= entry.effect.bytes(),
            Queued::Item(_) => {}
        }
        self.window.push_back(next);
        true
    }

    /// Sends what the window allows, again what was not acknowledged in time.
    pub(super) fn send(&mut self, context: &mut Context<'_>, partition: PartitionId, cfg: Cfg) {
        let is_under_way = self.sent > 0;
        if is_under_way && self.resend.is_due(context.now) {
            self.resend.on_resent(context.now, self.window.iter().map(Queued::bytes).sum());
            self.sent = 0;
        }
        while self.sent < context.pace.window && (self.sent < self.window.len() || self.open_window()) {
            let item = self.window[self.sent].item();
            let index = self.first + self.sent as u64;
            let body = PeerBody::Copy { at: at(partition, cfg), stream: self.stream, index, item };
            context.send(self.newcomer, body);
            self.sent += 1;
            if !is_under_way {
                self.resend.on_sent(context.now);
            }
        }
    }
}

impl Queued {
    /// Bytes of keys and values, about.
    fn bytes(&self) -> usize {
        match self {
            Queued::Fragment(entry, offset) => (entry.value.bytes().len() - offset).min(PIECE_BYTES_MAX),
            Queued::Item(item) => bytes_of(item),
        }
    }

    fn item(&self) -> CopyItem {
        match self {
            Queued::Item(item) => item.clone(),
            Queued::Fragment(entry, offset) => {
                let value = entry.value.bytes();
                let end = value.len().min(offset + PIECE_BYTES_MAX);
                CopyItem::Fragment {
                    key: Arc::clone(&entry.key),
                    version: entry.version,
                    value_type: entry.value_type,
                    value_bytes: value.len() as u32,
                    offset: *offset as u32,
                    bytes: Arc::from(&value[*offset..end]),
                }
            }
        }
    }
}

/// Bytes of keys, values and outcomes in a part, about.
pub(super) fn bytes_of(item: &CopyItem) -> usize {
    match item {
        CopyItem::Piece { entries } => entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum(),
        CopyItem::Fragment { key, bytes, .. } => key.len() + bytes.len(),
        CopyItem::Committed { entry } => entry.effect.bytes(),
        CopyItem::Outcomes { records, .. } => records.len() * OUTCOME_BYTES,
        CopyItem::Begin { .. } | CopyItem::End { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use dht_protocol::ids::{Incarnation, NodeId, Seq};
    use dht_protocol::peer::CopiedEntry;
    use dht_protocol::placement::hash::HashKey;
    use dht_protocol::placement::ring::Ring;
    use dht_protocol::value::ValueType;

    use super::*;
    use crate::memory::MemoryAccount;
    use crate::replication::log::Prepared;
    use crate::store::{Pool, ReplicaPartition};

    const HASH_KEY: HashKey = HashKey::GUESSABLE;
    const VALUE_BYTES: usize = 2 << 20;
    const NOW: Time = Time(1_000_000_000);

    fn applied() -> Applied<ReplicaPartition> {
        let pool = Pool::new(MemoryAccount::new(u64::MAX));
        let ring = Ring::new(16).unwrap();
        Applied::new(ReplicaPartition::new(PartitionId(0), ring, HASH_KEY, pool), HASH_KEY)
    }

    fn keys(count: usize) -> Vec<Arc<[u8]>> {
        let ring = Ring::new(16).unwrap();
        let keys = (0..).map(|number: u32| number.to_string());
        let ours = keys.filter(|key| ring.partition_of(HASH_KEY.hash(key.as_bytes())) == PartitionId(0));
        ours.take(count).map(|key| key.as_bytes().into()).collect()
    }

    /// Applies the next entry, which puts `bytes` times its number's last byte, and tells the copy of it.
    fn put(applied: &mut Applied<ReplicaPartition>, copy: Option<&mut Copy>, key: &Arc<[u8]>, bytes: usize) {
        let seq = applied.commit().next().0;
        let (key, value) = (Arc::clone(key), vec![seq as u8; bytes].into());
        let hash = HASH_KEY.hash(&key);
        let effect = Effect::Put { key, value_type: ValueType::BYTES, value };
        let entry = LogEntry { name: Version::new(Cfg::new(1), seq), effect, origin: None };
        applied.apply(Prepared { entry: entry.clone(), reservation: None }, 16);
        if let Some(copy) = copy {
            copy.on_committed(&entry, Some(hash));
        }
    }

    #[test]
    fn long_values_are_cut_as_they_are_sent_and_each_is_of_one_version() {
        let mut applied = applied();
        let keys = keys(40);
        keys.iter().for_each(|key| put(&mut applied, None, key, VALUE_BYTES));
        let newcomer = Member { node: NodeId(1), incarnation: Incarnation(1) };
        let mut copy = Copy::begin(NOW, 1, newcomer, Version::ABSENT, &applied);
        let mut copied: std::collections::BTreeMap<Vec<u8>, CopiedEntry> = Default::default();
        let mut partial: Vec<u8> = Vec::new();
        let mut next = 0;
        loop {
            let has_just_ended = copy.fill(CopyPace::FULL, &applied, true);
            assert!(copy.queued_count() <= 2 * CopyPace::FULL.window, "{} wait", copy.queued_count());
            assert!(
                !has_just_ended || copy.long_count == 0,
                "who begins to count has but a few parts to come"
            );
            while copy.sent < copy.window.len() || (copy.window.len() < 4 && copy.open_window()) {
                let item = copy.window[copy.sent].item();
                copy.sent += 1;
                next += 1;
                match item {
                    CopyItem::Fragment { key, version, value_type, value_bytes, offset, bytes } => {
                        assert_eq!(offset as usize, partial.len());
                        partial.extend_from_slice(&bytes);
                        if partial.len() == value_bytes as usize {
                            let value = std::mem::take(&mut partial).into();
                            let entry = CopiedEntry { key, version, value_type, value };
                            copied.insert(entry.key.to_vec(), entry);
                        }
                    }
                    CopyItem::Committed { entry: LogEntry { name: version, effect, .. } } => {
                        let Effect::Put { key, value_type, value } = effect else { panic!("{effect:?}") };
                        copied.insert(key.to_vec(), CopiedEntry { key, version, value_type, value });
                    }
                    CopyItem::Begin { .. } | CopyItem::Outcomes { .. } | CopyItem::End { .. } => {}
                    CopyItem::Piece { .. } => panic!("all values are long"),
                }
            }
            // Some are overwritten, in the midst of their fragments, too.
            if next % 100 == 0 && applied.commit() < Seq(60) {
                let key = &keys[next as usize / 100 % keys.len()];
                put(&mut applied, Some(&mut copy), key, VALUE_BYTES - 1);
            }
            if copy.on_ack(NOW, 1, next, false) == Progress::Arrived {
                break;
            }
        }
        assert!(applied.commit() > Seq(50), "some were overwritten");
        for key in &keys {
            let stored = applied.read(HASH_KEY.hash(key), key).unwrap();
            let copied = &copied[&key[..].to_vec()];
            assert_eq!(copied.version, stored.version);
            assert!(
                copied.value == stored.value
                    && copied.value.iter().all(|byte| *byte == stored.version.seq() as u8)
            );
        }
    }
}
