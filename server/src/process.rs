//! What the machine gives to the process: memory, processors, descriptors, swap, the user's signals.

use std::fs;
use std::io;
use std::thread;

use crossbeam_channel::Sender;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::control::StopReason;
use crate::limits::{
    CONNECTIONS_PER_WORKER_MAX, DESCRIPTORS_PER_WORKER, DESCRIPTORS_RESERVED, HTTP_CONNECTIONS_RESERVED,
    MEMORY_LIMIT_BYTES_MIN, MEMORY_LIMIT_DEFAULT_PERCENT,
};

/// The memory limit for a daemon that was given none: most of what the cgroup, or else the machine, has.
#[must_use]
pub fn default_memory_limit_bytes() -> u64 {
    let machine_bytes =
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo_bytes(&text, "MemTotal:"));
    let cgroup_bytes = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    // Where nothing is known, a limit that hurts nobody.
    const UNKNOWN_BYTES: u64 = 1 << 30;
    let bytes = machine_bytes.into_iter().chain(cgroup_bytes).min().unwrap_or(UNKNOWN_BYTES);
    // Whole mebibytes, for people's eyes.
    ((bytes / 100 * MEMORY_LIMIT_DEFAULT_PERCENT) & !((1 << 20) - 1)).max(MEMORY_LIMIT_BYTES_MIN)
}

/// Memory of this process that is resident; `None` where the system does not tell.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    meminfo_bytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Whether the system could move this process's memory to a disk.
#[must_use]
pub fn swap_is_possible() -> bool {
    // The first line is a heading.
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().nth(1).is_some())
}

/// Processors that this process may use.
#[must_use]
pub fn processors_count() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Descriptors that this process may have once it has asked for all it can get.
#[must_use]
pub fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the number of descriptors that this process may have as far as it may by itself; says how many these are.
pub fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        log::warn!(error:% = error; "cannot raise the limit of descriptors");
        return current.unwrap_or(u64::MAX);
    }
    maximum.unwrap_or(u64::MAX)
}

/// Connections that `descriptors` leave room for, what else needs one taken off; as many as `workers` can have at
/// most, and 1 at least.
#[must_use]
pub fn connections_max_within(descriptors: u64, workers: usize) -> usize {
    let others =
        DESCRIPTORS_RESERVED + DESCRIPTORS_PER_WORKER * workers as u64 + HTTP_CONNECTIONS_RESERVED as u64;
    let bound = (CONNECTIONS_PER_WORKER_MAX * workers) as u64;
    descriptors.saturating_sub(others).clamp(1, bound) as usize
}

/// Sends a reason to `stop` whenever Ctrl-C or SIGTERM comes, and a word to `reload` whenever SIGHUP does; without
/// `reload`, SIGHUP is a reason to stop as well.
///
/// # Errors
/// When the system gives no handler or no thread.
pub fn watch_signals(stop: Sender<StopReason>, reload: Option<Sender<()>>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let name = match signal {
                SIGINT => "SIGINT",
                SIGHUP => "SIGHUP",
                _ => "SIGTERM",
            };
            // A full channel means that the process is stopping, or about to read its file again, already.
            match (&reload, signal) {
                (Some(reload), SIGHUP) => drop(reload.try_send(())),
                _ => drop(stop.try_send(StopReason::Signal(name))),
            }
        }
    })?;
    Ok(())
}

fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_lines() {
        let text = "MemTotal:       24654896 kB\nMemFree:         1234 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal:"), Some(24_654_896 * 1024));
        assert_eq!(meminfo_bytes(text, "SwapTotal:"), None);
        assert_eq!(meminfo_bytes("MemTotal: lots", "MemTotal:"), None);
    }

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        assert_eq!(connections_max_within(1_024, 2), 1_024 - 32 - 4 - 8);
        assert_eq!(connections_max_within(10, 2), 1);
        assert_eq!(connections_max_within(u64::MAX, 2), 131_072);
        assert!(descriptors_max() >= getrlimit(Resource::Nofile).current.unwrap_or(0));
    }

    #[test]
    fn the_default_limit_leaves_room_for_the_system() {
        let limit = default_memory_limit_bytes();
        assert!(limit >= MEMORY_LIMIT_BYTES_MIN);
    }
}
