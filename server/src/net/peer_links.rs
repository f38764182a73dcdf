//! A worker's links to other nodes.

use dht_protocol::ids::NodeId;
use dht_protocol::request::Request;
use mio::Token;

use crate::resp::SlotId;

/// Links of one worker.
#[derive(Debug, Default)]
pub(crate) struct PeerLinks {
    /// Requests that cannot be carried out.
    failed: Vec<(Token, SlotId)>,
}

impl PeerLinks {
    /// Sends a request for the connection of `token`.
    pub(crate) fn send(&mut self, _: NodeId, _: &Request<'_>, token: Token, slot: SlotId) -> bool {
        self.failed.push((token, slot));
        true
    }

    /// One that has failed.
    pub(crate) fn take_failed(&mut self) -> Option<(Token, SlotId)> {
        self.failed.pop()
    }
}
