//! A full daemon: what it refuses, what goes on, and how room comes back.

use std::collections::BTreeMap;

use dht_protocol::request::{Condition, Request};
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::random::Random;
use dht_tests::raw_client::RawClient;
use dht_tests::requests::{append, delete, first, get, put, put_if, retry};
use dht_tests::resident::resident_bytes;
use dht_tests::wait::{PATIENCE, wait_until};

use crate::registry::Case;

/// The tests of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("memory_limit::a_full_daemon_reads_deletes_and_takes_writes_again", fill_and_empty),
        Case::new("memory_limit::a_frame_without_room_passes_by", frame_passes_by),
        Case::new("memory_limit::a_full_daemon_serves_whoever_pipelines", pipelines_at_the_limit),
        Case::new("memory_limit::a_retry_without_room_gets_its_first_answer", retry_without_room),
        Case::new("memory_limit::a_retry_refused_for_lack_of_room_is_remembered", refused_retry_without_room),
        Case::new("memory_limit::a_retry_that_passes_by_is_never_called_not_done", retry_passes_by),
    ]
}

const LIMIT: &str = "64MiB";
const LIMIT_BYTES: u64 = 64 << 20;

/// What the process may hold on top of the limit: its code, the threads' stacks and read buffers, and what the
/// allocator keeps to itself.
const ALLOWANCE_BYTES: u64 = 48 << 20;

/// Lengths of values, from tiny to large.
const VALUE_LENGTHS: [usize; 6] = [0, 20, 300, 2_000, 20_000, 80_000];

fn name_of(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Puts entries until several in a row are refused; says what it holds then.
fn fill(client: &mut RawClient, random: &mut Random) -> Model {
    const BATCH: u64 = 500;
    let mut model = Model::new();
    let mut number = 0;
    loop {
        let entries: Vec<(Vec<u8>, Vec<u8>)> = (number..number + BATCH)
            .map(|number| (name_of(number), vec![number as u8; *random.pick(&VALUE_LENGTHS)]))
            .collect();
        number += BATCH;
        let answers = client.pipeline(entries.iter().map(|(name, value)| put(name, value)));
        let mut refused_count = 0;
        for (answer, (name, value)) in answers.iter().zip(entries) {
            match answer.status() {
                Status::Ok => drop(model.insert(name, value)),
                Status::OutOfMemory => refused_count += 1,
                other => panic!("{other:?}"),
            }
        }
        if refused_count > BATCH / 2 {
            return model;
        }
    }
}

fn check(client: &mut RawClient, model: &Model) {
    let names: Vec<&Vec<u8>> = model.keys().collect();
    for names in names.chunks(200) {
        let answers = client.pipeline(names.iter().map(|name| get(name)));
        for (name, answer) in names.iter().zip(answers) {
            assert!(answer.found().2 == model[*name], "{}", String::from_utf8_lossy(name));
        }
    }
    assert_eq!(client.stat("entries"), model.len() as u64);
}

fn fill_and_empty() {
    const SEED: u64 = 0x5EED_0002;
    let daemon = Daemon::start(&["--memory-limit", LIMIT]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let mut model = fill(&mut client, &mut Random::new(SEED));
    assert!(client.stat("memory_used_bytes") > LIMIT_BYTES / 100 * 90, "seed {SEED:#x}");
    assert!(resident_bytes(daemon.id()) < LIMIT_BYTES + ALLOWANCE_BYTES);
    check(&mut client, &model);

    // Deletes go on, and so does what needs no more room than it has.
    let doomed: Vec<Vec<u8>> = model.keys().step_by(2).cloned().collect();
    for names in doomed.chunks(500) {
        for answer in client.pipeline(names.iter().map(|name| delete(name))) {
            let _ = answer.version();
        }
    }
    doomed.iter().for_each(|name| drop(model.remove(name)));
    check(&mut client, &model);
    let freed_bytes = client.stat("memory_limit_bytes") / 4;
    wait_until(PATIENCE, "housekeeping to give a quarter of the memory back", || {
        client.stat("memory_used_bytes") < LIMIT_BYTES - freed_bytes
    });

    // Other entries of other lengths find room, a third of what went.
    let mut taken_bytes = 0;
    for number in 0.. {
        let (name, value) = (format!("new {number}").into_bytes(), vec![number as u8; 3_000]);
        let _ = client.call(&put(&name, &value)).version();
        taken_bytes += (name.len() + value.len()) as u64;
        model.insert(name, value);
        if taken_bytes > freed_bytes / 3 {
            break;
        }
    }
    check(&mut client, &model);
    assert!(resident_bytes(daemon.id()) < LIMIT_BYTES + ALLOWANCE_BYTES);
}

/// A daemon whose memory is used up to the last kilobyte by 1 KiB values, and a client of it.
fn full() -> (Daemon, RawClient, u64) {
    let daemon = Daemon::start(&["--memory-limit", "8MiB", "--partitions", "16", "--workers", "1"]);
    let mut client = RawClient::greeted(daemon.address(), 0);
    let value = vec![b'f'; 1_000];
    let mut kept = 0;
    for number in 0.. {
        match client.call(&put(&name_of(number), &value)).status() {
            Status::Ok => kept += 1,
            Status::OutOfMemory => break,
            other => panic!("{other:?}"),
        }
    }
    (daemon, client, kept)
}

fn frame_passes_by() {
    let (daemon, mut client, kept) = full();
    let value = vec![b'x'; 4 << 20];
    // Several in one stream, with short requests between them: each is answered, in its place.
    let name = name_of(0);
    let requests = (0..4).flat_map(|_| [put(b"too big", &value), get(&name), append(&name, &value)]);
    for answers in client.pipeline(requests).chunks(3) {
        assert_eq!(answers[0].status(), Status::OutOfMemory);
        assert_eq!(answers[1].found().2.len(), 1_000);
        assert_eq!(answers[2].status(), Status::OutOfMemory);
    }
    assert_eq!(client.call(&get(b"too big")).status(), Status::NotFound);
    assert_eq!(client.stat("entries"), kept);
    assert!(resident_bytes(daemon.id()) < (8 << 20) + ALLOWANCE_BYTES);
}

fn pipelines_at_the_limit() {
    let (daemon, mut client, kept) = full();
    // Bigger requests and answers than the little that a connection may hold at the limit.
    for _ in 0..3 {
        let names: Vec<Vec<u8>> = (0..20_000).map(|number| name_of(number % kept)).collect();
        for answer in client.pipeline(names.iter().map(|name| get(name))) {
            assert_eq!(answer.found().2.len(), 1_000);
        }
    }
    // Requests that fill the last bytes while others wait behind them, many times over.
    let value = vec![b'p'; 40];
    let names: Vec<Vec<u8>> = (0..30_000).map(|number| format!("tiny {number}").into_bytes()).collect();
    let name = name_of(0);
    let requests = names.iter().flat_map(|tiny| [put(tiny, &value), get(&name)]);
    let mut other = RawClient::greeted(daemon.address(), 0);
    for answers in other.pipeline(requests).chunks(2) {
        assert!([Status::Ok, Status::OutOfMemory].contains(&answers[0].status()), "{:?}", answers[0]);
        assert_eq!(answers[1].found().2.len(), 1_000);
    }
    for answer in client.pipeline((0..kept).map(|_| Request::Ping)) {
        assert_eq!(answer.status(), Status::Ok);
    }
}

/// Bytes of a value that is longer than what a connection's buffer has anyway.
const LARGE_BYTES: usize = 1_200_000;

/// A daemon, a client that numbers its writes, and one that does not.
fn small() -> (Daemon, RawClient, RawClient) {
    let daemon = Daemon::start(&["--memory-limit", "8MiB", "--partitions", "16", "--workers", "1"]);
    let client = RawClient::greeted(daemon.address(), 0xC11E);
    let other = RawClient::greeted(daemon.address(), 0);
    (daemon, client, other)
}

/// Puts ballast until about `free_bytes` are left; says how many pieces.
fn leave_free(client: &mut RawClient, free_bytes: u64) -> u64 {
    let piece = vec![0; 50_000];
    let mut pieces_count = 0;
    while client.stat("memory_limit_bytes") - client.stat("memory_used_bytes") > free_bytes {
        let _ = client.call(&put(&name_of(pieces_count), &piece)).version();
        pieces_count += 1;
    }
    pieces_count
}

/// Room for the frame of a large value, but not for the value besides.
const ROOM_FOR_FRAME_BYTES: u64 = LARGE_BYTES as u64 * 3 / 2;

fn retry_without_room() {
    let large = vec![b'x'; LARGE_BYTES];
    let (_daemon, mut client, mut other) = small();
    let version = client.call(&first(put(b"k", &large), 1, 1)).version();
    leave_free(&mut other, ROOM_FOR_FRAME_BYTES);
    let no_room = client.call(&first(put(b"no room", &large), 2, 1));
    assert_eq!(no_room.status(), Status::OutOfMemory);
    let again = client.call(&retry(put(b"k", &large), 1, 1));
    assert_eq!(again.status(), Status::Ok, "it was applied: nothing else may be said");
    assert_eq!(again.version(), version);
    assert_eq!(other.call(&get(b"k")).found().0, version);
}

fn refused_retry_without_room() {
    let large = vec![b'x'; LARGE_BYTES];
    let (daemon, mut client, mut other) = small();
    let (long, suffix) = large.split_at(500_000);
    let _ = other.call(&put(b"long", long)).version();
    let ballast_count = leave_free(&mut other, ROOM_FOR_FRAME_BYTES);
    let writes = [put_if(b"k", &large, Condition::IfAbsent), append(b"long", suffix)];
    for (seq, write) in (1..).zip(writes) {
        assert_eq!(client.call(&retry(write, seq, 1)).status(), Status::OutOfMemory);
    }
    // There is room again, and the first copies, held up so far, arrive.
    for number in 0..ballast_count {
        let _ = other.call(&delete(&name_of(number))).version();
    }
    let mut held_up = RawClient::greeted(daemon.address(), 0xC11E);
    for (seq, write) in (1..).zip(writes) {
        assert_eq!(
            held_up.call(&first(write, seq, 1)).status(),
            Status::OutOfMemory,
            "its client was told so"
        );
    }
    assert_eq!(other.call(&get(b"k")).status(), Status::NotFound);
    assert!(other.call(&get(b"long")).found().2 == long);
}

fn retry_passes_by() {
    let large = vec![b'x'; LARGE_BYTES];
    let (_daemon, mut client, mut other) = small();
    let version = client.call(&first(put(b"k", &large), 1, 1)).version();
    // No room to gather the frame: nobody will know its key and its number.
    leave_free(&mut other, LARGE_BYTES as u64 / 2);
    let status = client.call(&retry(put(b"k", &large), 1, 1)).status();
    assert_eq!(status, Status::OutcomeUnknown, "it was applied, so it must not be called \"not done\"");
    assert_eq!(client.call(&first(put(b"no room", &large), 2, 1)).status(), Status::OutOfMemory);
    assert_eq!(other.call(&get(b"k")).found().0, version);
}
