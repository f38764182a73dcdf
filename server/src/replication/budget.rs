//! What the replicas of a node hold in memory besides their tables: entries that are prepared, entries that are kept for who comes
//! back, outcomes, and what was committed and waits for a newcomer. All of it is charged to the node's account, whether it fits
//! or not, as it is there already; and it has a budget.
//!
//! When three quarters of the budget are used ([`LogBudget::is_short`]), nothing more is kept for who comes back, who then is filled
//! anew, and outcomes are forgotten earlier, by entries of the log. When all of it is used, a partition that has something
//! prepared takes no more writes until that is committed; they are told *busy*.
//!
//! Invariants:
//! 1. What is charged is the sum of what the replicas have been charged with ([`LogBudget::settle`]).

use std::sync::Arc;

use super::limits::{
    KEPT_ENTRIES_IDLE, KEPT_ENTRIES_MAX, LOG_BYTES_MAX, LOG_ENTRY_BYTES, OUTCOMES_MAX, OUTCOMES_SHORT_MAX,
};
use crate::memory::{Charge, MemoryAccount, MemoryKind};

/// Bytes that the logs and outcomes of all replicas of a node may take up.
#[derive(Debug)]
pub struct LogBudget {
    bytes_max: u64,
    charge: Charge,
}

impl Default for LogBudget {
    /// The usual budget, on an account of its own.
    fn default() -> LogBudget {
        LogBudget::new(MemoryAccount::new(u64::MAX), LOG_BYTES_MAX)
    }
}

impl LogBudget {
    /// A budget of so many bytes, of which nothing is used, charged to `account`.
    #[must_use]
    pub fn new(account: Arc<MemoryAccount>, bytes_max: u64) -> LogBudget {
        LogBudget { bytes_max, charge: Charge::empty(account, MemoryKind::Log) }
    }

    /// The same use of another budget.
    pub(crate) fn moved_to(&self, account: Arc<MemoryAccount>, bytes_max: u64) -> LogBudget {
        let mut moved = LogBudget::new(account, bytes_max);
        moved.charge.grow_over_limit(self.used_bytes());
        moved
    }

    /// Bytes used.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.charge.bytes()
    }

    /// A replica that was charged with `charged` bytes holds `bytes` now.
    pub(super) fn settle(&mut self, charged: &mut u64, bytes: u64) {
        if bytes > *charged {
            self.charge.grow_over_limit(bytes - *charged);
        } else {
            self.charge.shrink_by(*charged - bytes);
        }
        *charged = bytes;
    }

    /// Whether what can be done without is to go.
    pub(super) fn is_short(&self) -> bool {
        self.used_bytes() > self.bytes_max / 4 * 3
    }

    /// Whether nothing more is to be prepared where something is.
    pub(super) fn is_used_up(&self) -> bool {
        self.used_bytes() >= self.bytes_max
    }

    /// How many committed entries a partition keeps.
    pub(super) fn kept_max(&self, is_anyone_away: bool) -> usize {
        match (self.is_short(), is_anyone_away) {
            (true, _) => 0,
            (false, true) => KEPT_ENTRIES_MAX,
            (false, false) => KEPT_ENTRIES_IDLE,
        }
    }

    /// How many outcomes a partition remembers.
    pub(super) fn outcomes_max(&self) -> usize {
        if self.is_short() { OUTCOMES_SHORT_MAX } else { OUTCOMES_MAX }
    }
}

/// What so many entries take, with `bytes` of keys and values in them.
pub(super) fn price_of(entries: usize, bytes: usize) -> u64 {
    (entries * LOG_ENTRY_BYTES + bytes) as u64
}
