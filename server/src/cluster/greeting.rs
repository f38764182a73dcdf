//! The judgement of two daemons of a static cluster that greet each other: were they given the same members,
//! partition count and hash key? (All three are in the cluster id.)
//!
//! Two that were told different things must not both serve: a key would have two homes. Of two such daemons the
//! one that started later gives way, so that one daemon started by mistake cannot make a cluster in service
//! throw its data away. Both sides come to the same judgement from the same two greetings.

use dht_protocol::peer::PeerHello;

/// What follows from a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both were told the same.
    Agreed,
    /// They were not, and the other one is younger: it will stop.
    OtherGivesWay,
    /// They were not, and this one is younger (or of the same age): it must stop. The sentence says so.
    GiveWay(String),
}

/// Judges `theirs` against `ours`: the two greetings of one exchange, so that both sides judge the same numbers.
#[must_use]
pub fn judge(ours: &PeerHello, theirs: &PeerHello) -> Verdict {
    if ours.cluster_id == theirs.cluster_id {
        return Verdict::Agreed;
    }
    if ours.age_ms > theirs.age_ms {
        return Verdict::OtherGivesWay;
    }
    Verdict::GiveWay(format!(
        "a daemon of the member list (its node {}) was started with another --members, --partitions or --hash-key: \
         its cluster id is {}, here it is {}; give all members the same",
        theirs.node, theirs.cluster_id, ours.cluster_id
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_protocol::ids::{ClusterId, Incarnation, NodeId};

    fn hello(cluster: u128, age_ms: u64) -> PeerHello {
        PeerHello {
            cluster_id: ClusterId(cluster),
            incarnation: Incarnation(age_ms),
            node: NodeId(0),
            age_ms,
        }
    }

    #[test]
    fn daemons_that_were_told_the_same_agree() {
        assert_eq!(judge(&hello(1, 5), &hello(1, 9)), Verdict::Agreed);
    }

    #[test]
    fn of_two_that_differ_exactly_the_younger_gives_way() {
        let (old, young) = (hello(1, 60_000), hello(2, 3));
        assert_eq!(judge(&old, &young), Verdict::OtherGivesWay);
        assert!(matches!(judge(&young, &old), Verdict::GiveWay(_)));
    }

    #[test]
    fn two_of_the_same_age_both_give_way() {
        assert!(matches!(judge(&hello(1, 7), &hello(2, 7)), Verdict::GiveWay(_)));
        assert!(matches!(judge(&hello(2, 7), &hello(1, 7)), Verdict::GiveWay(_)));
    }
}
