//! Files of the client, as they are: how it reads a status, how it decides whether to send a call again, and how it
//! numbers its writes. What they
//! need of the rest of the client stands here in its place.

#[allow(dead_code, unreachable_pub, reason = "not all of it is needed here")]
#[path = "../../../../client/src/limits.rs"]
mod limits;
#[allow(dead_code, unreachable_pub, reason = "not all of it is needed here")]
#[path = "../../../../client/src/retry.rs"]
mod retry;
#[allow(dead_code, unreachable_pub, unused_imports, reason = "not all of it is needed here")]
#[path = "../../../../client/src/sync.rs"]
mod sync;
#[allow(dead_code, unreachable_pub, reason = "not all of it is needed here")]
#[path = "../../../../client/src/write_tokens.rs"]
mod write_tokens;

mod error;

pub(super) use error::Outcome;
pub(super) use limits::{ATTEMPTS_MAX_DEFAULT, REFRESH_PAUSE, UNREACHABLE_FOR};
pub(super) use retry::{Failure, Retry, Step, Verdict};
pub(super) use write_tokens::{OpenWrite, WriteTokens};
