//! What is asked for: requests one after another, drawn from a seed, the same for every server.

use super::limits::VALUE_SPREAD;
use super::wire::{Expected, Op, Wire};
use crate::bench::keys::Keys;
use crate::bench::limits::VALUE_OFFSETS;
use crate::bench::permutation::Permutation;
use crate::bench::random::{Random, mix};

/// What the entries of a comparison are like.
#[derive(Clone, Debug)]
pub(crate) struct Entries {
    pub(crate) keys: Keys,
    pub(crate) count: u64,
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
    pub(crate) seed: u64,
    /// Random bytes that every value is a piece of.
    pool: Vec<u8>,
}

/// Requests to come.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    entries: &'a Entries,
    draw: Draw,
    expected: Expected,
    /// Requests that are left; `None`: no end.
    left: Option<u64>,
    key: Vec<u8>,
    keys: Vec<u8>,
}

#[derive(Debug)]
enum Draw {
    /// The places of a permutation from here on, each once.
    InOrder { order: Permutation, next: u64 },
    /// Any of the first so many places, evenly; without an order, of all.
    Uniform { random: Random, order: Option<Permutation>, below: u64 },
}

impl Entries {
    /// Entries, if so many keys of that size can differ.
    pub(crate) fn new(count: u64, key_bytes: usize, value_bytes: usize, seed: u64) -> Option<Entries> {
        let keys = Keys::new(count, key_bytes)?;
        let words = (VALUE_OFFSETS + value_bytes * VALUE_SPREAD).div_ceil(8) as u64;
        let pool = (0..words).flat_map(|at| mix(seed.wrapping_add(at)).to_le_bytes()).collect();
        Some(Entries { keys, count, key_bytes, value_bytes, seed, pool })
    }

    /// Sizes of the values that overwriting stores, least and most.
    pub(crate) fn overwritten_bytes(&self) -> (usize, usize) {
        (self.value_bytes / VALUE_SPREAD, self.value_bytes * VALUE_SPREAD)
    }

    fn value(&self, of: u64, bytes: usize) -> &[u8] {
        let at = (mix(of) % VALUE_OFFSETS as u64) as usize;
        &self.pool[at..at + bytes]
    }

    fn order(&self) -> Permutation {
        Permutation::new(self.count, self.seed)
    }
}

impl<'a> Source<'a> {
    /// Stores those entries that come `from..to` in the order of the load.
    pub(crate) fn load(entries: &'a Entries, from: u64, to: u64) -> Source<'a> {
        let draw = Draw::InOrder { order: entries.order(), next: from };
        let sizes = (entries.value_bytes, entries.value_bytes);
        Source::new(entries, draw, Op::Set, 1, sizes, Some(to - from))
    }

    /// Reads `keys_per_request` keys at a time, drawn evenly from the first `loaded` entries of the load, which have
    /// the value size of the load. `stream` tells the draws of one seed apart.
    pub(crate) fn reads(
        entries: &'a Entries,
        loaded: u64,
        op: Op,
        keys_per_request: usize,
        stream: u64,
        left: Option<u64>,
    ) -> Source<'a> {
        let sizes = (entries.value_bytes, entries.value_bytes);
        Source::new(entries, entries.uniform(loaded, stream), op, keys_per_request, sizes, left)
    }

    /// Overwrites entries with values of any size of [`Entries::overwritten_bytes`].
    pub(crate) fn overwrites(entries: &'a Entries, stream: u64, left: Option<u64>) -> Source<'a> {
        let draw = entries.uniform(entries.count, stream);
        Source::new(entries, draw, Op::Set, 1, entries.overwritten_bytes(), left)
    }

    fn new(
        entries: &'a Entries,
        draw: Draw,
        op: Op,
        keys_per_request: usize,
        (value_bytes_min, value_bytes_max): (usize, usize),
        left: Option<u64>,
    ) -> Source<'a> {
        let expected = Expected { op, keys_per_request, value_bytes_min, value_bytes_max };
        Source { entries, draw, expected, left, key: Vec::new(), keys: Vec::new() }
    }

    /// What the replies must be.
    pub(crate) fn expected(&self) -> Expected {
        self.expected
    }

    /// Appends the next request to `out`; answers the id of its first key, `None` when there is none left.
    #[inline]
    pub(crate) fn push(&mut self, wire: &mut Wire, out: &mut Vec<u8>) -> Option<u32> {
        match &mut self.left {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        let Expected { op, keys_per_request, value_bytes_min, value_bytes_max } = self.expected;
        if op == Op::Set {
            let (index, size) = self.draw.next(value_bytes_max - value_bytes_min + 1);
            self.entries.keys.write(index, &mut self.key);
            return Some(wire.set(&self.key, self.entries.value(index, value_bytes_min + size), out));
        }
        self.keys.clear();
        for _ in 0..keys_per_request {
            let (index, _) = self.draw.next(1);
            self.entries.keys.write(index, &mut self.key);
            self.keys.extend_from_slice(&self.key);
        }
        Some(wire.get(&self.keys, self.entries.key_bytes, out))
    }
}

impl Entries {
    fn uniform(&self, below: u64, stream: u64) -> Draw {
        let order = (below < self.count).then(|| self.order());
        Draw::Uniform { random: Random::new(self.seed, stream), order, below }
    }
}

impl Draw {
    /// The next key, and a number below `sizes`.
    fn next(&mut self, sizes: usize) -> (u64, usize) {
        match self {
            Draw::InOrder { order, next } => {
                *next += 1;
                (order.apply(*next - 1), 0)
            }
            Draw::Uniform { random, order, below } => {
                let place = random.below(*below);
                let index = order.as_ref().map_or(place, |order| order.apply(place));
                (index, if sizes > 1 { random.below(sizes as u64) as usize } else { 0 })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use dht_protocol::ids::Epoch;

    use super::super::wire::Protocol;
    use super::*;

    /// The words of the memcached requests that a source makes.
    fn lines(mut source: Source<'_>, most: usize) -> Vec<Vec<String>> {
        let (mut wire, mut out) = (Wire::new(Protocol::Memcached, Epoch(0)), vec![]);
        let mut lines = vec![];
        for _ in 0..most {
            out.clear();
            if source.push(&mut wire, &mut out).is_none() {
                break;
            }
            let head = String::from_utf8_lossy(&out[..out.iter().position(|&byte| byte == b'\r').unwrap()]);
            lines.push(head.split(' ').map(str::to_owned).collect());
        }
        lines
    }

    #[test]
    fn a_load_in_steps_stores_every_key_once() {
        let entries = Entries::new(1000, 8, 32, 7).unwrap();
        let mut keys = HashSet::new();
        for (from, to) in [(0, 300), (300, 1000)] {
            for line in lines(Source::load(&entries, from, to), usize::MAX) {
                assert_eq!((line[0].as_str(), line[4].as_str()), ("set", "32"));
                assert!(keys.insert(line[1].clone()));
            }
        }
        assert_eq!(keys.len(), 1000);
    }

    #[test]
    fn reads_name_only_what_is_loaded() {
        let entries = Entries::new(1000, 8, 32, 7).unwrap();
        let loaded: HashSet<String> =
            lines(Source::load(&entries, 0, 300), 300).into_iter().map(|mut line| line.remove(1)).collect();
        let mut seen = HashSet::new();
        for line in lines(Source::reads(&entries, 300, Op::Mget, 10, 3, None), 1000) {
            assert_eq!((line[0].as_str(), line.len()), ("get", 11));
            assert!(line[1..].iter().all(|key| loaded.contains(key)), "{line:?}");
            seen.extend(line.into_iter().skip(1));
        }
        assert_eq!(seen.len(), 300, "ten thousand draws meet each of them");
        let few = Source::reads(&entries, 300, Op::Get, 1, 3, Some(5));
        assert_eq!((few.expected().value_bytes_min, few.expected().value_bytes_max), (32, 32));
        assert_eq!(lines(few, 100).len(), 5);
    }

    #[test]
    fn overwrites_have_every_size_from_half_to_double() {
        let entries = Entries::new(1000, 8, 32, 7).unwrap();
        let sizes: HashSet<usize> = lines(Source::overwrites(&entries, 1, None), 5000)
            .into_iter()
            .map(|line| line[4].parse().unwrap())
            .collect();
        assert_eq!(sizes, (16..=64).collect());
    }

    #[test]
    fn the_same_seed_and_stream_draw_the_same() {
        let entries = Entries::new(1000, 8, 32, 7).unwrap();
        let draw = |stream| lines(Source::overwrites(&entries, stream, None), 50);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
