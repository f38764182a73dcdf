//! Keys as people choose them, a million different ones of each kind, the same in every run.

use std::collections::HashSet;
use std::fmt::Write as _;

use dht_tests::random::Random;

/// What keys look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `0` to `999999`.
    Numbers,
    /// Random UUIDs (version 4).
    Uuids,
    /// Addresses of web pages.
    Urls,
    /// Pronounceable words of two to eight letters.
    Words,
}

/// Many keys, end to end.
pub(crate) struct Keys {
    bytes: String,
    ends: Vec<usize>,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Numbers, Kind::Uuids, Kind::Urls, Kind::Words];
}

impl Keys {
    /// The first `count` keys of `kind`.
    pub(crate) fn new(kind: Kind, count: usize) -> Keys {
        let mut keys = Keys { bytes: String::new(), ends: Vec::with_capacity(count) };
        let mut random = Random::new(kind as u64);
        for at in 0..count as u64 {
            match kind {
                Kind::Numbers => write!(keys.bytes, "{at}").expect("writing to a string cannot fail"),
                Kind::Uuids => uuid(&mut random, &mut keys.bytes),
                Kind::Urls => url(at, &mut random, &mut keys.bytes),
                // Spread over all words of up to four syllables.
                Kind::Words => word(at * 61 + random.below(61), &mut keys.bytes),
            }
            keys.ends.push(keys.bytes.len());
        }
        keys
    }

    /// Each key in turn.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

fn uuid(random: &mut Random, out: &mut String) {
    let (high, low) = (random.next_u64(), random.next_u64());
    write!(
        out,
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFF,
        0x8000 | (low >> 50),
        low & 0xFFFF_FFFF_FFFF
    )
    .expect("writing to a string cannot fail");
}

fn url(at: u64, random: &mut Random, out: &mut String) {
    out.push_str("https://www.");
    word(random.below(5_000), out);
    out.push_str(random.pick::<&str>(&[".com/", ".org/", ".net/blog/", ".example/shop/items/"]));
    word(random.below(1_000_000), out);
    write!(out, "?id={at}").expect("writing to a string cannot fail");
}

/// Word number `number`: its digits to the base 90, counted so that no two words are the same (1 to 90, not 0 to
/// 89), each a consonant and a vowel.
fn word(number: u64, out: &mut String) {
    const CONSONANTS: &[u8] = b"bcdfghjklmnprstvwz";
    const VOWELS: &[u8] = b"aeiou";
    const SYLLABLES: u64 = (CONSONANTS.len() * VOWELS.len()) as u64;
    let mut rest = number + 1;
    while rest > 0 {
        let syllable = ((rest - 1) % SYLLABLES) as usize;
        out.push(char::from(CONSONANTS[syllable / VOWELS.len()]));
        out.push(char::from(VOWELS[syllable % VOWELS.len()]));
        rest = (rest - 1) / SYLLABLES;
    }
}

pub(crate) fn are_all_different() {
    for kind in Kind::ALL {
        let keys = Keys::new(kind, 1_000_000);
        let distinct: HashSet<&str> = keys.iter().collect();
        assert_eq!(distinct.len(), 1_000_000, "{kind:?}");
        let shown: Vec<&str> = keys.iter().skip(777_777).step_by(50_000).take(3).collect();
        println!("  {kind:?}: {}", shown.join(" "));
    }
}
