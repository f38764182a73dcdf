//! `SCAN` over a cluster: what its cursor means, and the keys that a page names.
//!
//! ```text
//! cursor of SCAN:   place of a node in the map (10 bits)   cursor within that node (53 bits)
//! ```
//!
//! Each node's keys come in the order of their hashes, node after node, so every key that is there from the first
//! page to the last comes exactly once, whatever tables do meanwhile, and no node keeps anything for a scan. 0 is both
//! the start and, as an answer, the end.

use dht_protocol::cursor::{CURSOR_BITS, Cursor};
use dht_protocol::ids::PartitionId;
use dht_protocol::limits::{NODES_MAX, SCAN_PARTITIONS_MAX};
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::request::{PartitionList, Request, Scan};
use dht_protocol::response::Page;

use super::args::Args;
use super::glob;
use super::reply;
use crate::limits::RESP_SCAN_COUNT_MAX;

/// Keys of a page where `COUNT` does not say.
const COUNT_DEFAULT: usize = 10;

const _: () = assert!(NODES_MAX.ilog2() + CURSOR_BITS < u64::BITS);

/// How far a scan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Place of the node in the map's list.
    pub(crate) place: usize,
    /// Where its keys go on.
    pub(crate) cursor: Cursor,
}

/// What a `SCAN` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanOptions<'a> {
    pub(crate) position: Position,
    pub(crate) count: usize,
    pub(crate) pattern: Option<&'a [u8]>,
}

/// A page that another node was asked for.
#[derive(Debug)]
pub(crate) struct PageWant {
    position: Position,
    nodes_count: usize,
    asked: Asked,
    pattern: Option<Vec<u8>>,
}

/// Partitions of one node that a page is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    partitions: Vec<[u8; 4]>,
    /// Where the partition behind them begins that belongs to the same node.
    behind: Cursor,
}

/// The keys of one page.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    count: usize,
    bulks: Vec<u8>,
}

impl Position {
    pub(crate) const START: Position = Position { place: 0, cursor: Cursor::START };

    fn of_number(number: u64) -> Option<Position> {
        let cursor = Cursor::new(number & (Cursor::END.get() - 1))?;
        Some(Position { place: (number >> CURSOR_BITS) as usize, cursor })
    }

    /// What the client is given; 0: that was all.
    pub(crate) fn number(self, nodes_count: usize) -> u64 {
        if self.place >= nodes_count { 0 } else { (self.place as u64) << CURSOR_BITS | self.cursor.get() }
    }

    /// The same with all of this node before `cursor` done.
    pub(crate) fn at(self, cursor: Cursor) -> Position {
        if cursor == Cursor::END {
            Position { place: self.place + 1, cursor: Cursor::START }
        } else {
            Position { cursor, ..self }
        }
    }
}

impl<'a> ScanOptions<'a> {
    /// Reads what stands behind the command's name.
    ///
    /// # Errors
    /// The reply.
    pub(crate) fn read(args: Args<'a>) -> Result<ScanOptions<'a>, &'static str> {
        let number = std::str::from_utf8(args.get(1)).ok().and_then(|text| text.parse().ok());
        let position = number.and_then(Position::of_number).ok_or("ERR invalid cursor")?;
        let mut options = ScanOptions { position, count: COUNT_DEFAULT, pattern: None };
        let mut at = 2;
        while at < args.len() {
            if at + 1 == args.len() {
                return Err("ERR syntax error");
            }
            let value = args.get(at + 1);
            if args.is(at, "match") {
                options.pattern = Some(value).filter(|pattern| *pattern != b"*");
            } else if args.is(at, "count") {
                match args.number(at + 1).ok_or("ERR value is not an integer or out of range")? {
                    count @ 1.. => options.count = RESP_SCAN_COUNT_MAX.min(count as usize),
                    _ => return Err("ERR syntax error"),
                }
            } else {
                return Err("ERR syntax error");
            }
            at += 2;
        }
        Ok(options)
    }

    /// What every key that is asked for begins with.
    pub(crate) fn prefix(&self) -> &'a [u8] {
        self.pattern.map_or(&[], glob::literal_prefix)
    }
}

impl Asked {
    /// Partitions of the node at `position` from its cursor on; `None`: there are no more.
    pub(crate) fn new(map: &ClusterMap, position: Position) -> Option<Asked> {
        let node = map.nodes().get(position.place)?;
        let ring = map.ring();
        let mut left =
            map.partitions_of(node.id).filter(|&partition| ring.cursor_end(partition) > position.cursor);
        let partitions: Vec<[u8; 4]> =
            left.by_ref().take(SCAN_PARTITIONS_MAX).map(|partition| partition.0.to_be_bytes()).collect();
        let behind = left.next().map_or(Cursor::END, |partition| ring.cursor_start(partition));
        (!partitions.is_empty()).then_some(Asked { partitions, behind })
    }

    /// The request for a page of them.
    pub(crate) fn request<'a>(
        &'a self,
        map: &ClusterMap,
        cursor: Cursor,
        count: usize,
        prefix: &'a [u8],
    ) -> Request<'a> {
        let first = self.partitions.first().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let cursor = cursor.max(map.ring().cursor_start(PartitionId(first)));
        let partitions = PartitionList::from_wire(&self.partitions);
        Request::Scan(Scan { cursor, entries_max: count as u32, prefix, partitions })
    }

    /// Where the node's keys go on behind that page.
    pub(crate) fn next(&self, page: &Page<'_>) -> Cursor {
        let all_done = usize::from(page.partitions_done) >= self.partitions.len();
        if all_done { self.behind } else { page.next }
    }
}

impl PageWant {
    pub(crate) fn new(options: &ScanOptions<'_>, asked: Asked, nodes_count: usize) -> PageWant {
        let pattern = options.pattern.map(<[u8]>::to_vec);
        PageWant { position: options.position, nodes_count, asked, pattern }
    }

    /// The reply.
    pub(crate) fn write(&self, page: &Page<'_>, out: &mut Vec<u8>) {
        let mut keys = Keys::default();
        page.entries().for_each(|entry| keys.add(entry.key, self.pattern.as_deref()));
        keys.write(self.position.at(self.asked.next(page)).number(self.nodes_count), out);
    }
}

impl Keys {
    /// Adds a key if it matches.
    pub(crate) fn add(&mut self, key: &[u8], pattern: Option<&[u8]>) {
        if pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
            self.count += 1;
            reply::bulk(&mut self.bulks, key);
        }
    }

    /// The reply: the cursor of the next page, and the keys of this one.
    pub(crate) fn write(&self, next: u64, out: &mut Vec<u8>) {
        reply::array(out, 2);
        reply::bulk(out, next.to_string().as_bytes());
        reply::array(out, self.count);
        out.extend_from_slice(&self.bulks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_a_node_and_a_place_in_it() {
        for (place, cursor) in [(0, 1), (2, 0), (1_023, (1 << 53) - 1)] {
            let position = Position { place, cursor: Cursor::new(cursor).unwrap() };
            let number = position.number(NODES_MAX);
            assert!(number > 0 && number < 1 << 63);
            assert_eq!(Position::of_number(number), Some(position));
        }
        assert_eq!(Position::of_number(0), Some(Position::START));
        let last = Position { place: 2, cursor: Cursor::new(5).unwrap() };
        assert_eq!(last.at(Cursor::END).number(3), 0, "the end");
        assert_eq!(last.at(Cursor::END).number(4), 3 << 53);
    }
}
