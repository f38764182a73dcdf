//! Names for the numbers that travel: one type each, so that none is taken for another.

use std::fmt;

/// A node of the cluster. In a static cluster, its place in the sorted list of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// One of the Q equal arcs of the hash ring, counted from hash 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

/// Number of a cluster map; a higher one is newer. 0 says "I have no map yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// Number of a partition's configuration: 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cfg(u32);

/// Random number that a daemon draws at every start; compared only for equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// One start of one node: replicas, leases and messages belong to that, never to the node alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
}

/// Number of a log entry of a partition: 1, 2, 3 and so on, across configurations. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// How often a primary has rewritten its list of prepared entries under one configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u32);

/// Identity of a cluster: 128 bits. All zero means "any cluster".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClusterId(pub u128);

/// Identity of one client object: 128 random bits. All zero means "anonymous": such a client's writes carry
/// no token, and a retry of one may apply twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u128);

/// Ties a response to its request; chosen by the client, unique among its unanswered requests on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// State of an entry: the partition's configuration in the high 24 bits, a sequence number in the low 40.
/// Rises with every committed write of a partition. 0 means "absent".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Cfg {
    /// Bits of a configuration number.
    pub const BITS: u32 = 24;
    /// Highest configuration number.
    pub const MAX: Cfg = Cfg((1 << Self::BITS) - 1);

    /// A configuration number from its value; bits above the 24th are dropped.
    #[must_use]
    pub const fn new(number: u32) -> Cfg {
        Cfg(number & Self::MAX.0)
    }

    /// A configuration number from a number that a peer sent; `None` past [`Cfg::MAX`].
    #[must_use]
    pub const fn from_wire(number: u32) -> Option<Cfg> {
        if number <= Self::MAX.0 { Some(Cfg(number)) } else { None }
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Seq {
    /// Before the first entry.
    pub const ZERO: Seq = Seq(0);

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl Version {
    /// No entry.
    pub const ABSENT: Version = Version(0);
    /// Bits of the sequence number.
    pub const SEQ_BITS: u32 = 40;
    /// Highest sequence number.
    pub const SEQ_MAX: u64 = (1 << Self::SEQ_BITS) - 1;

    /// The version of write number `seq` under configuration `cfg`; bits of `seq` above the 40th are dropped.
    #[must_use]
    pub const fn new(cfg: Cfg, seq: u64) -> Version {
        Version(((cfg.0 as u64) << Self::SEQ_BITS) | (seq & Self::SEQ_MAX))
    }

    /// Configuration part.
    #[must_use]
    pub const fn cfg(self) -> Cfg {
        Cfg((self.0 >> Self::SEQ_BITS) as u32)
    }

    /// Sequence part.
    #[must_use]
    pub const fn seq(self) -> u64 {
        self.0 & Self::SEQ_MAX
    }

    /// Whether this names a state without an entry.
    #[must_use]
    pub const fn is_absent(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}", self.node, self.incarnation.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_holds_cfg_above_seq() {
        let version = Version::new(Cfg::new(0xABCDEF), 7);
        assert_eq!(version.0, 0xABCD_EF00_0000_0007);
        assert_eq!((version.cfg(), version.seq()), (Cfg::new(0xABCDEF), 7));
        assert!(Version::new(Cfg::new(2), 0) > Version::new(Cfg::new(1), Version::SEQ_MAX));
    }

    #[test]
    fn a_configuration_number_of_more_than_24_bits_is_refused_not_cut() {
        assert_eq!(Cfg::from_wire(0x00FF_FFFF), Some(Cfg::MAX));
        assert_eq!(Cfg::from_wire(0x0100_0000), None);
    }
}
