//! A client: its name, its numbers for writes, the map it goes by, a connection to each node, and the calls that are open.

use std::sync::Arc;

use dht_protocol::ids::{ClientId, Incarnation, NodeId, Version};
use dht_protocol::placement::replica_map::ReplicaMap;
use dht_server::replication::operation::{Operation, Ticket};

use crate::linearizability::Op;

use super::machines::{OpenWrite, Retry, WriteTokens};
use super::session::{SessionId, SlotRef};

/// A client.
pub(super) struct SimClient<'a> {
    pub(super) id: ClientId,
    pub(super) tokens: &'a WriteTokens,
    pub(super) map: Option<Arc<ReplicaMap>>,
    /// By node.
    pub(super) links: Vec<Link>,
    pub(super) slots: Vec<Slot<'a>>,
    /// By key: the version seen last.
    pub(super) seen: Vec<Version>,
    /// When the map was last asked for because a node does not answer.
    pub(super) refreshed_at: u64,
}

/// The way to a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Link {
    /// There is no connection, and none is tried before this.
    Closed(u64),
    /// The greeting is not answered yet; whether the map is wanted when it is.
    Opening(SessionId, bool),
    /// Writes may go.
    Open(SessionId, Incarnation),
}

/// Room for one call.
pub(super) struct Slot<'a> {
    /// Rises with every change of stage: what was planned for an earlier one is void.
    pub(super) generation: u32,
    pub(super) stage: Stage,
    pub(super) call: Option<Call<'a>>,
}

/// What a slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The next call.
    Resting,
    /// The time to try again, or to look for a map again.
    BackingOff,
    /// The answer to a greeting.
    Connecting(SessionId),
    /// The answer to the call.
    Waiting(SessionId, Ticket, NodeId, Incarnation),
    /// A newer map, from a node that says it does not own the key.
    Refreshing(SessionId),
}

/// A call on its way.
pub(super) struct Call<'a> {
    pub(super) key: usize,
    pub(super) op: Op,
    pub(super) operation: Operation,
    pub(super) invoked: u64,
    pub(super) deadline: u64,
    pub(super) retry: Retry,
    pub(super) write: Option<OpenWrite<'a>>,
    /// Highest version of its partition that anybody had been told when it began.
    pub(super) version_before: Version,
}

/// What is known of a request by its ticket.
pub(super) struct TicketInfo {
    pub(super) slot: SlotRef,
    pub(super) session: SessionId,
    /// The node that was asked.
    pub(super) node: u16,
    /// The place of its key, and its partition.
    pub(super) key: u16,
    pub(super) partition: dht_protocol::ids::PartitionId,
    /// Whether it is a write that may have been sent before.
    pub(super) retry: bool,
    pub(super) is_write: bool,
    /// Whether the node has answered it.
    pub(super) answered: bool,
}

impl<'a> SimClient<'a> {
    /// A client that knows nobody yet.
    pub(super) fn new(
        id: ClientId,
        tokens: &'a WriteTokens,
        nodes: usize,
        slots: usize,
        keys: usize,
    ) -> SimClient<'a> {
        let slot = || Slot { generation: 0, stage: Stage::Resting, call: None };
        SimClient {
            id,
            tokens,
            map: None,
            links: vec![Link::Closed(0); nodes],
            slots: (0..slots).map(|_| slot()).collect(),
            seen: vec![Version::ABSENT; keys],
            refreshed_at: 0,
        }
    }

    /// Takes a map, if it is newer than the one it has; says whether it was.
    pub(super) fn take_map(&mut self, map: Option<Arc<ReplicaMap>>) -> bool {
        let Some(map) = map else { return false };
        let newer = self.map.as_ref().is_none_or(|mine| mine.epoch < map.epoch);
        if newer {
            self.map = Some(map);
        }
        newer
    }
}
