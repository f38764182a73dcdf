//! Cuts the head of an HTTP request from the front of a buffer. Three outcomes: a head, more bytes needed, refused.
//!
//! 1. Nothing is taken for a head that two readers could end in different places: a request that announces a body
//!    in a way that is not plain is refused, and its connection closed.
//! 2. A head is at most `HTTP_HEAD_BYTES_MAX` long; more is refused without being kept.

use httparse::{EMPTY_HEADER, Error, Header, Request, Status};

use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

/// What stands at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A request, and how many bytes its head takes.
    Head(Head<'a>, usize),
    /// The start of one, shorter than the limit.
    NeedMore,
    /// No request that is understood. Where the next one begins is not known: the connection must end.
    Refused(HeadError),
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// What is to be done.
    pub method: Method,
    /// Path without host and query.
    pub path: &'a str,
    /// Whether it came as HTTP/1.0, whose connections end unless the client asks otherwise.
    pub is_version_10: bool,
    /// Whether the connection stays open behind the answer.
    pub keep_alive: bool,
    /// Whether a body follows. It is not read.
    pub has_body: bool,
}

/// What a request asks to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Head and body of the answer.
    Get,
    /// The head alone.
    Head,
    /// Anything else; nothing of it is served.
    Other,
}

/// Why bytes are no request. Nothing has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It does not follow the grammar of HTTP/1.1 and 1.0.
    Malformed,
    /// It is longer, or has more fields, than is taken.
    TooLong,
    /// HTTP/1.1 asks for exactly one Host.
    Host,
    /// Its Content-Length is no number, or there are several.
    Length,
}

/// Cuts the request at the front of `bytes`. Cost: reads at most `HTTP_HEAD_BYTES_MAX` of them.
#[must_use]
pub fn cut(bytes: &[u8]) -> Cut<'_> {
    let within = &bytes[..bytes.len().min(HTTP_HEAD_BYTES_MAX)];
    let mut headers = [EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(within) {
        Ok(Status::Complete(head_bytes)) => match head_of(&request) {
            Ok(head) => Cut::Head(head, head_bytes),
            Err(error) => Cut::Refused(error),
        },
        Ok(Status::Partial) if within.len() < HTTP_HEAD_BYTES_MAX => Cut::NeedMore,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => Cut::Refused(HeadError::TooLong),
        Err(
            Error::HeaderName
            | Error::HeaderValue
            | Error::NewLine
            | Error::Status
            | Error::Token
            | Error::Version,
        ) => Cut::Refused(HeadError::Malformed),
    }
}

fn head_of<'a>(request: &Request<'_, 'a>) -> Result<Head<'a>, HeadError> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed);
    };
    let is_version_10 = version == 0;
    let hosts_count = fields(request.headers, "host").count();
    if hosts_count > 1 || (hosts_count == 0 && !is_version_10) {
        return Err(HeadError::Host);
    }
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    let has_body = body_is_announced(request.headers)?;
    let asks = |option: &str| {
        let mut options = fields(request.headers, "connection").flat_map(|value| value.split(|&b| b == b','));
        options.any(|one| one.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    };
    let keep_alive = !has_body && !asks("close") && (!is_version_10 || asks("keep-alive"));
    Ok(Head { method, path: path_of(target), is_version_10, keep_alive, has_body })
}

fn fields<'a>(headers: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// Whether a body follows. `Content-Length: 0` announces none.
fn body_is_announced(headers: &[Header<'_>]) -> Result<bool, HeadError> {
    let mut lengths = fields(headers, "content-length");
    let length = lengths.next();
    let is_number = |value: &[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if lengths.next().is_some() || length.is_some_and(|value| !is_number(value)) {
        return Err(HeadError::Length);
    }
    let is_long = length.is_some_and(|value| value.iter().any(|&digit| digit != b'0'));
    Ok(is_long || fields(headers, "transfer-encoding").next().is_some())
}

/// The path in a request's target: `/path?query`, or `http://host/path?query` as sent to a proxy.
fn path_of(target: &str) -> &str {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
            rest.find('/').map_or("/", |at| &rest[at..])
        }
        Some(_) | None => target,
    };
    origin.split_once('?').map_or(origin, |(path, _)| path)
}

impl HeadError {
    /// Status and sentence of the answer.
    #[must_use]
    pub fn status_and_text(self) -> (&'static str, &'static str) {
        match self {
            HeadError::Malformed => ("400 Bad Request", "this is no HTTP/1.1 request"),
            HeadError::TooLong => ("431 Request Header Fields Too Large", "the request's head is too long"),
            HeadError::Host => ("400 Bad Request", "an HTTP/1.1 request has exactly one Host"),
            HeadError::Length => ("400 Bad Request", "the Content-Length is no number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /metrics?a=b HTTP/1.1\r\nHost: node\r\nAccept: */*\r\n\r\n";

    fn head(text: &str) -> Head<'_> {
        match cut(text.as_bytes()) {
            Cut::Head(head, bytes) if bytes == text.len() => head,
            other => panic!("{text:?} gives {other:?}"),
        }
    }

    fn refused(bytes: &[u8]) -> HeadError {
        match cut(bytes) {
            Cut::Refused(error) => error,
            other => panic!("{:?} gives {other:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn a_request_cut_at_any_byte_needs_more_and_what_follows_is_left() {
        for end in 0..REQUEST.len() {
            assert_eq!(cut(&REQUEST[..end]), Cut::NeedMore, "{end} bytes");
        }
        let head = Head {
            method: Method::Get,
            path: "/metrics",
            is_version_10: false,
            keep_alive: true,
            has_body: false,
        };
        assert_eq!(cut(REQUEST), Cut::Head(head, REQUEST.len()));
        let two = [REQUEST, b"HEAD"].concat();
        assert_eq!(cut(&two), Cut::Head(head, REQUEST.len()));
    }

    #[test]
    fn a_flipped_bit_never_panics_and_never_takes_more_than_there_is() {
        for at in 0..REQUEST.len() * 8 {
            let mut bytes = REQUEST.to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            if let Cut::Head(head, head_bytes) = cut(&bytes) {
                assert!(head_bytes <= bytes.len() && !head.path.contains('?'));
            }
        }
    }

    #[test]
    fn connections_stay_open_as_the_version_says() {
        for (text, keep_alive) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: te, close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ] {
            assert_eq!(head(text).keep_alive, keep_alive, "{text:?}");
        }
    }

    #[test]
    fn the_path_stands_without_host_and_query() {
        for (target, path) in [
            ("/", "/"),
            ("/metrics", "/metrics"),
            ("/metrics?x=http://y/z", "/metrics"),
            ("http://node:7500/metrics?x", "/metrics"),
            ("HTTP://node", "/"),
            ("*", "*"),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for bytes in [
            &b"\x00\x00\x00\x0c\x01\x04"[..],
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: \x01\r\n\r\n",
            b"G\xC3\xA4T / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET /\r\n",
        ] {
            assert_eq!(refused(bytes), HeadError::Malformed, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), HeadError::Host);
        assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"), HeadError::Host);
        for length in ["", "-1", "+1", "1 2", "1, 1", "1\r\nContent-Length: 1", "0x1"] {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(refused(text.as_bytes()), HeadError::Length, "{text:?}");
        }
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_fields() {
        let empty = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        let of_length = |bytes: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(bytes - empty)).into_bytes()
        };
        let longest = of_length(HTTP_HEAD_BYTES_MAX);
        assert!(matches!(cut(&longest), Cut::Head(_, HTTP_HEAD_BYTES_MAX)));
        assert_eq!(cut(&longest[..HTTP_HEAD_BYTES_MAX - 1]), Cut::NeedMore);
        assert_eq!(refused(&of_length(HTTP_HEAD_BYTES_MAX + 1)), HeadError::TooLong);
        assert_eq!(refused(&vec![b'a'; HTTP_HEAD_BYTES_MAX]), HeadError::TooLong);
        assert_eq!(
            refused(&b"\r\n".repeat(HTTP_HEAD_BYTES_MAX)),
            HeadError::TooLong,
            "blank lines count too"
        );
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(HTTP_HEADERS_MAX));
        assert_eq!(refused(many.as_bytes()), HeadError::TooLong);
    }
}
