//! Reading a response. See `dht_tests::fuzzing::response`.

#![no_main]

use dht_tests::fuzzing::response::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check(input));
