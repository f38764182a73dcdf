//! What is run, and what is said of it.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

use dht_server::planted::Bug;
use dht_tests::simulation::{Finding, Job, JobResult, Totals, Tracing, run_jobs, run_seed};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Args;

/// Seeds within which a planted bug has to be found.
const PLANTED_SEEDS: u64 = 200;

/// Does what is asked; says whether all was as it should be.
///
/// # Errors
/// What is wrong with the options.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    let tracing =
        Tracing { key: args.trace_key.clone(), partition: args.trace_partition, cluster: args.trace_cluster };
    let traces = tracing.key.is_some() || tracing.partition.is_some() || tracing.cluster;
    match &args.planted {
        Some(name) if traces => traced(args, &tracing, Some(bug(name)?)),
        Some(name) => planted(args, name),
        None if traces => traced(args, &tracing, None),
        None => Ok(sweep(args)),
    }
}

fn say(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _nobody_reads = writeln!(out, "{text}");
}

fn threads(args: &Args) -> usize {
    args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn command(finding: &Finding, bug: Option<Bug>) -> String {
    let (features, planted) = match bug {
        Some(bug) => (" --features planted-bugs", format!(" --planted {bug:?}")),
        None => ("", String::new()),
    };
    let seed = finding.seed;
    format!(
        "cargo run --release -p dht-tests{features} --bin sim --{planted} --seeds 1 --from {seed} --trace-cluster"
    )
}

fn bar(length: u64, what: &str) -> ProgressBar {
    let template = format!("{{bar:40}} {{pos}}/{{len}} {what}, {{elapsed}} ({{eta}} left) {{msg}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// Many seeds, without bugs.
fn sweep(args: &Args) -> bool {
    let seeds = args.seeds.unwrap_or(100);
    let (bar, began) = (bar(seeds, "seeds"), Instant::now());
    let (mut totals, mut findings) = (Totals::default(), Vec::new());
    let jobs = (args.from..args.from + seeds).map(|from| Job { bug: None, from, count: 1 }).collect();
    run_jobs(jobs, threads(args), |result| {
        bar.inc(1);
        totals.merge(&result.totals);
        if let Some(finding) = result.finding {
            bar.suspend(|| say(format!("{finding}\n  {}\n", command(&finding, None))));
            findings.push(finding.seed);
            bar.set_message(format!("{} failed", findings.len()));
        }
        findings.len() < args.findings
    });
    bar.finish_and_clear();
    let took = began.elapsed().max(Duration::from_millis(1));
    say(&totals);
    say(format!(
        "{:.1} s, {:.1} seeds a second on {} threads; {} seeds failed{}",
        took.as_secs_f64(),
        totals.seeds as f64 / took.as_secs_f64(),
        threads(args),
        findings.len(),
        if findings.is_empty() { String::new() } else { format!(": {findings:?}") },
    ));
    findings.is_empty()
}

/// One seed after the other, with what happens in it.
fn traced(args: &Args, tracing: &Tracing, bug: Option<Bug>) -> Result<bool, String> {
    plant(bug)?;
    let mut all_well = true;
    for seed in args.from..args.from + args.seeds.unwrap_or(1) {
        match run_seed(seed, tracing, &mut |line| say(line)) {
            Ok(report) => say(format!("seed {seed} is well: {report:?}")),
            Err(finding) => {
                all_well = false;
                say(&finding);
            }
        }
    }
    Ok(all_well)
}

/// Each bug, until a seed finds it.
fn planted(args: &Args, name: &str) -> Result<bool, String> {
    plant(None)?;
    let bugs = if name == "all" { Bug::ALL.to_vec() } else { vec![bug(name)?] };
    let count = args.seeds.unwrap_or(PLANTED_SEEDS);
    let jobs: Vec<Job> = bugs.iter().map(|&bug| Job { bug: Some(bug), from: args.from, count }).collect();
    let (bar, began) = (bar(jobs.len() as u64, "bugs"), Instant::now());
    let mut missed = Vec::new();
    run_jobs(jobs, threads(args), |result| {
        bar.inc(1);
        if result.finding.is_none() {
            missed.extend(result.job.bug);
        }
        bar.suspend(|| say(verdict(&result, count)));
        true
    });
    bar.finish_and_clear();
    let took = began.elapsed().as_secs_f64();
    say(format!(
        "{} of {} planted bugs found within {count} seeds each, {took:.1} s",
        bugs.len() - missed.len(),
        bugs.len()
    ));
    if !missed.is_empty() {
        say(format!("not found: {missed:?}"));
    }
    Ok(missed.is_empty())
}

fn verdict(result: &JobResult, budget: u64) -> String {
    let name = result.job.bug.map_or_else(String::new, |bug| format!("{bug:?}"));
    match &result.finding {
        Some(finding) => {
            let text: String = finding.text.lines().next().unwrap_or_default().chars().take(150).collect();
            format!(
                "{name:<24} found by seed {:>3} ({} of {budget} seeds): {text}",
                finding.seed, result.totals.seeds
            )
        }
        None => format!("{name:<24} NOT FOUND in {budget} seeds"),
    }
}

fn bug(name: &str) -> Result<Bug, String> {
    let found = Bug::ALL.iter().copied().find(|bug| format!("{bug:?}").eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        let names: Vec<String> = Bug::ALL.iter().map(|bug| format!("{bug:?}")).collect();
        format!("there is no bug {name}: say all, or one of {}", names.join(", "))
    })
}

#[cfg(feature = "planted-bugs")]
fn plant(bug: Option<Bug>) -> Result<(), String> {
    dht_server::planted::plant(bug);
    Ok(())
}

#[cfg(not(feature = "planted-bugs"))]
fn plant(bug: Option<Bug>) -> Result<(), String> {
    if bug.is_none() && !std::env::args().any(|arg| arg.starts_with("--planted")) {
        return Ok(());
    }
    Err("this build has no planted bugs: cargo run --release -p dht-tests --features planted-bugs --bin sim -- --planted all"
        .to_owned())
}
