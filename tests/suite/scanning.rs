//! Scans of real daemons: complete, without doubles, and in pages of any size, also while writers make tables
//! grow, shrink and compact.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::{Epoch, NodeId, PartitionId};
use dht_protocol::limits::{SCAN_PAGE_BYTES_MAX, SCAN_PARTITIONS_MAX, SCAN_VALUE_INLINE_BYTES_MAX};
use dht_protocol::op::Op;
use dht_protocol::response::{Page, Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::ValueType;
use dht_tests::cluster::Cluster;
use dht_tests::daemon::Daemon;
use dht_tests::random::Random;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{delete, put, put_typed, scan};
use dht_tests::routed::RoutedClient;

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("scanning::pages_of_every_size_give_every_entry_once", every_page_size),
        Case::new("scanning::a_prefix_selects", prefixes),
        Case::new("scanning::long_values_are_left_out_and_pages_closed", long_values),
        Case::new("scanning::what_stays_is_given_once_while_others_come_and_go", while_writers_write),
        Case::new("scanning::a_cluster_is_scanned_node_by_node", cluster_scan),
        Case::new("scanning::a_page_ends_before_a_partition_of_another_node", not_owned),
        Case::new("scanning::cursors_begin_and_end_where_partitions_do", cursors),
    ]
}

/// One entry, as a page gives it: version, type, length, and the value unless left out.
type Seen = (u64, ValueType, u32, Option<Vec<u8>>);

fn numbers(partitions: impl Iterator<Item = PartitionId>) -> Vec<[u8; 4]> {
    partitions.map(|partition| partition.0.to_be_bytes()).collect()
}

/// Scans `partitions` to their end; what each page must be is checked on the way.
fn scan_all(
    client: &mut RawClient,
    partitions: &[[u8; 4]],
    entries_max: u32,
    prefix: &[u8],
) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    for partitions in partitions.chunks(SCAN_PARTITIONS_MAX) {
        let mut left = partitions;
        let mut cursor = Cursor::START;
        while !left.is_empty() {
            let answer = client.call(&scan(cursor, entries_max, prefix, left));
            let page = page_of(answer.decode(Op::Scan));
            let done = usize::from(page.partitions_done);
            assert!(done <= left.len());
            assert!(done > 0 || page.next > cursor, "no progress from {cursor:?}");
            assert!(page.len() <= entries_max as usize, "no two keys here share a cursor step");
            for entry in page.entries() {
                assert!(entry.key.starts_with(prefix));
                let value = entry.value.map(<[u8]>::to_vec);
                let found = (entry.version.0, entry.value_type, entry.value_bytes, value);
                let before = seen.insert(entry.key.to_vec(), found);
                assert!(before.is_none(), "twice: {}", String::from_utf8_lossy(entry.key));
            }
            left = &left[done..];
            cursor = page.next;
        }
    }
    seen
}

fn page_of(response: Response<'_>) -> Page<'_> {
    match response {
        Response::Page(page) => page,
        other => panic!("expected a page: {other:?}"),
    }
}

/// A daemon with few partitions, so that each holds many entries, and the list of them all.
fn crowded() -> (Daemon, RawClient, Vec<[u8; 4]>) {
    let daemon = Daemon::start(&["--partitions", "16", "--memory-limit", "256MiB"]);
    let client = RawClient::greeted(daemon.address(), 0);
    (daemon, client, numbers((0..16).map(PartitionId)))
}

fn fill(client: &mut RawClient, prefix: &str, count: usize) -> Vec<Vec<u8>> {
    let names: Vec<Vec<u8>> = (0..count).map(|number| format!("{prefix}{number}").into_bytes()).collect();
    let answers = client.pipeline(names.iter().map(|name| put(name, name)));
    assert!(answers.iter().all(|answer| answer.status() == Status::Ok));
    names
}

fn every_page_size() {
    let (_daemon, mut client, all) = crowded();
    assert!(scan_all(&mut client, &all, 1, b"").is_empty());
    let names = fill(&mut client, "entry ", 3_000);
    for entries_max in [1, 2, 3, 7, 100, 1_000, 4_096] {
        let seen = scan_all(&mut client, &all, entries_max, b"");
        assert_eq!(seen.len(), names.len(), "pages of {entries_max}");
        for name in &names {
            let (_, value_type, value_bytes, value) = &seen[name];
            assert_eq!((*value_type, *value_bytes as usize), (ValueType::BYTES, name.len()));
            assert_eq!(value.as_deref(), Some(name.as_slice()));
        }
    }
    // A number above the limit is taken for the limit.
    let answer = client.call(&scan(Cursor::START, u32::MAX, b"", &all));
    assert_eq!(page_of(answer.decode(Op::Scan)).len(), names.len());
    let answer = client.call(&scan(Cursor::START, 0, b"", &all));
    assert_eq!(answer.status(), Status::Malformed);
}

fn prefixes() {
    let (_daemon, mut client, all) = crowded();
    let users = fill(&mut client, "user:", 500);
    let others = fill(&mut client, "use", 500);
    let _ = fill(&mut client, "x", 20_000);
    for entries_max in [1, 64, 4_096] {
        let seen = scan_all(&mut client, &all, entries_max, b"user:");
        assert!(seen.keys().eq(std::collections::BTreeSet::from_iter(&users)), "pages of {entries_max}");
    }
    assert_eq!(scan_all(&mut client, &all, 100, b"use").len(), users.len() + others.len());
    assert_eq!(scan_all(&mut client, &all, 100, &users[477]).len(), 1);
    for nothing in [b"nobody".as_slice(), b"\xFF", &[b'u'; 60_000]] {
        assert!(scan_all(&mut client, &all, 100, nothing).is_empty());
    }
}

fn long_values() {
    let (_daemon, mut client, all) = crowded();
    let border = SCAN_VALUE_INLINE_BYTES_MAX;
    let lengths = [0, 1, border, border + 1, 100_000, 1 << 20];
    let value = vec![b'v'; 1 << 20];
    for (at, length) in (0..120).zip(lengths.iter().cycle()) {
        let name = format!("{length} {at}").into_bytes();
        let answer = client.call(&put_typed(&name, ValueType::TEXT, &value[..*length]));
        let _ = answer.version();
    }
    let seen = scan_all(&mut client, &all, 4_096, b"");
    assert_eq!(seen.len(), 120);
    for (name, (version, value_type, value_bytes, given)) in &seen {
        let name = std::str::from_utf8(name).expect("a name of this test");
        let length: usize = name.split(' ').next().and_then(|digits| digits.parse().ok()).expect("a length");
        assert_eq!((*value_type, *value_bytes as usize), (ValueType::TEXT, length));
        assert!(*version != 0);
        match given {
            Some(bytes) => assert!(length <= border && bytes.len() == length),
            None => assert!(length > border, "{length} bytes may be given"),
        }
    }
    // Many values of middle length: pages are closed by their bytes.
    let middle = vec![b'm'; 20_000];
    for number in 0..200 {
        let _ = client.call(&put(format!("m{number}").as_bytes(), &middle)).version();
    }
    let answer = client.call(&scan(Cursor::START, 4_096, b"m", &all));
    assert!(answer.body.len() < SCAN_PAGE_BYTES_MAX + 100_000, "{} bytes", answer.body.len());
    assert_eq!(scan_all(&mut client, &all, 4_096, b"m").len(), 200);
}

/// Inserts, overwrites with other lengths and deletes entries of its own until told to stop; says how many times.
fn disturb(address: &str, seed: u64, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let mut client = RawClient::greeted(address, 0);
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut random = Random::new(seed);
        let value = vec![b'd'; 40_000];
        let mut writes_count = 0;
        // Waves: tables grow while one comes, and shrink while it goes.
        while !stop.load(Ordering::Relaxed) {
            let names: Vec<Vec<u8>> =
                (0..3_000).map(|number| format!("wave {seed} {number}").into_bytes()).collect();
            let lengths = [0, 10, 100, 1_000, if random.percent(3) { 40_000 } else { 50 }];
            let puts = names.iter().map(|name| put(name, &value[..*random.pick(&lengths)]));
            writes_count += client.pipeline(puts).len() as u64;
            writes_count += client.pipeline(names.iter().map(|name| delete(name))).len() as u64;
        }
        writes_count
    })
}

fn while_writers_write() {
    let (daemon, mut client, all) = crowded();
    let names = fill(&mut client, "stays ", 4_000);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2).map(|seed| disturb(daemon.address(), seed, &stop)).collect();
    let steps = client.stat("growth_steps");
    let mut random = Random::new(0x5EED_0003);
    for entries_max in [1, 5, 50, 500, 4_096, 4_096, 4_096] {
        // The entries that stay change their values meanwhile.
        let value = vec![b's'; random.below(300) as usize];
        let answers = client.pipeline(names.iter().step_by(3).map(|name| put(name, &value)));
        assert!(answers.iter().all(|answer| answer.status() == Status::Ok));
        let seen = scan_all(&mut client, &all, entries_max, b"");
        for name in &names {
            assert!(seen.contains_key(name), "{} is missing", String::from_utf8_lossy(name));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.join().expect("every write is answered") > 0);
    }
    assert!(client.stat("growth_steps") > steps, "tables have grown meanwhile");
    let seen = scan_all(&mut client, &all, 1_000, b"");
    assert_eq!(seen.len(), names.len(), "what came and went is gone");
}

fn cluster_scan() {
    let cluster = Cluster::start(3);
    let address = cluster.addresses().next().expect("there are three").to_owned();
    let mut client = RoutedClient::connect(&address, 0);
    let names: Vec<Vec<u8>> = (0..2_000).map(|number| format!("spread {number}").into_bytes()).collect();
    for name in &names {
        let _ = client.call(&put(name, name)).version();
    }
    let map = client.map().clone();
    let mut seen = BTreeMap::new();
    for node in map.nodes() {
        let mine = numbers(map.partitions_of(node.id));
        let part = scan_all(client.node(node.id), &mine, 100, b"");
        assert!(part.len() > names.len() / 6, "each has its share: {}", part.len());
        for (name, entry) in part {
            assert!(seen.insert(name, entry).is_none(), "on two nodes");
        }
    }
    assert!(seen.keys().eq(std::collections::BTreeSet::from_iter(&names)));
}

fn not_owned() {
    let cluster = Cluster::start_with(2, &["--partitions", "16"]);
    let address = cluster.addresses().next().expect("there are two").to_owned();
    let mut client = RoutedClient::connect(&address, 0);
    let map = client.map().clone();
    let (mine, others): (Vec<PartitionId>, Vec<PartitionId>) =
        (map.partitions_of(NodeId(0)).collect(), map.partitions_of(NodeId(1)).collect());
    let node = client.node(NodeId(0));
    let mut ask = |list: &[PartitionId], epoch: Epoch| {
        node.epoch = epoch;
        node.call(&scan(Cursor::START, 10, b"", &numbers(list.iter().copied())))
    };
    // It ends before what it does not serve, without an error ...
    let answer = ask(&[mine[0], mine[1], others[0], mine[2]], map.epoch());
    assert_eq!(page_of(answer.decode(Op::Scan)).partitions_done, 2);
    // ... unless there is nothing before it.
    let refuses =
        |answer: &dht_tests::raw_client::Answer, partition: PartitionId| match answer.decode(Op::Scan) {
            Response::Refused(Refusal::NotOwner(not_owner)) => {
                assert_eq!(not_owner.partition, partition);
                assert_eq!(Some(not_owner.config), map.partition(partition));
            }
            other => panic!("expected NOT_OWNER: {other:?}"),
        };
    refuses(&ask(&[others[0], mine[0]], map.epoch()), others[0]);
    refuses(&ask(&[mine[0]], Epoch(0)), mine[0]);
    for list in [vec![PartitionId(16)], vec![mine[0], PartitionId(16)], vec![PartitionId(u32::MAX)]] {
        assert_eq!(ask(&list, map.epoch()).status(), Status::Malformed);
    }
}

fn cursors() {
    let (_daemon, mut client, all) = crowded();
    let names = fill(&mut client, "", 200);
    let map = client.map();
    let ring = map.ring();
    let partition = PartitionId(5);
    let one = numbers([partition].into_iter());
    let mine = |name: &&Vec<u8>| map.owners(map.hash_key().hash(name)).partition == partition;
    let held = names.iter().filter(mine).count();
    let mut page_at = |cursor: Cursor, list: &[[u8; 4]]| {
        let answer = client.call(&scan(cursor, 4_096, b"", list));
        let page = page_of(answer.decode(Op::Scan));
        (usize::from(page.partitions_done), page.len())
    };
    // Before the start means the start; at or past the end, nothing is left of the first.
    assert_eq!(page_at(Cursor::START, &one), (1, held));
    assert_eq!(page_at(ring.cursor_start(partition), &one), (1, held));
    assert_eq!(page_at(ring.cursor_end(partition), &one), (1, 0));
    assert_eq!(page_at(Cursor::END, &one), (1, 0));
    // The cursor is for the first of the list alone, and a partition named twice is scanned twice.
    let thrice = [one[0], one[0], one[0]];
    assert_eq!(page_at(Cursor::END, &thrice), (3, 2 * held));
    assert_eq!(page_at(Cursor::START, &all), (16, names.len()));
}
