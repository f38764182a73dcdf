//! A thread that sleeps in its poll, and those who hand it work and tell it to stop (`server/src/net/handover`). The
//! loop is that of a worker; a bell takes the place of the kernel's event counter.

use std::sync::Arc;

use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use crate::explore::{explore, join};
use crate::handover::{Wake, handover};
use crate::sync::{Fault, is_broken, lock};

/// Rings once for all that rang it since it was heard last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell(Arc<(Mutex<Rung>, Condvar)>);

#[derive(Debug, Default)]
struct Rung {
    rung: bool,
    asleep: bool,
}

impl Wake for Bell {
    fn wake(&self) {
        let mut state = lock(&self.0.0);
        state.rung |= state.asleep || !is_broken(Fault::ForgottenWake);
        self.0.1.notify_all();
    }
}

impl Bell {
    pub(crate) fn sleep(&self) {
        let mut state = lock(&self.0.0);
        state.asleep = true;
        while !state.rung {
            state = self.0.1.wait(state).expect("a panic ends the scenario");
        }
        *state = Rung::default();
    }
}

/// Whatever is handed over is taken over before anything else happens, and the word to stop ends the sleep.
pub fn nothing_handed_over_waits_for_another_event() {
    explore(21, 3_000, || {
        let bell = Bell::default();
        let (inlet, outlet) = handover(4, bell.clone());
        let taken = Arc::new((Mutex::new(0), Condvar::new()));
        let worker = {
            let taken = Arc::clone(&taken);
            let take_all = move || {
                while let Some(count) = outlet.take() {
                    *lock(&taken.0) += count;
                    taken.1.notify_all();
                }
                outlet.is_stopped()
            };
            thread::spawn(move || {
                while !take_all() {
                    bell.sleep();
                }
            })
        };
        let givers = [1, 10].map(|count| {
            let inlet = inlet.clone();
            thread::spawn(move || assert!(inlet.give(count) && inlet.give(count)))
        });
        for giver in givers {
            join(giver);
        }
        let mut sum = lock(&taken.0);
        while *sum < 22 {
            sum = taken.1.wait(sum).expect("a panic ends the scenario");
        }
        drop(sum);
        inlet.stop();
        join(worker);
    });
}
