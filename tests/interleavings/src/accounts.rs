//! The byte account (`server/src/memory`), and the budget for remembered outcomes, which is charged to it.

use std::sync::Arc;

use dht_protocol::ids::{ClientId, Version};
use dht_protocol::request::WriteToken;
use dht_protocol::status::Status;
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::explore::{explore, join};
use crate::memory::{Charge, MemoryAccount, MemoryKind};
use crate::replication::clients::ClientTable;
use crate::replication::dedup::{Admission, Dedup, DedupBudget, Outcome};
use crate::sync::lock;

/// Charges that together do not fit: whatever the order, the account never passes its limit, never falls below
/// nothing, and ends where it began.
pub fn the_account_never_passes_its_limit() {
    explore(31, 4_000, || {
        let account = MemoryAccount::new(100);
        let threads = [(MemoryKind::Tables, 60), (MemoryKind::Arena, 50), (MemoryKind::Tables, 30)];
        let threads = threads.map(|(kind, bytes)| {
            let account = Arc::clone(&account);
            thread::spawn(move || {
                let mut charge = Charge::empty(Arc::clone(&account), kind);
                let mut refused = 0;
                for more in [bytes / 2, bytes - bytes / 2] {
                    refused += u32::from(charge.try_grow(more).is_err());
                    assert!(account.used_bytes() <= 100, "the account is off: past its limit");
                }
                charge.shrink_by(charge.bytes() / 2);
                drop(charge);
                refused
            })
        });
        for thread in threads {
            join(thread);
        }
        let kinds = MemoryKind::ALL.map(|kind| account.used_by(kind));
        assert_eq!(
            (account.used_bytes(), kinds),
            (0, [0; MemoryKind::COUNT]),
            "the account is off: not empty"
        );
    });
}

/// Partitions that share a budget for what they remember: it holds but for the few that each may remember in any case,
/// and all but those comes back.
pub fn the_budget_of_outcomes_holds() {
    explore(32, 400, || {
        let account = MemoryAccount::new(1 << 30);
        // What the first records of a partition cost, by the account itself.
        let first = first_records_cost();
        let budget = Arc::new(DedupBudget::new(3 * first, Arc::clone(&account)));
        let clients = Arc::new(ClientTable::default());
        let threads = [1, 2, 3].map(|id| {
            let (budget, clients, account) =
                (Arc::clone(&budget), Arc::clone(&clients), Arc::clone(&account));
            thread::spawn(move || {
                let partition = Mutex::new(Dedup::default());
                let client = clients.greet(ClientId(id));
                for seq in 1..=12 {
                    let mut dedup = lock(&partition);
                    let token = WriteToken { seq, floor: 1, retry: false };
                    if dedup.admit(&client, token) == Admission::New {
                        dedup.record(&client, token, done(seq), &budget, &clients);
                    }
                    drop(dedup);
                    assert!(account.used_by(MemoryKind::Dedup) <= (3 + 3) * first, "past the budget");
                }
                client.raise_floor(13);
                let mut dedup = lock(&partition);
                dedup.sweep(usize::MAX);
                dedup.shrink(&budget);
            })
        });
        for thread in threads {
            join(thread);
        }
        assert!(account.used_bytes() <= 3 * first, "kept more than the few of each");
    });
}

fn first_records_cost() -> u64 {
    let account = MemoryAccount::new(1 << 30);
    let (budget, clients) = (DedupBudget::new(0, Arc::clone(&account)), ClientTable::default());
    let token = WriteToken { seq: 1, floor: 1, retry: false };
    Dedup::default().record(&clients.greet(ClientId(9)), token, done(1), &budget, &clients);
    account.used_bytes()
}

/// The outcome of a write that was applied as number `number`.
pub(crate) fn done(number: u64) -> Outcome {
    Outcome { status: Status::Ok, version: Version(number), number: 0 }
}
