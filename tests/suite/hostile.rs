//! Bad input and hard times: whatever comes from outside, a daemon answers with the status that fits, stays up,
//! serves others meanwhile, and has its memory and descriptors back afterwards. Section 10 of
//! `server/ARCHITECTURE.md` lists all of it.

mod attacker;
mod clock;
mod connections;
mod descriptors;
mod entries;
mod flipped;
mod frames;
mod full;
mod http;
mod peers;
mod resp;
mod slow;

use std::collections::BTreeSet;
use std::fs;

use dht_tests::binaries::repository;

use crate::registry::Case;

/// The tests of the files below, and one that holds the document to them.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = attacks();
    cases.push(Case::new("hostile::the_document_lists_every_attack", documented));
    cases
}

fn attacks() -> Vec<Case> {
    [
        clock::cases(),
        connections::cases(),
        descriptors::cases(),
        entries::cases(),
        flipped::cases(),
        frames::cases(),
        full::cases(),
        http::cases(),
        peers::cases(),
        resp::cases(),
        slow::cases(),
    ]
    .concat()
}

/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;

/// What a daemon may grow by, and keep, where nothing is asked of it that takes memory: the first use of buffers,
/// threads' stacks and the allocator's own.
const NOISE_BYTES: u64 = 4 * MIB;

/// Section of the document with the tables.
const SECTION: &str = ". Hostile input and hard times\n";

fn documented() {
    let text = fs::read_to_string(repository().join("server/ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once(SECTION).expect("the document has the section");
    let section = section.split("\n## ").next().expect("a split has a first part");
    // The last column of each row names the tests; those with a path are in other files.
    let named: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')?.rsplit('|').next())
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .filter(|name| !name.contains("::") && *name != "memory_limit")
        .collect();
    let attacks = attacks();
    let written = attacks.iter().map(|case| case.name().trim_start_matches("hostile::")).collect();
    assert_eq!(named, written, "what the document names, and what there is");
}
