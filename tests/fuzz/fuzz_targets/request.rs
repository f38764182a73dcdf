//! Reading a request. See `dht_tests::fuzzing::request`.

#![no_main]

use dht_tests::fuzzing::request::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check(input));
