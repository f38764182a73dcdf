//! Fifty seeds with every run of the tests, and that a seed means the same twice.

use dht_tests::simulation::{Job, Totals, Tracing, run_jobs, run_seed};

/// Seeds that the test command runs.
const SEEDS: u64 = 50;

#[test]
fn no_seed_fails() {
    let jobs = (0..SEEDS).map(|from| Job { bug: None, from, count: 1 }).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut totals, mut findings) = (Totals::default(), Vec::new());
    run_jobs(jobs, threads, |result| {
        totals.merge(&result.totals);
        findings.extend(result.finding.map(|finding| finding.to_string()));
        true
    });
    assert!(
        findings.is_empty(),
        "{}\nto see more: cargo run --release -p dht-tests --bin sim -- --seeds 1 --from SEED --trace-cluster",
        findings.join("\n")
    );
    assert_eq!(totals.seeds, SEEDS);
    assert!(totals.sum.operations >= SEEDS * 2_000 && totals.sum.faults_count() >= SEEDS * 20, "{totals}");
}

#[test]
fn a_seed_does_the_same_twice() {
    for seed in [3, 5, 8] {
        let run = || run_seed(seed, &Tracing::default(), &mut |_| ()).unwrap();
        let (one, other) = (run(), run());
        assert_eq!(one.digest, other.digest, "seed {seed}");
        assert_eq!((one.events, one.operations, one.faults), (other.events, other.operations, other.faults));
    }
}
