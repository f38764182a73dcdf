//! How much memory a process holds.

use std::fs;

/// `VmRSS` of process `id`, bytes.
///
/// # Panics
/// When the process has gone, or the system does not tell.
#[must_use]
#[track_caller]
pub fn resident_bytes(id: u32) -> u64 {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kib: Option<u64> = kib.and_then(|digits| digits.trim().parse().ok());
    kib.unwrap_or_else(|| panic!("{path} does not tell VmRSS:\n{text}")) << 10
}

/// The most that was ever resident of process `id`, bytes; `None` once it has ended.
#[must_use]
pub fn resident_bytes_max(id: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))?;
    kib.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_written_to_is_resident() {
        let before = resident_bytes(std::process::id());
        let block = vec![7u8; 64 << 20];
        let after = resident_bytes(std::process::id());
        assert_eq!(block[block.len() / 2], 7);
        assert!(after >= before + (32 << 20), "{before} then {after}");
        drop(block);
        let most = resident_bytes_max(std::process::id()).unwrap();
        assert!(most >= before + (32 << 20), "{before}, at most {most}");
    }
}
