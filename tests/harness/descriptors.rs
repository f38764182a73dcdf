//! How many files and sockets a process has open, and may have.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that process `id` has open.
///
/// # Panics
/// When the process has gone.
#[must_use]
#[track_caller]
pub fn open_count(id: u32) -> usize {
    let path = format!("/proc/{id}/fd");
    fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}")).count()
}

/// Raises the number of descriptors that this process, and those that it starts from now on, may have to the most
/// that the system lets it; says how many that is.
pub fn raise_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, what there is has to do.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_counts() {
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        assert!(open_count(std::process::id()) >= files.len());
    }

    #[test]
    fn a_raised_limit_is_in_force() {
        let limit = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), limit);
        assert_eq!(raise_limit(), limit);
    }
}
