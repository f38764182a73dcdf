//! Copies of writes, as section 10 of PROTOCOL.md has them: what a node may answer to a token.
//!
//! Where the contract leaves a choice (a node keeps a client's floor while a connection or a remembered outcome needs
//! it, and may forget outcomes where memory is short), all that it allows is listed. What it never allows is applying
//! a remembered write again.

use std::collections::BTreeMap;

use dht_protocol::ids::{ClientId, PartitionId, Version};
use dht_protocol::request::WriteToken;
use dht_protocol::status::Status;

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// `OK`, or why it had no effect.
    pub(super) status: Status,
    /// The write's version; with `CONDITION_FAILED`, the entry's.
    pub(super) version: Version,
    /// The counter after an `ADD`, the length after an `APPEND`, else 0.
    pub(super) number: i64,
}

/// What a node may do with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Apply it.
    New,
    /// Give the answer that was given before.
    Replay(Outcome),
    /// Refuse it as of unknown outcome.
    Unknown,
}

#[derive(Debug, Default)]
struct Writer {
    /// Floor that the node must know.
    floor: u64,
    /// Floor that it may know still, from before all of the client's connections were lost.
    floor_before: u64,
    outcomes: BTreeMap<(PartitionId, u64), Outcome>,
    /// Highest number with a remembered outcome.
    highest: u64,
    connections: u32,
}

/// All clients that write under tokens.
#[derive(Debug)]
pub(super) struct Writers {
    by_id: BTreeMap<ClientId, Writer>,
    /// Whether outcomes may be forgotten before their time.
    may_forget: bool,
}

impl Writers {
    pub(super) fn new(may_forget: bool) -> Writers {
        Writers { by_id: BTreeMap::new(), may_forget }
    }

    pub(super) fn connected(&mut self, id: ClientId) {
        self.by_id.entry(id).or_default().connections += 1;
    }

    pub(super) fn disconnected(&mut self, id: ClientId) {
        let writer = self.by_id.entry(id).or_default();
        writer.connections -= 1;
        if writer.connections == 0 {
            writer.floor_before = writer.floor_before.max(writer.floor);
            writer.floor = 0;
        }
    }

    /// All that the node may do with a write to `partition`. Takes in the floor that it carries.
    pub(super) fn admissions(
        &mut self,
        id: ClientId,
        partition: PartitionId,
        token: WriteToken,
    ) -> Vec<Admission> {
        let writer = self.by_id.entry(id).or_default();
        writer.floor = writer.floor.max(token.floor);
        if token.seq < writer.floor {
            return vec![Admission::Unknown];
        }
        let may_be_late = token.seq < writer.floor_before;
        let may_be_forgotten = self.may_forget && token.seq <= writer.highest;
        let mut admissions = Vec::new();
        match writer.outcomes.get(&(partition, token.seq)) {
            Some(outcome) => admissions.push(Admission::Replay(*outcome)),
            None => admissions.push(Admission::New),
        }
        if may_be_late || may_be_forgotten {
            admissions.push(Admission::Unknown);
        }
        // The client has moved on from this write, and the node from the client.
        if may_be_late && !admissions.contains(&Admission::New) {
            admissions.push(Admission::New);
        }
        admissions
    }

    /// Notes what an applied or refused write came to.
    pub(super) fn record(
        &mut self,
        id: ClientId,
        partition: PartitionId,
        token: WriteToken,
        outcome: Outcome,
    ) {
        if outcome.status == Status::Ok || (token.retry && !outcome.status.may_retry()) {
            let writer = self.by_id.entry(id).or_default();
            writer.outcomes.insert((partition, token.seq), outcome);
            writer.highest = writer.highest.max(token.seq);
        }
    }

    /// Everyone who has ever said who they are.
    pub(super) fn ids(&self) -> Vec<ClientId> {
        self.by_id.keys().copied().collect()
    }
}
