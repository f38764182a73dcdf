//! One edit of the cluster map: any number of changes to the newest map, which become the next one together. What may be
//! changed, and what a change takes with it, stands here; when to change what is for `upkeep` and `requests`.
//!
//! Invariants:
//! 1. What changes a partition's replicas raises its cfg, by one an edit. Nothing else does.
//! 2. A change of primary sets `primary_since` to the epoch of this edit, and `handed_over` to whether the old primary gave up
//!    for good; nothing else touches either.
//! 3. A replica that is struck off is joining, under the same incarnation.
//!
//! # Why the mark of a hand-over may outlive edits that leave the primary alone
//! It says that whoever could serve before this primary has given up for good, so that no lease granted to it is in use. That
//! stays so whoever else comes and goes in the configuration: the old primary serves again only under a higher cfg that names
//! it primary, and the edit that does so is a change of primary, which drops the mark or makes a new one that is about
//! others. So a new primary that has missed the map that made it one, and learns of itself from a later one, may go by the
//! mark that it finds there. An edit that refuses a hand-over leaves the asking primary in place with the mark of its own
//! beginning, if it had one; that was true then, and nobody else has been primary since.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use dht_protocol::ids::{Cfg, Epoch, Incarnation, Member, NodeId, PartitionId};
use dht_protocol::limits::NODES_MAX;
use dht_protocol::placement::deal::rendezvous_score;
use dht_protocol::placement::replica_map::{Configuration, ListedNode, ReplicaMap};

use crate::planted::{Bug, is_planted};

/// An edit in the making.
#[derive(Debug)]
pub(super) struct MapEdit {
    base: Arc<ReplicaMap>,
    /// The map as it will be; `None` until something changes.
    changed: Option<ReplicaMap>,
    /// What each node holds, in `changed`; counted when first asked for.
    holdings: Option<BTreeMap<NodeId, Holding>>,
    /// A number has no successor.
    exhausted: bool,
}

/// How many partitions a node holds.
#[derive(Clone, Copy, Debug, Default)]
struct Holding {
    primaries: usize,
    replicas: usize,
}

/// What becomes of the primary that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Former {
    /// It gave up for good, and stays in sync.
    HandedOver,
    /// It is struck off.
    StruckOff,
}

/// A number of the map has no successor; nothing can be edited any more.
#[derive(Debug)]
pub(super) struct Exhausted;

impl MapEdit {
    pub(super) fn new(base: Arc<ReplicaMap>) -> MapEdit {
        MapEdit { base, changed: None, holdings: None, exhausted: false }
    }

    /// The map with the changes made so far. Its epoch is the old one until [`MapEdit::finish`].
    pub(super) fn map(&self) -> &ReplicaMap {
        self.changed.as_ref().unwrap_or(&self.base)
    }

    /// A partition with the changes made so far.
    ///
    /// # Panics
    /// When there is none of that number.
    pub(super) fn at(&self, partition: PartitionId) -> &Configuration {
        self.map().partition(partition).expect("the caller looked it up in the same map")
    }

    /// Whether the partition has been changed by this edit.
    pub(super) fn has_changed(&self, partition: PartitionId) -> bool {
        self.at(partition).cfg != self.base.partitions[partition.0 as usize].cfg
    }

    /// Raises a partition's cfg and changes nothing else.
    pub(super) fn raise(&mut self, partition: PartitionId) {
        self.change(partition);
    }

    /// A joining replica is in sync from now on.
    pub(super) fn take_in(&mut self, partition: PartitionId, member: Member) {
        let configuration = self.change(partition);
        assert!(remove(&mut configuration.joining, member), "{member} is not joining {partition}");
        configuration.backups.push(member);
    }

    /// A joining replica is none any more.
    pub(super) fn take_off(&mut self, partition: PartitionId, member: Member) {
        assert!(remove(&mut self.change(partition).joining, member), "{member} is not joining {partition}");
        self.count(member.node, |holding| holding.replicas -= 1);
    }

    /// A node without a replica of the partition gets one to be filled.
    pub(super) fn put_on(&mut self, partition: PartitionId, member: Member) {
        let configuration = self.change(partition);
        assert!(configuration.members().all(|other| other.node != member.node), "two replicas on one node");
        configuration.joining.push(member);
        self.count(member.node, |holding| holding.replicas += 1);
    }

    /// A backup is joining from now on.
    pub(super) fn strike_off(&mut self, partition: PartitionId, member: Member) {
        let configuration = self.change(partition);
        assert!(remove(&mut configuration.backups, member), "{member} is no backup of {partition}");
        configuration.joining.push(member);
    }

    /// Another replica is primary from now on.
    pub(super) fn make_primary(&mut self, partition: PartitionId, member: Member, former: Former) {
        let since = self.epoch();
        let configuration = self.change(partition);
        let old = std::mem::replace(&mut configuration.primary, member);
        let was_joining = remove(&mut configuration.joining, member);
        assert!(
            remove(&mut configuration.backups, member)
                || was_joining && (is_planted(Bug::PromoteJoining) || is_planted(Bug::StrikeOffLast)),
            "{member} is not in sync"
        );
        match former {
            Former::HandedOver => configuration.backups.push(old),
            Former::StruckOff => configuration.joining.push(old),
        }
        configuration.primary_since = since;
        if former == Former::HandedOver || !is_planted(Bug::KeepHandedOver) {
            configuration.handed_over = former == Former::HandedOver;
        }
        self.count(old.node, |holding| holding.primaries -= 1);
        self.count(member.node, |holding| holding.primaries += 1);
    }

    /// All replicas in sync are lost, and the partition begins again, empty, on `member`. They are no replicas any more; others
    /// that were joining still are.
    pub(super) fn begin_empty(&mut self, partition: PartitionId, member: Member) {
        let since = self.epoch();
        let configuration = self.change(partition);
        let lost: Vec<Member> = configuration.in_sync().collect();
        let was_joining = remove(&mut configuration.joining, member);
        // An earlier start of that very node may be joining too.
        let before = configuration.joining.len();
        configuration.joining.retain(|joining| joining.node != member.node);
        let stale = before - configuration.joining.len();
        configuration.backups.clear();
        configuration.began = configuration.cfg;
        let old = std::mem::replace(&mut configuration.primary, member);
        configuration.primary_since = since;
        configuration.handed_over = false;
        self.count(old.node, |holding| holding.primaries -= 1);
        lost.iter().for_each(|member| self.count(member.node, |holding| holding.replicas -= 1));
        self.count(member.node, |holding| {
            holding.primaries += 1;
            holding.replicas += 1;
            holding.replicas -= usize::from(was_joining) + stale;
        });
    }

    /// Lists a node that was not; it is left out when there are as many as there may be.
    pub(super) fn list(&mut self, address: &str, incarnation: Incarnation) {
        let next = self.map().nodes.last().and_then(|node| node.id.0.checked_add(1));
        let (Some(next), true) = (next, self.map().nodes.len() < NODES_MAX) else { return };
        let node = ListedNode { id: NodeId(next), address: address.to_owned(), incarnation };
        self.make_change().nodes.push(node);
    }

    /// Lists another start of a node. No configuration changes, nor its number: the earlier start is what they name.
    pub(super) fn list_again(&mut self, id: NodeId, incarnation: Incarnation) {
        let nodes = &mut self.make_change().nodes;
        let at = nodes
            .binary_search_by_key(&id, |node| node.id)
            .expect("only a node that is listed is listed again");
        nodes[at].incarnation = incarnation;
    }

    /// Of `candidates`, the one with the fewest primaries; of several, the one that wants the partition most.
    pub(super) fn with_fewest_primaries(
        &mut self,
        partition: PartitionId,
        candidates: &[Member],
    ) -> Option<Member> {
        self.with_fewest(partition, candidates, |holding| holding.primaries)
    }

    /// Of `candidates`, the one with the fewest replicas; of several, the one that wants the partition most.
    pub(super) fn with_fewest_replicas(
        &mut self,
        partition: PartitionId,
        candidates: &[Member],
    ) -> Option<Member> {
        self.with_fewest(partition, candidates, |holding| holding.replicas)
    }

    fn with_fewest(
        &mut self,
        partition: PartitionId,
        candidates: &[Member],
        of: impl Fn(Holding) -> usize,
    ) -> Option<Member> {
        let holdings = self.holdings();
        let held = |node| of(holdings.get(&node).copied().unwrap_or_default());
        let rank = |member: &&Member| (held(member.node), Reverse(rendezvous_score(partition, member.node)));
        candidates.iter().min_by_key(rank).copied()
    }

    /// The next map; `None`: nothing has changed.
    pub(super) fn finish(mut self) -> Result<Option<ReplicaMap>, Exhausted> {
        let epoch = self.epoch();
        let Some(mut map) = self.changed.take() else { return Ok(None) };
        if self.exhausted {
            return Err(Exhausted);
        }
        map.epoch = epoch;
        if let Err(why) = map.check_invariants() {
            panic!("an edit breaks the map: {why}");
        }
        Ok(Some(map))
    }

    fn epoch(&mut self) -> Epoch {
        let next = self.base.epoch.0.checked_add(1);
        self.exhausted |= next.is_none();
        Epoch(next.unwrap_or(self.base.epoch.0))
    }

    fn make_change(&mut self) -> &mut ReplicaMap {
        let base = &self.base;
        self.changed.get_or_insert_with(|| ReplicaMap::clone(base))
    }

    /// Invariant 1.
    fn change(&mut self, partition: PartitionId) -> &mut Configuration {
        let at = partition.0 as usize;
        let base = self.base.partitions[at].cfg;
        self.exhausted |= base == Cfg::MAX;
        let configuration = &mut self.make_change().partitions[at];
        configuration.cfg = Cfg::new(base.get().saturating_add(1).min(Cfg::MAX.get()));
        configuration
    }

    fn count(&mut self, node: NodeId, change: impl FnOnce(&mut Holding)) {
        if let Some(holdings) = &mut self.holdings {
            change(holdings.entry(node).or_default());
        }
    }

    fn holdings(&mut self) -> &BTreeMap<NodeId, Holding> {
        if self.holdings.is_none() {
            self.holdings = Some(count_holdings(self.map()));
        }
        self.holdings.as_ref().expect("counted just above")
    }
}

fn count_holdings(map: &ReplicaMap) -> BTreeMap<NodeId, Holding> {
    let mut holdings: BTreeMap<NodeId, Holding> = BTreeMap::new();
    for configuration in &map.partitions {
        holdings.entry(configuration.primary.node).or_default().primaries += 1;
        configuration.members().for_each(|member| holdings.entry(member.node).or_default().replicas += 1);
    }
    holdings
}

fn remove(members: &mut Vec<Member>, member: Member) -> bool {
    let at = members.iter().position(|&other| other == member);
    at.map(|at| members.remove(at)).is_some()
}
