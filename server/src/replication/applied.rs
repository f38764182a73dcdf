//! What a replica has applied: the table, the outcomes, how far they have come, and the entries that brought them there.
//!
//! Invariants:
//! 1. While `is_whole`, table and outcomes are what the entries up to `committed` make, and nothing else.
//! 2. `committed` never falls but when everything is thrown away.

use std::sync::Arc;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::{Cfg, ClientId, Seq, Version};
use dht_protocol::peer::{CopiedEntry, Effect, LogEntry};
use dht_protocol::placement::hash::{HashKey, KeyHash};

use super::budget::price_of;
use super::limits::OUTCOME_BYTES;
use super::log::{KeptLog, Prepared, seq_of};
use super::outcomes::Outcomes;
use super::replica_store::{ReplicaStore, Stored};

/// The committed state of a replica.
#[derive(Debug)]
pub(super) struct Applied<S: ReplicaStore> {
    pub(super) store: S,
    pub(super) outcomes: Outcomes,
    /// Name of the last entry applied; absent: none.
    pub(super) committed: Version,
    pub(super) kept: KeptLog,
    /// Whether it is a state that the partition was in; not so in the middle of a copy.
    pub(super) is_whole: bool,
    hash_key: HashKey,
    /// Clients of whom something was forgotten since this was last looked at, and up to which number.
    pub(super) forgotten: Vec<(ClientId, u64)>,
}

impl<S: ReplicaStore> Applied<S> {
    /// Nothing has been applied.
    pub(super) fn new(store: S, hash_key: HashKey) -> Applied<S> {
        let kept = KeptLog::after(Version::ABSENT);
        let committed = Version::ABSENT;
        Applied {
            store,
            outcomes: Outcomes::default(),
            committed,
            kept,
            is_whole: true,
            hash_key,
            forgotten: Vec::new(),
        }
    }

    /// Number of the last entry applied.
    pub(super) fn commit(&self) -> Seq {
        Seq(self.committed.seq())
    }

    pub(super) fn hash_of(&self, key: &[u8]) -> KeyHash {
        self.hash_key.hash(key)
    }

    /// Whether that entry can be one of this partition's log, under a configuration not above `cfg`: peers' bytes are looked at
    /// before they reach the table.
    pub(super) fn could_hold(&self, entry: &LogEntry, cfg: Cfg) -> bool {
        let is_ours = entry.effect.key().is_none_or(|key| self.is_on_arc(key));
        is_ours && entry.name.cfg() <= cfg && entry.name.seq() > 0
    }

    /// Whether the key's hash lies on this partition's arc.
    pub(super) fn is_on_arc(&self, key: &[u8]) -> bool {
        let (start, end) = self.store.range();
        let at = Cursor::of_hash(self.hash_of(key));
        start <= at && at < end
    }

    pub(super) fn read(&self, hash: KeyHash, key: &[u8]) -> Option<Stored> {
        self.store.read(hash, key)
    }

    /// Sets aside what the effect of `entry` will need; `None`: there is no memory.
    #[expect(clippy::option_option, reason = "no memory is needed, or there is none")]
    pub(super) fn reserve(&mut self, effect: &Effect) -> Option<Option<S::Reservation>> {
        match effect {
            Effect::Put { key, .. } => {
                let hash = self.hash_of(key);
                self.store.reserve(hash, effect.bytes()).map(Some)
            }
            Effect::Delete { .. } | Effect::NoOp | Effect::Forget { .. } => Some(None),
        }
    }

    /// Applies the next entry. `kept_max` of them are kept, for a replica that may come back.
    ///
    /// # Panics
    /// When it is not the next.
    pub(super) fn apply(&mut self, prepared: Prepared<S::Reservation>, kept_max: usize) {
        let Prepared { entry, reservation } = prepared;
        assert_eq!(seq_of(&entry), self.commit().next(), "entries are applied in order, none left out");
        assert!(entry.name > self.committed, "versions rise");
        // What was set aside is free for the write itself.
        drop(reservation);
        self.take_effect(&entry);
        if let Some(origin) = &entry.origin {
            self.outcomes.on_committed(origin);
        }
        if let Effect::Forget { client, seq } = entry.effect {
            self.outcomes.forget(client, seq);
            self.forgotten.push((client, seq));
        }
        self.committed = entry.name;
        self.kept.push(entry, kept_max);
    }

    /// Does to the table what the entry says.
    pub(super) fn take_effect(&mut self, entry: &LogEntry) {
        match &entry.effect {
            Effect::Put { key, value_type, value } => {
                let (key, value) = (Arc::clone(key), Arc::clone(value));
                let hash = self.hash_of(&key);
                let written = CopiedEntry { key, version: entry.name, value_type: *value_type, value };
                self.store.put(hash, &written);
            }
            Effect::Delete { key } => self.store.delete(self.hash_of(key), key),
            Effect::NoOp | Effect::Forget { .. } => {}
        }
    }

    /// What entries and outcomes take of memory.
    pub(super) fn log_bytes(&self) -> u64 {
        let (entries, bytes) = self.kept.size();
        price_of(entries, bytes) + (self.outcomes.len() * OUTCOME_BYTES) as u64
    }

    /// Throws everything away.
    pub(super) fn clear(&mut self) {
        self.store.clear();
        self.outcomes = Outcomes::default();
        self.committed = Version::ABSENT;
        self.kept = KeptLog::after(Version::ABSENT);
        self.is_whole = true;
    }

    /// Checks the invariants that can be seen. For tests.
    pub(super) fn check_invariants(&self) {
        self.outcomes.check_invariants();
        if self.is_whole {
            self.kept.check_invariants(self.committed);
        }
    }
}
