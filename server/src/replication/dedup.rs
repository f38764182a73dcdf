//! The outcomes of a partition's recent writes, so that a second arrival of a write gets the first one's answer
//! and is not applied again.
//!
//! Remembered are the writes with an effect, and of those without one the ones that came as a retry: an earlier
//! copy of such a write may still be under way, and must not be applied after its client was told that nothing
//! happened. (Where the first copy to arrive is refused, a later one may well succeed: it is applied once.)
//!
//! A record is kept until its client's floor has passed it. Each write to the partition looks at a few records
//! and drops those that may go, and housekeeping does the same for partitions at rest, so their number follows
//! the writes in flight, not clients × partitions. Where clients vanish without raising their floor, a byte
//! budget for the whole node holds, and a number for each partition, as every write looks through its partition's
//! records: past either, a client's records are dropped, and the client is marked so that a retry is answered
//! *unknown*. Clients that are not connected go first.
//!
//! One record has its place in the partition itself: where writes to a partition seldom overlap, as a rule, it needs no
//! other, and the next write puts its own outcome there, without an allocation or another cache line.
//!
//! The caller holds the partition's lock from [`Dedup::admit`] over the write itself to [`Dedup::record`].

use std::sync::Arc;

use dht_protocol::ids::Version;
use dht_protocol::request::WriteToken;
use dht_protocol::status::Status;

use crate::limits::DEDUP_RECORDS_PER_PARTITION_MAX;
use crate::memory::{MemoryAccount, MemoryKind};
use crate::replication::clients::{ClientState, ClientTable};
use crate::store::prefetch::prefetch_items;
use crate::sync::{AtomicU64, Ordering};

/// Records looked at, for dropping, with each write.
const SWEEP_RECORDS: usize = 4;
/// Records for which every partition has room, whatever the others take: the one in its place and those behind it.
const ROOM_RECORDS_MIN: usize = 4;

/// What a write came to: all that its answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `OK`, or why the write had no effect.
    pub status: Status,
    /// The write's version; with `CONDITION_FAILED`, the entry's.
    pub version: Version,
    /// The counter after an `ADD`, the length after an `APPEND`, else 0.
    pub number: i64,
}

/// Whether a write may be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It has not been applied: go on, then [`Dedup::record`] what it came to.
    New,
    /// It was applied before: answer with this.
    Replay(Outcome),
    /// It may have been applied before, and what came of it is forgotten, or its client has moved on.
    Unknown,
}

/// Bytes that the outcomes of all partitions of a node may take up.
#[derive(Debug)]
pub struct DedupBudget {
    bytes_max: u64,
    used_bytes: AtomicU64,
    memory: Arc<MemoryAccount>,
}

/// The outcomes of one partition.
#[derive(Debug, Default)]
pub struct Dedup {
    /// One of them, any; the place that is filled first.
    first: Option<Record>,
    /// Whether that place is charged to the budget. It is while it is taken.
    is_first_charged: bool,
    /// The others, in no particular order. Capacity is charged to the budget.
    records: Vec<Record>,
    /// Where the next sweep of `records` begins.
    sweep_at: usize,
}

#[derive(Debug)]
struct Record {
    client: Arc<ClientState>,
    seq: u64,
    outcome: Outcome,
}

impl Dedup {
    /// Judges a write of `client` before it is applied, and takes in the floor it carries.
    #[must_use]
    pub fn admit(&self, client: &Arc<ClientState>, token: WriteToken) -> Admission {
        client.raise_floor(token.floor);
        if token.seq < client.floor() {
            return Admission::Unknown;
        }
        if let Some(record) = self.all().find(|record| record.is(client, token.seq)) {
            return Admission::Replay(record.outcome);
        }
        if token.seq <= client.forgotten() || (token.retry && client.doubtful()) {
            return Admission::Unknown;
        }
        Admission::New
    }

    /// Asks for the memory of the records that a write will look at first, behind the one in the partition itself; a hint.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch_items(&self.records, SWEEP_RECORDS);
    }

    /// Remembers what an admitted write came to, where that is needed.
    pub fn record(
        &mut self,
        client: &Arc<ClientState>,
        token: WriteToken,
        outcome: Outcome,
        budget: &DedupBudget,
        clients: &ClientTable,
    ) {
        // A client that is told to try again does so under the same number: that answer is not to be repeated.
        let matters = outcome.status == Status::Ok || (token.retry && !outcome.status.may_retry());
        if !matters {
            return;
        }
        let seq = token.seq;
        if !self.records.is_empty() {
            self.sweep_others(SWEEP_RECORDS);
        }
        if self.is_first_taken() && self.records.len() == self.records.capacity() {
            self.make_room(budget, clients);
        }
        if self.is_first_taken() {
            self.records.push(Record { client: Arc::clone(client), seq, outcome });
            return;
        }
        match &mut self.first {
            // The usual case, and no need to count its client anew.
            Some(first) if Arc::ptr_eq(&first.client, client) => (first.seq, first.outcome) = (seq, outcome),
            first => *first = Some(Record { client: Arc::clone(client), seq, outcome }),
        }
        if !self.is_first_charged {
            self.is_first_charged = true;
            budget.charge(1);
        }
    }

    /// Looks at up to `records_max` records and drops those whose floor has passed. Housekeeping for partitions
    /// that are not written to.
    pub fn sweep(&mut self, records_max: usize) {
        if !self.is_first_taken() {
            self.first = None;
        }
        self.sweep_others(records_max);
    }

    /// Gives unused room back to the budget, once it is much or nothing is remembered any more.
    pub fn shrink(&mut self, budget: &DedupBudget) {
        let before = self.room();
        if self.first.is_none() {
            self.is_first_charged = false;
        }
        if self.records.is_empty() || self.records.capacity() - self.records.len() >= 2 * ROOM_RECORDS_MIN {
            self.records.shrink_to(self.records.len());
        }
        let freed = before - self.room();
        if freed > 0 {
            budget.release(freed);
        }
    }

    /// How many outcomes are remembered.
    #[must_use]
    pub fn records_count(&self) -> usize {
        self.all().count()
    }

    fn all(&self) -> impl Iterator<Item = &Record> {
        self.first.iter().chain(&self.records)
    }

    /// Records that fit, and are charged for.
    fn room(&self) -> usize {
        usize::from(self.is_first_charged) + self.records.capacity()
    }

    /// Whether the first place holds an outcome that must be kept.
    #[inline]
    fn is_first_taken(&self) -> bool {
        self.first.as_ref().is_some_and(|first| !first.is_settled())
    }

    fn sweep_others(&mut self, records_max: usize) {
        for _ in 0..records_max.min(self.records.len()) {
            if self.sweep_at >= self.records.len() {
                self.sweep_at = 0;
            }
            if self.records.get(self.sweep_at).is_some_and(Record::is_settled) {
                self.records.swap_remove(self.sweep_at);
            } else {
                self.sweep_at += 1;
            }
        }
    }

    /// Sees to it that one more record fits, in the first place or behind it.
    fn make_room(&mut self, budget: &DedupBudget, clients: &ClientTable) {
        debug_assert!(self.is_first_charged);
        let before = self.records.capacity();
        if before == 0 {
            // Every partition remembers a few, whatever the others take.
            let more = ROOM_RECORDS_MIN - 1;
            budget.charge(more);
            self.records.reserve_exact(more);
            return;
        }
        let more = self.room().min(DEDUP_RECORDS_PER_PARTITION_MAX - self.room());
        if more > 0 && budget.try_charge(more) {
            self.records.reserve_exact(more);
            return;
        }
        let records_count = self.records.len();
        self.sweep_others(records_count);
        if self.records.len() == self.records.capacity() {
            self.forget_one_client(clients);
        }
        debug_assert!(!self.is_first_taken() || self.records.len() < self.records.capacity());
    }

    /// Drops everything about one client that is not connected; where all are, the older half about one of them,
    /// so that it may still ask for the newer.
    fn forget_one_client(&mut self, clients: &ClientTable) {
        let gone = self.all().find(|record| !record.client.is_connected());
        let Some(victim) = gone.or(self.first.as_ref()) else { return };
        let client = Arc::clone(&victim.client);
        let is_theirs = |record: &Record| Arc::ptr_eq(&record.client, &client);
        let mut seqs: Vec<u64> = self.all().filter(|&record| is_theirs(record)).map(|r| r.seq).collect();
        seqs.sort_unstable();
        let kept_count = if client.is_connected() { seqs.len() / 2 } else { 0 };
        let forgotten = seqs[seqs.len() - kept_count - 1];
        client.forget(forgotten);
        let stays = |record: &Record| !is_theirs(record) || record.seq > forgotten;
        self.first = self.first.take().filter(stays);
        self.records.retain(stays);
        clients.remember_forgotten(&client);
    }
}

impl Record {
    fn is(&self, client: &Arc<ClientState>, seq: u64) -> bool {
        self.seq == seq && Arc::ptr_eq(&self.client, client)
    }

    fn is_settled(&self) -> bool {
        self.seq < self.client.floor()
    }
}

impl DedupBudget {
    /// A budget of `bytes_max`, which is held against `memory` as it is used.
    #[must_use]
    pub fn new(bytes_max: u64, memory: Arc<MemoryAccount>) -> DedupBudget {
        DedupBudget { bytes_max, used_bytes: AtomicU64::new(0), memory }
    }

    /// What a record costs: itself, and its share of the state of a client that has gone.
    const RECORD_BYTES: u64 = (size_of::<Record>() + size_of::<ClientState>() + CLIENT_ENTRY_BYTES) as u64;

    /// Charges what every partition may take: a bounded sum, past the budget if it must be.
    fn charge(&self, records: usize) {
        let bytes = records as u64 * Self::RECORD_BYTES;
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.memory.charge_over_limit(MemoryKind::Dedup, bytes);
    }

    /// Charges within the budget. The memory limit does not count here: the budget is a small part of it, and a
    /// full node must still be able to remember the deletes that make room.
    fn try_charge(&self, records: usize) -> bool {
        let bytes = records as u64 * Self::RECORD_BYTES;
        let fits = self
            .used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max)
            })
            .is_ok();
        if fits {
            self.memory.charge_over_limit(MemoryKind::Dedup, bytes);
        }
        fits
    }

    fn release(&self, records: usize) {
        let bytes = records as u64 * Self::RECORD_BYTES;
        // In this order, so that the account never shows more than the budget, not even for a moment.
        self.memory.release(MemoryKind::Dedup, bytes);
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Estimate of a name in the client table: key, weak pointer, tree overhead, and the counts of an `Arc`.
const CLIENT_ENTRY_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::clients::ClientConnection;
    use dht_protocol::ids::ClientId;

    const RECORD: u64 = DedupBudget::RECORD_BYTES;

    struct Node {
        dedup: Dedup,
        clients: ClientTable,
        budget: DedupBudget,
    }

    fn node(records_max: u64) -> Node {
        let memory = MemoryAccount::new(1 << 30);
        Node {
            dedup: Dedup::default(),
            clients: ClientTable::default(),
            budget: DedupBudget::new(records_max * RECORD, memory),
        }
    }

    fn token(seq: u64, floor: u64) -> WriteToken {
        WriteToken { seq, floor, retry: false }
    }

    fn outcome(number: u64) -> Outcome {
        Outcome { status: Status::Ok, version: Version(number), number: 0 }
    }

    impl Node {
        fn write(&mut self, client: &Arc<ClientState>, seq: u64, floor: u64) -> Admission {
            let admission = self.dedup.admit(client, token(seq, floor));
            if admission == Admission::New {
                self.dedup.record(client, token(seq, floor), outcome(seq), &self.budget, &self.clients);
            }
            admission
        }
    }

    #[test]
    fn a_second_arrival_gets_the_first_answer() {
        let mut node = node(100);
        let client = node.clients.greet(ClientId(1));
        assert_eq!(node.write(&client, 1, 1), Admission::New);
        assert_eq!(node.write(&client, 1, 1), Admission::Replay(outcome(1)));
        let other = node.clients.greet(ClientId(2));
        assert_eq!(node.write(&other, 1, 1), Admission::New, "another client's number 1");
    }

    #[test]
    fn a_copy_below_the_floor_is_not_applied() {
        let mut node = node(100);
        let client = node.clients.greet(ClientId(1));
        node.write(&client, 1, 1);
        node.write(&client, 2, 2);
        assert_eq!(node.write(&client, 1, 1), Admission::Unknown);
    }

    #[test]
    fn a_refusal_of_a_retry_stands_for_its_earlier_copies_too() {
        let mut node = node(100);
        let client = node.clients.greet(ClientId(1));
        let failed = Outcome { status: Status::ConditionFailed, version: Version(9), number: 0 };
        let busy = Outcome { status: Status::Busy, version: Version::ABSENT, number: 0 };
        let (first, retry) = (token(1, 1), WriteToken { retry: true, ..token(1, 1) });
        node.dedup.record(&client, first, failed, &node.budget, &node.clients);
        assert_eq!(
            node.dedup.admit(&client, retry),
            Admission::New,
            "the first copy was refused, a retry may succeed"
        );
        node.dedup.record(&client, retry, busy, &node.budget, &node.clients);
        assert_eq!(node.dedup.admit(&client, retry), Admission::New, "it was told to try again");
        node.dedup.record(&client, retry, failed, &node.budget, &node.clients);
        assert_eq!(node.dedup.admit(&client, first), Admission::Replay(failed), "the late first copy");
    }

    #[test]
    fn records_follow_the_writes_in_flight_not_the_writes_made() {
        let mut node = node(1_000);
        let clients: Vec<_> = (0..10).map(|id| node.clients.greet(ClientId(id))).collect();
        // Each client has four writes in flight. A write looks at four records, so a round over N of them takes
        // N / 4 writes, in which as many become idle: at most a third on top of those in flight.
        let in_flight = clients.len() * 4;
        for seq in 1..=10_000u64 {
            for client in &clients {
                assert_eq!(node.write(client, seq, seq.saturating_sub(3).max(1)), Admission::New);
            }
            let records = node.dedup.records_count();
            assert!(records <= in_flight + in_flight / 3 + clients.len(), "{records} records");
        }
    }

    #[test]
    fn past_the_budget_a_vanished_client_is_forgotten_and_its_retry_is_unknown() {
        let mut node = node(8);
        let gone = node.clients.greet(ClientId(1));
        for seq in 1..=8 {
            node.write(&gone, seq, 1);
        }
        let id = gone.id();
        drop(gone);
        let client = node.clients.greet(ClientId(2));
        assert_eq!(node.write(&client, 1, 1), Admission::New);
        assert_eq!(node.write(&client, 1, 1), Admission::Replay(outcome(1)));
        let back = node.clients.greet(id);
        assert_eq!(node.write(&back, 8, 1), Admission::Unknown);
        assert_eq!(node.write(&back, 3, 1), Admission::Unknown);
        assert_eq!(node.write(&back, 9, 1), Admission::New);
        assert!(node.budget.used_bytes.load(Ordering::Relaxed) <= 8 * RECORD);
    }

    #[test]
    fn a_partition_remembers_at_most_so_many_and_keeps_those_of_connected_clients() {
        let mut node = node(10 * DEDUP_RECORDS_PER_PARTITION_MAX as u64);
        let connected = ClientConnection::new(node.clients.greet(ClientId(1)));
        assert_eq!(node.write(connected.client(), 1, 1), Admission::New);
        for id in 0..2 * DEDUP_RECORDS_PER_PARTITION_MAX as u128 {
            let gone = node.clients.greet(ClientId(2 + id));
            assert_eq!(node.write(&gone, 1, 1), Admission::New);
            assert!(node.dedup.records_count() <= DEDUP_RECORDS_PER_PARTITION_MAX);
        }
        assert_eq!(node.write(connected.client(), 1, 1), Admission::Replay(outcome(1)));
        let first_gone = node.clients.greet(ClientId(2));
        assert_eq!(node.write(&first_gone, 1, 1), Admission::Unknown);
    }

    #[test]
    fn without_any_budget_a_partition_still_remembers_a_few() {
        let mut node = node(0);
        let client = ClientConnection::new(node.clients.greet(ClientId(1)));
        for seq in 1..=ROOM_RECORDS_MIN as u64 {
            assert_eq!(node.write(client.client(), seq, 1), Admission::New);
        }
        assert_eq!(node.write(client.client(), 1, 1), Admission::Replay(outcome(1)));
        let next = ROOM_RECORDS_MIN as u64 + 1;
        assert_eq!(node.write(client.client(), next, 1), Admission::New);
        assert_eq!(node.write(client.client(), next, 1), Admission::Replay(outcome(next)));
        assert_eq!(node.write(client.client(), 1, 1), Admission::Unknown, "of the older half");
        assert_eq!(node.dedup.room(), ROOM_RECORDS_MIN);
    }

    #[test]
    fn a_retry_from_a_doubtful_stranger_is_unknown_but_its_first_sends_are_not() {
        let mut node = node(100);
        for id in 0..=crate::limits::FORGOTTEN_CLIENTS_MAX as u128 {
            let state = node.clients.greet(ClientId(1_000 + id));
            state.forget(1);
            node.clients.remember_forgotten(&state);
        }
        let stranger = node.clients.greet(ClientId(1));
        assert!(stranger.doubtful());
        let retry = WriteToken { seq: 1, floor: 1, retry: true };
        assert_eq!(node.dedup.admit(&stranger, retry), Admission::Unknown);
        assert_eq!(node.write(&stranger, 2, 1), Admission::New);
    }

    #[test]
    fn room_goes_back_to_the_budget() {
        let mut node = node(1_000);
        let client = node.clients.greet(ClientId(1));
        for seq in 1..=500 {
            node.write(&client, seq, 1);
        }
        for (floor, left) in [(500, 1), (501, 0)] {
            client.raise_floor(floor);
            // One that stays may be moved to where the sweep comes by again.
            (0..2).for_each(|_| node.dedup.sweep(1_000));
            assert_eq!(node.dedup.records_count(), left);
            node.dedup.shrink(&node.budget);
            let room = node.dedup.room() as u64 * RECORD;
            assert_eq!(node.budget.used_bytes.load(Ordering::Relaxed), room);
            assert_eq!(node.budget.memory.used_by(MemoryKind::Dedup), room);
            assert!(room <= RECORD, "{room} B");
        }
    }
}
