//! The one error type of this crate: what went wrong, whether the cluster's state changed, and what to do.

use std::fmt;
use std::time::Duration;

use dht_protocol::error::Malformed;
use dht_protocol::ids::ClusterId;
use dht_protocol::status::Status;
use dht_protocol::value::ValueType;

/// What every call of this crate answers.
pub type Result<T> = std::result::Result<T, Error>;

/// Whether a call that failed changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing was changed, and nothing will be.
    NotDone,
    /// The write may have been applied, once, or may never be. Read the key to find out.
    Unknown,
}

/// Why a call failed. [`Error::outcome`] says whether state changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No server was named. Nothing was sent.
    NoServers,
    /// A server's address is not `HOST:PORT`. Nothing was sent.
    BadAddress {
        /// What was given.
        address: String,
    },
    /// The key is empty, or begins with the reserved byte 0xFF. Nothing was sent.
    BadKey {
        /// Which of the two.
        reason: &'static str,
    },
    /// A key or value is longer than its limit. Nothing was sent.
    TooLarge {
        /// `"key"`, `"prefix"`, `"value"`, or `"request"`: key and value together, for the node that serves the key.
        what: &'static str,
        /// Its length, bytes.
        bytes: usize,
        /// The limit, bytes.
        bytes_max: usize,
    },
    /// The value cannot be brought into its stored form. Nothing was sent.
    Encode {
        /// What its serializer says.
        reason: String,
    },
    /// The key of a typed collection cannot be brought into bytes, or a stored key is not of the wanted type.
    /// Nothing was changed.
    KeyType {
        /// Rust type of the collection's keys.
        wanted: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// The stored value is not of the wanted type. Nothing was changed.
    Decode {
        /// Type that is stored.
        stored: ValueType,
        /// Rust type that was asked for.
        wanted: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// No connection came about for as long as the call was tried. Nothing was changed.
    Unreachable {
        /// The node, or the list of servers.
        address: String,
        /// What the last attempt ran into.
        reason: String,
    },
    /// The server belongs to another cluster than the one that this client was given or met first. No
    /// operation was sent to it.
    WrongCluster {
        /// The server.
        address: String,
        /// The client's cluster.
        expected: ClusterId,
        /// The server's, if it said which.
        found: Option<ClusterId>,
    },
    /// A node said no. Nothing was changed.
    Refused {
        /// Why, for programs.
        status: Status,
        /// Why, for people.
        text: String,
    },
    /// The call's time was up before an answer came.
    TimedOut {
        /// [`Outcome::Unknown`] when a write may have arrived.
        outcome: Outcome,
        /// The time that the call had.
        after: Duration,
        /// What the last attempt ran into, where there was one.
        last: Option<String>,
    },
    /// Connections broke, again and again, until the call's attempts were used up.
    ConnectionLost {
        /// [`Outcome::Unknown`] when a write may have arrived.
        outcome: Outcome,
        /// The last node.
        address: String,
        /// How the last connection broke.
        reason: String,
    },
    /// Whether the write took place cannot be found out any more: its node was restarted, or no longer
    /// remembers. [`Outcome::Unknown`].
    Unknown {
        /// Why.
        reason: String,
    },
    /// A node does not keep to the protocol.
    Protocol {
        /// [`Outcome::Unknown`] when a write was sent.
        outcome: Outcome,
        /// The node.
        address: String,
        /// What is wrong with its answer.
        problem: Malformed,
    },
    /// The operating system gives no random numbers. Nothing was sent.
    NoRandom {
        /// What it says.
        reason: String,
    },
}

impl Error {
    /// Whether the call that failed with this changed anything.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Error::TimedOut { outcome, .. }
            | Error::ConnectionLost { outcome, .. }
            | Error::Protocol { outcome, .. } => *outcome,
            Error::Unknown { .. } => Outcome::Unknown,
            Error::NoServers
            | Error::BadAddress { .. }
            | Error::BadKey { .. }
            | Error::TooLarge { .. }
            | Error::Encode { .. }
            | Error::KeyType { .. }
            | Error::Decode { .. }
            | Error::Unreachable { .. }
            | Error::WrongCluster { .. }
            | Error::Refused { .. }
            | Error::NoRandom { .. } => Outcome::NotDone,
        }
    }
}

impl fmt::Display for Error {
    /// One line, which says what to do where something can be done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoServers => f.write_str("no server given: name at least one as HOST:PORT"),
            Error::BadAddress { address } => write!(f, "{address:?} is no server address: write HOST:PORT"),
            Error::BadKey { reason } => {
                write!(f, "{reason}: a key has 1 to 65,535 bytes and does not begin with 0xFF")
            }
            Error::TooLarge { what, bytes, bytes_max } => {
                write!(f, "the {what} has {bytes} bytes, at most {bytes_max} are allowed: make it shorter")
            }
            Error::Encode { reason } => write!(f, "the value cannot be stored: {reason}"),
            Error::KeyType { wanted, reason } => write!(f, "no key of type {wanted}: {reason}"),
            Error::Decode { stored, wanted, reason } => {
                write!(f, "the stored value is {stored}, which does not read as {wanted}: {reason}")
            }
            Error::Unreachable { address, reason } => {
                write!(
                    f,
                    "cannot reach {address} ({reason}): check the address, and that the daemon runs and has room for one more connection"
                )
            }
            Error::WrongCluster { address, expected, found } => {
                write!(f, "{address} belongs to ")?;
                match found {
                    Some(found) => write!(f, "cluster {found}, not to {expected}")?,
                    None => write!(f, "another cluster than {expected}")?,
                }
                f.write_str(": correct the address, or make a new client if the cluster was set up anew")
            }
            Error::Refused { status, text } => write!(f, "refused with {}: {text}", status.name()),
            Error::TimedOut { outcome, after, last } => {
                write!(f, "no answer within {after:?}")?;
                if let Some(last) = last {
                    write!(f, " (last: {last})")?;
                }
                fmt_advice(*outcome, f)
            }
            Error::ConnectionLost { outcome, address, reason } => {
                write!(f, "the connection to {address} was lost ({reason})")?;
                fmt_advice(*outcome, f)
            }
            Error::Unknown { reason } => {
                f.write_str(reason)?;
                fmt_advice(Outcome::Unknown, f)
            }
            Error::Protocol { outcome, address, problem } => {
                write!(f, "{address} does not keep to the protocol ({problem}): check its version")?;
                match outcome {
                    Outcome::NotDone => Ok(()),
                    Outcome::Unknown => fmt_advice(*outcome, f),
                }
            }
            Error::NoRandom { reason } => write!(f, "the system gives no random numbers: {reason}"),
        }
    }
}

fn fmt_advice(outcome: Outcome, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match outcome {
        Outcome::NotDone => f.write_str(": nothing was changed, try again"),
        Outcome::Unknown => {
            f.write_str(": whether the write was applied is unknown, read the key before you write again")
        }
    }
}

impl std::error::Error for Error {}
