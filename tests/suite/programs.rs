//! What holds for every program, whatever it does.

use dht_tests::binaries;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("programs::are_built_where_the_tests_look", are_built_where_the_tests_look)]
}

fn are_built_where_the_tests_look() {
    for path in [binaries::dhtd(), binaries::dht(), binaries::dht_bench()] {
        assert!(path.is_file(), "{}", path.display());
    }
}
