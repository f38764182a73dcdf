//! What the system knows of a process: processor time and resident memory, out of `/proc`.

use std::fs;
use std::time::Instant;

use super::limits::{LOOK_PERIOD, SETTLE_MAX, SETTLED_AFTER, SETTLED_BYTES};

/// Nanoseconds of one tick in `/proc/PID/stat`: `USER_HZ` is 100 on every architecture that Linux still runs on
/// but two, and is used only where there is no finer source.
const TICK_NS: u64 = 10_000_000;

/// Processor time of process `id` so far, user and system, all threads, nanoseconds: what the scheduler has counted
/// for each thread that runs or waits, or, where the system does not count so, ticks.
///
/// A thread that is on a processor at this moment is counted up to its last tick: ask while the process is idle.
///
/// # Errors
/// The process has gone, or the system does not tell.
pub(crate) fn cpu_ns(id: u32) -> Result<u64, String> {
    match scheduled_ns(id) {
        Some(ns) if ns > 0 => Ok(ns),
        _ => ticked_ns(id)
            .ok_or_else(|| format!("the system does not tell the processor time of process {id}")),
    }
}

fn scheduled_ns(id: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{id}/task")).ok()? {
        // A thread can end between the listing and the look.
        if let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) {
            sum += text.split(' ').next()?.parse::<u64>().ok()?;
        }
    }
    Some(sum)
}

fn ticked_ns(id: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is the name in brackets, which may hold any character; user and system time are the 14th and
    // 15th.
    let (_, behind) = text.rsplit_once(") ")?;
    let mut fields = behind.split(' ').skip(11).map(str::parse::<u64>);
    Some((fields.next()?.ok()? + fields.next()?.ok()?) * TICK_NS)
}

/// Resident memory of process `id`, bytes.
///
/// # Errors
/// The process has gone, or the system does not tell.
pub(crate) fn resident_bytes(id: u32) -> Result<u64, String> {
    let kib = fs::read_to_string(format!("/proc/{id}/status")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    kib.map(|kib| kib << 10).ok_or_else(|| format!("the system does not tell the memory of process {id}"))
}

/// Resident memory of process `id` once it has stopped falling, bytes: servers give memory back a while after they
/// have done with it.
///
/// # Errors
/// The process has gone, or the system does not tell.
pub(crate) fn settled_resident_bytes(id: u32) -> Result<u64, String> {
    let started = Instant::now();
    let (mut lowest, mut fell) = (resident_bytes(id)?, started);
    loop {
        std::thread::sleep(LOOK_PERIOD);
        let (bytes, now) = (resident_bytes(id)?, Instant::now());
        if bytes + SETTLED_BYTES < lowest {
            (lowest, fell) = (bytes, now);
        }
        if now.duration_since(fell) >= SETTLED_AFTER || now.duration_since(started) >= SETTLE_MAX {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Burns processor time until `enough` says so.
    fn burn_until(mut enough: impl FnMut() -> bool) {
        let mut word = 1u64;
        while !enough() {
            for _ in 0..100_000 {
                word = std::hint::black_box(crate::bench::random::mix(word));
            }
        }
    }

    #[test]
    fn both_clocks_of_a_process_run_with_its_work() {
        let id = std::process::id();
        for clock in [scheduled_ns as fn(u32) -> Option<u64>, ticked_ns] {
            let before = clock(id).unwrap();
            let started = Instant::now();
            burn_until(|| clock(id).unwrap() > before + 50_000_000 || started.elapsed().as_secs() > 20);
            assert!(clock(id).unwrap() > before + 50_000_000, "50 ms of work within 20 s");
        }
    }

    #[test]
    fn a_process_that_is_gone_has_no_figures() {
        // Above the highest id that Linux gives.
        let nobody = 1 << 23;
        assert!(cpu_ns(nobody).is_err() && resident_bytes(nobody).is_err());
        assert!(settled_resident_bytes(std::process::id()).unwrap() > 1 << 20);
    }
}
