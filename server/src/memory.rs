//! The one account of memory: what every structure that grows with data or connections has taken from the
//! allocator, held against `--memory-limit`.
//!
//! ```text
//!   Partition ─ Charge(Tables) ─┐
//!             ─ Charge(Arena)  ─┤
//!   LargeValue ─ Charge ────────┼──▶ MemoryAccount { limit, used, used per kind }
//!   connection ─ Charge ────────┤
//!   dedup      ─ Charge ────────┤
//!   LogBudget  ─ Charge ────────┘
//! ```
//!
//! Invariants:
//! 1. `used` is the sum of `used per kind` whenever no call is under way.
//! 2. [`MemoryAccount::try_charge`] never lifts `used` above the limit in force when it was called, whatever other
//!    threads do: the check and the addition are one atomic step.
//! 3. What was charged through a [`Charge`] is released when that `Charge` is dropped, exactly once.
//!
//! What is charged is the allocator's price of a block ([`allocated_bytes`]), not the live bytes in it.

use std::fmt;
use std::sync::Arc;

use crate::sync::{AtomicU64, Ordering};

/// Blocks of this size and above come as pages of their own from the operating system: `store::allocator` sees to it.
pub const MAPPED_BYTES_MIN: u64 = 1 << 20;
/// Size of a page.
const PAGE_BYTES: u64 = 4 << 10;

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Slots of hash tables and the directories over them.
    Tables,
    /// Segments of entries: headers, keys, values that are not large.
    Arena,
    /// Large values, each a block of its own.
    LargeValues,
    /// Buffers of connections.
    Connections,
    /// Outcomes of writes, kept for retries.
    Dedup,
    /// Entries of replicated logs, and outcomes of replicated writes.
    Log,
    /// Pages of the store that are resident while no table and no arena uses them, and the unused rest of those in use.
    Idle,
}

impl MemoryKind {
    /// Number of kinds.
    pub const COUNT: usize = 7;
    /// Every kind, in the order of their statistics.
    pub const ALL: [MemoryKind; Self::COUNT] = [
        MemoryKind::Tables,
        MemoryKind::Arena,
        MemoryKind::LargeValues,
        MemoryKind::Connections,
        MemoryKind::Dedup,
        MemoryKind::Log,
        MemoryKind::Idle,
    ];

    /// Name in statistics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            MemoryKind::Tables => "tables",
            MemoryKind::Arena => "arena",
            MemoryKind::LargeValues => "large_values",
            MemoryKind::Connections => "connections",
            MemoryKind::Dedup => "dedup",
            MemoryKind::Log => "log",
            MemoryKind::Idle => "idle",
        }
    }
}

/// The charge would lift the account above its limit. Nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the memory limit is reached: delete something or raise --memory-limit")
    }
}

impl std::error::Error for OutOfMemory {}

/// Bytes used against a limit. Shared by all threads.
#[derive(Debug)]
pub struct MemoryAccount {
    /// Most bytes that [`MemoryAccount::try_charge`] lets in. Any thread; relaxed, as the others.
    limit_bytes: AtomicU64,
    /// Bytes charged and not released. Any thread; relaxed, as nothing else is published through it.
    used_bytes: AtomicU64,
    /// The same by kind, indexed by `MemoryKind as usize`.
    used_by_kind: [AtomicU64; MemoryKind::COUNT],
}

impl MemoryAccount {
    /// An account with nothing charged.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Arc<MemoryAccount> {
        Arc::new(MemoryAccount {
            limit_bytes: AtomicU64::new(limit_bytes),
            used_bytes: AtomicU64::new(0),
            used_by_kind: Default::default(),
        })
    }

    /// The limit.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// Moves the limit. Where more is used already, nothing is taken back: charges are refused until enough has been
    /// released, as at any limit.
    pub fn set_limit_bytes(&self, limit_bytes: u64) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
    }

    /// Bytes charged and not released. May exceed the limit by what [`MemoryAccount::charge_over_limit`] took.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of one kind charged and not released.
    #[must_use]
    pub fn used_by(&self, kind: MemoryKind) -> u64 {
        self.used_by_kind[kind as usize].load(Ordering::Relaxed)
    }

    /// Charges `bytes` if they fit under the limit.
    ///
    /// # Errors
    /// [`OutOfMemory`]: they do not fit; nothing was charged.
    pub fn try_charge(&self, kind: MemoryKind, bytes: u64) -> Result<(), OutOfMemory> {
        if bytes == 0 {
            return Ok(());
        }
        let limit_bytes = self.limit_bytes();
        let fits = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= limit_bytes);
        if self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(OutOfMemory);
        }
        self.used_by_kind[kind as usize].fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Charges `bytes` whether they fit or not. For what has a bound of its own and must not fail: steps that give
    /// back at least as much when they end (compaction, shrinking, merging: at most one segment and one leaf a
    /// partition), the few kilobytes that any connection may hold, answers that exist already, the outcomes of
    /// writes, and the logs of replicas.
    pub fn charge_over_limit(&self, kind: MemoryKind, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.used_by_kind[kind as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were charged to `from` under `to` from now on; what is used in all does not change.
    pub fn transfer(&self, from: MemoryKind, to: MemoryKind, bytes: u64) {
        let before = self.used_by_kind[from as usize].fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "moved {bytes} B of {} where {before} B were charged", from.name());
        self.used_by_kind[to as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Releases bytes that were charged to the same kind.
    pub fn release(&self, kind: MemoryKind, bytes: u64) {
        // All workers share these counters: leave the cache line alone where nothing changes.
        if bytes == 0 {
            return;
        }
        let before = self.used_by_kind[kind as usize].fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "released {bytes} B of {} where {before} B were charged", kind.name());
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes charged to an account, released when dropped.
#[derive(Debug)]
pub struct Charge {
    /// Where the bytes are charged.
    account: Arc<MemoryAccount>,
    /// What for.
    kind: MemoryKind,
    /// How many.
    bytes: u64,
}

impl Charge {
    /// A charge of nothing yet.
    #[must_use]
    pub fn empty(account: Arc<MemoryAccount>, kind: MemoryKind) -> Charge {
        Charge { account, kind, bytes: 0 }
    }

    /// Charges `bytes`.
    ///
    /// # Errors
    /// [`OutOfMemory`]: they do not fit under the limit; nothing was charged.
    pub fn try_new(account: Arc<MemoryAccount>, kind: MemoryKind, bytes: u64) -> Result<Charge, OutOfMemory> {
        let mut charge = Charge::empty(account, kind);
        charge.try_grow(bytes)?;
        Ok(charge)
    }

    /// Bytes charged.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The account charged.
    #[must_use]
    pub fn account(&self) -> &Arc<MemoryAccount> {
        &self.account
    }

    /// Charges `bytes` more.
    ///
    /// # Errors
    /// [`OutOfMemory`]: they do not fit under the limit; nothing was charged.
    pub fn try_grow(&mut self, bytes: u64) -> Result<(), OutOfMemory> {
        self.account.try_charge(self.kind, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Charges `bytes` more, past the limit if need be: see [`MemoryAccount::charge_over_limit`].
    pub fn grow_over_limit(&mut self, bytes: u64) {
        self.account.charge_over_limit(self.kind, bytes);
        self.bytes += bytes;
    }

    /// Releases `bytes` of the charge.
    ///
    /// # Panics
    /// When less than that is charged.
    pub fn shrink_by(&mut self, bytes: u64) {
        assert!(bytes <= self.bytes, "a charge of {} B cannot shrink by {bytes} B", self.bytes);
        self.bytes -= bytes;
        self.account.release(self.kind, bytes);
    }

    /// Releases all but `bytes`.
    ///
    /// # Panics
    /// When less than that is charged.
    pub fn shrink_to(&mut self, bytes: u64) {
        assert!(bytes <= self.bytes, "a charge of {} B cannot shrink to {bytes} B", self.bytes);
        self.shrink_by(self.bytes - bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.release(self.kind, self.bytes);
    }
}

/// What a heap block of `bytes` takes from the operating system: the allocator's header and rounding (glibc's:
/// 8 bytes and 16-byte steps, 32 at least; pages from `MAPPED_BYTES_MIN` on). Nothing for an empty block.
#[must_use]
pub const fn allocated_bytes(bytes: usize) -> u64 {
    let bytes = bytes as u64;
    if bytes == 0 {
        0
    } else if bytes >= MAPPED_BYTES_MIN {
        (bytes + 16).next_multiple_of(PAGE_BYTES)
    } else {
        let chunk = (bytes + 8).next_multiple_of(16);
        if chunk < 32 { 32 } else { chunk }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_exact_at_the_limit() {
        let account = MemoryAccount::new(100);
        let mut charge = Charge::try_new(Arc::clone(&account), MemoryKind::Arena, 60).unwrap();
        assert_eq!(charge.try_grow(41), Err(OutOfMemory));
        assert_eq!((charge.bytes(), account.used_bytes()), (60, 60));
        assert_eq!(charge.try_grow(40), Ok(()));
        assert_eq!(charge.try_grow(0), Ok(()));
        assert_eq!(account.used_by(MemoryKind::Arena), 100);
        charge.grow_over_limit(5);
        assert_eq!(account.used_bytes(), 105);
        assert_eq!(account.try_charge(MemoryKind::Dedup, 1), Err(OutOfMemory));
        assert_eq!(charge.try_grow(0), Ok(()));
        charge.shrink_to(10);
        assert_eq!(account.used_bytes(), 10);
        drop(charge);
        assert_eq!(account.used_bytes(), 0);
        assert_eq!(account.try_charge(MemoryKind::Dedup, u64::MAX), Err(OutOfMemory));
    }

    #[test]
    fn a_limit_that_moves_counts_from_the_next_charge() {
        let account = MemoryAccount::new(100);
        let mut charge = Charge::try_new(Arc::clone(&account), MemoryKind::Arena, 60).unwrap();
        account.set_limit_bytes(50);
        assert_eq!((account.limit_bytes(), account.used_bytes()), (50, 60));
        assert_eq!(charge.try_grow(1), Err(OutOfMemory));
        charge.shrink_to(49);
        assert_eq!(charge.try_grow(1), Ok(()));
        account.set_limit_bytes(200);
        assert_eq!(charge.try_grow(150), Ok(()));
    }

    #[test]
    fn threads_never_overshoot() {
        let account = MemoryAccount::new(1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..20_000 {
                        if account.try_charge(MemoryKind::Tables, 7 + round % 300).is_ok() {
                            assert!(account.used_bytes() <= 1_000);
                            account.release(MemoryKind::Tables, 7 + round % 300);
                        }
                    }
                });
            }
        });
        assert_eq!((account.used_bytes(), account.used_by(MemoryKind::Tables)), (0, 0));
    }

    #[test]
    fn kinds_have_distinct_names_and_places() {
        for (place, kind) in MemoryKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert!(MemoryKind::ALL.iter().all(|other| *other == kind || other.name() != kind.name()));
        }
    }

    #[test]
    fn blocks_cost_what_the_allocator_takes() {
        for (bytes, cost) in [
            (0, 0),
            (1, 32),
            (24, 32),
            (25, 48),
            (1_000, 1_008),
            (200_000, 200_016),
            (1 << 20, (1 << 20) + 4_096),
        ] {
            assert_eq!(allocated_bytes(bytes), cost, "{bytes}");
        }
    }
}
