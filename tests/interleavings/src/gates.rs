//! The gate that all threads of a node pass (`server/src/gate`): workers that sleep in a poll until they are woken,
//! threads that rest where nobody can wake them, and threads that end.

use std::sync::Arc;

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};

use crate::explore::{explore, join};
use crate::gate::{Gate, Passer};
use crate::handover::Wake;
use crate::sleepers::Bell;
use crate::sync::lock;

/// Threads that go on until the gate is closed: two that are woken, one that rests.
const THREADS: usize = 3;
/// The one that rests.
const RESTER: usize = 2;

/// A node without sockets: its gate, and what its threads sleep on.
struct Node {
    gate: Arc<Gate>,
    bells: [Bell; THREADS],
    /// Whether nobody may be in a turn.
    is_still: AtomicBool,
    /// Whether the gate has been closed.
    is_closed: AtomicBool,
    turns: Mutex<Turns>,
    turned: Condvar,
}

#[derive(Clone, Debug, Default)]
struct Turns {
    counts: [u32; THREADS],
    /// Of them, those that began when the gate had been closed.
    late_counts: [u32; THREADS],
}

/// What a thread does while the gate counts it as one that rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// It sleeps, and nothing else.
    Sleeps,
    /// It works, as it must not.
    Works,
}

impl Node {
    fn start(rest: Rest) -> (Arc<Node>, Vec<JoinHandle<()>>) {
        let node = Arc::new(Node {
            gate: Gate::new(),
            bells: Default::default(),
            is_still: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            turns: Mutex::default(),
            turned: Condvar::new(),
        });
        let threads = (0..THREADS).map(|at| {
            let (node, passer) = (Arc::clone(&node), node.gate.passer());
            thread::spawn(move || match at {
                RESTER => node.rest(&passer, rest),
                _ => node.work(at, &passer),
            })
        });
        let threads = threads.collect();
        (node, threads)
    }

    fn work(&self, at: usize, passer: &Passer) {
        loop {
            self.bells[at].sleep();
            if !passer.pass() {
                return;
            }
            self.turn(at);
        }
    }

    fn rest(&self, passer: &Passer, rest: Rest) {
        let sleep = || {
            self.bells[RESTER].sleep();
            if rest == Rest::Works {
                self.turn(RESTER);
            }
        };
        while passer.rest(sleep).is_some() {
            // Long work asks between its steps.
            for _ in 0..2 {
                if !passer.pass() {
                    return;
                }
                self.turn(RESTER);
            }
        }
    }

    fn turn(&self, at: usize) {
        let is_late = self.is_closed.load(Ordering::SeqCst);
        for _ in 0..2 {
            assert!(!self.is_still.load(Ordering::SeqCst), "a turn at a shut gate");
            thread::yield_now();
        }
        let mut turns = lock(&self.turns);
        turns.counts[at] += 1;
        turns.late_counts[at] += u32::from(is_late);
        self.turned.notify_all();
    }

    /// Brings something to do for everybody.
    fn bring_work(&self) {
        self.bells.iter().for_each(Bell::wake);
    }

    fn shut(&self) {
        self.gate.shut(|| self.bells[..RESTER].iter().for_each(Bell::wake));
    }

    /// Says that the gate is shut, looks for a while whether that is so, and opens it.
    fn look_and_open(&self) -> Turns {
        self.is_still.store(true, Ordering::SeqCst);
        self.bring_work();
        thread::yield_now();
        let turns = lock(&self.turns).clone();
        self.is_still.store(false, Ordering::SeqCst);
        self.gate.open();
        turns
    }

    /// Waits until each has had a turn since `before`.
    fn wait_for_turns(&self, before: &Turns) {
        let mut turns = lock(&self.turns);
        while turns.counts.iter().zip(before.counts).any(|(now, before)| *now == before) {
            turns = self.turned.wait(turns).expect("a panic ends the scenario");
        }
    }

    fn close(&self) {
        self.gate.close();
        self.is_closed.store(true, Ordering::SeqCst);
        self.bring_work();
    }

    /// Waits until all have ended: each after one turn at most, which it had begun to pass to.
    fn wait_for_the_end(&self, threads: Vec<JoinHandle<()>>) {
        threads.into_iter().for_each(join);
        let late_counts = lock(&self.turns).late_counts;
        assert!(late_counts.iter().all(|count| *count <= 1), "turns at a closed gate: {late_counts:?}");
    }
}

/// Whoever shut the gate may look at everything, whatever comes meanwhile; afterwards everybody goes on, and does what
/// came.
pub fn a_shut_gate_is_passed_by_nobody_and_an_open_one_by_all() {
    shut_and_open(Rest::Sleeps);
}

/// The same with a thread that works before it is back from its rest. It is expected to panic.
pub fn a_thread_that_works_while_it_rests_passes_a_shut_gate() {
    shut_and_open(Rest::Works);
}

fn shut_and_open(rest: Rest) {
    explore(61, 1_500, move || {
        let (node, threads) = Node::start(rest);
        for _ in 0..2 {
            node.bring_work();
            node.shut();
            let before = node.look_and_open();
            node.wait_for_turns(&before);
        }
        node.close();
        node.wait_for_the_end(threads);
    });
}

/// A gate that is closed while others shut and open it: everybody ends, those who stand, those who rest and those who
/// wait until all stand, and nothing opens it again.
pub fn a_closed_gate_ends_everybody() {
    explore(62, 1_500, || {
        let (node, threads) = Node::start(Rest::Sleeps);
        let mut others = Vec::new();
        for opens in [false, true] {
            let node = Arc::clone(&node);
            others.push(thread::spawn(move || {
                node.shut();
                if opens {
                    node.gate.open();
                }
            }));
        }
        node.bring_work();
        node.close();
        node.wait_for_the_end(threads);
        others.into_iter().for_each(join);
        assert!(!node.gate.passer().pass());
    });
}

/// A gate is shut, and so closed or opened, while one thread never comes to stand, as it is in a turn that ends after
/// that: whoever waits for it to stand goes on.
pub fn nobody_waits_at_a_gate_that_is_no_longer_shut() {
    for closes in [false, true] {
        explore(63, 1_500, move || {
            let gate = Gate::new();
            let busy = gate.passer();
            let standing = {
                let passer = gate.passer();
                thread::spawn(move || passer.pass())
            };
            let (is_shut, shuts) = (Bell::default(), Arc::clone(&gate));
            let heard = is_shut.clone();
            let waits = thread::spawn(move || shuts.shut(|| is_shut.wake()));
            heard.sleep();
            if closes {
                gate.close();
            } else {
                gate.open();
            }
            join(waits);
            assert_eq!(busy.pass(), !closes);
            assert!(join(standing) || closes);
        });
    }
}

/// Threads that end, and others that begin, while the gate is shut: nobody waits for those, and these stand.
pub fn who_ends_is_not_waited_for_and_who_begins_stands() {
    explore(64, 1_500, || {
        let (node, mut threads) = Node::start(Rest::Sleeps);
        let ends = [false, true].map(|passes| {
            let (passer, node) = (node.gate.passer(), Arc::clone(&node));
            thread::spawn(move || {
                if passes && passer.pass() {
                    node.turn(0);
                }
            })
        });
        node.shut();
        let late = (node.gate.passer(), Arc::clone(&node));
        threads.push(thread::spawn(move || {
            let (passer, node) = late;
            if passer.pass() {
                node.turn(1);
            }
        }));
        node.look_and_open();
        ends.into_iter().for_each(join);
        node.shut();
        node.look_and_open();
        node.close();
        node.wait_for_the_end(threads);
    });
}

/// Two that shut and open the gate, each as if it were alone: it is open in the end, and everybody goes on.
pub fn two_may_shut_and_open_it() {
    explore(65, 1_500, || {
        let (node, threads) = Node::start(Rest::Sleeps);
        let others = [(); 2].map(|()| {
            let node = Arc::clone(&node);
            thread::spawn(move || {
                node.shut();
                node.gate.open();
            })
        });
        node.bring_work();
        others.into_iter().for_each(join);
        let before = lock(&node.turns).clone();
        node.bring_work();
        node.wait_for_turns(&before);
        node.close();
        node.wait_for_the_end(threads);
    });
}
