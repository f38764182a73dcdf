//! The greeting by which the daemons of a static cluster find out that they were told different things.

use crate::error::Malformed;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::wire::{Reader, put_u32, put_u64};

/// Body of `PEER_HELLO` and of its answer: each side says who it is, and judges for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHello {
    /// In a static cluster, the digest of members, partition count and hash key.
    pub cluster_id: ClusterId,
    /// Which start of that daemon this is.
    pub incarnation: Incarnation,
    /// Its place in the list that it was given.
    pub node: NodeId,
    /// How long it has been up, milliseconds of its own clock.
    pub age_ms: u64,
}

impl PeerHello {
    /// Appends the body: cluster id 16, incarnation 8, node 4, age 8.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cluster_id.0.to_be_bytes());
        put_u64(out, self.incarnation.0);
        put_u32(out, self.node.0);
        put_u64(out, self.age_ms);
    }

    /// Reads the body.
    ///
    /// # Errors
    /// [`Malformed`] when the length is another.
    pub fn decode(body: &[u8]) -> Result<PeerHello, Malformed> {
        let mut reader = Reader::new(body);
        let hello = PeerHello {
            cluster_id: ClusterId(reader.u128()?),
            incarnation: Incarnation(reader.u64()?),
            node: NodeId(reader.u32()?),
            age_ms: reader.u64()?,
        };
        reader.end()?;
        Ok(hello)
    }
}
