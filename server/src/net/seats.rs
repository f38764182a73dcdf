//! How many connections there may be: each holds a seat from before it is handed to a worker until it is closed,
//! so that no way in or out can lose count.

use std::sync::Arc;

use crate::sync::{AtomicUsize, Ordering};

/// Seats taken, at all doors together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seats {
    taken: Arc<AtomicUsize>,
}

/// The seat of one connection; free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: Arc<AtomicUsize>,
}

impl Seats {
    /// Takes a seat if fewer than `seats_max` are taken. Only the acceptor may call this: it looks, then takes.
    pub(crate) fn take(&self, seats_max: usize) -> Option<Seat> {
        // Others only give back, so the number can only have fallen since.
        if self.taken.load(Ordering::Relaxed) >= seats_max {
            return None;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Seat { taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_given_back_can_be_taken_again() {
        let seats = Seats::default();
        let first = seats.take(2).unwrap();
        let _second = seats.take(2).unwrap();
        assert!(seats.take(2).is_none());
        let third = seats.take(3).unwrap();
        drop(first);
        assert!(seats.take(2).is_none(), "lowered in between, or taken by a door with a reserve");
        drop(third);
        assert!(seats.take(2).is_some());
    }
}
