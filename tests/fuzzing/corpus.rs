//! The samples in `tests/fuzz/corpus`: what they are made from stands here and in PROTOCOL.md, so that they follow it.
//! `DHT_TEST_WRITE_CORPUS=1 cargo test -p dht-tests --test fuzzing -- corpus` writes them.

use std::collections::BTreeMap;
use std::fs;

use dht_tests::fuzzing::seeded::from_hex;
use dht_tests::fuzzing::targets::{self, Target};
use dht_tests::random::Random;

const PROTOCOL: &str = include_str!("../../protocol/PROTOCOL.md");
const WRITE: &str = "DHT_TEST_WRITE_CORPUS";

/// Heads of requests, each of which is read in another way.
const HTTP_SAMPLES: &[(&str, &str)] = &[
    ("get", "GET /metrics HTTP/1.1\r\nHost: node:7500\r\nUser-Agent: Prometheus/3\r\nAccept: */*\r\n\r\n"),
    ("head", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("query", "GET /metrics?name=up&x=http://y/z HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute", "GET http://node:7500/readyz?x HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"),
    ("version-10", "GET /healthz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET / HTTP/1.0\r\n\r\n"),
    ("pipelined", "GET /a HTTP/1.1\r\nHost: a\r\n\r\n\r\nHEAD /b HTTP/1.1\nhOST:b\n\nGET /c HTTP/1.1\r\nHo"),
    ("body", "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"),
    ("no-body", "PUT /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 00\r\n\r\n"),
    ("chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("options", "GET / HTTP/1.1\r\nHost: a\r\nConnection: te, Close ,upgrade\r\nX: ä\r\n\r\n"),
    ("no-host", "GET / HTTP/1.1\r\n\r\n"),
    ("two-hosts", "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"),
    ("two-lengths", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"),
    ("bad-length", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"),
    ("folded", "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"),
    ("version-2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
];
/// Commands of Redis' protocol, each of which is read in another way.
const RESP_SAMPLES: &[(&str, &str)] = &[
    ("get", "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"),
    ("set", "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$12\r\na \r\n$1\r\nvalue\r\n"),
    ("pipelined", "*1\r\n$4\r\nPING\r\nGET key\r\n*0\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*-1\r\nQUIT\n"),
    ("inline", "set  key value\r\n\r\n  get key \n"),
    ("quoted", "set \"a\\x20\\n\\\"b\" 'it\\'s' pre\"fix\"\r\n"),
    ("unbalanced", "get \"a\"b\r\n"),
    ("hello", "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$4\r\nMGET\r\n_\r\n"),
    ("negative", "*1\r\n$-1\r\n"),
    ("too-long", "*2\r\n$3\r\nGET\r\n$16777217\r\n"),
    ("too-many", "*65537\r\n"),
    ("announced", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16777216\r\nv"),
    ("no-number", "*+1\r\n$01\r\na\r\n*x\r\n"),
    ("no-end", "*1\r\n$1\r\nabc"),
];
/// Scripts for the dispatcher, and their length in bytes.
const SCRIPTS: u64 = 12;
const SCRIPT_BYTES: usize = 1_200;

type Samples = BTreeMap<String, Vec<u8>>;

fn hex_blocks() -> Vec<(String, Vec<u8>)> {
    let blocks = PROTOCOL.split("```hex name=").skip(1).map(|block| {
        let (name, rest) = block.split_once('\n').unwrap();
        let (lines, _) = rest.split_once("```").unwrap();
        let digits: String = lines.lines().map(|line| line.split('#').next().unwrap()).collect();
        (name.to_owned(), from_hex(&digits))
    });
    blocks.collect()
}

fn samples_of(target: &Target) -> Samples {
    let frames = hex_blocks();
    let ending =
        |end: &str| frames.iter().filter(|(name, _)| name.ends_with(end)).cloned().collect::<Samples>();
    match target.name {
        "request" => ending("-request"),
        "response" => ending("-answer"),
        "frame" => streams(&frames),
        "peer" => {
            let greeting =
                |name: &str| frames.iter().find(|(found, _)| found == name).unwrap().1[16..].to_vec();
            let (asks, answers) = (greeting("peer-hello-request"), greeting("peer-hello-answer"));
            let mut younger = answers.clone();
            younger[0] ^= 1;
            let map = frames.iter().find(|(found, _)| found == "map-message").unwrap().1[2..].to_vec();
            let mut samples = ending("-message");
            samples.extend([
                ("agreed".to_owned(), [asks.clone(), answers].concat()),
                ("differ".to_owned(), [asks.clone(), younger].concat()),
                ("alone".to_owned(), asks),
                ("map".to_owned(), map),
            ]);
            samples
        }
        "http" => HTTP_SAMPLES
            .iter()
            .map(|(name, text)| ((*name).to_owned(), [&[6], text.as_bytes()].concat()))
            .chain([(
                "long".to_owned(),
                [&[200], "GET / HTTP/1.1\r\nX: y\r\n".repeat(500).as_bytes()].concat(),
            )])
            .collect(),
        "resp" => RESP_SAMPLES
            .iter()
            .map(|(name, text)| ((*name).to_owned(), [&[4], text.as_bytes()].concat()))
            .collect(),
        "dispatcher" => (0..SCRIPTS)
            .map(|number| {
                let mut random = Random::new(number);
                // A node alone or one of two, one of four limits, and clients that greet.
                let mut script = vec![number as u8 / 4, number as u8 % 4, 2 + (number % 2) as u8];
                script.extend((0..SCRIPT_BYTES).map(|_| random.next_u64() as u8));
                (format!("script-{number:02}"), script)
            })
            .collect(),
        other => panic!("no samples for {other}"),
    }
}

fn streams(frames: &[(String, Vec<u8>)]) -> Samples {
    let of = |end: &str| {
        let chosen = frames.iter().filter(|(name, _)| name.ends_with(end));
        chosen.flat_map(|(_, frame)| frame.clone()).collect::<Vec<u8>>()
    };
    let stream = |limit: u8, piece: u8, bytes: &[u8]| [&[limit, piece], bytes].concat();
    Samples::from([
        ("requests".to_owned(), stream(3, 6, &of("-request"))),
        ("answers".to_owned(), stream(2, 200, &of("-answer"))),
        ("too-long".to_owned(), stream(1, 3, &of("-request"))),
        ("too-short".to_owned(), stream(0, 0, &[0, 0, 0, 11, 1, 3])),
        ("announced".to_owned(), stream(3, 9, &[1, 0, 0, 0, 1, 0x12, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1])),
    ])
}

#[test]
fn corpus() {
    for target in &targets::ALL {
        let samples = samples_of(target);
        if std::env::var_os(WRITE).is_some() {
            fs::create_dir_all(target.corpus()).unwrap();
            for (name, bytes) in &samples {
                fs::write(target.corpus().join(name), bytes).unwrap();
            }
        }
        let found: Samples = target.samples().into_iter().collect();
        let names = |samples: &Samples| samples.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&samples), "tests/fuzz/corpus/{}", target.name);
        for (name, bytes) in &samples {
            assert!(
                found[name] == *bytes,
                "tests/fuzz/corpus/{}/{name} is old: {WRITE}=1 writes it",
                target.name
            );
        }
    }
}
