//! The one table of status codes: number, name, meaning, whether a client may send the same request again, and
//! the sentence for people.

use std::fmt;

/// What a status says about the request's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It was carried out, or the question was answered.
    Done,
    /// It was not carried out and will not be.
    NotDone,
    /// It may have been carried out. Never reported as failed.
    Unknown,
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $meaning:ident, retry: $retry:literal, $text:literal;)*) => {
        /// Outcome of a request: the header's second byte in a response.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Status {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Status {
            /// Every status, by rising number.
            pub const ALL: &'static [Status] = &[$(Status::$variant,)*];

            /// The status of that number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Status> {
                match number {
                    $($number => Some(Status::$variant),)*
                    _ => None,
                }
            }

            /// Name in PROTOCOL.md, metrics and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Status::$variant => $name,)* }
            }

            /// What it says about the request's effect.
            #[must_use]
            pub const fn meaning(self) -> Meaning {
                match self { $(Status::$variant => Meaning::$meaning,)* }
            }

            /// Whether a client may send the request again by itself (with the same token if it is a write).
            #[must_use]
            pub const fn may_retry(self) -> bool {
                match self { $(Status::$variant => $retry,)* }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Status::$variant => $text,)* }
            }
        }
    };
}

statuses! {
    /// Carried out.
    Ok = 0, "OK", Done, retry: false, "done";
    /// There is no entry of that key.
    NotFound = 1, "NOT_FOUND", Done, retry: false, "no such key";
    /// The entry is not in the state that the request asked for. The body carries its version.
    ConditionFailed = 2, "CONDITION_FAILED", NotDone, retry: false, "the entry is not in the expected state";
    /// The stored value is of a type that this operation cannot work on.
    WrongType = 3, "WRONG_TYPE", NotDone, retry: false, "the stored value is of another type";
    /// A counter would leave the range of a signed 64-bit integer.
    Overflow = 4, "OVERFLOW", NotDone, retry: false, "the counter would overflow 64 bits";
    /// Too many keys share this key's neighbourhood on the hash ring.
    Crowded = 5, "CROWDED", NotDone, retry: false, "too many keys share this key's hash neighbourhood";

    /// The body does not follow PROTOCOL.md.
    Malformed = 16, "MALFORMED", NotDone, retry: false, "the request is malformed";
    /// The header's protocol version is not spoken here. The connection is closed.
    UnknownVersion = 17, "UNKNOWN_VERSION", NotDone, retry: false, "this protocol version is not spoken here";
    /// The opcode is not known.
    UnknownOpcode = 18, "UNKNOWN_OPCODE", NotDone, retry: false, "unknown opcode";
    /// A flag is set that the opcode does not know.
    UnknownFlag = 19, "UNKNOWN_FLAG", NotDone, retry: false, "unknown flag for this opcode";
    /// A frame, key or value is longer than its limit. After an over-long frame the connection is closed.
    TooLarge = 20, "TOO_LARGE", NotDone, retry: false, "longer than the limit";
    /// The key is empty or begins with the reserved byte 0xFF.
    BadKey = 21, "BAD_KEY", NotDone, retry: false, "a key has 1 to 65,535 bytes and does not begin with 0xFF";
    /// The value's type is reserved, or its bytes do not fit its type.
    BadValue = 22, "BAD_VALUE", NotDone, retry: false, "the value does not fit its type";
    /// The first request on a connection must be `HELLO`.
    HelloRequired = 23, "HELLO_REQUIRED", NotDone, retry: false, "say HELLO first";
    /// The client was given the id of another cluster.
    WrongCluster = 24, "WRONG_CLUSTER", NotDone, retry: false, "this is another cluster";
    /// A write's number runs too far ahead of the client's floor.
    SpanTooWide = 25, "SPAN_TOO_WIDE", NotDone, retry: false, "too many unanswered writes of this client";

    /// This node is not the partition's primary, or the client's map is too old. The body carries the
    /// partition's configuration.
    NotOwner = 32, "NOT_OWNER", NotDone, retry: true, "another node serves this key";
    /// The memory limit is reached. Reads and deletes go on; deleting makes room.
    OutOfMemory = 33, "OUT_OF_MEMORY", NotDone, retry: false, "the memory limit is reached";
    /// The node cannot take this on at the moment.
    Busy = 34, "BUSY", NotDone, retry: true, "busy, try again";
    /// The node is shutting down.
    ShuttingDown = 35, "SHUTTING_DOWN", NotDone, retry: true, "the node is shutting down";
    /// The node is the partition's primary and cannot serve it at the moment, or nobody can: replicas are not heard.
    Unavailable = 36, "UNAVAILABLE", NotDone, retry: true, "no replica of this key can serve at the moment";
    /// A write needs more replicas in sync than the partition has.
    NotEnoughReplicas = 37, "NOT_ENOUGH_REPLICAS", NotDone, retry: true, "fewer replicas are in sync than a write needs";

    /// A second arrival of a write whose outcome is no longer remembered; it was not applied again.
    OutcomeUnknown = 48, "OUTCOME_UNKNOWN", Unknown, retry: false, "whether the write was applied is no longer known";
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_read_back() {
        assert!(Status::ALL.is_sorted_by(|a, b| (*a as u8) < (*b as u8)));
        for status in Status::ALL {
            assert_eq!(Status::from_number(*status as u8), Some(*status));
        }
        assert_eq!(Status::from_number(255), None);
    }

    #[test]
    fn only_what_was_not_done_may_be_sent_again() {
        for status in Status::ALL.iter().filter(|status| status.may_retry()) {
            assert_eq!(status.meaning(), Meaning::NotDone, "{}", status.name());
        }
    }
}
