//! What a node knows of its clients, and that no write is applied twice (`server/src/replication`).

use std::sync::Arc;

use dht_protocol::ids::ClientId;
use dht_protocol::request::WriteToken;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use crate::accounts::done;
use crate::explore::{explore, join};
use crate::memory::MemoryAccount;
use crate::replication::clients::{ClientState, ClientTable};
use crate::replication::dedup::{Admission, Dedup, DedupBudget, Outcome};
use crate::sync::lock;

const ID: ClientId = ClientId(7);

/// Whoever greets while a state is held gets that one; and what was forgotten about a client is known to all who come
/// later, whenever its last holder goes.
pub fn a_client_has_one_state_and_nothing_forgotten_is_lost() {
    explore(41, 2_000, || {
        let table = Arc::new(ClientTable::default());
        let holders = [(); 2].map(|()| {
            let table = Arc::clone(&table);
            thread::spawn(move || table.greet(ID))
        });
        let forgetful = [7, 9].map(|seq| {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let state = table.greet(ID);
                state.forget(seq);
                table.remember_forgotten(&state);
                drop(state);
                assert!(table.greet(ID).forgotten() >= seq, "forgot that it had forgotten");
            })
        });
        let [one, two] = holders.map(join);
        assert!(Arc::ptr_eq(&one, &two), "two states of one client at a time");
        forgetful.into_iter().for_each(join);
        drop((one, two));
        assert_eq!(table.greet(ID).forgotten(), 9);
    });
}

/// Floors that come in over several connections, and writes that several partitions forget: the highest stands, and
/// nobody sees one fall.
pub fn floors_and_what_is_forgotten_only_rise() {
    explore(42, 2_000, || {
        let client = ClientTable::default().greet(ID);
        let threads = [[1, 5, 9], [2, 6, 8]].map(|floors| {
            let client = Arc::clone(&client);
            thread::spawn(move || {
                let mut seen = 0;
                for floor in floors {
                    client.raise_floor(floor);
                    let now = client.floor();
                    assert!(now >= floor && now >= seen, "the floor fell to {now}");
                    seen = now;
                    client.forget(floor);
                    assert!(client.forgotten() >= floor, "what was forgotten fell");
                }
            })
        });
        for thread in threads {
            join(thread);
        }
        assert_eq!((client.floor(), client.forgotten()), (9, 9), "one of them fell");
    });
}

/// A partition: what it remembers, and how often the write under test was applied to it.
struct Partition {
    inner: Mutex<(Dedup, u64)>,
    answered: Condvar,
}

struct Node {
    client: Arc<ClientState>,
    clients: ClientTable,
    budget: DedupBudget,
    partition: Partition,
    /// Whether the lock is held from admission to record, as it must be.
    holds_the_lock: bool,
}

impl Node {
    fn write(&self, token: WriteToken) -> Option<Outcome> {
        let mut inner = lock(&self.partition.inner);
        let admission = inner.0.admit(&self.client, token);
        if !self.holds_the_lock {
            drop(inner);
            inner = lock(&self.partition.inner);
        }
        let outcome = match admission {
            Admission::New => {
                inner.1 += 1;
                let outcome = done(inner.1);
                inner.0.record(&self.client, token, outcome, &self.budget, &self.clients);
                Some(outcome)
            }
            Admission::Replay(outcome) => Some(outcome),
            Admission::Unknown => None,
        };
        if outcome.is_some() {
            self.partition.answered.notify_all();
        }
        outcome
    }
}

/// A write, its retry over another connection, a copy that is as late as can be, a later write that says it was
/// answered, and housekeeping, all at once: it is applied once, and answered alike or not at all.
pub fn a_write_is_applied_once_whatever_its_copies_do() {
    copies_of_one_write(true);
}

/// The same where the partition's lock is let go between admission and record. It is expected to panic.
pub fn a_write_is_applied_twice_where_the_lock_is_let_go() {
    copies_of_one_write(false);
}

fn copies_of_one_write(holds_the_lock: bool) {
    explore(43, 3_000, move || {
        let clients = ClientTable::default();
        let budget = DedupBudget::new(1 << 20, MemoryAccount::new(1 << 30));
        let partition = Partition { inner: Mutex::new((Dedup::default(), 0)), answered: Condvar::new() };
        let client = clients.greet(ID);
        let node = Arc::new(Node { client, clients, budget, partition, holds_the_lock });
        let copies = [false, true, true].map(|retry| {
            let node = Arc::clone(&node);
            thread::spawn(move || node.write(WriteToken { seq: 1, floor: 1, retry }))
        });
        let next = {
            let node = Arc::clone(&node);
            thread::spawn(move || {
                let mut inner = lock(&node.partition.inner);
                while inner.1 == 0 {
                    inner = node.partition.answered.wait(inner).expect("a panic ends the scenario");
                }
                // The client has its answer: its next write, to whichever partition, says so.
                drop(inner);
                node.client.raise_floor(2);
                lock(&node.partition.inner).0.sweep(10);
            })
        };
        let answers = copies.map(join);
        join(next);
        assert_eq!(lock(&node.partition.inner).1, 1, "applied more than once");
        assert!(answers.iter().flatten().all(|answer| *answer == done(1)), "{answers:?}");
        assert!(answers.iter().any(Option::is_some));
    });
}
