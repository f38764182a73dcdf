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
    }
}
