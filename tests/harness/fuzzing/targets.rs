//! The targets by name, and where their samples lie.

use std::fs;
use std::path::PathBuf;

use crate::binaries::repository;

/// What is checked of any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the file in `tests/fuzz/fuzz_targets` and of the folder in `tests/fuzz/corpus`.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub check: fn(&[u8]),
}

/// Every target.
pub const ALL: [Target; 7] = [
    Target { name: "frame", check: super::frame::check },
    Target { name: "request", check: super::request::check },
    Target { name: "response", check: super::response::check },
    Target { name: "peer", check: super::peer::check },
    Target { name: "http", check: super::http::check },
    Target { name: "resp", check: super::resp::check },
    Target { name: "dispatcher", check: super::dispatcher::check },
];

impl Target {
    /// The target of that name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn named(name: &str) -> Target {
        *ALL.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name}"))
    }

    /// The folder of its samples.
    #[must_use]
    pub fn corpus(&self) -> PathBuf {
        repository().join("tests/fuzz/corpus").join(self.name)
    }

    /// Its samples: names and bytes, by name. What cargo-fuzz has added lies there too, under names that are a
    /// digest; it is not read, so that a seeded run stays the same.
    ///
    /// # Panics
    /// When the folder cannot be read.
    #[must_use]
    pub fn samples(&self) -> Vec<(String, Vec<u8>)> {
        let folder = self.corpus();
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
        let mut samples = Vec::new();
        for entry in entries {
            let path =
                entry.unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display())).path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.len() != DIGEST_NAME_BYTES && path.is_file() {
                let bytes = fs::read(&path).unwrap_or_else(|error| panic!("cannot read {name}: {error}"));
                samples.push((name, bytes));
            }
        }
        samples.sort();
        samples
    }
}

/// Digits of the names that cargo-fuzz gives to inputs that it finds.
const DIGEST_NAME_BYTES: usize = 40;
