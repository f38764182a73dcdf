//! How evenly keys lie: over the partitions, and over the nodes of a static cluster, with the product's own hash,
//! ring and map. A program of its own, because it keeps every core busy and prints its figures.
//!
//! What is tried was fixed before the first run and stays: 1,000,000 keys of each kind, and the 100 hash keys of
//! [`hash_key`]. A figure that gets worse is a fault of the hash, the ring or the planner, not of the choice.

#![expect(clippy::print_stdout, reason = "its figures are what it is run for")]

mod chi_square;
mod keys;
mod spread;

use std::process::ExitCode;
use std::sync::OnceLock;

use dht_protocol::ids::NodeId;
use dht_protocol::limits::PARTITIONS_DEFAULT;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::placement::planner::static_map;
use dht_protocol::placement::ring::Ring;
use libtest_mimic::{Arguments, Trial};

use crate::keys::{Keys, Kind};
use crate::spread::Spread;

/// Keys of each kind.
const KEYS_COUNT: usize = 1_000_000;
/// Hash keys tried with each kind.
const HASH_KEYS_COUNT: usize = 100;
/// Clusters of one node up to this many.
const NODES_COUNT_MAX: usize = 100;
/// Of [`HASH_KEYS_COUNT`] chi-square tests at 0.01 one fails by chance; more than five do once in 1,900 times.
const REJECTED_MAX: usize = 5;
/// Most keys of a node over the mean, in a cluster of ten.
const MAX_OVER_MEAN_AT_10: f64 = 1.05;

fn main() -> ExitCode {
    let trials = vec![
        test("chi_square::agrees_with_published_values", chi_square::agrees_with_published_values),
        test("chi_square::tells_even_from_uneven", chi_square::tells_even_from_uneven),
        test("keys::are_as_many_as_asked_for_and_all_different", keys::are_all_different),
        test("partitions_per_node_differ_by_at_most_one", partitions_per_node_differ_by_at_most_one),
        test("keys_per_partition_pass_chi_square", keys_per_partition_pass_chi_square),
        test("keys_per_node_of_ten_stay_near_the_mean", keys_per_node_of_ten_stay_near_the_mean),
        test("keys_per_node_of_one_to_a_hundred", keys_per_node_of_one_to_a_hundred),
    ];
    // One after another: the counting itself uses the cores.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn test(name: &'static str, run: fn()) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}

fn ring() -> Ring {
    Ring::new(PARTITIONS_DEFAULT).expect("the default is a number of partitions that is allowed")
}

/// Hash key number `at` of those that are tried: the byte `at`, sixteen times.
fn hash_key(at: usize) -> HashKey {
    HashKey::from_bytes([u8::try_from(at).expect("there are 100 of them"); 16])
}

fn cluster(nodes_count: usize, hash_key: HashKey) -> ClusterMap {
    let members: Vec<String> =
        (0..nodes_count).map(|at| format!("10.0.{}.{}:7400", at / 250, at % 250)).collect();
    static_map(&members, ring(), hash_key).expect("so many members make a cluster")
}

/// Keys of each kind in each partition under each hash key; counted once.
fn spreads() -> &'static [(Kind, Vec<Spread>)] {
    static SPREADS: OnceLock<Vec<(Kind, Vec<Spread>)>> = OnceLock::new();
    SPREADS.get_or_init(|| {
        let count = |kind| {
            let keys = Keys::new(kind, KEYS_COUNT);
            let hash_keys: Vec<HashKey> = (0..HASH_KEYS_COUNT).map(hash_key).collect();
            (kind, spread::count(&keys, &hash_keys, ring()))
        };
        Kind::ALL.map(count).into()
    })
}

fn partitions_per_node_differ_by_at_most_one() {
    for nodes_count in 1..=NODES_COUNT_MAX {
        let map = cluster(nodes_count, HashKey::GUESSABLE);
        let shares: Vec<usize> =
            (0..nodes_count).map(|at| map.partitions_of(NodeId(at as u32)).count()).collect();
        let (least, most) = (shares.iter().min(), shares.iter().max());
        assert_eq!(shares.iter().sum::<usize>(), ring().partitions_count() as usize);
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{nodes_count}: {shares:?}");
    }
}

fn keys_per_partition_pass_chi_square() {
    let critical = chi_square::critical_at_0_01(ring().partitions_count() - 1);
    println!("chi-square over {} partitions, critical value {critical:.1}:", ring().partitions_count());
    for (kind, spreads) in spreads() {
        let statistics: Vec<f64> = spreads.iter().map(|spread| chi_square::statistic(&spread.0)).collect();
        let rejected_count = statistics.iter().filter(|&&statistic| statistic > critical).count();
        let mean = statistics.iter().sum::<f64>() / statistics.len() as f64;
        println!(
            "  {kind:?}: {rejected_count} of {HASH_KEYS_COUNT} hash keys rejected, mean statistic {mean:.1}"
        );
        assert!(rejected_count <= REJECTED_MAX, "{kind:?}: {rejected_count} rejected");
    }
}

fn keys_per_node_of_ten_stay_near_the_mean() {
    println!("most keys of a node over the mean, 10 nodes, worst of {HASH_KEYS_COUNT} hash keys:");
    for (kind, spreads) in spreads() {
        let worst = spreads
            .iter()
            .enumerate()
            .map(|(at, spread)| spread.max_over_mean(&cluster(10, hash_key(at))))
            .fold(0.0, f64::max);
        println!("  {kind:?}: {worst:.4}");
        assert!(worst <= MAX_OVER_MEAN_AT_10, "{kind:?}: {worst}");
    }
}

fn keys_per_node_of_one_to_a_hundred() {
    let clusters: Vec<ClusterMap> = (1..=NODES_COUNT_MAX).map(|count| cluster(count, hash_key(0))).collect();
    println!("most keys of a node over the mean, first hash key:");
    for (kind, spreads) in spreads() {
        let factors: Vec<f64> = clusters.iter().map(|map| spreads[0].max_over_mean(map)).collect();
        let shown = [1, 2, 3, 5, 10, 20, 50, 100].map(|count| format!("{count}: {:.4}", factors[count - 1]));
        println!("  {kind:?}: nodes {}", shown.join(", "));
        // A node of a hundred holds 10,000 keys, give or take 100, in 40 or 41 partitions.
        let worst = factors.iter().copied().fold(0.0, f64::max);
        assert!(worst <= 1.10, "{kind:?}: {worst}");
    }
}
