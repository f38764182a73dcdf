//! The checker of the dispatcher can fail: answers are changed between node and checker, and it complains.

use std::sync::Arc;

use dht_protocol::frame::{self, Cut};
use dht_protocol::header::Header;
use dht_protocol::limits::{BODY_BYTES_MAX, HEADER_BYTES};
use dht_protocol::op::Op;
use dht_protocol::response::{Page, PageEntry, PageWriter, Response};
use dht_protocol::status::Status;
use dht_server::memory::{Charge, MemoryAccount, MemoryKind};
use dht_tests::fuzzing::dispatcher::{Honest, Meddle, Tally, run};
use dht_tests::random::Random;

/// Scripts tried for each way of meddling.
const SCRIPTS: u64 = 40;
/// Long enough that each of them meets every kind of answer that is meddled with.
const SCRIPT_BYTES: usize = 1_500;

/// A script on a node of its own with plenty of memory, and with greeted clients.
fn script(number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    let mut script = vec![0, 0, 3];
    script.extend((0..SCRIPT_BYTES).map(|_| random.next_u64() as u8));
    script
}

/// Changes one answer whose frame `wanted` picks.
struct Changed {
    wanted: fn(&[u8]) -> bool,
    change: fn(&mut Vec<u8>),
    /// Whether there was one to change.
    done: bool,
}

impl Meddle for Changed {
    fn answers(&mut self, answers: &mut Vec<u8>) {
        let mut rest = answers.as_slice();
        let mut changed = Vec::new();
        while let Cut::Frame { frame_bytes, .. } = frame::cut(rest, BODY_BYTES_MAX) {
            let mut one = rest[..frame_bytes].to_vec();
            if !self.done && (self.wanted)(&one) {
                (self.change)(&mut one);
                self.done = true;
            }
            changed.extend(one);
            rest = &rest[frame_bytes..];
        }
        *answers = changed;
    }
}

/// Runs scripts until one meets an answer that is wanted; each that does must be complained about.
fn assert_noticed(what: &str, wanted: fn(&[u8]) -> bool, change: fn(&mut Vec<u8>)) {
    let mut noticed = 0;
    for number in 0..SCRIPTS {
        let mut meddler = Changed { wanted, change, done: false };
        let outcome = run(&script(number), &mut meddler);
        match (meddler.done, outcome) {
            (true, Ok(_)) => panic!("{what}: nobody noticed in script {number}"),
            (true, Err(_)) => noticed += 1,
            (false, outcome) => assert!(outcome.is_ok(), "{outcome:?}"),
        }
    }
    assert!(noticed >= SCRIPTS / 4, "{what}: only {noticed} of {SCRIPTS} scripts had such an answer");
}

/// Runs scripts under `meddler`; each must be complained about in words that contain `complaint`.
fn assert_memory_is_noticed<M: Meddle>(mut meddler: impl FnMut() -> M, complaint: &str) {
    for number in 0..SCRIPTS {
        let outcome = run(&script(number), &mut meddler());
        assert!(outcome.as_ref().is_err_and(|fault| fault.contains(complaint)), "{outcome:?}");
    }
}

fn status(frame: &[u8]) -> Option<Status> {
    Status::from_number(frame[5])
}

fn is_ok(frame: &[u8]) -> bool {
    status(frame) == Some(Status::Ok)
}

/// The answer to a write, or to `EXISTS`.
fn is_version(frame: &[u8]) -> bool {
    is_ok(frame) && frame.len() == HEADER_BYTES + 8
}

/// The answer to `GET`, and to nothing else: a version of the node, and a value.
fn is_found(frame: &[u8]) -> bool {
    is_ok(frame) && frame.len() > HEADER_BYTES + 16 && frame[HEADER_BYTES] == 0xA1
}

fn page(frame: &[u8]) -> Option<Page<'_>> {
    let (head, body) = frame.split_first_chunk::<HEADER_BYTES>()?;
    let (_, header) = Header::decode(head);
    match Response::decode(Op::Scan, &header, body) {
        Ok(Response::Page(page)) => Some(page),
        _ => None,
    }
}

/// Writes a page anew, with its entries changed.
fn rewrite(frame: &mut Vec<u8>, change: impl FnOnce(&mut Vec<PageEntry<'_>>)) {
    let (_, header) = Header::decode(frame.first_chunk().unwrap());
    let read = page(frame).unwrap();
    let mut entries: Vec<PageEntry<'_>> = read.entries().collect();
    change(&mut entries);
    let mut again = Vec::new();
    let mut writer = PageWriter::begin(header.request_id, header.epoch, &mut again);
    entries.iter().for_each(|entry| writer.push(entry, &mut again));
    writer.finish(read.partitions_done, read.next, &mut again);
    *frame = again;
}

/// Puts another status, and a body, under the same request.
fn answer_with(frame: &mut Vec<u8>, status: Status, body: &[u8]) {
    let (_, mut header) = Header::decode(frame.first_chunk().unwrap());
    header.code = status as u8;
    *frame = [&header.encode(body.len()), body].concat();
}

fn flip_last_bit(frame: &mut [u8]) {
    *frame.last_mut().unwrap() ^= 1;
}

#[test]
fn a_version_that_is_off_by_one_is_noticed() {
    assert_noticed("version", is_version, |frame| flip_last_bit(frame));
    assert_noticed(
        "version",
        |frame| status(frame) == Some(Status::ConditionFailed),
        |frame| flip_last_bit(frame),
    );
}

#[test]
fn a_value_with_a_changed_bit_is_noticed() {
    assert_noticed("value", is_found, |frame| flip_last_bit(frame));
}

#[test]
fn another_status_is_noticed() {
    for to in [Status::NotFound, Status::OutOfMemory, Status::OutcomeUnknown] {
        let change: fn(&mut Vec<u8>) = match to {
            Status::NotFound => |frame| answer_with(frame, Status::NotFound, b""),
            Status::OutOfMemory => |frame| answer_with(frame, Status::OutOfMemory, b""),
            _ => |frame| answer_with(frame, Status::OutcomeUnknown, b""),
        };
        assert_noticed(to.name(), is_version, change);
    }
    let done: fn(&mut Vec<u8>) = |frame| answer_with(frame, Status::Ok, &[0xA1, 0xB2, 0xC3, 0, 0, 0, 0, 1]);
    assert_noticed(
        "a late copy that is applied",
        |frame| status(frame) == Some(Status::OutcomeUnknown),
        done,
    );
    assert_noticed("what is absent is found", |frame| status(frame) == Some(Status::NotFound), done);
}

#[test]
fn a_page_with_an_entry_lost_doubled_or_out_of_order_is_noticed() {
    let two: fn(&[u8]) -> bool = |frame| {
        let entries: Vec<PageEntry<'_>> = page(frame).iter().flat_map(Page::entries).collect();
        entries.len() >= 2 && entries[0] != entries[1]
    };
    assert_noticed("an entry lost", two, |frame| {
        rewrite(frame, |entries| entries.truncate(entries.len() - 1));
    });
    assert_noticed("an entry doubled", two, |frame| rewrite(frame, |entries| entries.push(entries[0])));
    assert_noticed("out of order", two, |frame| rewrite(frame, |entries| entries.swap(0, 1)));
    assert_noticed("another version", two, |frame| rewrite(frame, |entries| entries[1].version.0 += 1));
}

#[test]
fn an_answer_to_another_request_is_noticed() {
    // Bytes 8 to 12 are the request's id, 12 to 16 the epoch.
    assert_noticed("request id", is_ok, |frame| frame[11] ^= 1);
    assert_noticed("epoch", is_ok, |frame| frame[15] ^= 2);
    assert_noticed("lost", is_ok, Vec::clear);
    assert_noticed("doubled", is_ok, |frame| frame.extend_from_within(..));
}

/// Keeps one byte charged.
struct Leak(Option<Charge>);

impl Meddle for Leak {
    fn memory(&mut self, memory: &Arc<MemoryAccount>) {
        let charge = || Charge::try_new(Arc::clone(memory), MemoryKind::Tables, 1);
        self.0.get_or_insert_with(|| charge().unwrap());
    }
}

/// Charges more than the limit.
struct Flood;

impl Meddle for Flood {
    fn memory(&mut self, memory: &Arc<MemoryAccount>) {
        memory.charge_over_limit(MemoryKind::Arena, memory.limit_bytes());
    }
}

#[test]
fn a_byte_that_stays_charged_and_a_limit_that_is_passed_are_noticed() {
    assert_memory_is_noticed(|| Leak(None), "1 bytes of tables are left");
    assert_memory_is_noticed(|| Flood, "are the most at a limit");
}

#[test]
fn scripts_meet_every_operation_and_every_refusal() {
    let mut total = Tally::new();
    for number in 0..10 * SCRIPTS {
        let mut script = script(number);
        // All limits, one node and two, and clients that greet or not.
        script[..3].copy_from_slice(&[number as u8, number as u8 / 2, number as u8 / 8]);
        for (answer, count) in run(&script, &mut Honest).unwrap() {
            *total.entry(answer).or_default() += count;
        }
    }
    for op in Op::ALL {
        assert!(total.contains_key(&(op.name(), "OK")), "{} is never carried out: {total:?}", op.name());
    }
    let unreachable = [
        Status::TooLarge,
        Status::Crowded,
        Status::Busy,
        Status::ShuttingDown,
        Status::Unavailable,
        Status::NotEnoughReplicas,
    ];
    for status in Status::ALL.iter().filter(|status| !unreachable.contains(status)) {
        let met = total.keys().any(|(_, name)| *name == status.name());
        assert!(met, "nothing is answered {}: {total:?}", status.name());
    }
}
