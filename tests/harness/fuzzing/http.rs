//! Cutting heads of HTTP requests from a stream. Input: the size of pieces, then the stream.
//!
//! A head lies within the limit and ends at the first blank line behind its first line, so that nobody else can take
//! it for longer or shorter; its fields mean what a second, plainer reading of the same lines gives; and bytes that
//! come in pieces, of any size, are read as the whole stream is. A limited number of bytes is looked at, and no memory
//! is taken.

use dht_server::http::{Cut, Head, HeadError, Method, cut};
use dht_server::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

use super::draw::Draw;

/// Streams longer than this are also cut at the given piece size alone, not at every byte.
const CUT_EVERYWHERE_BYTES_MAX: usize = 600;

/// Checks one input.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) {
    let mut draw = Draw::new(input);
    let piece_bytes = 1 + usize::from(draw.byte());
    let stream = draw.rest();
    let whole = read(stream, stream.len());
    assert_eq!(read(stream, piece_bytes), whole, "in pieces of {piece_bytes} bytes, and whole");
    if stream.len() <= CUT_EVERYWHERE_BYTES_MAX {
        assert_eq!(read(stream, 1), whole, "byte by byte, and whole");
        check_prefixes(stream);
    }
}

/// An outcome that was found stays, whatever comes behind it.
fn check_prefixes(stream: &[u8]) {
    let whole = cut(stream);
    for end in 0..stream.len() {
        let early = cut(&stream[..end]);
        assert!(early == Cut::NeedMore || early == whole, "{early:?} at {end} bytes, {whole:?} in the end");
    }
}

/// Cuts a stream of which `piece_bytes` more arrive whenever more is needed, as a connection does: where each head
/// ends and what it says, and what ended the connection.
fn read(stream: &[u8], piece_bytes: usize) -> (Vec<(usize, Head<'_>)>, Option<HeadError>) {
    let (mut heads, mut start, mut arrived) = (Vec::new(), 0, 0);
    loop {
        let buffer = &stream[start..arrived];
        match checked_cut(buffer) {
            Cut::Head(head, head_bytes) => {
                start += head_bytes;
                heads.push((start, head));
                if !head.keep_alive {
                    return (heads, None);
                }
            }
            Cut::Refused(error) => return (heads, Some(error)),
            Cut::NeedMore if arrived == stream.len() => return (heads, None),
            Cut::NeedMore => arrived = stream.len().min(arrived + piece_bytes),
        }
    }
}

/// Cuts, and holds the outcome against the limit and the plainer reading.
fn checked_cut(buffer: &[u8]) -> Cut<'_> {
    let mut outcome = Cut::NeedMore;
    let allocated = allocation_counter::measure(|| outcome = cut(buffer));
    assert_eq!(allocated.bytes_total, 0, "cutting takes no memory");
    match outcome {
        Cut::Head(head, head_bytes) => {
            assert!(head_bytes <= buffer.len() && head_bytes <= HTTP_HEAD_BYTES_MAX);
            assert_eq!(head, plain_reading(&buffer[..head_bytes]));
        }
        Cut::NeedMore => assert!(buffer.len() < HTTP_HEAD_BYTES_MAX, "{} bytes and no end", buffer.len()),
        Cut::Refused(error) => {
            let (status, text) = error.status_and_text();
            assert!(status.starts_with('4') && !text.is_empty());
            assert!(!buffer.is_empty());
        }
    }
    assert_eq!(
        cut(&buffer[..buffer.len().min(HTTP_HEAD_BYTES_MAX)]),
        outcome,
        "of what lies within the limit"
    );
    outcome
}

/// A head that was accepted, read line by line.
fn plain_reading(bytes: &[u8]) -> Head<'_> {
    let mut lines = bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.find(|line| !line.is_empty()).expect("a head has a first line");
    let first = std::str::from_utf8(first).expect("the first line of a request is text");
    let (method, rest) = first.split_once(' ').expect("a method, then a space");
    let (target, version) = rest.trim_start_matches(' ').split_once(' ').expect("a target, then a space");
    assert!(!target.is_empty() && !target.contains(|c: char| c.is_ascii_control()));
    let is_version_10 = match version.trim_start_matches(' ') {
        "HTTP/1.0" => true,
        "HTTP/1.1" => false,
        other => panic!("accepted as a version: {other:?}"),
    };
    let mut fields = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let colon = line.iter().position(|&byte| byte == b':').expect("a field has a colon");
        let name = line[..colon].to_ascii_lowercase();
        assert!(!name.is_empty() && !name.iter().any(u8::is_ascii_whitespace), "name of a field");
        fields.push((name, line[colon + 1..].trim_ascii()));
    }
    // What is left is what stands behind the end of the blank line.
    assert_eq!(lines.collect::<Vec<_>>(), [b""], "the head ends with its blank line");
    assert!(fields.len() <= HTTP_HEADERS_MAX);
    head_of(method, target, is_version_10, &fields)
}

/// What the fields say, and that they say it in the one way that is accepted.
fn head_of<'a>(method: &str, target: &'a str, is_version_10: bool, fields: &[(Vec<u8>, &[u8])]) -> Head<'a> {
    let of = |name: &'static [u8]| fields.iter().filter(move |field| field.0 == name).map(|field| field.1);
    let hosts = of(b"host").count();
    assert!(hosts == 1 || (hosts == 0 && is_version_10), "{hosts} hosts");
    let lengths: Vec<_> = of(b"content-length").collect();
    assert!(lengths.len() <= 1, "several lengths");
    assert!(lengths.iter().all(|length| !length.is_empty() && length.iter().all(u8::is_ascii_digit)));
    let is_long = lengths.iter().any(|length| length.iter().any(|&digit| digit != b'0'));
    let has_body = is_long || of(b"transfer-encoding").next().is_some();
    let options: Vec<Vec<u8>> = of(b"connection")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(|option| option.trim_ascii().to_ascii_lowercase())
        .collect();
    let asks = |option: &[u8]| options.iter().any(|asked| asked == option);
    let after_host = match target.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            target[7..].find('/').map_or("/", |at| &target[7 + at..])
        }
        _ => target,
    };
    Head {
        method: match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        },
        path: after_host.split('?').next().expect("splitting gives at least one part"),
        is_version_10,
        keep_alive: !has_body && !asks(b"close") && (!is_version_10 || asks(b"keep-alive")),
        has_body,
    }
}
