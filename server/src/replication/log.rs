//! Log entries in memory: those that are prepared, with the memory set aside for them, and those that were committed lately.
//!
//! Invariants:
//! 1. The entries of a [`KeptLog`] have numbers that follow each other, and `before` names the one before the first.

use std::collections::VecDeque;

use dht_protocol::ids::{Seq, Version};
use dht_protocol::peer::LogEntry;

use super::limits::KEPT_BYTES_MAX;
use crate::planted::{Bug, is_planted};

/// The number of an entry.
pub(super) fn seq_of(entry: &LogEntry) -> Seq {
    Seq(entry.name.seq())
}

/// An entry that is prepared, and the memory that its effect will need.
#[derive(Debug)]
pub(super) struct Prepared<R> {
    pub(super) entry: LogEntry,
    /// `None`: it needs none.
    pub(super) reservation: Option<R>,
}

/// Committed entries, kept for replicas that come back after a short absence.
#[derive(Debug)]
pub(super) struct KeptLog {
    entries: VecDeque<LogEntry>,
    /// The entry before the first; [`Version::ABSENT`] at the start of all history.
    before: Version,
    bytes: usize,
}

impl KeptLog {
    /// Nothing is kept, and the last committed entry is `last`.
    pub(super) fn after(last: Version) -> KeptLog {
        KeptLog { entries: VecDeque::new(), before: last, bytes: 0 }
    }

    /// An entry was committed; at most `entries_max` are kept.
    pub(super) fn push(&mut self, entry: LogEntry, entries_max: usize) {
        self.bytes += entry.effect.bytes();
        self.entries.push_back(entry);
        while (self.entries.len() > entries_max || self.bytes > KEPT_BYTES_MAX)
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.effect.bytes();
            self.before = oldest.name;
        }
    }

    /// How many entries are kept, and the bytes of keys and values in them.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// Keeps nothing of what has been committed so far.
    pub(super) fn let_go(&mut self) {
        if let Some(last) = self.entries.back() {
            *self = KeptLog::after(last.name);
        }
    }

    /// Everything that was committed after `applied`; `None`: that is not known from here, or `applied` is of another history.
    pub(super) fn since(&self, applied: Version) -> Option<impl Iterator<Item = &LogEntry>> {
        let is_it = |name: Version| {
            name == applied || (is_planted(Bug::CatchUpAnyHistory) && name.seq() == applied.seq())
        };
        let skipped =
            if is_it(self.before) { 0 } else { self.entries.iter().position(|entry| is_it(entry.name))? + 1 };
        Some(self.entries.iter().skip(skipped))
    }

    /// Checks the invariant. For tests.
    pub(super) fn check_invariants(&self, committed: Version) {
        let mut last = self.before;
        for entry in &self.entries {
            // The first of all histories may begin anew, where everything was lost.
            assert!(entry.name > last, "names rise");
            assert_eq!(entry.name.seq(), last.seq() + 1, "numbers follow each other");
            last = entry.name;
        }
        assert_eq!(self.bytes, self.entries.iter().map(|entry| entry.effect.bytes()).sum::<usize>());
        assert_eq!(last, committed, "the last one kept is the last one committed");
    }
}

#[cfg(test)]
mod tests {
    use dht_protocol::ids::Cfg;
    use dht_protocol::peer::Effect;

    use super::*;

    fn entry(cfg: u32, seq: u64) -> LogEntry {
        LogEntry { name: Version::new(Cfg::new(cfg), seq), effect: Effect::NoOp, origin: None }
    }

    fn names(kept: &KeptLog, applied: Version) -> Option<Vec<u64>> {
        kept.since(applied).map(|entries| entries.map(|entry| entry.name.seq()).collect())
    }

    #[test]
    fn what_followed_is_known_by_name_not_by_number() {
        let mut kept = KeptLog::after(Version::new(Cfg::new(3), 10));
        for seq in 11..=14 {
            kept.push(entry(4, seq), 3);
        }
        kept.check_invariants(Version::new(Cfg::new(4), 14));
        assert_eq!(names(&kept, Version::new(Cfg::new(3), 10)), None, "too long ago");
        assert_eq!(names(&kept, Version::new(Cfg::new(4), 11)), Some(vec![12, 13, 14]));
        assert_eq!(names(&kept, Version::new(Cfg::new(4), 13)), Some(vec![14]));
        assert_eq!(names(&kept, Version::new(Cfg::new(4), 14)), Some(vec![]));
        assert_eq!(names(&kept, Version::new(Cfg::new(3), 13)), None, "another history");
        assert_eq!(names(&kept, Version::new(Cfg::new(4), 15)), None, "the future");
        assert_eq!(names(&kept, Version::ABSENT), None);
    }
}
