//! Requests worth trying: few keys, so that they meet; values and numbers at the ends of their ranges; tokens in
//! order, late, and wrong.

use std::sync::OnceLock;

use dht_protocol::cursor::Cursor;
use dht_protocol::header::Header;
use dht_protocol::ids::{ClientId, ClusterId, Epoch, Incarnation, NodeId, PartitionId, RequestId, Version};
use dht_protocol::limits::{HEADER_BYTES, WRITE_SPAN_MAX};
use dht_protocol::op::{Op, flags};
use dht_protocol::peer::PeerHello;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::ring::Ring;
use dht_protocol::request::{Condition, Hello, Key, PartitionList, Request, Scan, WriteToken};
use dht_protocol::value::{ValueRef, ValueType};

use super::super::draw::Draw;
use super::answers::Sent;
use super::script::Action;

/// Clients with names.
pub(super) const CLIENTS: usize = 3;
/// Keys of one partition, for writes of many.
const BULK_KEYS: usize = 1_200;
/// Keys in one such write.
pub(super) const BULK_KEYS_MAX: usize = 64;

/// Lengths at which something changes: the width of a length, the keeping of a hash, and the largest inline value.
/// Short ones are the rule, so that a script is quick.
const VALUE_LENGTHS: [usize; 24] =
    [0, 1, 2, 8, 20, 21, 100, 255, 256, 300, 1_000, 5_000, 32_768, 32_769, 0, 1, 3, 5, 7, 8, 20, 33, 60, 100];
const LARGE_LENGTHS: [usize; 8] = [32_769, 40_000, 32_767, 65_536, 32_769, 40_000, 131_072, 200_000];
/// Of long keys. The longest are rare: hashing them takes long.
const KEY_LENGTHS: [usize; 16] =
    [127, 128, 255, 256, 1_000, 127, 128, 255, 256, 300, 129, 500, 1_000, 2_000, 40_000, 65_535];
const TEXTS: [&str; 12] = [
    "0",
    "-1",
    "41",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "007",
    "+1",
    "-0",
    "",
    "1 ",
    "hello",
];
const NUMBERS: [i64; 8] = [0, 1, -1, 10, i64::MAX, i64::MIN, -1_000_000, 1 << 40];
const TAGS: [u8; 10] = [0, 1, 1, 2, 2, 3, 4, 5, 6, 200];

/// A client's own numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Book {
    next_seq: u64,
    floor: u64,
}

impl Default for Book {
    fn default() -> Book {
        Book { next_seq: 1, floor: 1 }
    }
}

/// What requests are made from.
pub(super) struct Requests {
    pub(super) epoch: Epoch,
    pub(super) cluster_id: ClusterId,
    next_id: u32,
    books: [Book; CLIENTS],
    /// Frames of earlier writes.
    writes: Vec<Sent>,
    /// Where the last scan goes on.
    pub(super) scan: Option<OpenScan>,
}

/// A scan that is not at its end.
#[derive(Clone, Debug)]
pub(super) struct OpenScan {
    pub(super) cursor: Cursor,
    pub(super) partitions: Vec<[u8; 4]>,
    pub(super) prefix: Vec<u8>,
    pub(super) entries_max: u32,
}

/// The client of that number.
pub(super) fn client_id(number: usize) -> ClientId {
    ClientId(1 + (number % CLIENTS) as u128)
}

impl Requests {
    pub(super) fn new(epoch: Epoch, cluster_id: ClusterId) -> Requests {
        let books = [Book::default(); CLIENTS];
        Requests { epoch, cluster_id, next_id: 0, books, writes: Vec::new(), scan: None }
    }

    /// The request of a step, sent by `client`; `versions` gives the version of a key.
    pub(super) fn build(
        &mut self,
        action: Action,
        draw: &mut Draw<'_>,
        client: Option<ClientId>,
        versions: &dyn Fn(&[u8]) -> Version,
    ) -> Sent {
        match action {
            Action::Hello => self.hello(draw),
            Action::Ask => self.ask(draw),
            Action::Scan | Action::ScanOn => self.scan(action, draw),
            Action::Again if !self.writes.is_empty() => self.again(draw, client),
            Action::Twisted => {
                let mut sent = self.keyed(Action::Put, draw, client, versions);
                twist(&mut sent, draw);
                sent
            }
            Action::Get
            | Action::Exists
            | Action::Put
            | Action::PutLarge
            | Action::Delete
            | Action::Add
            | Action::Append
            | Action::Again
            | Action::Bulk
            | Action::KeepHouse
            | Action::Reconnect
            | Action::Take => self.keyed(action, draw, client, versions),
        }
    }

    /// A frame of this request under the next id.
    pub(super) fn sent(&mut self, request: &Request<'_>) -> Sent {
        self.next_id = self.next_id.wrapping_add(1);
        let mut frame = Vec::new();
        request.encode(RequestId(self.next_id), self.epoch, &mut frame);
        let (head, body) = frame.split_first_chunk::<HEADER_BYTES>().expect("a frame begins with its header");
        let (_, header) = Header::decode(head);
        Sent { header, body: body.to_vec() }
    }

    pub(super) fn hello_of(&mut self, client_id: ClientId) -> Sent {
        let hello =
            Hello { version_min: 1, version_max: 1, features: 0, client_id, cluster_id: ClusterId(0) };
        self.sent(&Request::Hello(hello))
    }

    fn hello(&mut self, draw: &mut Draw<'_>) -> Sent {
        let client_id = client_id(draw.byte().into());
        let (version_min, version_max) = *draw.pick(&[(1, 1), (0, 9), (1, 1), (2, 3), (1, 1)]);
        let cluster_id = *draw.pick(&[ClusterId(0), self.cluster_id, ClusterId(0), ClusterId(77)]);
        let hello = Hello { version_min, version_max, features: draw.byte().into(), client_id, cluster_id };
        self.sent(&Request::Hello(hello))
    }

    fn ask(&mut self, draw: &mut Draw<'_>) -> Sent {
        let peer = PeerHello {
            cluster_id: self.cluster_id,
            incarnation: Incarnation(9),
            node: NodeId(1),
            age_ms: draw.byte().into(),
        };
        let choices = [Request::Map, Request::Stats, Request::Ping, Request::PeerHello(peer)];
        self.sent(draw.pick(&choices))
    }

    fn keyed(
        &mut self,
        action: Action,
        draw: &mut Draw<'_>,
        client: Option<ClientId>,
        versions: &dyn Fn(&[u8]) -> Version,
    ) -> Sent {
        let name = draw_key(draw);
        let key = Key::new(&name).expect("the keys of a script keep the rules");
        if matches!(action, Action::Get | Action::Exists) {
            let get = action == Action::Get;
            return self.sent(&if get { Request::Get { key } } else { Request::Exists { key } });
        }
        let token = self.token(draw, client);
        let request = match action {
            Action::Delete => {
                let choices = [Condition::Always, Condition::Always, drawn_version(draw, versions(&name))];
                Request::Delete { key, condition: *draw.pick(&choices), token }
            }
            Action::Add => Request::Add { key, delta: *draw.pick(&NUMBERS), token },
            Action::Append => {
                let bytes = draw_bytes(draw, &VALUE_LENGTHS);
                let value_type = *draw.pick(&[ValueType::BYTES, ValueType::TEXT, ValueType::USER_MIN]);
                let suffix = ValueRef { value_type, bytes: &bytes };
                return self.remembered(&Request::Append { key, suffix, token });
            }
            _ => {
                let condition = match draw.byte() % 8 {
                    0 => Condition::IfAbsent,
                    1 => Condition::IfPresent,
                    2 | 3 => drawn_version(draw, versions(&name)),
                    _ => Condition::Always,
                };
                let (tag, bytes) = match action {
                    Action::PutLarge => (0, draw_bytes(draw, &LARGE_LENGTHS)),
                    _ => draw_value(draw),
                };
                let value = ValueRef::new(tag, &bytes).expect("the values of a script fit their types");
                return self.remembered(&Request::Put { key, value, condition, token });
            }
        };
        self.remembered(&request)
    }

    /// A write of which copies may follow.
    fn remembered(&mut self, request: &Request<'_>) -> Sent {
        const WRITES_MAX: usize = 24;
        let sent = self.sent(request);
        if self.writes.len() == WRITES_MAX {
            self.writes.remove(0);
        }
        self.writes.push(sent.clone());
        sent
    }

    fn token(&mut self, draw: &mut Draw<'_>, client: Option<ClientId>) -> Option<WriteToken> {
        let choice = draw.byte();
        let Some(id) = client else {
            return (choice >= 240).then_some(WriteToken { seq: 1, floor: 1, retry: false });
        };
        let book = &mut self.books[(id.0 as usize).wrapping_sub(1) % CLIENTS];
        let retry = choice >> 4 == 7;
        let numbered = |seq: u64, floor: u64| Some(WriteToken { seq, floor, retry });
        match choice % 16 {
            0 => None,
            1 => numbered(book.floor + WRITE_SPAN_MAX, book.floor),
            2 => numbered(book.floor + WRITE_SPAN_MAX - 1, book.floor),
            3 | 4 => {
                let seq = (book.next_seq).saturating_sub(1 + u64::from(choice >> 5)).max(1);
                numbered(seq, book.floor.min(seq))
            }
            5 | 6 => {
                book.floor = book.next_seq;
                book.next_seq += 1;
                numbered(book.floor, book.floor)
            }
            _ => {
                book.next_seq += 1;
                numbered(book.next_seq - 1, book.floor)
            }
        }
    }

    /// A write that was sent before, now marked as such or not, under a floor of then or of now.
    fn again(&mut self, draw: &mut Draw<'_>, client: Option<ClientId>) -> Sent {
        let mut sent = draw.pick(&self.writes).clone();
        let choice = draw.byte();
        self.next_id = self.next_id.wrapping_add(1);
        sent.header.request_id = RequestId(self.next_id);
        if choice & 1 == 0 {
            sent.header.flags |= flags::RETRY;
        }
        if let (Some(id), 1) = (client, choice >> 1 & 3) {
            // Bytes 12 to 20 of a write's head are its floor.
            let floor = self.books[(id.0 as usize).wrapping_sub(1) % CLIENTS].floor;
            sent.body[12..20].copy_from_slice(&floor.to_be_bytes());
        }
        sent
    }

    fn scan(&mut self, action: Action, draw: &mut Draw<'_>) -> Sent {
        let open = match (action, self.scan.take()) {
            (Action::ScanOn, Some(open)) => open,
            _ => draw_scan(draw),
        };
        let scan = Scan {
            cursor: open.cursor,
            entries_max: open.entries_max,
            prefix: &open.prefix,
            partitions: PartitionList::from_wire(&open.partitions),
        };
        let sent = self.sent(&Request::Scan(scan));
        self.scan = Some(open);
        sent
    }

    /// Writes or deletes of many keys.
    pub(super) fn bulk(&mut self, draw: &mut Draw<'_>) -> Vec<Sent> {
        let keys = bulk_keys();
        let first = usize::from(draw.byte()) * 5 % keys.len();
        let count = 1 + usize::from(draw.byte()) % BULK_KEYS_MAX;
        let (deletes, bytes) = (draw.byte().is_multiple_of(3), draw_bytes(draw, &VALUE_LENGTHS[..8]));
        let token = None;
        let requests = keys.iter().cycle().skip(first).take(count).map(|name| {
            let key = Key::new(name).expect("the keys of a script keep the rules");
            let value = ValueRef { value_type: ValueType::BYTES, bytes: &bytes };
            let condition = Condition::Always;
            match deletes {
                true => Request::Delete { key, condition, token },
                false => Request::Put { key, value, condition, token },
            }
        });
        requests.collect::<Vec<_>>().iter().map(|request| self.sent(request)).collect()
    }
}

/// Keys that all lie in partition 0 of 16, so that a table grows.
fn bulk_keys() -> &'static [Vec<u8>] {
    static KEYS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let ring = Ring::new(16).expect("16 is a power of two within the limits");
        let lies_there = |key: &Vec<u8>| ring.partition_of(HashKey::GUESSABLE.hash(key)) == PartitionId(0);
        let names = (0..u32::MAX).map(|number| format!("b{number}").into_bytes());
        names.filter(lies_there).take(BULK_KEYS).collect()
    })
}

fn draw_key(draw: &mut Draw<'_>) -> Vec<u8> {
    let choice = draw.byte();
    let mut key = format!("{}{}", if choice & 1 == 0 { "a" } else { "k" }, choice % 28).into_bytes();
    if let Some(length) = KEY_LENGTHS.get(usize::from(u8::MAX - choice)) {
        key.resize(*length, b'.');
    }
    key
}

fn draw_bytes(draw: &mut Draw<'_>, lengths: &[usize]) -> Vec<u8> {
    let (length, first) = (*draw.pick(lengths), draw.byte());
    let block: [u8; 256] = std::array::from_fn(|at| (at as u8).wrapping_mul(31).wrapping_add(first));
    let mut bytes = block.repeat(length.div_ceil(block.len()));
    bytes.truncate(length);
    bytes
}

fn draw_value(draw: &mut Draw<'_>) -> (u8, Vec<u8>) {
    let tag = *draw.pick(&TAGS);
    let bytes = match tag {
        1 if draw.byte() < 200 => draw.pick(&TEXTS).as_bytes().to_vec(),
        2 | 3 => draw.pick(&NUMBERS).to_be_bytes().to_vec(),
        4 => vec![draw.byte() & 1],
        _ => draw_bytes(draw, &VALUE_LENGTHS),
    };
    (tag, bytes)
}

fn drawn_version(draw: &mut Draw<'_>, current: Version) -> Condition {
    let choices = [current, current, Version::ABSENT, Version(current.0.wrapping_add(1)), Version(1)];
    Condition::IfVersion(*draw.pick(&choices))
}

fn draw_scan(draw: &mut Draw<'_>) -> OpenScan {
    let partitions: Vec<u32> = match draw.byte() % 8 {
        0..=2 => (0..16).collect(),
        3 => (0..16).step_by(2).collect(),
        4 => vec![draw.byte().into()],
        5 => vec![0],
        6 => (0..16).rev().map(|partition| partition & !1).collect(),
        _ => (0..=draw.byte() % 9).map(|_| u32::from(draw.byte() % 17)).collect(),
    };
    let cursor = match draw.byte() {
        byte @ 200.. => Cursor::new(u64::from(byte - 200) << 47 | u64::from(draw.number())),
        _ => Some(Cursor::START),
    };
    let prefixes: [&[u8]; 8] = [b"", b"", b"a", b"a1", b"k", b"b", b"\xFF", &[b'a'; 300]];
    OpenScan {
        cursor: cursor.unwrap_or(Cursor::END),
        partitions: partitions.iter().map(|partition| partition.to_be_bytes()).collect(),
        prefix: draw.pick(&prefixes).to_vec(),
        entries_max: *draw.pick(&[4_096, 1, 2, 10, 100, 5_000, u32::MAX, 7]),
    }
}

/// Something wrong about a frame, or at least another thing than was meant.
fn twist(sent: &mut Sent, draw: &mut Draw<'_>) {
    let (choice, byte) = (draw.byte(), draw.byte());
    match choice % 10 {
        0 => sent.header.version = byte % 4,
        1 => sent.header.code = byte,
        2 => sent.header.code = *draw.pick(&Op::ALL.iter().map(|op| *op as u8).collect::<Vec<_>>()),
        3 => sent.header.flags = u16::from(byte),
        4 => sent.header.flags = u16::from(byte) << 8 | u16::from(draw.byte()),
        5 => sent.header.epoch = Epoch(u32::from(byte % 3)),
        6 => sent.body.truncate(usize::from(byte)),
        // The key's length, and its first byte.
        7 => sent.body[1] = byte % 4,
        8 => sent.body[20] = 0xFF,
        _ => {
            let at = usize::from(byte) % sent.body.len();
            sent.body[at] = draw.byte();
        }
    }
}
