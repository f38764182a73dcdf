//! The fuzz targets, over seeded inputs, within the test command; what they have found; and that their checkers can
//! fail. `DHT_TEST_SEED` repeats a run, `DHT_TEST_INPUT` one input (in hexadecimal digits). To search for longer:
//! `tests/fuzz`.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod corpus;
mod regressions;
mod tampered;

use dht_tests::fuzzing::seeded;

#[test]
fn frame() {
    seeded::run("frame", 200_000);
}

#[test]
fn request() {
    seeded::run("request", 200_000);
}

#[test]
fn response() {
    seeded::run("response", 200_000);
}

#[test]
fn peer() {
    seeded::run("peer", 200_000);
}

#[test]
fn http() {
    seeded::run("http", 60_000);
}

#[test]
fn resp() {
    seeded::run("resp", 100_000);
}

#[test]
fn dispatcher() {
    seeded::run("dispatcher", 3_000);
}
