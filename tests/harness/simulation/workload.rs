//! What clients ask: few keys on few partitions, so that they get into each other's way.

use std::sync::Arc;

use dht_protocol::ids::{PartitionId, Version};
use dht_protocol::placement::hash::{HashKey, KeyHash};
use dht_protocol::placement::ring::Ring;
use dht_protocol::request::Condition;
use dht_protocol::value::{ValueRef, ValueType};
use dht_server::replication::operation::Operation;

use crate::linearizability::Op;
use crate::random::Random;

use super::scenario::Scenario;

/// The hash key of every simulated cluster.
pub(super) const HASH_KEY: HashKey = HashKey::GUESSABLE;

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// Everything, with short values.
    Mixed,
    /// Added to and read, nothing else: what it comes to is known.
    Counter,
    /// Long values come and go, some too long for one message.
    Blob,
    /// Written at the beginning, so that there is something to copy.
    Filler,
}

/// A key.
#[derive(Clone, Debug)]
pub(super) struct KeyInfo {
    pub(super) name: Arc<[u8]>,
    pub(super) hash: KeyHash,
    pub(super) partition: PartitionId,
    pub(super) kind: KeyKind,
}

/// The keys, and where to look.
pub(super) struct Workload {
    pub(super) keys: Vec<KeyInfo>,
    /// Places of the keys that are usually asked for.
    usual: Vec<u16>,
    /// Partitions that have keys.
    pub(super) partitions: Vec<PartitionId>,
    /// The partition that most go to for now, and until when.
    pub(super) hot: Option<(PartitionId, u64)>,
    /// Until then most of what is asked are reads.
    pub(super) reading_until: u64,
    /// Values so far.
    count: u64,
    /// Fillers that were not written yet.
    pub(super) unfilled: Vec<u16>,
    is_bulky: bool,
}

impl Workload {
    /// The keys of a scenario.
    pub(super) fn new(scenario: &Scenario, ring: Ring, random: &mut Random) -> Workload {
        let mut partitions: Vec<PartitionId> = Vec::new();
        while partitions.len() < scenario.partitions {
            let partition = PartitionId(random.below(u64::from(ring.partitions_count())) as u32);
            if !partitions.contains(&partition) {
                partitions.push(partition);
            }
        }
        let fillers = random.below(6) as usize;
        let mut workload = Workload {
            keys: Vec::new(),
            usual: Vec::new(),
            partitions,
            hot: None,
            reading_until: 0,
            count: 0,
            unfilled: Vec::new(),
            is_bulky: scenario.is_bulky,
        };
        let mut wanted: Vec<usize> = vec![scenario.keys + fillers; workload.partitions.len()];
        for number in 0.. {
            if wanted.iter().all(|&left| left == 0) {
                break;
            }
            let name = format!("k{number}").into_bytes();
            let hash = HASH_KEY.hash(&name);
            let Some(at) = workload.partitions.iter().position(|&id| id == ring.partition_of(hash)) else {
                continue;
            };
            if wanted[at] > 0 {
                wanted[at] -= 1;
                workload.add_key(name, hash, at, wanted[at], scenario.keys);
            }
        }
        workload
    }

    /// Other keys on the same partitions, from now on.
    pub(super) fn begin_anew(&mut self, ring: Ring, salt: u64) {
        let mut wanted: Vec<usize> = vec![3; self.partitions.len()];
        self.keys.clear();
        self.usual.clear();
        self.unfilled.clear();
        for number in 0.. {
            if wanted.iter().all(|&left| left == 0) {
                break;
            }
            let name = format!("again{salt:x}-{number}").into_bytes();
            let hash = HASH_KEY.hash(&name);
            let Some(at) = self.partitions.iter().position(|&id| id == ring.partition_of(hash)) else {
                continue;
            };
            if wanted[at] > 0 {
                wanted[at] -= 1;
                self.add_key(name, hash, at, wanted[at], usize::MAX);
            }
        }
    }

    fn add_key(&mut self, name: Vec<u8>, hash: KeyHash, at: usize, left: usize, usual: usize) {
        let kind = match left {
            left if left >= usual => KeyKind::Filler,
            0 if at == 0 => KeyKind::Counter,
            1 if at % 2 == 1 => KeyKind::Blob,
            left if left > 0 && at == 0 && self.is_bulky => KeyKind::Blob,
            _ => KeyKind::Mixed,
        };
        let place = self.keys.len() as u16;
        if kind == KeyKind::Filler {
            self.unfilled.push(place);
        } else {
            self.usual.push(place);
        }
        self.keys.push(KeyInfo { name: name.into(), hash, partition: self.partitions[at], kind });
    }

    /// What to ask next, and of which key. `seen` tells what version of a key the client saw last.
    pub(super) fn draw(&mut self, now: u64, random: &mut Random, seen: &[Version]) -> (usize, Op) {
        if let Some(filler) = self.unfilled.pop() {
            let len = 1_000 + random.below(30_000);
            return (filler as usize, Op::Put(self.header(len)));
        }
        let key = self.pick_key(now, random);
        if now < self.reading_until && random.percent(60) {
            return (key, Op::Get);
        }
        let op = match self.keys[key].kind {
            KeyKind::Mixed => self.mixed(random, seen[key]),
            KeyKind::Counter => {
                if random.percent(70) {
                    Op::Add(self.number(random).abs())
                } else {
                    Op::Get
                }
            }
            KeyKind::Blob => self.blob(random, seen[key]),
            KeyKind::Filler => Op::Get,
        };
        (key, op)
    }

    /// A write that does something whatever there is, on some key of this partition.
    pub(super) fn last_write(&mut self, partition: PartitionId) -> (usize, Op) {
        let key = self.keys.iter().position(|info| info.partition == partition).unwrap_or(0);
        let op = match self.keys[key].kind {
            KeyKind::Mixed => Op::Put(self.text()),
            KeyKind::Counter => Op::Add(1),
            KeyKind::Blob | KeyKind::Filler => Op::Put(self.header(10)),
        };
        (key, op)
    }

    fn pick_key(&self, now: u64, random: &mut Random) -> usize {
        if let Some((partition, until)) = self.hot
            && now < until
            && random.percent(85)
        {
            let of_it = |&&at: &&u16| self.keys[at as usize].partition == partition;
            let count = self.usual.iter().filter(of_it).count() as u64;
            if count > 0 {
                let at = random.below(count) as usize;
                return self.usual.iter().filter(of_it).nth(at).map_or(0, |&at| at as usize);
            }
        }
        *random.pick(&self.usual) as usize
    }

    fn mixed(&mut self, random: &mut Random, seen: Version) -> Op {
        match random.below(100) {
            0..22 => Op::Get,
            22..27 => Op::Exists,
            27..45 => Op::Put(self.value(random)),
            45..53 => Op::PutIfAbsent(self.value(random)),
            53..59 => Op::Replace(self.value(random)),
            59..71 => Op::CompareAndPut(seen, self.value(random)),
            71..80 => Op::Delete,
            80..85 => Op::DeleteIf(seen),
            85..93 => Op::Add(self.number(random)),
            _ => Op::Append(self.text()),
        }
    }

    fn blob(&mut self, random: &mut Random, seen: Version) -> Op {
        let len = match random.below(10) {
            0..6 => random.below(200),
            6..8 => random.below(20_000),
            8 if self.is_bulky => 100_000 + random.below(600_000),
            8.. => 60_000 + random.below(80_000),
        };
        match random.below(100) {
            0..40 => Op::Get,
            40..70 => Op::Put(self.header(len)),
            70..80 => Op::CompareAndPut(seen, self.header(len)),
            80..95 => Op::Delete,
            _ => Op::DeleteIf(seen),
        }
    }

    fn value(&mut self, random: &mut Random) -> Vec<u8> {
        if random.percent(40) { self.number(random).to_string().into_bytes() } else { self.text() }
    }

    /// Sums of some of these are as good as unique, and never leave 64 bits.
    fn number(&mut self, random: &mut Random) -> i64 {
        self.count += 1;
        let number = (random.below(1 << 20) << 30 | self.count) as i64;
        if random.percent(50) { number } else { -number }
    }

    fn text(&mut self) -> Vec<u8> {
        self.count += 1;
        format!("w{};", self.count).into_bytes()
    }

    /// What a long value is known by: it is made from this.
    fn header(&mut self, len: u64) -> Vec<u8> {
        self.count += 1;
        format!("b{}:{len};", self.count).into_bytes()
    }
}

/// The value that a header stands for: itself, and so many bytes that no other value has.
fn expanded(header: &[u8]) -> Arc<[u8]> {
    let (number, len) = parse_header(header).unwrap_or((0, 0));
    let mut bytes = header.to_vec();
    bytes.resize(header.len() + len as usize, filling(number));
    bytes.into()
}

fn filling(number: u64) -> u8 {
    b'0' + (number % 67) as u8
}

fn parse_header(text: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (number, len) = text.strip_prefix('b')?.strip_suffix(';')?.split_once(':')?;
    Some((number.parse().ok()?, len.parse().ok()?))
}

/// What a history says of a value that was read: the header of a long one that is whole, a counter in decimal, else all of it.
pub(super) fn recorded(value_type: ValueType, bytes: &[u8]) -> Vec<u8> {
    if value_type == ValueType::BYTES
        && let Some(end) = bytes.iter().take(40).position(|&byte| byte == b';')
    {
        let (header, rest) = bytes.split_at(end + 1);
        return match parse_header(header) {
            Some((number, len)) if rest.len() as u64 == len && is_filled(rest, filling(number)) => {
                header.to_vec()
            }
            _ => [b"broken ", header].concat(),
        };
    }
    if value_type == ValueType::INT
        && let Some(number) = ValueRef::new(value_type.tag(), bytes).ok().and_then(|value| value.as_counter())
    {
        return number.to_string().into_bytes();
    }
    bytes.to_vec()
}

fn is_filled(bytes: &[u8], with: u8) -> bool {
    let wide = [with; 64];
    bytes.chunks(64).all(|chunk| *chunk == wide[..chunk.len()])
}

/// What a node is asked for `op`.
pub(super) fn operation(op: &Op, kind: KeyKind) -> Operation {
    let put = |value: &[u8], condition| {
        let (value_type, value) = match kind {
            KeyKind::Blob | KeyKind::Filler => (ValueType::BYTES, expanded(value)),
            KeyKind::Mixed | KeyKind::Counter => stored(value),
        };
        Operation::Put { value_type, value, condition }
    };
    match op {
        Op::Get => Operation::Get,
        Op::Exists => Operation::Exists,
        Op::Put(value) => put(value, Condition::Always),
        Op::PutIfAbsent(value) => put(value, Condition::IfAbsent),
        Op::Replace(value) => put(value, Condition::IfPresent),
        Op::CompareAndPut(version, value) => put(value, Condition::IfVersion(*version)),
        Op::Delete => Operation::Delete { condition: Condition::Always },
        Op::DeleteIf(version) => Operation::Delete { condition: Condition::IfVersion(*version) },
        Op::Add(delta) => Operation::Add { delta: *delta },
        Op::Append(suffix) => {
            Operation::Append { value_type: ValueType::TEXT, suffix: suffix.as_slice().into() }
        }
    }
}

/// A short value, and its type: every other number as an integer, the others as text.
fn stored(value: &[u8]) -> (ValueType, Arc<[u8]>) {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    match number {
        Some(number) if number % 2 == 0 => (ValueType::INT, number.to_be_bytes().as_slice().into()),
        _ => (ValueType::TEXT, value.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_known_by_their_header_while_they_are_whole() {
        let header = b"b7:200;";
        let mut bytes = expanded(header).to_vec();
        assert_eq!(bytes.len(), 207);
        assert_eq!(recorded(ValueType::BYTES, &bytes), header);
        bytes[150] ^= 1;
        assert_eq!(recorded(ValueType::BYTES, &bytes), b"broken b7:200;");
        assert_eq!(recorded(ValueType::BYTES, &bytes[..100]), b"broken b7:200;");
    }

    #[test]
    fn numbers_read_back_in_decimal() {
        for text in ["12", "-7"] {
            let (value_type, bytes) = stored(text.as_bytes());
            assert_eq!(recorded(value_type, &bytes), text.as_bytes());
        }
    }
}
