//! What it costs to find the node that serves a key, and to deal partitions out to nodes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use dht_protocol::placement::hash::{HashKey, KeyHash};
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::placement::planner::static_map;
use dht_protocol::placement::ring::Ring;

const PARTITIONS: u32 = 4_096;
const NODES: [u32; 2] = [3, 100];

fn members(count: u32) -> Vec<String> {
    (0..count).map(|number| format!("10.0.0.{number}:7400")).collect()
}

fn map_of(nodes_count: u32) -> ClusterMap {
    let ring = Ring::new(PARTITIONS).expect("a power of two within the bounds");
    static_map(&members(nodes_count), ring, HashKey::GUESSABLE).expect("different addresses, not too many")
}

/// From a key to the partition and the node, hash included.
fn owner(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("owner");
    for nodes_count in NODES {
        let map = map_of(nodes_count);
        let keys: Vec<String> = (0..1_024).map(|number| format!("user:{number:010}")).collect();
        group.bench_function(BenchmarkId::new("of_key", nodes_count), |bencher| {
            let mut next = keys.iter().cycle();
            bencher.iter(|| {
                let key = next.next().expect("a cycle has no end");
                map.owners(map.hash_key().hash(black_box(key.as_bytes())))
            });
        });
        group.bench_function(BenchmarkId::new("of_hash", nodes_count), |bencher| {
            let mut hash = 0u64;
            bencher.iter(|| {
                hash = hash.wrapping_add(0x9E37_79B9_7F4A_7C15);
                map.owners(black_box(KeyHash(hash)))
            });
        });
    }
    group.finish();
}

/// Dealing all partitions out, which a node does once, and the map's way over the wire.
fn map(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("map");
    let ring = Ring::new(PARTITIONS).expect("a power of two within the bounds");
    for nodes_count in NODES {
        let members = members(nodes_count);
        group.bench_function(BenchmarkId::new("plan", nodes_count), |bencher| {
            bencher.iter(|| static_map(black_box(&members), ring, HashKey::GUESSABLE));
        });
        let map = map_of(nodes_count);
        let mut encoded = Vec::new();
        map.encode(&mut encoded);
        group.bench_function(BenchmarkId::new("encode", nodes_count), |bencher| {
            let mut out = Vec::new();
            bencher.iter(|| {
                out.clear();
                map.encode(&mut out);
                black_box(out.len())
            });
        });
        group.bench_function(BenchmarkId::new("decode", nodes_count), |bencher| {
            bencher.iter(|| ClusterMap::decode(black_box(&encoded)));
        });
    }
    group.finish();
}

criterion_group!(benches, owner, map);
criterion_main!(benches);
