//! The outcomes of a partition's committed writes, so that a second arrival gets the first one's answer and nothing is applied
//! twice. They are part of the replicated state: made by committed entries of the log, on every replica alike, and copied to
//! newcomers; so a retry gets its answer from whichever replica has become primary.
//!
//! A record goes when its client's floor has passed it: the client will not ask again, and a copy of the write that
//! comes late is refused by the floor, or, when it was sent to an earlier primary, by the epoch that it carries. Which
//! floors a replica has heard of differs, so replicas may remember different records; all of them those that count.
//!
//! Where clients vanish, their records stay, up to [`super::limits::OUTCOMES_MAX`], or fewer while memory for them is short.
//! Then the primary logs an entry that forgets those of one client; the client's id goes on a list of
//! [`FORGOTTEN_CLIENTS_MAX`], so that a retry of its is answered *unknown*. A first copy that lies unread in a session while
//! all this happens is known by what its node notes for the session (`floors`).
//!
//! Invariants:
//! 1. No record is of a number up to which its client is forgotten.
//! 2. `forgotten` has no client twice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use dht_protocol::ids::{ClientId, Version};
use dht_protocol::peer::{Origin, Outcome, OutcomeRecord};

use super::limits::FORGOTTEN_CLIENTS_MAX;

/// The outcomes of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    records: BTreeMap<(ClientId, u64), Outcome>,
    /// Oldest first: up to which number a client's outcomes are forgotten.
    forgotten: VecDeque<(ClientId, u64)>,
    /// Whether `forgotten` has ever been full.
    overflowed: bool,
}

/// What is known of a write that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: it has not been applied.
    New,
    /// It came to this.
    Outcome(Outcome),
    /// It may have been applied, and what came of it is forgotten.
    Forgotten,
}

impl Outcomes {
    /// What is known of write `seq` of `client`, `retry` saying whether it may be a second arrival.
    pub(super) fn look_up(&self, client: ClientId, seq: u64, retry: bool) -> Known {
        if let Some(outcome) = self.records.get(&(client, seq)) {
            return Known::Outcome(*outcome);
        }
        let is_unknown = self.is_forgotten(client, seq) || (retry && self.overflowed);
        if is_unknown { Known::Forgotten } else { Known::New }
    }

    fn is_forgotten(&self, client: ClientId, seq: u64) -> bool {
        self.forgotten.iter().any(|&(id, upto)| id == client && seq <= upto)
    }

    /// A write was committed. The floor that it came with lets go of earlier ones of its client. One that was prepared behind
    /// the entry that forgets its number leaves no record: a copy would not have it either.
    pub(super) fn on_committed(&mut self, origin: &Origin) {
        self.pass(origin.client, origin.floor);
        if !self.is_forgotten(origin.client, origin.seq) {
            self.records.insert((origin.client, origin.seq), origin.outcome);
        }
    }

    /// Drops the records of `client` below `floor`.
    pub(super) fn pass(&mut self, client: ClientId, floor: u64) {
        while let Some((&place, _)) = self.records.range((client, 0)..(client, floor)).next() {
            self.records.remove(&place);
        }
    }

    /// Drops the records of `client` up to `seq`, and remembers that there were some.
    pub(super) fn forget(&mut self, client: ClientId, seq: u64) {
        self.pass(client, seq.saturating_add(1));
        if let Some(known) = self.forgotten.iter_mut().find(|(id, _)| *id == client) {
            known.1 = known.1.max(seq);
            return;
        }
        if self.forgotten.len() == FORGOTTEN_CLIENTS_MAX {
            self.forgotten.pop_front();
            self.overflowed = true;
        }
        self.forgotten.push_back((client, seq));
    }

    /// Whom to forget, and up to which number, where there are more records than `records_max` besides those that are `leaving`,
    /// each up to some number, by entries under way: the older half of the client that has most. Cost: looks at all records,
    /// if they are more than that.
    pub(super) fn surplus(
        &self,
        records_max: usize,
        leaving: impl IntoIterator<Item = (ClientId, u64)>,
    ) -> Option<(ClientId, u64)> {
        if self.records.len() <= records_max {
            return None;
        }
        let leaving: BTreeMap<ClientId, u64> = leaving.into_iter().collect();
        let stays = |client: ClientId, seq| leaving.get(&client).is_none_or(|&upto| seq > upto);
        // Of each client: how many, and its oldest. Of those with as many the one that wrote longest ago.
        let mut counts: BTreeMap<ClientId, (usize, Reverse<Version>)> = BTreeMap::new();
        let mut staying = 0;
        for (&(client, seq), outcome) in &self.records {
            if stays(client, seq) {
                staying += 1;
                let entry = counts.entry(client).or_insert((0, Reverse(outcome.version)));
                *entry = (entry.0 + 1, entry.1.max(Reverse(outcome.version)));
            }
        }
        if staying <= records_max {
            return None;
        }
        let (&client, &(count, _)) = counts.iter().max_by_key(|(_, rank)| **rank)?;
        let seqs = self.records.range((client, 0)..=(client, u64::MAX)).map(|((_, seq), _)| *seq);
        Some((client, seqs.filter(|&seq| stays(client, seq)).take(count.div_ceil(2)).last()?))
    }

    /// Drops, of a few clients, what `floor_of` says has been passed. For partitions that are not written to.
    pub(super) fn sweep(&mut self, floor_of: impl Fn(ClientId) -> u64) {
        let clients: Vec<ClientId> = {
            let mut clients: Vec<ClientId> = self.records.keys().map(|(client, _)| *client).collect();
            clients.dedup();
            clients
        };
        for client in clients {
            self.pass(client, floor_of(client));
        }
    }

    /// How many outcomes are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What a copy carries: the records, the clients that are forgotten, and whether such a one is forgotten itself.
    pub(super) fn to_copy(&self) -> (Vec<OutcomeRecord>, Vec<(ClientId, u64)>, bool) {
        let record =
            |(&(client, seq), &outcome): (&(ClientId, u64), &Outcome)| OutcomeRecord { client, seq, outcome };
        (self.records.iter().map(record).collect(), self.forgotten.iter().copied().collect(), self.overflowed)
    }

    /// Takes in a part of what [`Outcomes::to_copy`] gave.
    pub(super) fn take_in(
        &mut self,
        records: &[OutcomeRecord],
        forgotten: &[(ClientId, u64)],
        overflowed: bool,
    ) {
        self.records.extend(records.iter().map(|record| ((record.client, record.seq), record.outcome)));
        for &(client, seq) in forgotten {
            self.forget(client, seq);
        }
        self.overflowed |= overflowed;
    }

    /// Checks the invariants. For tests.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn check_invariants(&self) {
        assert!(self.forgotten.len() <= FORGOTTEN_CLIENTS_MAX);
        for (place, &(client, upto)) in self.forgotten.iter().enumerate() {
            assert!(self.records.range((client, 0)..=(client, upto)).next().is_none(), "a forgotten record");
            assert!(self.forgotten.iter().skip(place + 1).all(|(id, _)| *id != client), "a client twice");
        }
    }
}

#[cfg(test)]
mod tests {
    use dht_protocol::status::Status;

    use super::*;
    use crate::replication::limits::OUTCOMES_MAX;

    const ADA: ClientId = ClientId(1);
    const BOB: ClientId = ClientId(2);

    fn outcome(number: i64) -> Outcome {
        Outcome { status: Status::Ok, version: Version(number as u64), number }
    }

    fn commit(outcomes: &mut Outcomes, client: ClientId, seq: u64, floor: u64) {
        outcomes.on_committed(&Origin { client, seq, floor, outcome: outcome(seq as i64) });
        outcomes.check_invariants();
    }

    #[test]
    fn a_second_arrival_gets_the_first_answer_until_the_floor_has_passed_it() {
        let mut outcomes = Outcomes::default();
        commit(&mut outcomes, ADA, 1, 1);
        commit(&mut outcomes, BOB, 1, 1);
        assert_eq!(outcomes.look_up(ADA, 1, true), Known::Outcome(outcome(1)));
        assert_eq!(outcomes.look_up(ADA, 2, true), Known::New);
        commit(&mut outcomes, ADA, 2, 2);
        assert_eq!(outcomes.look_up(ADA, 1, true), Known::New, "the floor refuses it before it comes here");
        assert_eq!(outcomes.len(), 2);
        outcomes.sweep(|client| if client == BOB { 2 } else { 0 });
        assert_eq!(outcomes.len(), 1);
    }

    #[test]
    fn past_the_bound_the_older_half_of_the_greediest_is_forgotten() {
        let mut outcomes = Outcomes::default();
        commit(&mut outcomes, BOB, 1, 1);
        for seq in 1..=OUTCOMES_MAX as u64 - 1 {
            commit(&mut outcomes, ADA, seq, 1);
        }
        assert_eq!(outcomes.surplus(OUTCOMES_MAX, []), None);
        commit(&mut outcomes, ADA, OUTCOMES_MAX as u64, 1);
        let (client, upto) = outcomes.surplus(OUTCOMES_MAX, []).unwrap();
        assert_eq!((client, upto), (ADA, OUTCOMES_MAX as u64 / 2));
        outcomes.forget(client, upto);
        outcomes.check_invariants();
        assert_eq!(outcomes.look_up(ADA, upto, false), Known::Forgotten);
        assert_eq!(outcomes.look_up(ADA, upto + 1, true), Known::Outcome(outcome(upto as i64 + 1)));
        assert_eq!(outcomes.look_up(ADA, OUTCOMES_MAX as u64 + 1, true), Known::New);
        assert_eq!(outcomes.len(), 1 + OUTCOMES_MAX / 2);
    }

    /// Of clients that write once and are gone each entry forgets one record. With one such entry under way at a time there were
    /// more and more records.
    #[test]
    fn clients_that_come_once_are_forgotten_as_fast_as_they_come() {
        const UNDER_WAY: u64 = 100;
        let mut outcomes = Outcomes::default();
        for round in 0..60 {
            let (mut leaving, mut writes) = (Vec::new(), Vec::new());
            for write in 0..UNDER_WAY {
                leaving.extend(outcomes.surplus(OUTCOMES_MAX, leaving.iter().copied()));
                writes.push(ClientId(u128::from(round * UNDER_WAY + write)));
            }
            leaving.iter().for_each(|&(client, upto)| outcomes.forget(client, upto));
            writes.iter().for_each(|&client| commit(&mut outcomes, client, 1, 1));
            assert!(outcomes.len() <= OUTCOMES_MAX + UNDER_WAY as usize, "{}", outcomes.len());
            outcomes.check_invariants();
        }
        assert!(outcomes.len() > OUTCOMES_MAX);
    }

    #[test]
    fn what_is_leaving_already_is_no_surplus() {
        let mut outcomes = Outcomes::default();
        for seq in 1..=OUTCOMES_MAX as u64 {
            commit(&mut outcomes, ADA, seq, 1);
        }
        commit(&mut outcomes, BOB, 1, 1);
        let first = outcomes.surplus(OUTCOMES_MAX, []).unwrap();
        assert_eq!(first.0, ADA);
        assert_eq!(outcomes.surplus(OUTCOMES_MAX, [first]), None);
    }

    #[test]
    fn what_commits_behind_the_entry_that_forgets_it_leaves_no_record() {
        let mut outcomes = Outcomes::default();
        commit(&mut outcomes, ADA, 2, 1);
        outcomes.forget(ADA, 2);
        commit(&mut outcomes, ADA, 1, 1);
        assert_eq!(outcomes.look_up(ADA, 1, true), Known::Forgotten);
        commit(&mut outcomes, ADA, 3, 1);
        assert_eq!(outcomes.look_up(ADA, 3, true), Known::Outcome(outcome(3)));
    }

    #[test]
    fn when_the_list_of_the_forgotten_is_full_every_retry_is_in_doubt() {
        let mut outcomes = Outcomes::default();
        for id in 0..=FORGOTTEN_CLIENTS_MAX as u128 {
            assert_eq!(outcomes.look_up(ClientId(1_000), 1, true), Known::New);
            outcomes.forget(ClientId(id), 5);
            outcomes.forget(ClientId(id), 3);
            outcomes.check_invariants();
        }
        assert_eq!(outcomes.look_up(ClientId(1_000), 1, true), Known::Forgotten);
        assert_eq!(outcomes.look_up(ClientId(1_000), 1, false), Known::New);
        assert_eq!(outcomes.look_up(ClientId(1), 5, false), Known::Forgotten);
    }

    #[test]
    fn a_copy_knows_what_the_original_knew() {
        let mut outcomes = Outcomes::default();
        for seq in 1..600 {
            commit(&mut outcomes, ADA, seq, 1);
        }
        outcomes.forget(BOB, 9);
        let (records, forgotten, overflowed) = outcomes.to_copy();
        let mut copy = Outcomes::default();
        for part in records.chunks(256) {
            copy.take_in(part, &[], false);
        }
        copy.take_in(&[], &forgotten, overflowed);
        assert_eq!(copy, outcomes);
    }
}
