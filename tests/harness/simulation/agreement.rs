//! After everything has come to rest, all replicas of a partition hold the same, entry by entry. (Not the same outcomes:
//! a node drops those below the floors that it has heard of.)

use dht_protocol::ids::{PartitionId, Version};
use dht_protocol::peer::CopiedEntry;
use dht_server::replication::replica_store::ReplicaStore;

use super::coordination::place_of;
use super::scenario::PARTITIONS;
use super::world::World;

/// Bytes of entries that are read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// What a replica holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) commit: Version,
    pub(super) entries: Vec<CopiedEntry>,
}

impl World<'_> {
    /// Compares the replicas of every partition.
    pub(super) fn check_agreement(&mut self) {
        let Some(map) = self.published.clone() else { return };
        for at in 0..PARTITIONS {
            let partition = PartitionId(at);
            let Some(held) = map.partition(partition) else { return };
            let mut first: Option<(u16, Held)> = None;
            for member in held.in_sync() {
                let Some(listed) = map.node(member.node) else { continue };
                let place = place_of(&listed.address);
                let held = match self.held_by(place, partition) {
                    Ok(held) => held,
                    Err(text) => return self.fail(text),
                };
                match &first {
                    None => first = Some((place, held)),
                    Some((other, theirs)) => {
                        if let Some(text) = difference(theirs, &held) {
                            return self.fail(format!(
                                "partition {partition}: n{other} and n{place} differ: {text}"
                            ));
                        }
                    }
                }
            }
        }
    }

    fn held_by(&self, place: u16, partition: PartitionId) -> Result<Held, String> {
        let process = self.nodes[place as usize].process.as_ref();
        let replica = process.and_then(|process| process.machine.replica(partition));
        let Some(replica) = replica else {
            return Err(format!(
                "n{place} holds no replica of partition {partition}, as the map says it does"
            ));
        };
        if replica.prepared > 0 {
            return Err(format!(
                "n{place} still has {} prepared entries in partition {partition}",
                replica.prepared
            ));
        }
        let mut entries = Vec::new();
        let (mut from, end) = replica.store.range();
        while from < end {
            let (piece, next) = replica.store.piece(from, PIECE_BYTES);
            entries.extend(piece);
            if next <= from {
                return Err(format!("a piece of partition {partition} does not get on"));
            }
            from = next;
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        if entries.len() as u64 != replica.store.len() {
            return Err(format!(
                "n{place} says that it has {} entries in partition {partition}, and gives {}",
                replica.store.len(),
                entries.len()
            ));
        }
        Ok(Held { commit: replica.commit, entries })
    }
}

/// In what two replicas differ.
fn difference(one: &Held, other: &Held) -> Option<String> {
    if one.commit != other.commit {
        return Some(format!("commit points {} and {}", one.commit, other.commit));
    }
    for (mine, theirs) in one.entries.iter().zip(&other.entries) {
        if mine.key != theirs.key {
            let key = if mine.key < theirs.key { &mine.key } else { &theirs.key };
            return Some(format!("only one of them has {}", key.escape_ascii()));
        }
        if mine.version != theirs.version {
            return Some(format!("{} at {} and {}", mine.key.escape_ascii(), mine.version, theirs.version));
        }
        if mine != theirs {
            return Some(format!("{} at {} has two values", mine.key.escape_ascii(), mine.version));
        }
    }
    let counts = (one.entries.len(), other.entries.len());
    (counts.0 != counts.1).then(|| format!("{} entries and {}", counts.0, counts.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_protocol::value::ValueType;

    fn entry(key: &[u8], version: u64, value: &[u8]) -> CopiedEntry {
        CopiedEntry {
            key: key.into(),
            version: Version(version),
            value_type: ValueType::TEXT,
            value: value.into(),
        }
    }

    #[test]
    fn every_difference_is_found() {
        let held = |entries: Vec<CopiedEntry>| Held { commit: Version(9), entries };
        let good = held(vec![entry(b"a", 1, b"x"), entry(b"b", 2, b"y")]);
        assert_eq!(difference(&good, &good.clone()), None);
        for bad in [
            held(vec![entry(b"a", 1, b"x")]),
            held(vec![entry(b"a", 1, b"x"), entry(b"c", 2, b"y")]),
            held(vec![entry(b"a", 3, b"x"), entry(b"b", 2, b"y")]),
            held(vec![entry(b"a", 1, b"x"), entry(b"b", 2, b"z")]),
            Held { commit: Version(8), ..good.clone() },
        ] {
            assert!(difference(&good, &bad).is_some(), "{bad:?}");
        }
    }
}
