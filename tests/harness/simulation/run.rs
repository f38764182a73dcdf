//! Running seeds: one of them, or many over the cores. A seed that panics is a finding like any other.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::thread;

use crossbeam_channel::{Sender, unbounded};
use dht_protocol::ids::PartitionId;
use dht_server::planted::Bug;

use super::report::{Finding, SeedReport, Totals};
use super::scenario::Scenario;
use super::trace::{Trace, Tracing};
use super::world::{World, write_tokens};

/// Seeds to be run one after the other, until one is found wanting.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The bug that is planted meanwhile. Needs the feature `planted-bugs`.
    pub bug: Option<Bug>,
    /// First seed.
    pub from: u64,
    /// How many.
    pub count: u64,
}

/// What came of a job.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// The job.
    pub job: Job,
    /// The seeds that were run.
    pub totals: Totals,
    /// What was wrong with the last of them.
    pub finding: Option<Finding>,
}

thread_local! {
    /// What this thread is about, for the time that it panics; and what it said then.
    static WATCHED: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

struct Watched {
    seed: u64,
    job: Job,
    totals: Totals,
    results: Option<Sender<JobResult>>,
    panicked: Option<String>,
}

/// Whether a panic ends the process: there the thread that panics is kept for good, and another takes its place.
const PANIC_IS_FINAL: bool = cfg!(panic = "abort");

/// Runs one seed. What is to be told of it goes to `sink`, a line at a time.
///
/// # Errors
/// [`Finding`], if something was wrong.
pub fn run_seed(seed: u64, tracing: &Tracing, sink: &mut dyn FnMut(&str)) -> Result<SeedReport, Finding> {
    let scenario = Scenario::of(seed);
    let tokens = write_tokens(&scenario);
    let mut world = World::new(scenario, &tokens);
    let key = tracing
        .key
        .as_ref()
        .and_then(|name| world.workload.keys.iter().position(|info| *info.name == *name.as_bytes()));
    let partition = tracing.partition.map(PartitionId).or(key.map(|key| world.workload.keys[key].partition));
    if key.is_some() || partition.is_some() || tracing.cluster {
        world.trace = Trace::of(key, partition, tracing.cluster, sink);
    }
    finish(world).1
}

fn finish(mut world: World<'_>) -> (SeedReport, Result<SeedReport, Finding>) {
    world.run();
    let report = world.report.clone();
    match world.finding.take() {
        Some(finding) => (report, Err(finding)),
        None => (report.clone(), Ok(report)),
    }
}

/// Runs jobs on so many threads. `on_done` hears of each as it ends, and says whether to go on.
pub fn run_jobs(jobs: Vec<Job>, threads: usize, mut on_done: impl FnMut(JobResult) -> bool) {
    watch_panics();
    let (results, done) = unbounded();
    let shared = Arc::new(Shared { jobs, next: AtomicUsize::new(0), stop: AtomicBool::new(false) });
    let threads = threads.clamp(1, shared.jobs.len().max(1));
    (0..threads).for_each(|_| spawn(Arc::clone(&shared), results.clone()));
    let mut left = shared.jobs.len();
    while left > 0 {
        // The sender above is still there, so there is no end but this one.
        let Ok(result) = done.recv() else { break };
        left -= 1;
        let died =
            PANIC_IS_FINAL && result.finding.as_ref().is_some_and(|finding| finding.text.contains(PANICKED));
        if !on_done(result) {
            shared.stop.store(true, Ordering::Relaxed);
            break;
        }
        if died {
            spawn(Arc::clone(&shared), results.clone());
        }
    }
}

struct Shared {
    jobs: Vec<Job>,
    next: AtomicUsize,
    stop: AtomicBool,
}

/// How the text of a finding that was a panic begins.
const PANICKED: &str = "panicked: ";

fn spawn(shared: Arc<Shared>, results: Sender<JobResult>) {
    thread::spawn(move || {
        while !shared.stop.load(Ordering::Relaxed) {
            let at = shared.next.fetch_add(1, Ordering::Relaxed);
            let Some(&job) = shared.jobs.get(at) else { return };
            let result = run_job(job, &results, &shared.stop);
            if results.send(result).is_err() {
                return;
            }
        }
    });
}

fn run_job(job: Job, results: &Sender<JobResult>, stop: &AtomicBool) -> JobResult {
    plant(job.bug);
    let mut totals = Totals::default();
    let mut finding = None;
    for seed in job.from..job.from + job.count {
        let watched =
            Watched { seed, job, totals: totals.clone(), results: Some(results.clone()), panicked: None };
        WATCHED.set(Some(watched));
        let run = panic::catch_unwind(AssertUnwindSafe(|| run_silently(seed)));
        let panicked = WATCHED.take().and_then(|watched| watched.panicked);
        finding = match run {
            Ok((report, found)) => {
                totals.add(&report);
                found
            }
            Err(payload) => {
                totals.seeds += 1;
                let text = panicked.unwrap_or_else(|| text_of(payload.as_ref()));
                Some(Finding { seed, at: 0, text: format!("{PANICKED}{text}") })
            }
        };
        if finding.is_some() || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    plant(None);
    JobResult { job, totals, finding }
}

fn run_silently(seed: u64) -> (SeedReport, Option<Finding>) {
    let scenario = Scenario::of(seed);
    let tokens = write_tokens(&scenario);
    let (report, result) = finish(World::new(scenario, &tokens));
    (report, result.err())
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words").to_owned()
}

/// From now on a panic of a thread that runs a seed is kept, or handed on, instead of printed.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.to_string().replace('\n', " ");
            if !note_panic(&text) {
                before(info);
            }
        }));
    });
}

/// Whether the thread that panics runs a seed. Where a panic is the end of the process it does not come back.
fn note_panic(text: &str) -> bool {
    WATCHED.with_borrow_mut(|watched| {
        let Some(watched) = watched else { return false };
        watched.panicked = Some(text.to_owned());
        if PANIC_IS_FINAL {
            let mut totals = watched.totals.clone();
            totals.seeds += 1;
            let finding = Finding { seed: watched.seed, at: 0, text: format!("{PANICKED}{text}") };
            if let Some(results) = watched.results.take() {
                let _nobody_waits =
                    results.send(JobResult { job: watched.job, totals, finding: Some(finding) });
            }
            loop {
                thread::park();
            }
        }
        true
    })
}

#[cfg(feature = "planted-bugs")]
fn plant(bug: Option<Bug>) {
    dht_server::planted::plant(bug);
}

#[cfg(not(feature = "planted-bugs"))]
fn plant(bug: Option<Bug>) {
    assert!(bug.is_none(), "this build has no planted bugs: build with --features planted-bugs");
}
