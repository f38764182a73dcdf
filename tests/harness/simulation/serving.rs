//! At any moment at most one node would answer a read of a partition. Looked at after every event of a node, but only for
//! those partitions that more than one holds as primary.

use dht_protocol::ids::PartitionId;
use dht_server::replication::Role;

use super::scenario::PARTITIONS;
use super::world::World;

/// Who holds what as primary, by its own map.
pub(super) struct Serving {
    /// By node, partitions by bit.
    claims: Vec<u64>,
    /// By partition: how many claim it.
    counts: [u8; PARTITIONS as usize],
    /// Partitions that more than one claims.
    contested: u64,
    /// Partitions that were lost altogether, by somebody's word: an old primary may not know of it yet.
    pub(super) excused: u64,
}

impl Serving {
    /// Nobody holds anything.
    pub(super) fn new(nodes: usize) -> Serving {
        Serving { claims: vec![0; nodes], counts: [0; PARTITIONS as usize], contested: 0, excused: 0 }
    }

    /// This node's process is gone.
    pub(super) fn drop_claims(&mut self, node: u16) {
        self.set_claims(node, 0);
    }

    /// Partitions that this node holds as primary, and another one, too.
    fn contested_by(&self, node: u16) -> u64 {
        self.claims[node as usize] & self.contested & !self.excused
    }

    fn set_claims(&mut self, node: u16, claims: u64) {
        let changed = self.claims[node as usize] ^ claims;
        self.claims[node as usize] = claims;
        for at in bits(changed) {
            let count = &mut self.counts[at as usize];
            if claims >> at & 1 == 1 {
                *count += 1;
            } else {
                *count -= 1;
            }
            let bit = 1 << at;
            self.contested = if *count > 1 { self.contested | bit } else { self.contested & !bit };
        }
    }
}

impl World<'_> {
    /// A node may hold other partitions now.
    pub(super) fn look_at_roles(&mut self, node: u16) {
        let Some(process) = self.nodes[node as usize].process.as_ref() else { return };
        let is_primary = |id: PartitionId| {
            process.machine.replica(id).is_some_and(|replica| matches!(replica.role, Role::Primary))
        };
        let claims =
            (0..PARTITIONS).filter(|&at| is_primary(PartitionId(at))).fold(0, |claims, at| claims | 1 << at);
        self.serving.set_claims(node, claims);
    }

    /// Something has happened at a node.
    pub(super) fn check_serving(&mut self, node: u16) {
        let contested = self.serving.contested_by(node);
        if contested == 0 {
            return;
        }
        let now = self.queue.now();
        for at in bits(contested) {
            let (claims, nodes) = (&self.serving.claims, &mut self.nodes);
            let mut serving = nodes.iter_mut().enumerate().filter_map(|(other, held)| {
                let process = held.process.as_mut().filter(|_| claims[other] >> at & 1 == 1)?;
                let serves = process.machine.is_serving(process.clock.local(now), PartitionId(at));
                serves.then_some(other)
            });
            let both = serving.next().zip(serving.next());
            if let Some((first, second)) = both {
                return self.fail(format!("n{first} and n{second} both serve partition {at}"));
            }
        }
    }
}

/// The bits that are set.
pub(super) fn bits(mut of: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let at = of.trailing_zeros();
        (of != 0).then(|| {
            of &= of - 1;
            at
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_contested_while_two_claim_it() {
        let mut serving = Serving::new(3);
        serving.set_claims(0, 0b0110);
        serving.set_claims(1, 0b1000);
        assert_eq!(serving.contested_by(0), 0);
        serving.set_claims(2, 0b0010);
        assert_eq!(
            (serving.contested_by(0), serving.contested_by(1), serving.contested_by(2)),
            (0b10, 0, 0b10)
        );
        serving.drop_claims(0);
        assert_eq!(serving.contested_by(2), 0);
        assert_eq!(bits(0b1_0010).collect::<Vec<_>>(), [1, 4]);
    }
}
