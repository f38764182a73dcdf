//! Connections between clients and nodes, as TCP gives them: what is sent arrives in order, once or not at all, and perhaps
//! very late, also after the client has given up on it. A connection belongs to one start of its node, and breaks with it.

use std::collections::VecDeque;
use std::sync::Arc;

use dht_protocol::ids::{ClientId, Incarnation};
use dht_protocol::placement::replica_map::ReplicaMap;
use dht_server::replication::operation::{KeyAnswer, KeyRequest, Operation, Ticket};

/// Names a connection; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionId(pub(super) u32);

/// A call's stay in a client's slot: `generation` tells it from those before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotRef {
    /// The slot.
    pub(super) slot: u16,
    /// Which wait of it.
    pub(super) generation: u32,
}

/// Client to node.
#[derive(Debug)]
pub(super) enum Up {
    /// The greeting; answered before anything else is sent.
    Hello,
    /// A request.
    Request(Ticket, KeyRequest),
    /// Send me your map; on whose behalf, if anybody waits for it.
    FetchMap(Option<SlotRef>),
    /// The client lets go: nothing comes after this.
    Close,
}

/// Node to client.
#[derive(Debug)]
pub(super) enum Down {
    /// The answer to the greeting.
    Hello(Incarnation),
    /// An answer.
    Answer(Ticket, KeyAnswer),
    /// The node's map.
    Map(Option<SlotRef>, Option<Arc<ReplicaMap>>),
    /// There is no such connection (any more).
    Reset,
}

/// Bytes of a message besides its key and value, about.
const HEAD_BYTES: usize = 60;
/// Bytes of a map, about.
const MAP_BYTES: usize = 1_500;

impl Up {
    /// How long it is, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Up::Request(_, request) => {
                let value = match &request.operation {
                    Operation::Put { value: bytes, .. } | Operation::Append { suffix: bytes, .. } => {
                        bytes.len()
                    }
                    Operation::Get | Operation::Exists | Operation::Delete { .. } | Operation::Add { .. } => {
                        0
                    }
                };
                HEAD_BYTES + request.key.len() + value
            }
            Up::Hello | Up::FetchMap(_) | Up::Close => HEAD_BYTES,
        }
    }
}

impl Down {
    /// How long it is, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Down::Answer(_, answer) => HEAD_BYTES + answer.value.as_ref().map_or(0, |(_, value)| value.len()),
            Down::Map(_, Some(_)) => MAP_BYTES,
            Down::Hello(_) | Down::Map(_, None) | Down::Reset => HEAD_BYTES,
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    /// Whose it is, by place, and by name: another client may have that place by now.
    pub(super) client: u16,
    /// See `client`.
    pub(super) id: ClientId,
    /// To which address.
    pub(super) node: u16,
    /// The start of the node that has taken it.
    pub(super) taken_by: Option<u32>,
    /// Whether the client has let go of it: what it has sent still arrives.
    pub(super) abandoned: bool,
    /// On their way up, first one first.
    pub(super) up: VecDeque<Up>,
    /// On their way down, first one first.
    pub(super) down: VecDeque<Down>,
    /// When the last of each direction is due.
    pub(super) up_due: u64,
    /// When the last of each direction is due.
    pub(super) down_due: u64,
}

impl Session {
    /// Its client and its node.
    pub(super) fn ends(&self) -> (u16, u16) {
        (self.client, self.node)
    }
}

/// All connections there ever were.
#[derive(Default)]
pub(super) struct Sessions {
    all: Vec<Session>,
    /// Requests that have been sent and have not arrived, also those that nobody waits for any more.
    requests_count: u64,
}

impl Sessions {
    /// A new one.
    pub(super) fn open(&mut self, client: u16, id: ClientId, node: u16) -> SessionId {
        self.all.push(Session {
            client,
            id,
            node,
            taken_by: None,
            abandoned: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            up_due: 0,
            down_due: 0,
        });
        SessionId(self.all.len() as u32 - 1)
    }

    /// Puts a message on its way up, behind those that are.
    pub(super) fn push_up(&mut self, id: SessionId, up: Up) {
        self.requests_count += u64::from(matches!(up, Up::Request(..)));
        self.get(id).up.push_back(up);
    }

    /// The first message on its way up arrives.
    pub(super) fn pop_up(&mut self, id: SessionId) -> Option<Up> {
        let up = self.get(id).up.pop_front()?;
        self.requests_count -= u64::from(matches!(up, Up::Request(..)));
        Some(up)
    }

    /// Whether a request may still arrive somewhere.
    pub(super) fn carry_requests(&self) -> bool {
        self.requests_count > 0
    }

    /// One of them.
    pub(super) fn get(&mut self, id: SessionId) -> &mut Session {
        &mut self.all[id.0 as usize]
    }

    /// What is on its way up behind the first `kept` messages never arrives.
    pub(super) fn cut_short(&mut self, id: SessionId, kept: usize) {
        let up = &mut self.all[id.0 as usize].up;
        let lost = up.drain(kept.min(up.len())..);
        self.requests_count -= lost.filter(|up| matches!(up, Up::Request(..))).count() as u64;
    }

    /// Those that this start of the node has taken.
    pub(super) fn taken_by(&self, node: u16, start: u32) -> Vec<SessionId> {
        let of_it = |session: &Session| session.node == node && session.taken_by == Some(start);
        (0..self.all.len()).filter(|&at| of_it(&self.all[at])).map(|at| SessionId(at as u32)).collect()
    }
}
