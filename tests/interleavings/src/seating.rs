//! The seats of connections (`server/src/net/seats`): the acceptor takes them, workers give them back.

use std::sync::Arc;

use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use crate::explore::{explore, join};
use crate::seats::{Seat, Seats};
use crate::sync::lock;

/// Connections at a door without a reserve, and what another door may have beyond.
const SEATS_MAX: usize = 2;
const RESERVED: usize = 1;

/// The connections that there are.
#[derive(Default)]
struct Room {
    seats: Seats,
    connections: Mutex<Vec<Seat>>,
    /// Never more than there are: counted after a seat was taken, and no more before it is given back.
    count: AtomicUsize,
}

impl Room {
    fn enter(&self, seats_max: usize) {
        let Some(seat) = self.seats.take(seats_max) else { return };
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(count <= seats_max, "the seats are off: more connections than there are");
        lock(&self.connections).push(seat);
    }

    fn leave(&self) {
        let Some(seat) = lock(&self.connections).pop() else { return };
        self.count.fetch_sub(1, Ordering::SeqCst);
        drop(seat);
    }
}

/// Two workers close connections while new ones come in at two doors: never more than there are seats, and all seats are
/// there in the end.
pub fn no_more_connections_than_seats() {
    acceptors(1);
}

/// The same with two who take, though only one may. It is expected to panic.
pub fn two_who_take_seats_take_too_many() {
    acceptors(2);
}

fn acceptors(acceptors_count: usize) {
    explore(51, 3_000, move || {
        let room = Arc::new(Room::default());
        let acceptors = (0..acceptors_count).map(|_| {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                for reserved in [0, 0, RESERVED, 0, RESERVED, 0] {
                    room.enter(SEATS_MAX + reserved);
                }
            })
        });
        let workers = (0..2).map(|_| {
            let room = Arc::clone(&room);
            thread::spawn(move || (0..3).for_each(|_| room.leave()))
        });
        let threads: Vec<_> = acceptors.chain(workers).collect();
        threads.into_iter().for_each(join);
        lock(&room.connections).clear();
        let all: Vec<Seat> = std::iter::from_fn(|| room.seats.take(SEATS_MAX)).take(2 * SEATS_MAX).collect();
        assert_eq!(all.len(), SEATS_MAX, "the seats are off: one got lost, or two came of one");
    });
}
