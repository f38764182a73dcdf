//! The byte account (`server/src/memory`), and the budget for remembered outcomes, which is charged to it.

use std::sync::Arc;

use dht_protocol::ids::{ClientId, Version};
use dht_protocol::request::WriteToken;
use dht_protocol::status::Status;
use shuttle::thread;

use crate::explore::{explore, join};
use crate::memory::{Charge, MemoryAccount, MemoryKind};
use crate::replication::clients::{ClientState, ClientTable};
use crate::replication::dedup::{Admission, Dedup, DedupBudget, Outcome};

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

/// Partitions that share a budget for what they remember: it holds but for the few that one may remember in any case
/// which comes when the others have taken all, and everything but the few of each comes back.
pub fn the_budget_of_outcomes_holds() {
    // Where the third comes first, the larger one has room for what one of the others asks for; else the smaller one.
    for times in [6, 7] {
        explore(32, 300, move || three_partitions(times));
    }
}

/// Two partitions that remember eight writes each, and then more; and one that begins. The budget is `times` what the
/// first records of a partition take.
fn three_partitions(times: u64) {
    let account = MemoryAccount::new(1 << 30);
    let first = first_records_cost();
    let bytes_max = times * first;
    let budget = Arc::new(DedupBudget::new(bytes_max, Arc::clone(&account)));
    let clients = Arc::new(ClientTable::default());
    let partitions = [(1, 8..12), (2, 8..12), (3, 0..4)].map(|(id, writes)| {
        let (mut dedup, client) = (Dedup::default(), clients.greet(ClientId(id)));
        (0..writes.start).for_each(|before| write(&mut dedup, &client, before + 1, &budget, &clients));
        (dedup, client, writes)
    });
    let threads = partitions.map(|(mut dedup, client, writes)| {
        let (budget, clients, account) = (Arc::clone(&budget), Arc::clone(&clients), Arc::clone(&account));
        thread::spawn(move || {
            for before in writes {
                write(&mut dedup, &client, before + 1, &budget, &clients);
                let used_bytes = account.used_by(MemoryKind::Dedup);
                assert!(used_bytes <= bytes_max + first, "the budget is off: {used_bytes} B");
            }
            client.raise_floor(13);
            dedup.sweep(usize::MAX);
            dedup.shrink(&budget);
        })
    });
    for thread in threads {
        join(thread);
    }
    assert!(account.used_bytes() <= 3 * first, "kept more than the few of each");
    let (mut dedup, client) = (Dedup::default(), clients.greet(ClientId(4)));
    (1..=8).for_each(|seq| write(&mut dedup, &client, seq, &budget, &clients));
    let came_back = dedup.records_count() == 8 && client.forgotten() == 0;
    assert!(came_back, "the budget is off: it did not come back");
}

fn write(
    dedup: &mut Dedup,
    client: &Arc<ClientState>,
    seq: u64,
    budget: &DedupBudget,
    clients: &ClientTable,
) {
    let token = WriteToken { seq, floor: 1, retry: false };
    if dedup.admit(client, token) == Admission::New {
        dedup.record(client, token, done(seq), budget, clients);
    }
}

/// What the records take that every partition has room for, by the account itself: one has its place, and with the second
/// comes room for the others.
fn first_records_cost() -> u64 {
    let account = MemoryAccount::new(1 << 30);
    let (budget, clients) = (DedupBudget::new(0, Arc::clone(&account)), ClientTable::default());
    let (mut dedup, client) = (Dedup::default(), clients.greet(ClientId(9)));
    (1..=2).for_each(|seq| write(&mut dedup, &client, seq, &budget, &clients));
    account.used_bytes()
}

/// The outcome of a write that was applied as number `number`.
pub(crate) fn done(number: u64) -> Outcome {
    Outcome { status: Status::Ok, version: Version(number), number: 0 }
}
