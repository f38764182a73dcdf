//! Messages between daemons. See `dht_tests::fuzzing::peer`.

#![no_main]

use dht_tests::fuzzing::peer::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check(input));
