//! Messages under configurations that are not known here yet: they wait for the map. Who sent them sends them again, so those that
//! are past a bound are dropped.
//!
//! Invariants:
//! 1. `bytes` is the sum over `messages`; neither is past its bound.

use std::collections::VecDeque;

use dht_protocol::peer::{CopyItem, LogEntry, PeerBody, PeerMessage};

use crate::replication::limits::{HELD_BYTES_MAX, HELD_MESSAGES_MAX};

/// What a message, an entry or an outcome takes besides keys and values.
const OVERHEAD_BYTES: usize = 128;

/// Messages that wait for a map.
#[derive(Debug, Default)]
pub(super) struct HeldMessages {
    messages: VecDeque<PeerMessage>,
    bytes: usize,
}

impl HeldMessages {
    /// Keeps a message, if there is room for it.
    pub(super) fn push(&mut self, message: PeerMessage) {
        let bytes = bytes_of(&message);
        if self.messages.len() < HELD_MESSAGES_MAX && self.bytes + bytes <= HELD_BYTES_MAX {
            self.bytes += bytes;
            self.messages.push_back(message);
        }
    }

    /// Gives all of them, in the order in which they came.
    pub(super) fn take(&mut self) -> VecDeque<PeerMessage> {
        self.bytes = 0;
        std::mem::take(&mut self.messages)
    }

    /// Checks the invariant. For tests.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.bytes, self.messages.iter().map(bytes_of).sum::<usize>());
        assert!(self.messages.len() <= HELD_MESSAGES_MAX && self.bytes <= HELD_BYTES_MAX);
    }
}

/// What a message takes of memory, about.
fn bytes_of(message: &PeerMessage) -> usize {
    let of_entry = |entry: &LogEntry| OVERHEAD_BYTES + entry.effect.bytes();
    let body = match &message.body {
        PeerBody::Prepare { entries, .. } => entries.iter().map(of_entry).sum(),
        PeerBody::Copy { item, .. } => match item {
            CopyItem::Piece { entries } => {
                entries.iter().map(|entry| OVERHEAD_BYTES + entry.key.len() + entry.value.len()).sum()
            }
            CopyItem::Fragment { key, bytes, .. } => key.len() + bytes.len(),
            CopyItem::Committed { entry } => of_entry(entry),
            CopyItem::Outcomes { records, forgotten, .. } => {
                OVERHEAD_BYTES * (records.len() + forgotten.len())
            }
            CopyItem::Begin { .. } | CopyItem::End { .. } => 0,
        },
        PeerBody::Prepared { .. }
        | PeerBody::CopyRequest { .. }
        | PeerBody::CopyAck { .. }
        | PeerBody::Beacon { .. }
        | PeerBody::Grant { .. } => 0,
    };
    OVERHEAD_BYTES + body
}

#[cfg(test)]
mod tests {
    use dht_protocol::ids::{Cfg, Epoch, Incarnation, Member, NodeId, PartitionId, Revision, Seq, Version};
    use dht_protocol::peer::{At, Effect, ListTag};
    use dht_protocol::value::ValueType;

    use super::*;

    fn prepare(value_bytes: usize) -> PeerMessage {
        let member = |node| Member { node: NodeId(node), incarnation: Incarnation(1) };
        let value = vec![0; value_bytes].into();
        let effect = Effect::Put { key: b"key"[..].into(), value_type: ValueType::BYTES, value };
        let body = PeerBody::Prepare {
            at: At { partition: PartitionId(0), cfg: Cfg::new(2) },
            list: ListTag { revision: Revision(1), base: Seq(1), end: Seq(1) },
            commit: Seq(0),
            entries: vec![LogEntry { name: Version::new(Cfg::new(2), 1), effect, origin: None }],
        };
        PeerMessage { from: member(1), to: member(0), epoch: Epoch(2), body }
    }

    #[test]
    fn they_are_bounded_by_number_and_by_bytes() {
        let mut held = HeldMessages::default();
        for _ in 0..2 * HELD_MESSAGES_MAX {
            held.push(prepare(10));
            held.check_invariants();
        }
        assert_eq!(held.take().len(), HELD_MESSAGES_MAX);
        held.push(prepare(HELD_BYTES_MAX));
        held.push(prepare(HELD_BYTES_MAX - 1_000));
        held.push(prepare(2_000));
        held.push(prepare(10));
        held.check_invariants();
        assert_eq!(held.take().len(), 2, "the first and the third were too long");
        held.check_invariants();
    }
}
