//! Cutting a stream into frames. See `dht_tests::fuzzing::frame`.

#![no_main]

use dht_tests::fuzzing::frame::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check(input));
