//! The way into a worker that may be asleep: what it shall take over, and the word to stop.
//!
//! 1. What is handed over, or the word, is there before the wake; the sleeper looks at both after every wake. A wake
//!    that comes before it sleeps ends that sleep at once ([`Wake`]). So nothing waits for another event.
//! 2. At most so many wait as the queue was made for; more are refused, and dropped.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::sync::{AtomicBool, Ordering};

/// Ends the sleep of one thread, or its next one if it is awake; several wakes may come as one.
pub(crate) trait Wake {
    fn wake(&self);
}

/// What others hold of the worker.
#[derive(Debug)]
pub(crate) struct Inlet<T, W> {
    waiting: Sender<T>,
    stop: Arc<AtomicBool>,
    waker: W,
}

/// What the worker holds.
#[derive(Debug)]
pub(crate) struct Outlet<T> {
    waiting: Receiver<T>,
    stop: Arc<AtomicBool>,
}

/// Both ends, for at most `waiting_max` that wait.
pub(crate) fn handover<T, W: Wake>(waiting_max: usize, waker: W) -> (Inlet<T, W>, Outlet<T>) {
    let (sender, receiver) = bounded(waiting_max);
    let stop = Arc::new(AtomicBool::new(false));
    let inlet = Inlet { waiting: sender, stop: Arc::clone(&stop), waker };
    (inlet, Outlet { waiting: receiver, stop })
}

impl<T, W: Wake> Inlet<T, W> {
    /// Hands `item` over; `false`, and it is dropped, when too many wait already.
    pub(crate) fn give(&self, item: T) -> bool {
        let given = self.waiting.try_send(item).is_ok();
        if given {
            self.waker.wake();
        }
        given
    }

    /// Ends its sleep, that it looks at whatever has changed elsewhere.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Gives the word to stop.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl<T> Outlet<T> {
    /// Whether the word to stop has been given.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Takes over what has waited longest.
    pub(crate) fn take(&self) -> Option<T> {
        self.waiting.try_recv().ok()
    }
}

impl<T, W: Clone> Clone for Inlet<T, W> {
    fn clone(&self) -> Inlet<T, W> {
        Inlet { waiting: self.waiting.clone(), stop: Arc::clone(&self.stop), waker: self.waker.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[derive(Clone, Default)]
    struct Count(Rc<Cell<u32>>);

    impl Wake for Count {
        fn wake(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn the_queue_is_bounded_and_every_word_wakes() {
        let wakes = Count::default();
        let (inlet, outlet) = handover(2, wakes.clone());
        assert!(inlet.give(1) && inlet.clone().give(2) && !inlet.give(3));
        assert_eq!((wakes.0.get(), outlet.is_stopped()), (2, false));
        inlet.stop();
        assert_eq!((wakes.0.get(), outlet.is_stopped()), (3, true));
        assert_eq!([outlet.take(), outlet.take(), outlet.take()], [Some(1), Some(2), None]);
    }
}
