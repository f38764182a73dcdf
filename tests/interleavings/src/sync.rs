//! `crate::sync` of client and daemon, under the scheduler: the same names, another way of waiting.
//!
//! 1. A wait without a bound ends when it is woken, and not before: where no wake comes, the scheduler finds a deadlock.
//!    Bounds of [`FOREVER`] and more count as none.
//! 2. A wait with a bound may be chosen to time out; the clock then moves to its end. It moves by nothing else.
//! 3. Each primitive can be broken on purpose ([`Fault`]).

use std::cell::Cell;
use std::ops::{Add, Sub};
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

pub(crate) use shuttle::sync::atomic::{AtomicU32, Ordering};
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

/// No scenario lasts so long.
pub(crate) const FOREVER: Duration = Duration::from_secs(1 << 32);

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One `unpark` in four does nothing.
    LostUnpark,
    /// One `notify_one` or `notify_all` in four does nothing.
    LostNotify,
    /// `fetch_update` and `fetch_max`, and what counts in an `AtomicUsize`, are a load and a store.
    TornUpdate,
    /// One load in four of an `AtomicBool` sees what it was before it was stored to last.
    StaleFlag,
    /// A wake of a sleeper that is not asleep yet is forgotten.
    ForgottenWake,
}

thread_local! {
    // All threads of a scenario are one of the system's.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

shuttle::thread_local! {
    static WAITS_COUNT: Cell<usize> = Cell::new(0);
}

/// How often this thread of the scenario has waited at a [`Condvar`].
pub(crate) fn waits_count() -> usize {
    WAITS_COUNT.with(Cell::get)
}

/// Runs `scenario` with a broken primitive. It is expected to panic.
pub fn with_fault(fault: Fault, scenario: impl FnOnce()) {
    FAULT.set(Some(fault));
    scenario();
}

pub(crate) fn is_broken(fault: Fault) -> bool {
    FAULT.get() == Some(fault)
}

fn is_lost(fault: Fault) -> bool {
    is_broken(fault) && thread_rng().gen_range(0..4) == 0
}

/// The clock begins anew.
pub(crate) fn reset_clock() {
    NOW.set(Duration::ZERO);
}

/// Moves the clock.
pub(crate) fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
}

/// Whether a wait of so long is chosen to time out now.
fn times_out(left: Duration) -> bool {
    left < FOREVER / 2 && thread_rng().gen_range(0..4) == 0
}

/// A moment on the clock of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Instant {
        Instant(NOW.get())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        NOW.get().saturating_sub(self.0)
    }

    pub(crate) fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, more: Duration) -> Instant {
        Instant(self.0 + more)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A thread to wake.
#[derive(Clone, Debug)]
pub(crate) struct Thread(thread::Thread);

impl Thread {
    pub(crate) fn unpark(&self) {
        if !is_lost(Fault::LostUnpark) {
            self.0.unpark();
        }
    }
}

pub(crate) fn current_thread() -> Thread {
    Thread(thread::current())
}

pub(crate) fn park_timeout(left: Duration) {
    if left >= FOREVER / 2 {
        thread::park();
    } else if times_out(left) {
        pass(left);
        thread::yield_now();
    } else {
        // Comes back for no reason, as it may.
        thread::yield_now();
    }
}

/// A condition to wait for.
#[derive(Debug, Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar::default()
    }

    pub(crate) fn notify_one(&self) {
        if !is_lost(Fault::LostNotify) {
            self.0.notify_one();
        }
    }

    pub(crate) fn notify_all(&self) {
        if !is_lost(Fault::LostNotify) {
            self.0.notify_all();
        }
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        WAITS_COUNT.with(|count| count.set(count.get() + 1));
        self.0.wait(guard)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wait with a bound gives up the lock for as long as it takes to be overtaken, or to time out.
pub(crate) fn wait_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Instant,
) -> Result<MutexGuard<'a, T>, MutexGuard<'a, T>> {
    let left = deadline - Instant::now();
    if left.is_zero() {
        return Err(guard);
    }
    if left >= FOREVER / 2 || !times_out(left) {
        return Ok(condvar.wait(guard).unwrap_or_else(PoisonError::into_inner));
    }
    pass(left);
    Err(guard)
}

/// A number that threads change in one step each.
#[derive(Debug, Default)]
pub(crate) struct AtomicU64(shuttle::sync::atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64(shuttle::sync::atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    pub(crate) fn fetch_add(&self, more: u64, order: Ordering) -> u64 {
        self.0.fetch_add(more, order)
    }

    pub(crate) fn fetch_sub(&self, less: u64, order: Ordering) -> u64 {
        self.0.fetch_sub(less, order)
    }

    pub(crate) fn fetch_max(&self, other: u64, order: Ordering) -> u64 {
        self.torn(|old| Some(old.max(other))).unwrap_or_else(|| self.0.fetch_max(other, order))
    }

    pub(crate) fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        mut change: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        if is_broken(Fault::TornUpdate) {
            return self.torn(change).ok_or_else(|| self.0.load(fetch));
        }
        self.0.fetch_update(set, fetch, &mut change)
    }

    fn torn(&self, mut change: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        if !is_broken(Fault::TornUpdate) {
            return None;
        }
        let old = self.0.load(Ordering::SeqCst);
        self.0.store(change(old)?, Ordering::SeqCst);
        Some(old)
    }
}

/// A flag.
#[derive(Debug)]
pub(crate) struct AtomicBool {
    now: shuttle::sync::atomic::AtomicBool,
    /// What it was before the last store, for [`Fault::StaleFlag`].
    before: std::sync::atomic::AtomicBool,
}

impl AtomicBool {
    pub(crate) fn new(value: bool) -> AtomicBool {
        AtomicBool { now: value.into(), before: value.into() }
    }

    pub(crate) fn load(&self, order: Ordering) -> bool {
        let now = self.now.load(order);
        if is_lost(Fault::StaleFlag) { self.before.load(Ordering::SeqCst) } else { now }
    }

    pub(crate) fn store(&self, value: bool, order: Ordering) {
        self.before.store(self.now.load(Ordering::SeqCst), Ordering::SeqCst);
        self.now.store(value, order);
    }
}

/// A count.
#[derive(Debug, Default)]
pub(crate) struct AtomicUsize(shuttle::sync::atomic::AtomicUsize);

impl AtomicUsize {
    pub(crate) fn new(value: usize) -> AtomicUsize {
        AtomicUsize(shuttle::sync::atomic::AtomicUsize::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> usize {
        self.0.load(order)
    }

    pub(crate) fn fetch_add(&self, more: usize, order: Ordering) -> usize {
        self.torn(|old| old.wrapping_add(more)).unwrap_or_else(|| self.0.fetch_add(more, order))
    }

    pub(crate) fn fetch_sub(&self, less: usize, order: Ordering) -> usize {
        self.torn(|old| old.wrapping_sub(less)).unwrap_or_else(|| self.0.fetch_sub(less, order))
    }

    fn torn(&self, change: impl FnOnce(usize) -> usize) -> Option<usize> {
        if !is_broken(Fault::TornUpdate) {
            return None;
        }
        let old = self.0.load(Ordering::SeqCst);
        self.0.store(change(old), Ordering::SeqCst);
        Some(old)
    }
}
