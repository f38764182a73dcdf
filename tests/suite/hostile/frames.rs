//! Frames that are wrong, too long, never finished, or no frames at all.

use std::time::Instant;

use dht_protocol::limits::{BODY_BYTES_MAX, HEADER_BYTES};
use dht_protocol::op::Op;
use dht_protocol::request::Request;
use dht_protocol::status::Status;
use dht_tests::daemon::Daemon;
use dht_tests::random::{Random, seed};
use dht_tests::raw_client::{RawClient, hello_request};
use dht_tests::requests::{add, append, delete, get, put};
use dht_tests::siege::Siege;
use dht_tests::wait::PATIENCE;

use super::attacker::{Attacker, announcing, answers_in, frame_of, raw_frame};
use super::{MIB, NOISE_BYTES};
use crate::registry::Case;

/// The tests of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("hostile::every_wrong_version_opcode_flag_and_reserved_byte", wrong_headers),
        Case::new("hostile::lengths_around_every_limit", lengths),
        Case::new("hostile::a_frame_cut_at_every_byte_by_a_peer_that_goes", cut_and_gone),
        Case::new("hostile::garbage", garbage),
        Case::new("hostile::refusals_do_not_fill_the_log", short_log),
    ]
}

/// Place of the reserved byte in a write's frame, and of the two in a `HELLO`.
const WRITE_RESERVED_AT: usize = HEADER_BYTES + 3;
const HELLO_RESERVED_AT: [usize; 2] = [HEADER_BYTES + 2, HEADER_BYTES + 3];

fn wrong_headers() {
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB"]);
    let siege = Siege::new("wrong headers", NOISE_BYTES, NOISE_BYTES);
    let sent = siege.run(&mut daemon, |field| {
        for version in (0..=255).filter(|&version| version != 1) {
            let mut attacker = Attacker::connect(field.address());
            attacker.send(&raw_frame(version, Op::Ping as u8, 0, b""));
            // The daemon closes by itself.
            let answers = answers_in(&attacker.last_words());
            let statuses: Vec<Status> = answers.iter().map(|answer| answer.status()).collect();
            assert_eq!(statuses, [Status::UnknownVersion], "version {version}");
        }
        let mut wrong = Vec::new();
        let opcodes = (0..=255).filter(|&code| Op::from_number(code).is_none());
        wrong.extend(opcodes.map(|code| (raw_frame(1, code, 0, b""), Status::UnknownOpcode)));
        for op in Op::ALL {
            let flags = (0..16).map(|bit| 1 << bit).filter(|flag| flag & op.flags_known() == 0);
            wrong.extend(flags.map(|flag| (raw_frame(1, *op as u8, flag, b""), Status::UnknownFlag)));
        }
        for value in 1..=255 {
            for write in [put(b"k", b"v"), delete(b"k"), add(b"k", 1), append(b"k", b"v")] {
                wrong.push((with_byte(&frame_of(&write), WRITE_RESERVED_AT, value), Status::Malformed));
            }
            for at in HELLO_RESERVED_AT {
                wrong.push((with_byte(&frame_of(&hello_request(0, 0)), at, value), Status::Malformed));
            }
        }
        // All on one connection, which stays, each with a good one behind it.
        let mut client = RawClient::greeted(field.address(), 0);
        let ping = frame_of(&Request::Ping);
        let frames = wrong.iter().flat_map(|(frame, _)| [frame.as_slice(), &ping]).collect::<Vec<_>>();
        let writer = client.write_aside(frames.concat());
        for (frame, status) in &wrong {
            assert_eq!(client.answer().status(), *status, "{frame:02x?}");
            assert_eq!(client.answer().status(), Status::Ok);
        }
        writer.join().expect("the daemon reads");
        assert_eq!(client.call(&get(b"k")).status(), Status::NotFound, "refused is not done");
        255 + wrong.len() as u64
    });
    assert_eq!(RawClient::greeted(daemon.address(), 0).stat("frames_refused"), sent);
}

fn with_byte(frame: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at] = value;
    frame
}

fn lengths() {
    const ANNOUNCERS: usize = 400;
    let limit = 12 + BODY_BYTES_MAX as u32;
    let mut daemon = Daemon::start(&[]);
    // The frame of the limit is gathered, and refused for the value in it: one buffer, and nothing more.
    let siege = Siege::new("lengths around the limits", BODY_BYTES_MAX as u64 + NOISE_BYTES, NOISE_BYTES);
    siege.run(&mut daemon, |field| {
        for (length, status) in [
            (0, Status::Malformed),
            (1, Status::Malformed),
            (11, Status::Malformed),
            (limit + 1, Status::TooLarge),
            (1 << 31, Status::TooLarge),
            (u32::MAX, Status::TooLarge),
        ] {
            let mut attacker = Attacker::connect(field.address());
            attacker.send(&announcing(length, Op::Put as u8));
            let answers = answers_in(&attacker.last_words());
            assert_eq!(answers.iter().map(|a| a.status()).collect::<Vec<_>>(), [status], "length {length}");
        }
        // Many that announce the most and send next to nothing of it take next to nothing.
        let announcers: Vec<Attacker> = (0..ANNOUNCERS)
            .map(|_| {
                let mut attacker = Attacker::greeted(field.address());
                attacker.send(&[announcing(limit, Op::Put as u8), vec![7; 100]].concat());
                attacker
            })
            .collect();
        field.wait_for_bystander(50);
        let mut client = RawClient::greeted(field.address(), 0);
        assert!(client.stat("memory_connections_bytes") < MIB);
        // One that sends all of it.
        let too_long = raw_frame(1, Op::Put as u8, 0, &vec![b'x'; BODY_BYTES_MAX]);
        client.write_aside(too_long).join().expect("the daemon reads");
        assert_eq!(client.answer().status(), Status::Malformed, "the frame passes, its fields do not");
        assert_eq!(client.call(&Request::Ping).status(), Status::Ok, "the connection stays");
        drop(announcers);
    });
}

fn cut_and_gone() {
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB"]);
    let long = vec![b'l'; 100_000];
    let hello = frame_of(&hello_request(0, 0));
    let short = [put(b"cut", b"value"), get(b"cut"), delete(b"cut"), Request::Stats].map(|r| frame_of(&r));
    let long = frame_of(&put(b"cut", &long));
    let siege = Siege::new("frames cut at every byte", NOISE_BYTES, NOISE_BYTES);
    siege.run(&mut daemon, |field| {
        let prefixes_of = |frame: &[u8]| (0..frame.len()).map(|at| frame[..at].to_vec()).collect::<Vec<_>>();
        for prefix in prefixes_of(&hello) {
            let mut attacker = Attacker::connect(field.address());
            attacker.send(&prefix);
            // Without a look at what was answered: the end is a reset wherever something was.
            drop(attacker);
        }
        let mut prefixes: Vec<Vec<u8>> = short.iter().flat_map(|frame| prefixes_of(frame)).collect();
        prefixes.extend((0..long.len()).step_by(1_009).map(|at| long[..at].to_vec()));
        for (number, prefix) in prefixes.iter().enumerate() {
            let mut attacker = Attacker::greeted(field.address());
            attacker.send(prefix);
            if number % 2 == 0 {
                let answers = attacker.last_answers();
                assert_eq!(answers.len(), 1, "HELLO is answered, and {} bytes are not", prefix.len());
            }
        }
        let mut client = RawClient::greeted(field.address(), 0);
        assert_eq!(client.call(&get(b"cut")).status(), Status::NotFound, "nothing was carried out");
    });
}

fn garbage() {
    const CONNECTIONS: usize = 300;
    const FRAMES: usize = 4_000;
    let seed = seed();
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB"]);
    Siege::new("garbage", 2 * NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        for number in 0..CONNECTIONS {
            let mut attacker = match number % 2 {
                0 => Attacker::connect(field.address()),
                _ => Attacker::greeted(field.address()),
            };
            attacker.send(&noise(&mut random, 8_192));
            attacker.finish_writing();
            // Whatever comes back, the connection ends.
            let _ = attacker.last_words();
        }
        // Noise in frames that are whole, under every opcode.
        let mut client = RawClient::greeted(field.address(), 0);
        let frames: Vec<Vec<u8>> = (0..FRAMES)
            .map(|_| {
                let op = *random.pick(Op::ALL);
                let flags = if random.percent(20) { random.next_u64() as u16 } else { 0 };
                raw_frame(1, op as u8, flags, &noise(&mut random, 300))
            })
            .collect();
        let writer = client.write_aside(frames.concat());
        for _ in 0..FRAMES {
            // A key of noise may be asked for, and is not there; everything else is refused.
            let _ = client.answer().status();
        }
        writer.join().expect("the daemon reads");
        assert_eq!(client.call(&Request::Ping).status(), Status::Ok, "the connection stays");
    });
}

fn short_log() {
    const CONNECTIONS: u64 = 2_000;
    /// Lines of one worker in ten seconds.
    const LINES_PER_WINDOW_MAX: u64 = 100;
    let mut daemon = Daemon::start(&["--memory-limit", "64MiB", "--workers", "1"]);
    let begun = Instant::now();
    Siege::new("a log to be filled", NOISE_BYTES, NOISE_BYTES).run(&mut daemon, |field| {
        for _ in 0..CONNECTIONS {
            let mut attacker = Attacker::connect(field.address());
            attacker.send(&announcing(0, 0));
            assert_eq!(attacker.last_answers().len(), 1);
        }
    });
    assert_eq!(RawClient::greeted(daemon.address(), 0).stat("frames_refused"), CONNECTIONS);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_for_exit(PATIENCE).code(), Some(0));
    let lines = daemon.stderr().lines().filter(|line| line.contains("frame refused")).count() as u64;
    let lines_max = LINES_PER_WINDOW_MAX * (begun.elapsed().as_secs() / 10 + 2);
    assert!((3..=lines_max).contains(&lines), "{lines} lines\n{}", daemon.report());
}

fn noise(random: &mut Random, bytes_max: u64) -> Vec<u8> {
    let length = random.below(bytes_max);
    (0..length).map(|_| random.next_u64() as u8).collect()
}
