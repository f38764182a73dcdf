//! A gate that every thread of a node passes once a turn: shut, and they stand still with all that they hold;
//! closed, and they end at their next turn. It knows nothing of what they do.
//!
//! ```text
//!           shut()                close()
//!   Open ──────────▶ Shut ─────┐
//!    ▲ ◀────────────           ├──▶ Closed, for good
//!    │      open()             │
//!    └─────────────────────────┘
//! ```
//!
//! 1. `is_open` mirrors `state` and is written under the lock only. A thread that reads `true` may be one turn late;
//!    one that reads `false` asks under the lock. So an open gate costs one load a turn.
//! 2. `standing_count` counts the passers that will not go on before they have looked at `state` under the lock:
//!    those who wait in [`Passer::pass`], and those who rest. So nobody is in a turn once it equals
//!    `passers_count` while the gate is shut.
//! 3. Who sleeps elsewhere than in [`Passer::rest`], in a poll say, is woken after `is_open` was written, and passes
//!    after its sleep and before it does anything. So a shut gate is noticed by sleepers, too.

use std::sync::{Arc, PoisonError};

use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering};

/// The gate.
#[derive(Debug)]
pub struct Gate {
    /// Whether `inside.state` is [`State::Open`].
    is_open: AtomicBool,
    inside: Mutex<Inside>,
    /// Notified whenever `inside` changes in a way that somebody may wait for.
    changed: Condvar,
}

#[derive(Debug)]
struct Inside {
    state: State,
    /// Threads that pass here and have not ended.
    passers_count: usize,
    /// Those of them that stand still or rest.
    standing_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Shut,
    Closed,
}

/// One thread's right of passage. Made before the thread is, so that the gate knows of everybody; gone with it.
#[derive(Debug)]
pub struct Passer(Arc<Gate>);

impl Gate {
    /// An open gate.
    #[must_use]
    pub fn new() -> Arc<Gate> {
        Arc::new(Gate {
            is_open: AtomicBool::new(true),
            inside: Mutex::new(Inside { state: State::Open, passers_count: 0, standing_count: 0 }),
            changed: Condvar::new(),
        })
    }

    /// A passer for a thread that is about to start.
    #[must_use]
    pub fn passer(self: &Arc<Gate>) -> Passer {
        self.lock().passers_count += 1;
        Passer(Arc::clone(self))
    }

    /// Shuts the gate, calls `wake`, which must wake every passer that sleeps without resting, and returns once all
    /// stand still, or once somebody opened or closed the gate meanwhile. Nothing happens to a closed one.
    pub fn shut(&self, wake: impl FnOnce()) {
        {
            let mut inside = self.lock();
            if inside.state == State::Closed {
                return;
            }
            self.transition_to(&mut inside, State::Shut);
        }
        wake();
        let mut inside = self.lock();
        while inside.state == State::Shut && inside.standing_count < inside.passers_count {
            inside = self.wait(inside);
        }
    }

    /// Opens the gate: everybody goes on. Nothing happens to a closed one.
    pub fn open(&self) {
        let mut inside = self.lock();
        if inside.state != State::Closed {
            self.transition_to(&mut inside, State::Open);
        }
    }

    /// Closes the gate for good, and does not wait: who stands here ends, and who comes later. Who sleeps elsewhere
    /// has to be woken by the caller.
    pub fn close(&self) {
        self.transition_to(&mut self.lock(), State::Closed);
    }

    fn transition_to(&self, inside: &mut MutexGuard<'_, Inside>, state: State) {
        inside.state = state;
        self.is_open.store(state == State::Open, Ordering::Release);
        self.changed.notify_all();
    }

    /// Waits while the gate is shut, and stands still no more; `false`: it is closed.
    fn go_on(&self, mut inside: MutexGuard<'_, Inside>) -> bool {
        while inside.state == State::Shut {
            inside = self.wait(inside);
        }
        inside.standing_count -= 1;
        inside.state != State::Closed
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // No code here leaves the inside half changed when it panics.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, inside: MutexGuard<'a, Inside>) -> MutexGuard<'a, Inside> {
        self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passer {
    /// Passes, once the gate is open; `false`: it is closed, and the thread must end without another step. One load
    /// while it is open.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.0.is_open.load(Ordering::Acquire) || self.stand()
    }

    #[cold]
    fn stand(&self) -> bool {
        let mut inside = self.0.lock();
        inside.standing_count += 1;
        self.0.changed.notify_all();
        self.0.go_on(inside)
    }

    /// Calls `sleep`, which must not panic, and counts as standing still meanwhile: for a thread that sleeps where
    /// nobody can wake it. Comes back once the gate is open; `None`: it is closed, and the thread must end.
    #[must_use]
    pub fn rest<T>(&self, sleep: impl FnOnce() -> T) -> Option<T> {
        {
            self.0.lock().standing_count += 1;
            self.0.changed.notify_all();
        }
        let slept = sleep();
        self.0.go_on(self.0.lock()).then_some(slept)
    }
}

impl Drop for Passer {
    fn drop(&mut self) {
        self.0.lock().passers_count -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread::{self, JoinHandle};
    use std::time::{Duration, Instant};

    use super::*;

    /// A thread that counts its turns until the gate is closed.
    fn turner(gate: &Arc<Gate>) -> (Arc<AtomicU64>, JoinHandle<()>) {
        let passer = gate.passer();
        let turns = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&turns);
        let thread = thread::spawn(move || {
            while passer.pass() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        (turns, thread)
    }

    fn wait_for_a_turn(turns: &AtomicU64) {
        let (before, deadline) = (turns.load(Ordering::SeqCst), Instant::now() + Duration::from_secs(20));
        while turns.load(Ordering::SeqCst) == before {
            assert!(Instant::now() < deadline, "no turn");
            thread::yield_now();
        }
    }

    #[test]
    fn a_shut_gate_is_passed_by_nobody_and_an_opened_one_by_all() {
        let gate = Gate::new();
        let turners: Vec<_> = (0..3).map(|_| turner(&gate)).collect();
        let count = || turners.iter().map(|(turns, _)| turns.load(Ordering::SeqCst)).sum::<u64>();
        for _ in 0..50 {
            turners.iter().for_each(|(turns, _)| wait_for_a_turn(turns));
            gate.shut(|| {});
            let stopped_at = count();
            thread::yield_now();
            assert_eq!(count(), stopped_at);
            gate.open();
            assert!(gate.is_open.load(Ordering::Acquire), "an open gate is passed without the lock");
        }
        gate.close();
        turners.into_iter().for_each(|(_, thread)| thread.join().unwrap());
    }

    #[test]
    fn a_thread_that_has_ended_is_not_waited_for() {
        let gate = Gate::new();
        drop(gate.passer());
        let panicked = gate.passer();
        let panics = move || {
            let _passer = panicked;
            panic!("as this test wants");
        };
        assert!(thread::spawn(panics).join().is_err());
        gate.shut(|| {});
    }

    #[test]
    fn a_thread_that_rests_is_not_waited_for_and_does_not_go_on() {
        let gate = Gate::new();
        let passer = gate.passer();
        let (wake, woken) = crossbeam_channel::bounded::<()>(0);
        let (went_on, seen) = crossbeam_channel::bounded(1);
        let thread = thread::spawn(move || {
            let rested = passer.rest(|| woken.recv());
            went_on.send(rested.is_some()).unwrap();
        });
        gate.shut(|| {});
        wake.send(()).unwrap();
        assert!(seen.try_recv().is_err());
        gate.open();
        assert_eq!(seen.recv(), Ok(true));
        thread.join().unwrap();
    }

    #[test]
    fn a_closed_gate_stays_closed_and_lets_those_who_stand_end() {
        let gate = Gate::new();
        let (turns, thread) = turner(&gate);
        wait_for_a_turn(&turns);
        gate.shut(|| {});
        gate.close();
        thread.join().unwrap();
        gate.open();
        gate.shut(|| unreachable!("nobody is there to be woken"));
        let passer = gate.passer();
        assert!(!passer.pass());
        assert_eq!(passer.rest(|| ()), None);
    }

    #[test]
    fn whoever_shuts_goes_on_when_somebody_else_opens() {
        let gate = Gate::new();
        let never_stands = gate.passer();
        thread::scope(|scope| {
            let (shut, is_shut) = crossbeam_channel::bounded(1);
            let gate = &gate;
            let waits = scope.spawn(move || gate.shut(|| shut.send(()).unwrap()));
            is_shut.recv().unwrap();
            gate.open();
            waits.join().unwrap();
        });
        assert!(never_stands.pass());
    }
}
