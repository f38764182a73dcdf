//! Cutting the head of an HTTP request. See `dht_tests::fuzzing::http`.

#![no_main]

use dht_tests::fuzzing::http::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check(input));
