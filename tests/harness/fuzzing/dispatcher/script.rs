//! A script: what to do next, read from an input's bytes. A step is one byte (what, on which connection, and whether
//! the batch goes on), then whatever the step draws for itself.

use super::super::draw::Draw;

/// Connections of a script.
pub(super) const CONNECTIONS: usize = 4;
/// Steps of a script; what follows is not read.
pub(super) const STEPS_MAX: usize = 600;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) connection: usize,
    /// A request waits for the next one, to be sent with it.
    pub(super) holds: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Get,
    Exists,
    Put,
    PutLarge,
    Delete,
    Add,
    Append,
    Scan,
    /// The next page of the last scan.
    ScanOn,
    Hello,
    /// `MAP`, `STATS`, `PING`, `PEER_HELLO`.
    Ask,
    /// A second arrival of an earlier write.
    Again,
    /// A write with something wrong about its frame.
    Twisted,
    /// Writes or deletes of many keys of one partition.
    Bulk,
    /// A few steps of housekeeping.
    KeepHouse,
    /// The connection is lost, and another takes its place.
    Reconnect,
    /// The peer takes some of the answers that wait for it.
    Take,
}

use Action::{
    Add, Again, Append, Ask, Bulk, Delete, Exists, Get, Hello, KeepHouse, Put, PutLarge, Reconnect, Scan,
    ScanOn, Take, Twisted,
};

/// By the low five bits of a step's byte.
const ACTIONS: [Action; 32] = [
    Get, Get, Get, Exists, Put, Put, Put, Put, Put, Delete, Delete, Delete, Add, Add, Add, Append, Append,
    Append, Scan, Scan, ScanOn, ScanOn, Hello, Ask, Again, Again, Bulk, KeepHouse, Reconnect, Take, Twisted,
    PutLarge,
];

/// The next step; `None` at the end.
pub(super) fn next(draw: &mut Draw<'_>) -> Option<Step> {
    if draw.is_empty() {
        return None;
    }
    let byte = draw.byte();
    Some(Step {
        action: ACTIONS[usize::from(byte & 31)],
        connection: usize::from(byte >> 6) % CONNECTIONS,
        holds: byte & 32 != 0,
    })
}
