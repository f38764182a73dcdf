//! The HTTP door: what a monitoring system, a load balancer or a browser asks a node for. No socket in here, and no
//! table: bytes come in from `net`, what is known comes from the dispatcher, and answers go to the connection's
//! output, as they do for the binary protocol.
//!
//! ```text
//! net/connection ─ bytes ─ parse ─ Head ─ answer ─┬─ dispatch (figures) ─ metrics_text ─┐
//!                                                 └─ /healthz, /readyz ─────────────────┴─▶ dispatch/output
//! ```
//!
//! HTTP/1.1 (RFC 9112) and HTTP/1.0; GET and HEAD, no request with a body. Whatever else arrives is refused with
//! the status that says why, and where the end of the request is not certain the connection is closed.

mod answer;
mod date;
mod metrics_text;
mod parse;

pub(crate) use answer::{answer, refuse};
pub use metrics_text::metrics_text;
pub use parse::{Cut, Head, HeadError, Method, cut};
