//! One run of workers from the first request to the last answer: the load, or the measured mix.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use dht_protocol::placement::map::ClusterMap;

use crate::bench::bootstrap;
use crate::bench::choice::{Chooser, Inserts};
use crate::bench::keys::Keys;
use crate::bench::link::Link;
use crate::bench::live::{Line, Live};
use crate::bench::pace::Pace;
use crate::bench::permutation::Permutation;
use crate::bench::pipeline::Pipeline;
use crate::bench::random::Random;
use crate::bench::settings::{Distribution, Mix, Settings};
use crate::bench::source::Source;
use crate::bench::tally::Tally;
use crate::bench::worker::{Common, Lane, Schedule, Worker};

/// How often the main thread looks at a run while it shows the live line.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// Added to the seed for the choice of hot keys, which shall not follow the order of the load.
const SCATTER_SEED: u64 = 0x5ca7_7e12;

/// What a phase came to.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) tally: Tally,
    /// From the first counted request to the end.
    pub(crate) seconds: f64,
}

/// What one run is like.
struct Plan {
    title: &'static str,
    warm_up: Duration,
    /// How long to measure; `None`: until the sources run dry.
    measured: Option<Duration>,
    /// Operations a second, all workers together; `None`: as many as the connections take.
    rate: Option<f64>,
}

/// Runs the load; at a rate only where it is what is measured.
pub(crate) fn load(settings: &Settings, map: &ClusterMap, stop: &AtomicBool) -> Figures {
    let sources = (0..settings.threads as u64).map(|next| Source::Load {
        order: Permutation::new(settings.keys, settings.seed),
        next,
        stride: settings.threads as u64,
        count: settings.keys,
    });
    let rate = settings.rate.filter(|_| settings.mix.is_none());
    let plan = Plan { title: "load", warm_up: Duration::ZERO, measured: None, rate };
    run(&plan, settings, map, stop, sources.collect())
}

/// Runs a mix of operations.
pub(crate) fn mixed(settings: &Settings, mix: &Mix, map: &ClusterMap, stop: &AtomicBool) -> Figures {
    let inserts = Arc::new(Inserts::new(settings.keys));
    let chooser = match mix.distribution {
        Distribution::Uniform => Chooser::uniform_with(&inserts),
        Distribution::Zipfian => Chooser::zipfian(&inserts, settings.seed ^ SCATTER_SEED),
        Distribution::Latest => Chooser::latest(&inserts, Permutation::new(settings.keys, settings.seed)),
    };
    let threads = settings.threads as u64;
    let sources = (0..threads).map(|worker| Source::Mix {
        chooser: chooser.clone(),
        random: Random::new(settings.seed, worker),
        shares: settings.workload.shares(mix.read_share),
        left: mix.ops.map(|ops| ops / threads + u64::from(worker < ops % threads)),
    });
    let (warm_up, measured) = (mix.warm_up(), mix.measured());
    let plan = Plan { title: "running", warm_up, measured, rate: settings.rate };
    run(&plan, settings, map, stop, sources.collect())
}

fn run(
    plan: &Plan,
    settings: &Settings,
    map: &ClusterMap,
    stop: &AtomicBool,
    sources: Vec<Source>,
) -> Figures {
    let mut sum = Tally::new();
    let Some(keys) = Keys::new(settings.keys_most(), settings.key_size) else {
        // The settings were checked for this.
        sum.on_errors(1, || "the keys do not fit their size".to_owned());
        return Figures { tally: sum, seconds: 0.0 };
    };
    let lanes = match open_lanes(settings, map) {
        Ok(lanes) => lanes,
        Err(why) => {
            sum.on_errors(1, || why);
            return Figures { tally: sum, seconds: 0.0 };
        }
    };
    let live = Live::on_terminal(settings.threads);
    let start = Instant::now();
    let counting_from = start + plan.warm_up;
    let end = plan.measured.map(|measured| counting_from + measured);
    let schedule = Schedule { start, counting_from, end, rate: plan.rate };
    let common = Common {
        map,
        keys,
        keys_count: settings.keys,
        value_bytes: settings.value_size,
        seed: settings.seed,
        schedule,
        stop,
        live: live.as_ref(),
    };
    let mut ended = counting_from;
    for (tally, end) in run_workers(plan.title, &common, lanes.into_iter().zip(sources).collect()) {
        sum.add(tally);
        ended = ended.max(end);
    }
    Figures { tally: sum, seconds: ended.duration_since(counting_from).as_secs_f64() }
}

/// A thread a worker; this one shows the live line meanwhile.
fn run_workers(title: &str, common: &Common<'_>, workers: Vec<(Vec<Lane>, Source)>) -> Vec<(Tally, Instant)> {
    let count = workers.len();
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .enumerate()
            .map(|(number, (lanes, source))| {
                let pace =
                    common.schedule.rate.map(|rate| Pace::new(common.schedule.start, rate, number, count));
                scope.spawn(move || match Worker::new(common, number, lanes, source, pace) {
                    Ok(worker) => worker.run(),
                    Err(error) => {
                        let mut tally = Tally::new();
                        tally.on_errors(1, || format!("cannot poll connections: {error}"));
                        (tally, Instant::now())
                    }
                })
            })
            .collect();
        if let Some(live) = common.live {
            let mut line = Line::new();
            while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::sleep(LOOK_PERIOD);
                line.show(live, title);
            }
            line.clear();
        }
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Opens `--connections` connections to every node and deals them out: for each worker, its lanes.
fn open_lanes(settings: &Settings, map: &ClusterMap) -> Result<Vec<Vec<Lane>>, String> {
    let mut workers: Vec<Vec<Lane>> = (0..settings.threads).map(|_| Vec::new()).collect();
    for node in map.nodes() {
        let mut hands: VecDeque<Vec<Link>> = workers.iter().map(|_| Vec::new()).collect();
        for at in 0..settings.connections {
            let (stream, greeting) = bootstrap::open(&node.address, map.cluster_id())?;
            if settings.value_size > greeting.value_bytes_max as usize {
                return Err(format!(
                    "{} takes values of at most {} bytes: lower --value-size",
                    node.address, greeting.value_bytes_max
                ));
            }
            let pipeline = Pipeline::new(settings.pipeline, map.epoch());
            let link = Link::new(stream, node.address.clone(), pipeline);
            let link =
                link.map_err(|error| format!("cannot use the connection to {}: {error}", node.address))?;
            hands[at % settings.threads].push(link);
        }
        for (lanes, links) in workers.iter_mut().zip(hands) {
            lanes.push(Lane::new(node.id, links, map));
        }
    }
    Ok(workers)
}
