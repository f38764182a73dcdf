//! A run of one target over seeded inputs, within the test command. A failing input is shown with the way to run it
//! again.

use std::any::Any;
use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe};

use super::inputs::draw_input;
use super::targets::Target;
use crate::random::{Random, SEED, seed};

/// Set to an input in hexadecimal digits, it is the only one that a seeded run takes.
pub const INPUT: &str = "DHT_TEST_INPUT";

/// Checks the target's samples, then `inputs_count` inputs made of them and of random bytes.
///
/// # Panics
/// When one fails.
pub fn run(name: &str, inputs_count: usize) {
    let target = Target::named(name);
    if let Ok(digits) = std::env::var(INPUT) {
        (target.check)(&from_hex(&digits));
        return;
    }
    let samples = target.samples();
    assert!(!samples.is_empty(), "there are no samples in {}", target.corpus().display());
    for (name, sample) in &samples {
        check(target, sample, &format!("sample {name}"));
    }
    let seed = seed();
    let samples: Vec<Vec<u8>> = samples.into_iter().map(|(_, sample)| sample).collect();
    let mut random = Random::new(seed);
    for number in 0..inputs_count {
        let input = draw_input(&mut random, &samples);
        check(target, &input, &format!("input {number} of {SEED}={seed}"));
    }
}

fn check(target: Target, input: &[u8], what: &str) {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    if let Err(why) = outcome {
        let hex = to_hex(input);
        panic!(
            "target {}, {what}: {}\nto run it again: {INPUT}={hex} cargo test -p dht-tests --test fuzzing -- {}",
            target.name,
            text_of(why.as_ref()),
            target.name
        );
    }
}

/// What a panic said.
#[must_use]
pub fn text_of(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<String>().cloned();
    text.or_else(|| why.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that hexadecimal digits stand for; blanks are passed over.
///
/// # Panics
/// When they are none.
#[must_use]
pub fn from_hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|digit| !digit.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2);
        text.and_then(|text| u8::from_str_radix(text, 16).ok())
            .unwrap_or_else(|| panic!("{:?} are no two hexadecimal digits", String::from_utf8_lossy(pair)))
    };
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_input_is_shown_so_that_it_can_be_run_again() {
        let target = Target { name: "frame", check: |input| assert_eq!(input, b"right") };
        check(target, b"right", "input 1");
        let shown = panic::catch_unwind(|| check(target, b"wrong", "input 2")).unwrap_err();
        let shown = text_of(shown.as_ref());
        assert!(shown.contains("target frame, input 2") && shown.contains("77726f6e67"), "{shown}");
        assert_eq!(from_hex("77726f 6e67"), b"wrong");
    }
}
