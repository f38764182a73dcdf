//! The programs under test. `cargo test` builds no binaries of other packages, so the first test that asks has
//! them built, in the profile and target directory of the test itself. `DHT_BIN_DIR` names a directory of ready
//! ones instead.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The daemon.
///
/// # Panics
/// When it cannot be built or found.
#[must_use]
pub fn dhtd() -> PathBuf {
    find("dhtd")
}

/// The command line.
///
/// # Panics
/// When it cannot be built or found.
#[must_use]
pub fn dht() -> PathBuf {
    find("dht")
}

/// The load generator.
///
/// # Panics
/// When it cannot be built or found.
#[must_use]
pub fn dht_bench() -> PathBuf {
    find("dht-bench")
}

/// The root of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in a folder of the repository")
}

fn find(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match DIRECTORY.get_or_init(directory) {
        Ok(directory) => {
            let path = directory.join(name).with_extension(std::env::consts::EXE_EXTENSION);
            assert!(path.is_file(), "there is no {}: build it, or set DHT_BIN_DIR", path.display());
            path
        }
        Err(message) => panic!("{message}"),
    }
}

fn directory() -> Result<PathBuf, String> {
    if let Some(directory) = std::env::var_os("DHT_BIN_DIR") {
        return Ok(directory.into());
    }
    let test = std::env::current_exe().map_err(|error| format!("where is this test? {error}"))?;
    let directory = profile_directory(&test)
        .ok_or_else(|| format!("{} lies in no target directory: set DHT_BIN_DIR", test.display()))?;
    build(&directory)?;
    Ok(directory)
}

/// `target/PROFILE` of `target/PROFILE/deps/TEST`.
fn profile_directory(test: &Path) -> Option<PathBuf> {
    let deps = test.parent().filter(|deps| deps.file_name() == Some(OsStr::new("deps")))?;
    deps.parent().map(Path::to_owned)
}

fn build(directory: &Path) -> Result<(), String> {
    let (Some(profile), Some(target)) = (directory.file_name(), directory.parent()) else {
        return Err(format!("{} is no profile's directory: set DHT_BIN_DIR", directory.display()));
    };
    // The directory of the profile `dev` has a name of its own.
    let profile = if profile == "debug" { OsStr::new("dev") } else { profile };
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--quiet", "-p", "dht-server", "-p", "dht-client", "--bins", "--profile"])
        .arg(profile)
        .arg("--target-dir")
        .arg(target)
        .current_dir(repository());
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_read_off_the_path() {
        let directory = profile_directory(Path::new("/t/release/deps/suite-0123"));
        assert_eq!(directory.as_deref(), Some(Path::new("/t/release")));
        assert_eq!(profile_directory(Path::new("/t/release/suite")), None);
    }

    #[test]
    fn the_repository_is_where_the_workspace_is() {
        assert!(repository().join("Cargo.lock").is_file());
    }
}
