//! A node's answers to sequences of requests. See `dht_tests::fuzzing::dispatcher`.

#![no_main]

use dht_tests::fuzzing::dispatcher::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check(input));
