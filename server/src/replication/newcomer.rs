//! A replica that is being filled. It counts for nothing: neither for commit nor for service, until the primary has proposed
//! it and the map says so.
//!
//! It asks the primary for a copy, naming the last entry that it has applied, and takes the parts of the copy in order,
//! each once. Parts that come early wait, as many as are ever under way. With the last part it has all that was committed, and what is
//! prepared comes to it as to a backup.
//!
//! In the middle of a copy the table is no state that the partition was ever in. If the copy breaks there it starts over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dht_protocol::ids::{Cfg, Member, PartitionId, Version};
use dht_protocol::limits::VALUE_BYTES_MAX;
use dht_protocol::peer::{CopiedEntry, CopyItem, LogEntry, PeerBody};
use dht_protocol::value::ValueType;

use super::applied::Applied;
use super::backup::{Backup, Prepare};
use super::context::{Context, at};
use super::copy::bytes_of;
use super::limits::{COPY_WINDOW, MESSAGE_BYTES_MAX, OUTCOME_BYTES};
use super::log::{KeptLog, Prepared, seq_of};
use super::outcomes::Outcomes;
use super::replica_store::ReplicaStore;
use crate::clock::Time;

/// Between two requests for a copy, and how long a copy may stand still before the next.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The state of a newcomer.
#[derive(Debug)]
pub(super) struct Newcomer<R> {
    asked_at: Option<Time>,
    stream: Option<Stream>,
    /// After the last part: what is prepared.
    backup: Option<Backup<R>>,
}

#[derive(Debug)]
struct Stream {
    /// Which copy, and whose.
    number: u64,
    from: Member,
    /// The part that is expected.
    next: u64,
    heard_at: Time,
    /// Parts that have come early, by number: each behind `next` by less than [`COPY_WINDOW`], and no longer than a message.
    early: BTreeMap<u64, CopyItem>,
    /// An entry of which parts have come.
    partial: Option<Partial>,
    /// Outcomes that have come.
    outcomes: Outcomes,
}

#[derive(Debug)]
struct Partial {
    key: Arc<[u8]>,
    version: Version,
    value_type: ValueType,
    value_bytes: usize,
    value: Vec<u8>,
}

/// A part of a copy.
pub(super) struct Part {
    pub(super) from: Member,
    pub(super) cfg: Cfg,
    pub(super) stream: u64,
    pub(super) index: u64,
    pub(super) item: CopyItem,
}

/// Why a part is not taken in.
enum Broken {
    /// There is no memory for it.
    Refused,
    /// It does not go on from what is here: the copy was begun for what this replica had earlier. It asks for another.
    Gap,
}

impl<R> Newcomer<R> {
    /// A newcomer that has asked for nothing yet.
    pub(super) fn new() -> Newcomer<R> {
        Newcomer { asked_at: None, stream: None, backup: None }
    }

    /// Whether a copy has ended, so that it is kept up as a backup is.
    pub(super) fn is_filled(&self) -> bool {
        self.backup.is_some()
    }

    /// What it becomes when the map takes it in; `None`: no copy has ended.
    pub(super) fn into_backup(self) -> Option<Backup<R>> {
        self.backup
    }

    /// Number of entries that are prepared.
    pub(super) fn prepared_count(&self) -> usize {
        self.backup.as_ref().map_or(0, Backup::prepared_count)
    }

    /// What entries, outcomes and the beginning of a long value take of memory.
    pub(super) fn log_bytes(&self) -> u64 {
        let stream = self.stream.as_ref().map_or(0, |stream| {
            let partial = stream.partial.as_ref().map_or(0, |partial| partial.value.capacity());
            let early: usize = stream.early.values().map(bytes_of).sum();
            early + partial + stream.outcomes.len() * OUTCOME_BYTES
        });
        stream as u64 + self.backup.as_ref().map_or(0, Backup::log_bytes)
    }

    /// The configuration has changed; the primary is the same.
    pub(super) fn on_new_cfg(&mut self, now: Time) {
        if let Some(backup) = &mut self.backup {
            backup.on_new_cfg(now);
        }
    }

    /// Asks for a copy, where none goes on.
    pub(super) fn on_tick<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        partition: PartitionId,
        primary: Member,
        cfg: Cfg,
        applied: &Applied<S>,
    ) {
        let stream_heard = self.stream.as_ref().map(|stream| stream.heard_at);
        let heard_at = self.backup.as_ref().map(|backup| backup.heard_at).or(stream_heard);
        let last = heard_at.max(self.asked_at);
        if last.is_some_and(|at| context.now.since(at) < ASK_AGAIN) {
            return;
        }
        self.asked_at = Some(context.now);
        let applied = if applied.is_whole { applied.committed } else { Version::ABSENT };
        context.send(primary, PeerBody::CopyRequest { at: at(partition, cfg), applied });
    }

    /// The primary has sent a part of a copy.
    pub(super) fn on_part<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        partition: PartitionId,
        applied: &mut Applied<S>,
        part: Part,
    ) {
        let known = self.stream.as_ref().map_or(0, |stream| stream.number);
        if part.stream < known {
            return; // Of a copy that was given up.
        }
        if part.stream > known {
            if part.index != 0 {
                return; // It will come again behind the first.
            }
            self.stream = Some(Stream {
                number: part.stream,
                from: part.from,
                next: 0,
                early: BTreeMap::new(),
                heard_at: context.now,
                partial: None,
                outcomes: Outcomes::default(),
            });
            self.backup = None;
        }
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.from == part.from) else { return };
        if stream.next == u64::MAX {
            return; // It is over; what comes of it still is for nobody.
        }
        stream.heard_at = context.now;
        let mut refused = false;
        let is_near = part.index >= stream.next && part.index - stream.next < COPY_WINDOW as u64;
        if part.index == stream.next || (is_near && bytes_of(&part.item) <= MESSAGE_BYTES_MAX) {
            stream.early.insert(part.index, part.item);
        }
        while let Some(item) = stream.early.remove(&stream.next) {
            match take_in(stream, applied, item, context.budget.kept_max(true)) {
                Ok(is_end) => {
                    stream.next += 1;
                    if is_end {
                        self.backup = Some(Backup::new(context.now, VecDeque::new()));
                    }
                }
                Err(Broken::Refused) => {
                    refused = true;
                    applied.clear();
                    stream.early.clear();
                }
                Err(Broken::Gap) => {
                    stream.next = u64::MAX;
                    return;
                }
            }
        }
        let (at, next) = (at(partition, part.cfg), stream.next);
        context.send(part.from, PeerBody::CopyAck { at, stream: part.stream, next, refused });
        if refused {
            // Part 0 of the next copy will have a higher number.
            stream.next = u64::MAX;
        }
    }

    /// The primary has sent entries. Before the copy has ended they are left; they are sent again.
    pub(super) fn on_prepare<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        partition: PartitionId,
        applied: &mut Applied<S>,
        message: Prepare,
    ) {
        if let Some(backup) = &mut self.backup {
            backup.on_prepare(context, partition, applied, message, true);
        }
    }

    /// Checks the invariants. For tests.
    pub(super) fn check_invariants<S: ReplicaStore<Reservation = R>>(&self, applied: &Applied<S>) {
        if let Some(backup) = &self.backup {
            assert!(applied.is_whole, "a copy that has ended is whole");
            backup.check_invariants(applied.commit());
        }
    }
}

/// Takes in the next part; says whether it was the last.
fn take_in<S: ReplicaStore>(
    stream: &mut Stream,
    applied: &mut Applied<S>,
    item: CopyItem,
    kept_max: usize,
) -> Result<bool, Broken> {
    match item {
        CopyItem::Begin { fresh: true } => {
            applied.clear();
            applied.is_whole = false;
        }
        CopyItem::Begin { fresh: false } if applied.is_whole => {}
        CopyItem::Begin { fresh: false } => return Err(Broken::Gap),
        CopyItem::Piece { entries } => {
            for entry in &entries {
                write(applied, entry)?;
            }
        }
        CopyItem::Fragment { key, version, value_type, value_bytes, offset, bytes } => {
            let partial = stream.partial.get_or_insert_with(|| Partial {
                key,
                version,
                value_type,
                value_bytes: value_bytes as usize,
                value: Vec::new(),
            });
            let goes_on = (partial.version, partial.value.len()) == (version, offset as usize);
            if !goes_on || partial.value.len() + bytes.len() > partial.value_bytes.min(VALUE_BYTES_MAX) {
                return Err(Broken::Gap);
            }
            partial.value.extend_from_slice(&bytes);
            if partial.value.len() >= partial.value_bytes
                && let Some(Partial { key, version, value_type, value, .. }) = stream.partial.take()
            {
                write(applied, &CopiedEntry { key, version, value_type, value: value.into() })?;
            }
        }
        CopyItem::Committed { entry } => take_committed(applied, entry, kept_max)?,
        CopyItem::Outcomes { records, forgotten, overflowed } => {
            stream.outcomes.take_in(&records, &forgotten, overflowed);
        }
        CopyItem::End { commit } => {
            applied.outcomes = std::mem::take(&mut stream.outcomes);
            if !applied.is_whole {
                (applied.committed, applied.kept) = (commit, KeptLog::after(commit));
                applied.is_whole = true;
            }
            return Ok(true);
        }
    }
    Ok(false)
}

/// An entry that was committed while the copy went on: about what has been copied, or, where the copy goes on from what was
/// there, just the next.
fn take_committed<S: ReplicaStore>(
    applied: &mut Applied<S>,
    entry: LogEntry,
    kept_max: usize,
) -> Result<(), Broken> {
    if applied.is_whole && seq_of(&entry) <= applied.commit() {
        return Ok(());
    }
    if applied.is_whole && (seq_of(&entry) != applied.commit().next() || entry.name <= applied.committed) {
        return Err(Broken::Gap);
    }
    if entry.effect.key().is_some_and(|key| !applied.is_on_arc(key)) {
        return Err(Broken::Gap);
    }
    let reservation = applied.reserve(&entry.effect).ok_or(Broken::Refused)?;
    if applied.is_whole {
        applied.apply(Prepared { entry, reservation }, kept_max);
    } else {
        drop(reservation);
        applied.take_effect(&entry);
    }
    Ok(())
}

fn write<S: ReplicaStore>(applied: &mut Applied<S>, entry: &CopiedEntry) -> Result<(), Broken> {
    if !applied.is_on_arc(&entry.key) {
        return Err(Broken::Gap);
    }
    let hash = applied.hash_of(&entry.key);
    let reserved = applied.store.reserve(hash, entry.key.len() + entry.value.len()).ok_or(Broken::Refused)?;
    drop(reserved);
    applied.store.put(hash, entry);
    Ok(())
}
