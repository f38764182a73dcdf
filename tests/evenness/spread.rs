//! Counting: how many keys lie in each partition, and what that makes for the nodes of a cluster.

use std::thread;

use dht_protocol::ids::PartitionId;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::placement::ring::Ring;

use crate::keys::Keys;

/// Threads that count.
const THREADS_COUNT: usize = 2;

/// Keys in each partition.
pub(crate) struct Spread(pub(crate) Vec<u32>);

/// How `keys` spread under each of `hash_keys`. Cost: a hash for each pair, on two threads.
pub(crate) fn count(keys: &Keys, hash_keys: &[HashKey], ring: Ring) -> Vec<Spread> {
    let mut spreads = Vec::with_capacity(hash_keys.len());
    thread::scope(|scope| {
        let threads: Vec<_> = hash_keys
            .chunks(hash_keys.len().div_ceil(THREADS_COUNT))
            .map(|chunk| {
                scope.spawn(move || {
                    chunk.iter().map(|&hash_key| count_one(keys, hash_key, ring)).collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            spreads.extend(thread.join().expect("counting does not panic"));
        }
    });
    spreads
}

fn count_one(keys: &Keys, hash_key: HashKey, ring: Ring) -> Spread {
    let mut counts = vec![0; ring.partitions_count() as usize];
    for key in keys.iter() {
        counts[ring.partition_of(hash_key.hash(key.as_bytes())).0 as usize] += 1;
    }
    Spread(counts)
}

impl Spread {
    /// Keys of the fullest node of `map`, over the mean of all.
    pub(crate) fn max_over_mean(&self, map: &ClusterMap) -> f64 {
        let mut keys_of_node = vec![0u32; map.nodes().len()];
        for (partition, &keys) in (0..).map(PartitionId).zip(&self.0) {
            let config = map.partition(partition).expect("the map has the ring's partitions");
            keys_of_node[config.primary.0 as usize] += keys;
        }
        let mean = f64::from(self.0.iter().sum::<u32>()) / keys_of_node.len() as f64;
        f64::from(keys_of_node.iter().copied().max().unwrap_or(0)) / mean
    }
}
