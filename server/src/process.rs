//! What the machine gives to the process: memory, processors, swap, the user's signals.

use std::fs;
use std::io;
use std::thread;

use crossbeam_channel::Sender;
use signal_hook::consts::signal::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::control::StopReason;
use crate::limits::{MEMORY_LIMIT_BYTES_MIN, MEMORY_LIMIT_DEFAULT_PERCENT};

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

/// Sends a reason to `stop` whenever Ctrl-C or SIGTERM comes.
///
/// # Errors
/// When the system gives no handler or no thread.
pub fn stop_on_signals(stop: Sender<StopReason>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            // A full channel means that the process is stopping already.
            let _ = stop.try_send(StopReason::Signal(name));
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
    fn the_default_limit_leaves_room_for_the_system() {
        let limit = default_memory_limit_bytes();
        assert!(limit >= MEMORY_LIMIT_BYTES_MIN);
    }
}
