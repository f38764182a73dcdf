//! What each path answers.

use std::time::SystemTime;

use super::date::http_date;
use super::metrics_text::metrics_text;
use super::parse::{Head, HeadError, Method};
use crate::dispatch::{Dispatcher, Output};

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is there, for who opens the address in a browser.
const INDEX: &str = "/metrics  figures of this node, as Prometheus reads them\n\
                     /healthz  200 while the process can answer\n\
                     /readyz   200 while the node serves, 503 once it stops\n";

/// An answer before it is written out.
struct Answer {
    status: &'static str,
    content_type: &'static str,
    /// Further header lines, each with its end.
    headers: &'static str,
    body: String,
}

/// Appends the answer to `head`; whether the connection stays open is `head.keep_alive`.
pub(crate) fn answer(head: &Head<'_>, dispatcher: &Dispatcher, output: &mut Output) {
    let answer = match head.method {
        Method::Other => {
            let refusal = Answer::text("405 Method Not Allowed", "use GET or HEAD");
            Answer { headers: "Allow: GET, HEAD\r\n", ..refusal }
        }
        Method::Get | Method::Head if head.has_body => {
            Answer::text("413 Content Too Large", "no request with a body is taken")
        }
        Method::Get | Method::Head => answer_path(head.path, dispatcher),
    };
    let connection = match (head.keep_alive, head.is_version_10) {
        (false, _) => "Connection: close\r\n",
        (true, true) => "Connection: keep-alive\r\n",
        (true, false) => "",
    };
    answer.write(connection, head.method != Method::Head, output);
}

/// Appends the refusal of what is no request. The connection must be closed behind it.
pub(crate) fn refuse(error: HeadError, output: &mut Output) {
    let (status, text) = error.status_and_text();
    Answer::text(status, text).write("Connection: close\r\n", true, output);
}

fn answer_path(path: &str, dispatcher: &Dispatcher) -> Answer {
    match path {
        "/" => Answer { body: INDEX.to_owned(), ..Answer::text("200 OK", "") },
        "/metrics" => {
            let body = metrics_text(&dispatcher.samples(), &dispatcher.request_durations());
            Answer { status: "200 OK", content_type: METRICS_TEXT, headers: "", body }
        }
        "/healthz" => Answer::text("200 OK", "ok"),
        "/readyz" if dispatcher.is_stopping() => Answer::text("503 Service Unavailable", "stopping"),
        "/readyz" => Answer::text("200 OK", "ready"),
        _ => Answer::text("404 Not Found", "there is nothing here; / lists what there is"),
    }
}

impl Answer {
    fn text(status: &'static str, text: &str) -> Answer {
        Answer { status, content_type: TEXT, headers: "", body: format!("{text}\n") }
    }

    fn write(&self, connection: &str, with_body: bool, output: &mut Output) {
        let Answer { status, content_type, headers, body } = self;
        let length = body.len();
        // A clock set to before 1970 is wrong anyway.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let date = http_date(now.as_secs());
        let head = format!(
            "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\n{headers}{connection}\r\n"
        );
        output.append(|out| {
            out.extend_from_slice(head.as_bytes());
            if with_body {
                out.extend_from_slice(body.as_bytes());
            }
        });
    }
}
