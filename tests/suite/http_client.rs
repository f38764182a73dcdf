//! A client of the HTTP door that says exactly what it is told to, and a reader of the figures that takes nothing
//! but what the text format allows.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use dht_tests::daemon::Daemon;
use dht_tests::wait::PATIENCE;

/// A daemon with an HTTP door, and the door's address.
pub(crate) fn start() -> (Daemon, String) {
    let mut daemon = Daemon::start(&["--http", "127.0.0.1:0", "--memory-limit", "64MiB"]);
    let address = daemon.wait_for_line(PATIENCE, "the line `http HOST:PORT`", |line| {
        line.strip_prefix("http ").map(str::to_owned)
    });
    (daemon, address)
}

/// A connection.
pub(crate) struct HttpClient {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Version and status: the first line.
    pub(crate) status_line: String,
    /// The other lines of the head.
    pub(crate) fields: Vec<String>,
    pub(crate) body: String,
}

impl HttpClient {
    #[track_caller]
    pub(crate) fn connect(address: &str) -> HttpClient {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
        stream.set_nodelay(true).expect("a socket takes its options");
        HttpClient { stream, received: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the daemon reads");
    }

    pub(crate) fn finish_writing(&self) {
        self.stream.shutdown(Shutdown::Write).expect("it is open");
    }

    /// Asks for a path with HTTP/1.1 and waits for the answer.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.write(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes());
        self.answer()
    }

    /// The next answer, with its body.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let length: usize = answer.field("Content-Length").parse().expect("a length is a number");
        while self.received.len() < length {
            assert!(self.read() > 0, "ended within a body: {answer:?}");
        }
        answer.body = String::from_utf8(self.received.drain(..length).collect()).expect("it is text");
        answer
    }

    /// The head of the next answer, which has no body.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Answer {
        let end = loop {
            match self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => break at,
                None => assert!(self.read() > 0, "ended before an answer: {:?}", self.received),
            }
        };
        let head: Vec<u8> = self.received.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("it is text");
        let mut lines = head.trim_end().split("\r\n").map(str::to_owned);
        let status_line = lines.next().expect("there is a first");
        Answer { status_line, fields: lines.collect(), body: String::new() }
    }

    /// Expects that the daemon ends the connection and has said nothing more.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self) {
        assert_eq!(self.read(), 0, "{:?}", String::from_utf8_lossy(&self.received));
        assert_eq!(self.received, b"");
    }

    #[track_caller]
    fn read(&mut self) -> usize {
        let mut buffer = [0; 16 << 10];
        let count = self.stream.read(&mut buffer).expect("an answer, or the end, comes in time");
        self.received.extend_from_slice(&buffer[..count]);
        count
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find_map(|field| field.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The three digits.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        let rest = self.status_line.strip_prefix("HTTP/1.1 ").expect("it is HTTP");
        rest[..3].parse().unwrap_or_else(|_| panic!("no status in {self:?}"))
    }

    /// Whether it says that the connection ends.
    pub(crate) fn says_close(&self) -> bool {
        self.fields.iter().any(|field| field == "Connection: close")
    }
}

/// The figures: value by name with labels, as `name{label="value"}`. Everything that the format forbids, or that we
/// promise beyond it, is a failure: a figure without HELP and TYPE before it, a metric declared twice or in two
/// places, a figure given twice, a counter that does not end in `_total`, a bucket that falls.
#[track_caller]
pub(crate) fn parse_figures(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line has an end");
    let mut figures = BTreeMap::new();
    let mut declared: Vec<String> = Vec::new();
    let mut helped = String::new();
    let mut kind = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a name, and words");
            assert!(is_name(name) && words.ends_with('.'), "{line}");
            assert!(!declared.iter().any(|known| known == name), "{name} is declared twice");
            helped = name.to_owned();
        } else if let Some(of_type) = line.strip_prefix("# TYPE ") {
            let (name, word) = of_type.split_once(' ').expect("a name, and a type");
            assert_eq!(name, helped, "HELP and TYPE stand together");
            assert!(["counter", "gauge", "histogram"].contains(&word), "{line}");
            assert_eq!(name.ends_with("_total"), word == "counter", "{line}");
            declared.push(name.to_owned());
            word.clone_into(&mut kind);
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a name, and a value");
            let name = series.split('{').next().expect("there is a first");
            let of = declared.last().expect("a declaration comes first");
            let suffix = name.strip_prefix(of.as_str()).unwrap_or_else(|| panic!("{line} stands under {of}"));
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix) && name.starts_with("dht_"), "{line}");
            check_labels(&series[name.len()..]);
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number in {line}"));
            assert!(value >= 0.0, "{line}");
            assert!(figures.insert(series.to_owned(), value).is_none(), "{series} is given twice");
        }
    }
    check_histogram(text, &figures);
    figures
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[track_caller]
fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let inner = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix("\"}"));
    let (name, value) = inner.and_then(|inner| inner.split_once("=\"")).expect("one label");
    assert!(is_name(name) && !value.is_empty(), "{labels}");
    assert!(!value.contains(['"', '\\', '{', '}', ',']), "{labels}");
}

#[track_caller]
fn check_histogram(text: &str, figures: &BTreeMap<String, f64>) {
    const NAME: &str = "dht_request_duration_seconds";
    let prefix = format!("{NAME}_bucket{{le=\"");
    let buckets: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "))
        .map(|(bound, count)| (bound.parse().expect("a bound"), count.parse().expect("a count")))
        .collect();
    assert!(buckets.len() > 10);
    assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
    let last = buckets.last().expect("there is one");
    assert_eq!(*last, (f64::INFINITY, figures[&format!("{NAME}_count")]));
    assert!(figures.contains_key(&format!("{NAME}_sum")));
}
