//! The operations: opcode, name, and the flags that each one knows.

/// Flag bits of a request's header.
pub mod flags {
    /// `PUT`: only when there is no entry.
    pub const IF_ABSENT: u16 = 1 << 0;
    /// `PUT`: only when there is an entry.
    pub const IF_PRESENT: u16 = 1 << 1;
    /// `PUT`, `DELETE`: only when the entry's version is the one in the body (for `PUT`, 0: no entry).
    pub const IF_VERSION: u16 = 1 << 2;
    /// Any write: this is not the first time that it is sent.
    pub const RETRY: u16 = 1 << 3;
}

macro_rules! ops {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, flags: $flags:expr;)*) => {
        /// What a request asks for: the header's second byte in a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Op {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Op {
            /// Every operation, by rising opcode.
            pub const ALL: &'static [Op] = &[$(Op::$variant,)*];

            /// The operation of that opcode.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Op> {
                match number {
                    $($number => Some(Op::$variant),)*
                    _ => None,
                }
            }

            /// Name in PROTOCOL.md, metrics and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Op::$variant => $name,)* }
            }

            /// Flags that this operation knows; any other is refused.
            #[must_use]
            pub const fn flags_known(self) -> u16 {
                match self { $(Op::$variant => $flags,)* }
            }
        }
    };
}

ops! {
    /// First exchange of a connection: versions, limits, identities.
    Hello = 0x01, "HELLO", flags: 0;
    /// The cluster map.
    Map = 0x02, "MAP", flags: 0;
    /// Nothing; answered when the node serves.
    Ping = 0x03, "PING", flags: 0;
    /// The node's counters.
    Stats = 0x04, "STATS", flags: 0;
    /// An entry's version, type and value.
    Get = 0x10, "GET", flags: 0;
    /// An entry's version.
    Exists = 0x11, "EXISTS", flags: 0;
    /// Writes an entry.
    Put = 0x12, "PUT", flags: flags::IF_ABSENT | flags::IF_PRESENT | flags::IF_VERSION | flags::RETRY;
    /// Removes an entry.
    Delete = 0x13, "DELETE", flags: flags::IF_VERSION | flags::RETRY;
    /// Adds to a counter.
    Add = 0x14, "ADD", flags: flags::RETRY;
    /// Lengthens a value.
    Append = 0x15, "APPEND", flags: flags::RETRY;
    /// One page of entries.
    Scan = 0x18, "SCAN", flags: 0;
    /// One daemon greets another.
    PeerHello = 0x40, "PEER_HELLO", flags: 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_rise_and_read_back() {
        assert!(Op::ALL.is_sorted_by(|a, b| (*a as u8) < (*b as u8)));
        for op in Op::ALL {
            assert_eq!(Op::from_number(*op as u8), Some(*op));
        }
        assert_eq!(Op::from_number(0), None);
    }
}
