//! The coordinator: what comes in, what goes out, and one edit of the map at a time.
//!
//! Invariants:
//! 1. A map goes out only after the store has said that it is durable. The schedule: a map makes B primary and is sent
//!    before it is safe; B serves; the coordinator crashes, finds the older map, and from that makes C primary under the same
//!    epoch and cfg.
//! 2. At most one map is being stored, and it follows the one that is out: so edits are compare-and-set on each partition's
//!    configuration, whatever has happened since they were asked for.
//! 3. After an answer that leaves open whether it is stored the store is read before any other edit. What was to be stored and
//!    is read back is stored once more, as what is read need not be durable. What is neither that nor what was there
//!    before is somebody else's, and the coordinator stops.
//! 4. Who has stopped says nothing any more. A map might differ from the one that others follow, and a Beat is a lease to a
//!    primary that goes by it (`on_loss=empty`): another coordinator, of whose maps this one has just heard, knows nothing of
//!    leases granted here.
//! 5. Edits begin at least [`EDIT_PAUSE`] apart.
//!
//! Time is judged on ticks alone. One that comes late says that the process was paused: nobody is judged by what it did not
//! hear meanwhile.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use dht_protocol::ids::{Epoch, Member};
use dht_protocol::limits::NODES_MAX;
use dht_protocol::peer::{Beat, FromCoordinator, Heartbeat, ToCoordinator};
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::replica_map::{OnLoss, ReplicaMap};

use crate::clock::Time;
use crate::limits::COORDINATOR_ACTIONS_MAX;
use crate::planted::{Bug, is_planted};
use crate::timings::{COORDINATOR_LATE, EDIT_PAUSE, STORE_RETRY};

use super::failure_detector::FailureDetector;
use super::first_map::{first_map, number_nodes, recovered_map};
use super::map_edit::{Exhausted, MapEdit};
use super::requests::{Reception, Request, Requests, Wish};
use super::terms::{CoordinatorAction, CoordinatorCounts, CoordinatorSettings, Halted, StoreOutcome};
use super::upkeep::{Look, Upkeep};

/// The key under which a seed becomes the first number of a Beat.
const BEAT_KEY: HashKey = HashKey::from_bytes(*b"dht first beat k");

/// The coordinator.
#[derive(Debug)]
pub struct Coordinator {
    settings: CoordinatorSettings,
    pub(super) detector: FailureDetector,
    requests: Requests,
    pub(super) upkeep: Upkeep,
    /// The newest map that is out.
    published: Option<Published>,
    /// What the store holds, as far as is known. Not always what is out: what was read back, and could not be stored once
    /// more, stays there until the next edit takes its place.
    stored: Option<Arc<ReplicaMap>>,
    storing: Storing,
    /// Starts of nodes whose replicas in sync are given up by the map that is being stored: they are told nothing that they
    /// could go on by.
    given_up: BTreeSet<u64>,
    /// The store was lost, and the map that is out is what nodes had: before anything else the next one is stored.
    is_recovering: bool,
    /// No edit begins earlier.
    not_before: Time,
    last_tick: Time,
    halted: Option<Halted>,
    actions: VecDeque<CoordinatorAction>,
    counts: CoordinatorCounts,
}

#[derive(Debug)]
struct Published {
    map: Arc<ReplicaMap>,
    checksum: u64,
}

/// What is under way with the store.
#[derive(Debug)]
enum Storing {
    Nothing,
    /// This map is being written.
    Writing(Arc<ReplicaMap>),
    /// Whether this map was written is not known; the store is being read.
    Reading(Arc<ReplicaMap>),
    /// This map was read back, and is to be written once more.
    Confirming(Arc<ReplicaMap>),
}

impl Published {
    fn new(map: Arc<ReplicaMap>) -> Published {
        let checksum = map.checksum();
        Published { map, checksum }
    }
}

impl Coordinator {
    /// A coordinator whose store holds `stored`. The seed must be another one at every start.
    ///
    /// # Panics
    /// When the settings are out of their ranges, or `expect` is 0.
    #[must_use]
    pub fn new(
        now: Time,
        settings: CoordinatorSettings,
        stored: Option<ReplicaMap>,
        seed: u64,
    ) -> Coordinator {
        assert!(
            settings.expect >= 1 && settings.settings.check(settings.ring).is_ok(),
            "settings are checked before"
        );
        let stored = stored.map(Arc::new);
        Coordinator {
            settings,
            detector: FailureDetector::new(now, BEAT_KEY.hash(&seed.to_be_bytes()).0.max(1)),
            requests: Requests::default(),
            upkeep: Upkeep::default(),
            published: stored.clone().map(Published::new),
            stored,
            storing: Storing::Nothing,
            given_up: BTreeSet::new(),
            is_recovering: false,
            not_before: now,
            last_tick: now,
            halted: None,
            actions: VecDeque::new(),
            counts: CoordinatorCounts::default(),
        }
    }

    /// A coordinator whose store was lost and is empty. It goes on from `map`, the newest that any node has; **all** nodes
    /// must have been asked. It raises the epoch, and each cfg, past all that may have been given out meanwhile.
    ///
    /// # Panics
    /// As [`Coordinator::new`].
    #[must_use]
    pub fn recover_from(now: Time, settings: CoordinatorSettings, map: ReplicaMap, seed: u64) -> Coordinator {
        let mut coordinator = Coordinator::new(now, settings, None, seed);
        coordinator.published = Some(Published::new(Arc::new(map)));
        coordinator.is_recovering = true;
        coordinator.consider_edit(now, false);
        coordinator
    }

    /// A message has arrived.
    pub fn on_message(&mut self, now: Time, message: ToCoordinator) {
        if self.halted.is_some() {
            return;
        }
        match message {
            ToCoordinator::Heartbeat(heartbeat) => self.on_heartbeat(now, heartbeat),
            ToCoordinator::Propose { from, partition, cfg, newcomer } => {
                self.on_request(now, Request { from, partition, cfg, wish: Wish::TakeIn(newcomer) });
            }
            ToCoordinator::HandOver { from, partition, cfg, target } => {
                self.on_request(now, Request { from, partition, cfg, wish: Wish::HandOver(target) });
            }
            ToCoordinator::FetchMap { from } => self.send_map_to(from),
        }
    }

    /// Time has passed. To be called every [`COORDINATOR_TICK`](crate::timings::COORDINATOR_TICK).
    pub fn on_tick(&mut self, now: Time) {
        if self.halted.is_some() {
            return;
        }
        if now.since(self.last_tick) > COORDINATOR_LATE {
            self.counts.pauses += 1;
            if !is_planted(Bug::RemoveAllAfterPause) {
                self.detector.forgive(now);
            }
        }
        self.last_tick = now;
        self.detector.on_tick(now);
        self.consider_edit(now, true);
    }

    /// The store has answered a [`CoordinatorAction::Store`].
    pub fn on_stored(&mut self, now: Time, outcome: StoreOutcome) {
        if self.halted.is_some() {
            return;
        }
        match std::mem::replace(&mut self.storing, Storing::Nothing) {
            Storing::Writing(map) => match outcome {
                StoreOutcome::Durable => {
                    self.stored = Some(Arc::clone(&map));
                    self.is_recovering = false;
                    self.given_up.clear();
                    self.publish(map);
                    self.consider_edit(now, false);
                }
                StoreOutcome::Failed => self.on_not_stored(now),
                StoreOutcome::Ambiguous => {
                    self.counts.stores_failed += 1;
                    self.storing = Storing::Reading(map);
                    self.act(CoordinatorAction::Read);
                }
            },
            // An answer to no question.
            other => self.storing = other,
        }
    }

    /// The store has answered a [`CoordinatorAction::Read`].
    #[expect(clippy::needless_pass_by_value, reason = "an event is given away, like the others")]
    pub fn on_read(&mut self, now: Time, stored: Option<ReplicaMap>) {
        if self.halted.is_some() {
            return;
        }
        match std::mem::replace(&mut self.storing, Storing::Nothing) {
            Storing::Reading(tried) if stored.as_ref() == Some(&*tried) => {
                self.not_before = now + EDIT_PAUSE;
                // It lies there, durable or not, until another does: also when writing it again fails.
                self.stored = Some(Arc::clone(&tried));
                self.storing = Storing::Confirming(tried);
            }
            Storing::Reading(_) if stored.as_ref() == self.stored.as_deref() => self.on_not_stored(now),
            Storing::Reading(_) => self.halt(Halted::StoreChanged),
            // An answer to no question.
            other => self.storing = other,
        }
    }

    fn on_not_stored(&mut self, now: Time) {
        self.counts.stores_failed += 1;
        self.given_up.clear();
        self.not_before = now + STORE_RETRY;
    }

    /// The next thing to do. Every other call may add some.
    pub fn poll_action(&mut self) -> Option<CoordinatorAction> {
        self.actions.pop_front()
    }

    /// The newest map that is out.
    #[must_use]
    pub fn map(&self) -> Option<&Arc<ReplicaMap>> {
        self.published.as_ref().map(|published| &published.map)
    }

    /// Why it has stopped, if it has.
    #[must_use]
    pub fn halted(&self) -> Option<&Halted> {
        self.halted.as_ref()
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> CoordinatorCounts {
        CoordinatorCounts { heartbeats_ignored: self.detector.ignored(), ..self.counts }
    }

    fn on_heartbeat(&mut self, now: Time, heartbeat: Heartbeat) {
        if let Some(why) = self.contradiction(&heartbeat) {
            self.halt(why);
            return;
        }
        let Heartbeat { incarnation, number: heard, epoch: its_epoch, .. } = heartbeat;
        let address = heartbeat.address.clone();
        let Some(number) = self.detector.on_heartbeat(now, heartbeat) else { return };
        let listed = self.map().and_then(|map| map.node_at(&address));
        let node = listed.filter(|node| node.incarnation == incarnation).map(|node| node.id);
        let epoch = self.epoch();
        if self.given_up.contains(&incarnation.0) {
            self.detector.withhold(incarnation, number);
        } else {
            let beat = Beat { incarnation, node, number, heard, epoch };
            let message = FromCoordinator::Beat(beat);
            self.act(CoordinatorAction::Send { address: address.clone(), incarnation, message });
        }
        if its_epoch < epoch
            && let Some(map) = self.map().map(Arc::clone)
        {
            self.act(CoordinatorAction::Send { address, incarnation, message: FromCoordinator::Map(map) });
        }
    }

    /// What in a heartbeat, however old, cannot be if this coordinator's maps are the only ones.
    fn contradiction(&self, heartbeat: &Heartbeat) -> Option<Halted> {
        let own = self.epoch();
        if heartbeat.epoch > own {
            return Some(Halted::HigherEpoch { heard: heartbeat.epoch, own });
        }
        let published = self.published.as_ref()?;
        let is_other = heartbeat.epoch == own && heartbeat.checksum != published.checksum;
        is_other.then_some(Halted::OtherChecksum { epoch: own })
    }

    fn halt(&mut self, why: Halted) {
        log::error!("the coordinator stops: {why}");
        self.halted = Some(why);
        self.actions.clear();
        self.storing = Storing::Nothing;
    }

    fn on_request(&mut self, now: Time, request: Request) {
        let Some(map) = self.map().map(Arc::clone) else { return };
        match self.requests.on_request(request, &map) {
            Reception::Kept => self.consider_edit(now, false),
            Reception::Answered => self.send_map_to(request.from),
            Reception::Ignored => {}
        }
    }

    /// Begins an edit, if there is something to edit and none is under way. `judges`: time has passed, and silence counts.
    fn consider_edit(&mut self, now: Time, judges: bool) {
        if now < self.not_before {
            return;
        }
        match &self.storing {
            Storing::Nothing => {}
            Storing::Confirming(map) => {
                let map = Arc::clone(map);
                self.store(now, map);
                return;
            }
            Storing::Writing(_) | Storing::Reading(_) => return,
        }
        if !judges && !self.is_recovering && self.requests.is_empty() {
            return;
        }
        let next = match self.map().map(Arc::clone) {
            None => Ok(self.make_first_map(now)),
            Some(base) if self.is_recovering => recovered_map(&base).map(Some),
            Some(base) => self.edit(now, judges, base),
        };
        match next {
            Ok(Some(map)) => self.store(now, Arc::new(map)),
            Ok(None) => {}
            Err(Exhausted) => self.halt(Halted::Exhausted),
        }
    }

    fn make_first_map(&self, now: Time) -> Option<ReplicaMap> {
        let heard = self.detector.heard(now);
        let is_enough = heard.len() >= self.settings.expect;
        is_enough.then(|| first_map(&self.settings, number_nodes(heard.into_iter().take(NODES_MAX))))
    }

    fn edit(
        &mut self,
        now: Time,
        judges: bool,
        base: Arc<ReplicaMap>,
    ) -> Result<Option<ReplicaMap>, Exhausted> {
        let mut edit = MapEdit::new(base);
        if judges {
            self.list_nodes(now, &mut edit);
        }
        let standings = self.detector.standings(edit.map(), now);
        self.requests.apply(&mut edit, &standings);
        if judges {
            let look = Look::new(now, edit.map(), &self.detector, &standings);
            self.upkeep.look(&look, &mut edit);
        }
        edit.finish()
    }

    /// Lists addresses that are heard and not listed, and starts of listed nodes that came after the listed one.
    fn list_nodes(&self, now: Time, edit: &mut MapEdit) {
        let mut heard = self.detector.heard(now);
        let mut again = Vec::new();
        for node in &edit.map().nodes {
            if let Some(incarnation) = heard.remove(node.address.as_str())
                && incarnation != node.incarnation
            {
                again.push((node.id, incarnation));
            }
        }
        again.into_iter().for_each(|(id, incarnation)| edit.list_again(id, incarnation));
        heard.into_iter().for_each(|(address, incarnation)| edit.list(address, incarnation));
    }

    fn store(&mut self, now: Time, map: Arc<ReplicaMap>) {
        self.not_before = now + EDIT_PAUSE;
        self.given_up = self.given_up_by(&map);
        self.storing = Storing::Writing(Arc::clone(&map));
        self.act(CoordinatorAction::Store { map: Arc::clone(&map) });
        if is_planted(Bug::PublishBeforeDurable) {
            self.publish(map);
        }
    }

    /// Starts of nodes whose partitions begin again without them.
    ///
    /// The schedule: a partition's only replica has been silent for long, and the cluster goes on empty after losses. While the
    /// map that says so is being stored the replica is heard again. A Beat to it now would be a lease, and still run when
    /// the map is out and another serves.
    fn given_up_by(&self, next: &ReplicaMap) -> BTreeSet<u64> {
        let Some(map) = self.map().filter(|map| map.settings.on_loss == OnLoss::Empty) else {
            return BTreeSet::new();
        };
        let pairs = map.partitions.iter().zip(&next.partitions);
        let given_up = pairs.filter(|(old, new)| old.in_sync().all(|member| member != new.primary));
        given_up.flat_map(|(old, _)| old.in_sync()).map(|member| member.incarnation.0).collect()
    }

    fn publish(&mut self, map: Arc<ReplicaMap>) {
        self.detector.on_listed(&map);
        self.requests.on_published(&map);
        self.upkeep.on_published(&map);
        self.counts.maps_published += 1;
        for node in &map.nodes {
            let (address, incarnation) = (node.address.clone(), node.incarnation);
            let message = FromCoordinator::Map(Arc::clone(&map));
            self.act(CoordinatorAction::Send { address, incarnation, message });
        }
        self.published = Some(Published::new(map));
    }

    fn send_map_to(&mut self, to: Member) {
        if let Some(map) = self.map().map(Arc::clone) {
            self.send(&map, to, FromCoordinator::Map(Arc::clone(&map)));
        }
    }

    pub(super) fn send(&mut self, map: &ReplicaMap, to: Member, message: FromCoordinator) {
        if let Some(node) = map.node(to.node) {
            let address = node.address.clone();
            self.act(CoordinatorAction::Send { address, incarnation: to.incarnation, message });
        }
    }

    fn act(&mut self, action: CoordinatorAction) {
        let is_message = matches!(action, CoordinatorAction::Send { .. });
        if is_message && self.actions.len() >= COORDINATOR_ACTIONS_MAX {
            self.counts.messages_dropped += 1;
            return;
        }
        self.actions.push_back(action);
    }

    fn epoch(&self) -> Epoch {
        self.map().map_or(Epoch(0), |map| map.epoch)
    }

    /// Checks what must hold between any two calls.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_invariants(&self) {
        self.detector.check_invariants();
        // The store's own actions, one at a time, come on top.
        assert!(self.actions.len() <= COORDINATOR_ACTIONS_MAX + 1);
        if self.halted.is_some() {
            return;
        }
        if let Some(map) = self.map() {
            assert_eq!(map.check_invariants(), Ok(()));
            self.requests.check_invariants(map);
            self.upkeep.check_invariants(map);
            let next = match &self.storing {
                Storing::Nothing => None,
                Storing::Writing(next) | Storing::Reading(next) | Storing::Confirming(next) => Some(next),
            };
            let follows =
                |next: &Arc<ReplicaMap>| next.epoch.0 > map.epoch.0 || is_planted(Bug::PublishBeforeDurable);
            assert!(next.is_none_or(follows), "invariant 2");
        }
    }
}
