//! A replica in sync that is not primary: it prepares what the primary sends, acknowledges the part without a gap, and
//! applies what is committed.
//!
//! ```text
//!   applied │ held: a list, whole           │ ahead: entries behind a gap, or a list that is not whole yet
//!   ………………… │ commit+1 … last               │
//! ```
//!
//! **Lists.** After each change of configuration, and when it has to rewrite what is prepared, the primary makes a new
//! list of all above its commit point. The backup gathers that list aside, and lets go of the old one only when it has the
//! whole new one: the primary may die before, and then the old list is what this replica answers for: every write that was
//! acknowledged stands in it. (A backup that dropped its tail first would lose those writes, if it were to become
//! primary then.) Within one configuration a newer list differs from an older one only in entries that nobody was told
//! about, so there the order would not matter; it is the same code.
//!
//! What the two lists share by name keeps the memory that was set aside for it.
//!
//! Invariants:
//! 1. `held` begins behind the last applied entry and has no gap.
//! 2. Only a confirmed list is acknowledged, and only as far as it has no gap.
//! 3. `bytes` are those of `held` and `ahead`.
//! 4. Nothing in `ahead` is further than `WINDOW_ENTRIES_MAX` from its base.

use std::collections::{BTreeMap, VecDeque};

use dht_protocol::ids::{Cfg, Member, PartitionId, Revision, Seq, Version};
use dht_protocol::peer::{ListTag, LogEntry, PeerBody};

use super::applied::Applied;
use super::budget::price_of;
use super::context::{Context, at};
use super::limits::WINDOW_ENTRIES_MAX;
use super::log::{Prepared, seq_of};
use super::replica_store::ReplicaStore;
use crate::clock::Time;
use crate::planted::{Bug, is_planted};

/// The state of a backup.
#[derive(Debug)]
pub(super) struct Backup<R> {
    /// Prepared entries, of the last list that was whole.
    held: VecDeque<Prepared<R>>,
    /// The list that the primary is sending.
    list: Option<(Cfg, ListTag)>,
    /// Whether `held` is that list, and not an earlier one.
    is_confirmed: bool,
    /// Entries of that list which are not in `held` yet, by number.
    ahead: BTreeMap<u64, Prepared<R>>,
    /// Bytes of keys and values in both.
    bytes: usize,
    /// The primary's commit point, as far as heard under this configuration.
    commit_heard: Seq,
    /// First entry of the list that was refused.
    refused: Option<Seq>,
    /// When the primary was last heard.
    pub(super) heard_at: Time,
}

/// Whether the numbers of a list are such as entries have.
fn is_possible(list: ListTag) -> bool {
    list.base.0 >= 1 && list.base.0 <= Version::SEQ_MAX && list.end.0 <= Version::SEQ_MAX
}

fn is_same(one: &LogEntry, other: &LogEntry) -> bool {
    one.name == other.name && one.effect == other.effect
}

/// A message of the primary.
pub(super) struct Prepare {
    pub(super) from: Member,
    pub(super) cfg: Cfg,
    pub(super) list: ListTag,
    pub(super) commit: Seq,
    pub(super) entries: Vec<LogEntry>,
}

impl<R> Backup<R> {
    /// A backup that holds these entries.
    pub(super) fn new(now: Time, held: VecDeque<Prepared<R>>) -> Backup<R> {
        let mut backup = Backup {
            held,
            list: None,
            is_confirmed: false,
            ahead: BTreeMap::new(),
            bytes: 0,
            commit_heard: Seq::ZERO,
            refused: None,
            heard_at: now,
        };
        backup.bytes = backup.sum_bytes();
        backup
    }

    /// Bytes of keys and values in all that is here. Cost: looks at all of it.
    fn sum_bytes(&self) -> usize {
        self.held.iter().chain(self.ahead.values()).map(|prepared| prepared.entry.effect.bytes()).sum()
    }

    /// What entries take of memory.
    pub(super) fn log_bytes(&self) -> u64 {
        price_of(self.prepared_count(), self.bytes)
    }

    /// The configuration has changed: what is held waits for the new primary's list.
    pub(super) fn on_new_cfg(&mut self, now: Time) {
        (self.list, self.is_confirmed, self.refused) = (None, false, None);
        self.ahead.clear();
        self.bytes = self.sum_bytes();
        self.commit_heard = Seq::ZERO;
        self.heard_at = now;
    }

    /// Gives what it holds, to become primary. What stands behind a gap was never acknowledged.
    pub(super) fn into_held(self) -> VecDeque<Prepared<R>> {
        self.held
    }

    /// Number of entries that are prepared.
    pub(super) fn prepared_count(&self) -> usize {
        self.held.len() + self.ahead.len()
    }

    /// The primary has sent entries, or its commit point.
    pub(super) fn on_prepare<S: ReplicaStore<Reservation = R>>(
        &mut self,
        context: &mut Context<'_>,
        partition: PartitionId,
        applied: &mut Applied<S>,
        message: Prepare,
        is_anyone_away: bool,
    ) {
        if !is_possible(message.list) {
            return;
        }
        self.heard_at = context.now;
        let known = self.list.filter(|(cfg, _)| *cfg == message.cfg).map(|(_, list)| list.revision);
        if known.is_some_and(|revision| message.list.revision < revision) {
            return; // An older list: what it says has been said again.
        }
        if known != Some(message.list.revision) {
            self.begin_list(message.cfg, message.list);
        }
        self.commit_heard = self.commit_heard.max(message.commit);
        for entry in message.entries {
            if applied.could_hold(&entry, message.cfg) {
                self.take_in(applied, message.list.base, entry);
            }
        }
        if !self.is_confirmed {
            self.confirm(applied.committed, message.list);
        }
        if self.is_confirmed {
            self.close_gap(applied.committed);
            self.commit(applied, context.budget.kept_max(is_anyone_away));
        }
        self.acknowledge(
            context,
            partition,
            applied.commit(),
            message.from,
            message.cfg,
            message.list.revision,
        );
    }

    fn begin_list(&mut self, cfg: Cfg, list: ListTag) {
        (self.list, self.is_confirmed, self.refused) = (Some((cfg, list)), false, None);
        self.ahead.clear();
        if is_planted(Bug::LoseTail) {
            self.held.clear();
        }
        self.bytes = self.sum_bytes();
    }

    /// Takes an entry of the present list, unless it is here already, too far ahead, or there is no memory for it.
    fn take_in<S: ReplicaStore<Reservation = R>>(
        &mut self,
        applied: &mut Applied<S>,
        base: Seq,
        entry: LogEntry,
    ) {
        let (seq, commit) = (seq_of(&entry), applied.commit());
        let last = if self.is_confirmed { self.last(commit) } else { Seq(base.0.max(1) - 1).max(commit) };
        let is_here = seq <= commit || (self.is_confirmed && seq <= last) || self.ahead.contains_key(&seq.0);
        if is_here || seq.0 > last.0 + WINDOW_ENTRIES_MAX {
            return;
        }
        let reservation = if self.is_in_old_list(commit, &entry) {
            // Until the new list is whole the old one's entry keeps what was set aside for both.
            None
        } else if let Some(reservation) = applied.reserve(&entry.effect) {
            reservation
        } else {
            self.refused = Some(self.refused.map_or(seq, |refused| refused.min(seq)));
            return;
        };
        self.bytes += entry.effect.bytes();
        self.ahead.insert(seq.0, Prepared { entry, reservation });
    }

    /// Whether the list that a new one is to replace has the very same entry.
    fn is_in_old_list(&self, commit: Seq, entry: &LogEntry) -> bool {
        let place = seq_of(entry).0.saturating_sub(commit.0 + 1) as usize;
        let old = self.held.get(place).filter(|_| !self.is_confirmed);
        old.is_some_and(|old| is_same(&old.entry, entry))
    }

    /// Puts the new list in place of the old one, if it is whole.
    fn confirm(&mut self, committed: Version, list: ListTag) {
        let commit = Seq(committed.seq());
        let first = list.base.0.max(commit.0 + 1);
        let is_whole = (first..=list.end.0).all(|seq| self.ahead.contains_key(&seq));
        // Below the list is what the primary has committed. A replica that was in sync has it.
        let below = list.base.0.saturating_sub(commit.0 + 1) as usize;
        if !is_whole || self.held.len() < below {
            return;
        }
        let kept = self.held.iter().take(below);
        let new = self.ahead.range(first..=list.end.0.max(first)).map(|(_, new)| new);
        let names = kept.chain(new).map(|prepared| prepared.entry.name);
        if !std::iter::once(committed).chain(names).is_sorted_by(|one, next| one < next) {
            return; // No primary makes such a list. It is never confirmed, and this replica will be filled anew.
        }
        let mut old = self.held.split_off(below);
        for seq in first..=list.end.0 {
            let mut new = self.ahead.remove(&seq).expect("the list is whole");
            if let Some(old) = old.pop_front()
                && is_same(&old.entry, &new.entry)
            {
                new.reservation = new.reservation.or(old.reservation);
            }
            self.held.push_back(new);
        }
        if is_planted(Bug::MixLists) {
            self.held.append(&mut old);
        }
        self.is_confirmed = true;
        self.bytes = self.sum_bytes();
    }

    /// Moves what has no gap before it any more. (An entry whose name does not follow is none that a primary makes.)
    fn close_gap(&mut self, committed: Version) {
        while let Some(next) = self.ahead.remove(&self.last(Seq(committed.seq())).next().0) {
            let last = self.held.back().map_or(committed, |prepared| prepared.entry.name);
            if next.entry.name <= last {
                self.bytes -= next.entry.effect.bytes();
                return;
            }
            self.held.push_back(next);
        }
    }

    fn commit<S: ReplicaStore<Reservation = R>>(&mut self, applied: &mut Applied<S>, kept_max: usize) {
        while applied.commit() < self.commit_heard
            && let Some(next) = self.held.pop_front()
        {
            self.bytes -= next.entry.effect.bytes();
            applied.apply(next, kept_max);
        }
    }

    /// Last entry without a gap before it, of what is held.
    fn last(&self, commit: Seq) -> Seq {
        self.held.back().map_or(commit, |prepared| seq_of(&prepared.entry))
    }

    fn acknowledge(
        &mut self,
        context: &mut Context<'_>,
        partition: PartitionId,
        commit: Seq,
        primary: Member,
        cfg: Cfg,
        revision: Revision,
    ) {
        let mut upto = self.last(commit);
        if is_planted(Bug::CommitAcrossGap) {
            upto = self.ahead.keys().next_back().map_or(upto, |&seq| Seq(seq).max(upto));
        }
        let (upto, refused) = match self.refused {
            // It names the entry that was refused and acknowledges nothing.
            Some(refused) => (Seq(refused.0 - 1), true),
            None if !self.is_confirmed => return,
            None => (upto, false),
        };
        let body = PeerBody::Prepared { at: at(partition, cfg), revision, upto, refused };
        context.send(primary, body);
    }

    /// Checks the invariants. For tests.
    pub(super) fn check_invariants(&self, commit: Seq) {
        for (place, prepared) in self.held.iter().enumerate() {
            assert_eq!(seq_of(&prepared.entry).0, commit.0 + 1 + place as u64, "a gap in what is held");
        }
        assert_eq!(self.bytes, self.sum_bytes());
        assert!(self.ahead.len() <= 2 * WINDOW_ENTRIES_MAX as usize);
    }
}
