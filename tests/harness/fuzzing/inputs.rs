//! Inputs for seeded runs: random bytes, and samples that were changed, cut, and put together.

use crate::random::Random;

/// Longest input that is drawn, bytes.
const INPUT_BYTES_MAX: usize = 16 << 10;
/// Longest run of random bytes; short ones are the rule.
const RANDOM_BYTES_MAX: u64 = 2_048;
/// Most changes to one input.
const CHANGES_MAX: u64 = 8;
/// Bytes at which readers decide: ends of ranges, line ends, separators.
const TELLING_BYTES: &[u8] =
    &[0, 1, 2, 3, 4, 7, 8, 11, 12, 13, 10, 16, 32, 44, 47, 48, 58, 63, 127, 128, 254, 255];

/// The next input.
pub(super) fn draw_input(random: &mut Random, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut input = match random.below(8) {
        _ if samples.is_empty() => random_bytes(random),
        0 => random_bytes(random),
        1 => {
            let sample = random.pick(samples);
            sample[..random.below(sample.len() as u64 + 1) as usize].to_vec()
        }
        2 => {
            let (front, back) = (random.pick(samples), random.pick(samples));
            let front = &front[..random.below(front.len() as u64 + 1) as usize];
            let back = &back[random.below(back.len() as u64 + 1) as usize..];
            [front, back].concat()
        }
        3 => {
            let parts = 1 + random.below(4);
            (0..parts).flat_map(|_| random.pick(samples).clone()).collect()
        }
        4 => [random.pick(samples).clone(), random_bytes(random)].concat(),
        _ => {
            let mut sample = random.pick(samples).clone();
            change(random, &mut sample);
            sample
        }
    };
    if random.percent(20) {
        change(random, &mut input);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn random_bytes(random: &mut Random) -> Vec<u8> {
    let most = if random.percent(70) { 200 } else { RANDOM_BYTES_MAX };
    let telling_percent = random.below(100);
    let count = random.below(most);
    (0..count).map(|_| byte(random, telling_percent)).collect()
}

fn byte(random: &mut Random, telling_percent: u64) -> u8 {
    if random.percent(telling_percent) { *random.pick(TELLING_BYTES) } else { random.next_u64() as u8 }
}

fn change(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(CHANGES_MAX) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        match (random.below(6), at < bytes.len()) {
            (0, true) => bytes[at] = byte(random, 50),
            (1, true) => bytes[at] ^= 1 << random.below(8),
            (2, true) => drop(bytes.remove(at)),
            (3, true) => {
                let end = bytes.len().min(at + 1 + random.below(32) as usize);
                bytes.drain(at..end);
            }
            (4, true) => {
                let end = bytes.len().min(at + 1 + random.below(32) as usize);
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => bytes.insert(at, byte(random, 50)),
        }
    }
}
