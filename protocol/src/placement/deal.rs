//! Dealing out the replicas of a new cluster, and breaking ties between nodes ever after. Pure functions.
//!
//! Partitions come in rounds of one a node. In a whole round every node is primary once, and its backups are the nodes at
//! certain distances from it around the circle of all; the distances go on from round to round, through all of them, so that
//! a node's partitions are backed up by all others evenly, and every node backs up as many. The last round may have fewer
//! partitions than nodes: its replicas follow each other around the circle without a gap.

use crate::ids::{NodeId, PartitionId};
use crate::placement::hash::HashKey;
use crate::placement::ring::Ring;
use crate::wire::put_u32;

/// The key of [`rendezvous_score`]: the same everywhere and for ever.
const SCORE_KEY: HashKey = HashKey::from_bytes(*b"dht rendezvous k");

/// How much `node` wants `partition`: of nodes that are alike otherwise, the one with the highest score takes it.
#[must_use]
pub fn rendezvous_score(partition: PartitionId, node: NodeId) -> u64 {
    let mut bytes = Vec::with_capacity(8);
    put_u32(&mut bytes, partition.0);
    put_u32(&mut bytes, node.0);
    SCORE_KEY.hash(&bytes).0
}

/// For each partition, the places of its replicas in a list of `nodes_count` nodes, the primary first. Any two nodes' counts
/// of primaries, and of replicas, differ by at most one.
///
/// # Panics
/// Unless 1 ≤ `replicas` ≤ `nodes_count`.
#[must_use]
pub fn deal(nodes_count: usize, ring: Ring, replicas: usize) -> Vec<Vec<usize>> {
    assert!(replicas >= 1 && replicas <= nodes_count, "{replicas} replicas on {nodes_count} nodes");
    let partitions_count = ring.partitions_count() as usize;
    let whole_rounds = partitions_count / nodes_count;
    let mut dealt: Vec<Vec<usize>> = (0..whole_rounds * nodes_count)
        .map(|number| in_whole_round(number / nodes_count, number % nodes_count, nodes_count, replicas))
        .collect();
    deal_last_round(partitions_count - dealt.len(), nodes_count, replicas, &mut dealt);
    dealt
}

fn in_whole_round(round: usize, primary: usize, nodes_count: usize, replicas: usize) -> Vec<usize> {
    let distance = |nth: usize| 1 + (round * (replicas - 1) + nth) % (nodes_count - 1);
    let backups = (0..replicas - 1).map(|nth| (primary + distance(nth)) % nodes_count);
    std::iter::once(primary).chain(backups).collect()
}

fn deal_last_round(count: usize, nodes_count: usize, replicas: usize, dealt: &mut Vec<Vec<usize>>) {
    let mut taken_by: Vec<Option<usize>> = vec![None; nodes_count];
    let places = |nth: usize| (nth * replicas..(nth + 1) * replicas).map(move |place| place % nodes_count);
    for nth in 0..count {
        // A node stands in at most as many of these partitions as a partition has replicas, so that there is a primary for
        // each that is primary of no other (Hall's theorem).
        let found = find_primary(nth, &places, &mut taken_by, &mut vec![false; nodes_count]);
        assert!(found, "partition {nth} of the last round has no node that is free");
    }
    let mut primaries = vec![0; count];
    for (node, nth) in taken_by.iter().enumerate() {
        if let Some(nth) = nth {
            primaries[*nth] = node;
        }
    }
    for (nth, primary) in primaries.into_iter().enumerate() {
        let backups = places(nth).filter(|&node| node != primary);
        dealt.push(std::iter::once(primary).chain(backups).collect());
    }
}

/// Gives partition `nth` a primary, moving others on where it must: an augmenting path of a bipartite matching.
fn find_primary<P: Iterator<Item = usize>>(
    nth: usize,
    places: &impl Fn(usize) -> P,
    taken_by: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    for node in places(nth) {
        if std::mem::replace(&mut seen[node], true) {
            continue;
        }
        let is_free = match taken_by[node] {
            None => true,
            Some(other) => find_primary(other, places, taken_by, seen),
        };
        if is_free {
            taken_by[node] = Some(nth);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(counts: &[usize]) -> usize {
        counts.iter().max().unwrap() - counts.iter().min().unwrap()
    }

    #[test]
    fn primaries_and_replicas_differ_by_at_most_one() {
        for partitions in [16, 64, 256, 4_096] {
            let ring = Ring::new(partitions).unwrap();
            let nodes_counts: Vec<usize> =
                if partitions <= 64 { (1..=40).collect() } else { vec![3, 7, 10, 31, 100] };
            for nodes_count in nodes_counts {
                for replicas in (1..=nodes_count).filter(|&replicas| partitions <= 64 || replicas <= 5) {
                    let dealt = deal(nodes_count, ring, replicas);
                    let (mut primaries, mut all) = (vec![0; nodes_count], vec![0; nodes_count]);
                    for places in &dealt {
                        primaries[places[0]] += 1;
                        places.iter().for_each(|&place| all[place] += 1);
                        let mut distinct = places.clone();
                        distinct.sort_unstable();
                        distinct.dedup();
                        assert_eq!(distinct.len(), replicas);
                    }
                    let what = format!("{partitions} partitions, {replicas} replicas on {nodes_count} nodes");
                    assert!(spread(&primaries) <= 1, "{what}: {primaries:?}");
                    assert!(spread(&all) <= 1, "{what}: {all:?}");
                }
            }
        }
    }

    #[test]
    fn a_node_is_backed_up_by_all_others_evenly() {
        for (nodes_count, replicas) in [(4, 2), (5, 3), (10, 3), (31, 2)] {
            let dealt = deal(nodes_count, Ring::new(4_096).unwrap(), replicas);
            for node in 0..nodes_count {
                let mut backed_by = vec![0_usize; nodes_count];
                let own = dealt.iter().filter(|places| places[0] == node);
                own.for_each(|places| places[1..].iter().for_each(|&place| backed_by[place] += 1));
                backed_by.remove(node);
                // One from whole rounds, one from the last.
                assert!(spread(&backed_by) <= 2, "{nodes_count} nodes: {backed_by:?}");
            }
        }
    }

    #[test]
    fn scores_are_the_same_for_ever() {
        assert_eq!(rendezvous_score(PartitionId(0), NodeId(0)), 5_334_706_441_670_631_136);
        let winners: Vec<u32> = (0..4_096)
            .map(|p| (0..4).max_by_key(|&n| rendezvous_score(PartitionId(p), NodeId(n))).unwrap())
            .collect();
        for node in 0..4 {
            let won = winners.iter().filter(|&&winner| winner == node).count();
            assert!((900..1_150).contains(&won), "node {node} wins {won} of 4,096");
        }
    }
}
