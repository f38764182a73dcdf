//! Cutting RESP commands. See `dht_tests::fuzzing::resp`.

#![no_main]

use dht_tests::fuzzing::resp::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check(input));
