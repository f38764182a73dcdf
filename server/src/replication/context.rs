//! What a replica is told with every event, and where its answers go.

use std::collections::VecDeque;

use dht_protocol::ids::{Epoch, Member, PartitionId};
use dht_protocol::peer::{At, PeerBody, PeerMessage, ToCoordinator};
use dht_protocol::placement::replica_map::Settings;

use super::budget::LogBudget;
use super::floors::Floors;
use super::leases::Leases;
use super::limits::CopyPace;
use super::operation::{KeyAnswer, Ticket};
use crate::clock::Time;

/// What a node is to do for its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAction {
    /// Send this to another node. It may be lost.
    Peer(PeerMessage),
    /// Send this to the coordinator. It may be lost.
    Coordinator(ToCoordinator),
    /// Answer a request.
    Answer(Ticket, KeyAnswer),
    /// A request will not be answered: end the session that it came over, so that its client asks again elsewhere, under the
    /// same number. (Its write may have been applied, and whoever is primary now knows.)
    Abandon(Ticket),
}

/// The node around a replica, at the time of an event.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    /// Epoch of the node's map.
    pub(crate) epoch: Epoch,
    pub(crate) me: Member,
    pub(crate) settings: Settings,
    pub(crate) leases: &'a Leases,
    pub(crate) floors: &'a mut Floors,
    pub(crate) budget: &'a mut LogBudget,
    /// Until when the coordinator gives to nobody else what this node alone has.
    pub(crate) coordinator_lease_end: Time,
    /// Number of the next copy that this node begins.
    pub(crate) next_stream: &'a mut u64,
    /// How fast it fills newcomers.
    pub(crate) pace: CopyPace,
    pub(crate) actions: &'a mut VecDeque<NodeAction>,
}

impl Context<'_> {
    pub(super) fn send(&mut self, to: Member, body: PeerBody) {
        let message = PeerMessage { from: self.me, to, epoch: self.epoch, body };
        self.actions.push_back(NodeAction::Peer(message));
    }

    pub(super) fn send_to_coordinator(&mut self, message: ToCoordinator) {
        self.actions.push_back(NodeAction::Coordinator(message));
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: KeyAnswer) {
        self.actions.push_back(NodeAction::Answer(ticket, answer));
    }

    pub(super) fn abandon(&mut self, ticket: Ticket) {
        self.actions.push_back(NodeAction::Abandon(ticket));
    }
}

/// The partition and configuration that messages of a replica are about.
pub(super) fn at(partition: PartitionId, cfg: dht_protocol::ids::Cfg) -> At {
    At { partition, cfg }
}
