//! Requests that wait for an entry to be committed.

use dht_protocol::ids::Epoch;
use dht_protocol::peer::Outcome;
use dht_protocol::status::Status;

use super::operation::{KeyAnswer, KeyRequest, Ticket};
use crate::clock::Time;

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) request: KeyRequest,
    pub(super) why: Why,
    pub(super) since: Time,
}

/// Why a request waits for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The entry is its own, and this is what it comes to.
    Own(Outcome),
    /// The entry is an earlier arrival of the same write.
    Twin,
    /// The entry was to be its own, or what it built on, and became a no-op: when that is committed the request is evaluated again.
    /// Not before, as another primary may commit what the entry was.
    Again,
    /// Its answer follows from what the entry will have done: a condition that fails on it, say.
    Depends(Outcome),
}

/// The answer of a write that came to `outcome`.
pub(super) fn answer_of(outcome: Outcome, epoch: Epoch) -> KeyAnswer {
    let Outcome { status, version, number } = outcome;
    KeyAnswer { status, version, number, value: None, epoch, valid_until: None }
}

/// An answer that is only a status.
pub(super) fn refusal(status: Status, epoch: Epoch) -> KeyAnswer {
    KeyAnswer::refusal(status, epoch)
}
