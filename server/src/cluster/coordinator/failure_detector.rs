//! Which starts of which nodes the coordinator hears. It judges nobody: it says since when each has been silent.
//!
//! A heartbeat **counts** when the node's workers have gone on since the last one that counted, and when it echoes a [`Beat`]
//! that this coordinator sent to this very start of the node within the last [`DETECTION`].
//!
//! * *No progress is no heartbeat*: a node whose workers are stuck still has a thread that sends heartbeats.
//! * *No echo is no heartbeat*: a node that can send and hears nothing would stay primary for ever, deaf to the maps that
//!   say otherwise.
//! * *An echo of this coordinator, to this start, of late*: heartbeats that wait in the network while their sender dies, while
//!   the coordinator is paused, or while another takes its place, cannot make the dead heard.
//!
//! Invariants:
//! 1. Contacts are at most [`CONTACTS_MAX`], each remembers at most [`BEATS_REMEMBERED_MAX`] Beats, the newest.
//! 2. Beat numbers rise by one, from a random place, so that none of an earlier process is taken for one of this.
//! 3. A contact is given up only when its last Beat is older than [`FORGETTABLE`]: what is not known here was told nothing
//!    that still binds.
//! 4. Of the contacts of one address, all that came before the one that was listed last are `replaced`, for good.
//!
//! [`Beat`]: dht_protocol::peer::Beat

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dht_protocol::ids::{Epoch, Incarnation, Member, NodeId};
use dht_protocol::peer::Heartbeat;
use dht_protocol::placement::replica_map::{ListedNode, ReplicaMap};

use crate::clock::Time;
use crate::limits::{BEATS_REMEMBERED_MAX, CONTACT_KEPT_S, CONTACTS_MAX};
use crate::planted::{Bug, is_planted};
use crate::timings::{DETECTION, GRACE, TWO_BEATS};

/// A Beat that is older than this binds nobody: neither is its echo good, nor does a lease go by it.
pub(super) const FORGETTABLE: Duration = DETECTION.saturating_add(GRACE);
const CONTACT_KEPT: Duration = Duration::from_secs(CONTACT_KEPT_S);

const _: () = assert!(CONTACT_KEPT.as_millis() > FORGETTABLE.as_millis());

/// The account of who was heard.
#[derive(Debug)]
pub(super) struct FailureDetector {
    /// By incarnation.
    contacts: BTreeMap<u64, Contact>,
    /// When this process began.
    started: Time,
    /// Everybody counts as heard at that time: this process began then, or woke from a pause.
    judged_since: Time,
    /// Number of the next Beat.
    next_beat: u64,
    /// Place of the next contact in the order of first contacts.
    next_place: u64,
    /// Heartbeats that were ignored: old ones, second copies, and those of strangers when there is no room.
    ignored: u64,
}

/// One start of a node.
#[derive(Debug)]
struct Contact {
    address: String,
    /// In the order of first contacts.
    place: u64,
    /// Another start of its node was listed after it; it never will be again.
    replaced: bool,
    /// Number of its newest heartbeat.
    number: u64,
    /// When that arrived.
    arrived: Time,
    /// When its last heartbeat that counts arrived.
    heard: Option<Time>,
    /// Turns of its slowest worker, by the last heartbeat that counts.
    turns: Option<u64>,
    /// Epoch of its map, by the same.
    epoch: Epoch,
    /// Whom it accuses, by the same.
    accused: Vec<Member>,
    /// Beats sent to it, oldest first.
    beats: VecDeque<(u64, Time)>,
}

/// What is known of the start of a node that the map lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// The start.
    pub member: Member,
    /// A heartbeat of it has counted within the last two beats. Never by grace of a start or a pause: who vouches for others
    /// must have been heard indeed.
    pub just_now: bool,
    /// A heartbeat of it has counted within [`DETECTION`].
    pub live: bool,
    /// How long nothing has been heard, a start or a pause of the coordinator counting as hearing.
    pub silent_for: Duration,
}

/// All of them, in the order of the map's nodes.
#[derive(Debug)]
pub(super) struct Standings(Vec<Standing>);

impl FailureDetector {
    pub(super) fn new(now: Time, first_beat: u64) -> FailureDetector {
        FailureDetector {
            contacts: BTreeMap::new(),
            started: now,
            judged_since: now,
            next_beat: first_beat,
            next_place: 0,
            ignored: 0,
        }
    }

    /// Everybody counts as heard just now.
    ///
    /// The schedule: the coordinator is paused for a minute. When it wakes, all nodes have been silent for a minute; the first
    /// that is heard again would vouch for the removal of all others, which are as well as before.
    pub(super) fn forgive(&mut self, now: Time) {
        self.judged_since = now;
    }

    /// Takes in a heartbeat. Returns the number of the Beat to answer it with, which the caller sends at once or gives back to
    /// [`FailureDetector::withhold`]; `None`: the heartbeat is ignored.
    pub(super) fn on_heartbeat(&mut self, now: Time, heartbeat: Heartbeat) -> Option<u64> {
        let key = heartbeat.incarnation.0;
        if !self.contacts.contains_key(&key) && !self.make_room(now) {
            self.ignored += 1;
            return None;
        }
        let next_place = &mut self.next_place;
        let contact = self.contacts.entry(key).or_insert_with(|| {
            *next_place += 1;
            Contact::new(now, heartbeat.address.clone(), *next_place)
        });
        // A later one has been answered, and says more.
        if heartbeat.number <= contact.number || heartbeat.address != contact.address {
            self.ignored += 1;
            return None;
        }
        contact.on_heartbeat(now, heartbeat);
        let beat = self.next_beat;
        self.next_beat = self.next_beat.wrapping_add(1).max(1);
        if contact.beats.len() == BEATS_REMEMBERED_MAX {
            contact.beats.pop_front();
        }
        contact.beats.push_back((beat, now));
        Some(beat)
    }

    /// The Beat was not sent after all.
    pub(super) fn withhold(&mut self, incarnation: Incarnation, beat: u64) {
        if let Some(contact) = self.contacts.get_mut(&incarnation.0) {
            contact.beats.retain(|(number, _)| *number != beat);
        }
    }

    fn make_room(&mut self, now: Time) -> bool {
        if self.contacts.len() < CONTACTS_MAX {
            return true;
        }
        let oldest = self.contacts.iter().min_by_key(|(_, contact)| contact.arrived);
        let Some((&key, contact)) = oldest else { return true };
        let is_forgettable = now.since(contact.arrived) > FORGETTABLE;
        if is_forgettable {
            self.contacts.remove(&key);
        }
        is_forgettable
    }

    /// Gives up contacts that have sent nothing for long.
    pub(super) fn on_tick(&mut self, now: Time) {
        self.contacts.retain(|_, contact| now.since(contact.arrived) <= CONTACT_KEPT);
    }

    /// Starts of nodes that are heard: of each address the one that came last. By address.
    pub(super) fn heard(&self, now: Time) -> BTreeMap<&str, Incarnation> {
        let mut newest: BTreeMap<&str, (u64, Incarnation)> = BTreeMap::new();
        for (&key, contact) in &self.contacts {
            if contact.replaced || !is_within(contact.heard, now, DETECTION) {
                continue;
            }
            let entry = (contact.place, Incarnation(key));
            newest
                .entry(&contact.address)
                .and_modify(|known| {
                    if entry.0 > known.0 {
                        *known = entry;
                    }
                })
                .or_insert(entry);
        }
        newest.into_iter().map(|(address, (_, incarnation))| (address, incarnation)).collect()
    }

    /// A map is out that lists these starts: others of their addresses that came before have been replaced.
    ///
    /// The schedule: a node restarts, and is listed under its new incarnation. A heartbeat of the old one, sent as it died and
    /// delivered now, still echoes a fresh Beat. It must not be listed again.
    pub(super) fn on_listed(&mut self, map: &ReplicaMap) {
        let place = |node: &ListedNode| self.contacts.get(&node.incarnation.0).map(|contact| contact.place);
        let listed: BTreeMap<&str, u64> =
            map.nodes.iter().filter_map(|node| Some((node.address.as_str(), place(node)?))).collect();
        for contact in self.contacts.values_mut() {
            contact.replaced |=
                listed.get(contact.address.as_str()).is_some_and(|&place| contact.place < place);
        }
    }

    /// What is known of each node that `map` lists.
    pub(super) fn standings(&self, map: &ReplicaMap, now: Time) -> Standings {
        let standing = |id: NodeId, incarnation: Incarnation, address: &str| {
            let contact = self.contacts.get(&incarnation.0).filter(|contact| contact.address == address);
            let heard = contact.filter(|contact| !contact.replaced).and_then(|contact| contact.heard);
            Standing {
                member: Member { node: id, incarnation },
                just_now: is_within(heard, now, TWO_BEATS),
                live: is_within(heard, now, DETECTION),
                silent_for: now.since(heard.map_or(self.judged_since, |heard| heard.max(self.judged_since))),
            }
        };
        Standings(map.nodes.iter().map(|node| standing(node.id, node.incarnation, &node.address)).collect())
    }

    /// Whether anything has been heard of that start within [`DETECTION`], listed or not, a start or a pause of the
    /// coordinator counting as hearing.
    pub(super) fn may_be_alive(&self, incarnation: Incarnation, now: Time) -> bool {
        let heard = self.contacts.get(&incarnation.0).and_then(|contact| contact.heard);
        is_within(heard.max(Some(self.judged_since)), now, DETECTION)
    }

    /// When that start was last told something that it may go on by: its last Beat, or before this process began, or before
    /// it woke.
    pub(super) fn last_told(&self, incarnation: Incarnation) -> Time {
        let contact = self.contacts.get(&incarnation.0);
        let beat = contact.and_then(|contact| contact.beats.back()).map(|&(_, sent)| sent);
        beat.unwrap_or(self.started).max(self.judged_since)
    }

    /// Whom that start accuses, if the last heartbeat of it that counts was sent under the map of that epoch.
    pub(super) fn accused_by(&self, incarnation: Incarnation, epoch: Epoch) -> &[Member] {
        let contact = self.contacts.get(&incarnation.0).filter(|contact| contact.epoch == epoch);
        contact.map_or(&[], |contact| &contact.accused)
    }

    /// Heartbeats ignored so far.
    pub(super) fn ignored(&self) -> u64 {
        self.ignored
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.contacts.len() <= CONTACTS_MAX, "invariant 1");
        for contact in self.contacts.values() {
            assert!(contact.beats.len() <= BEATS_REMEMBERED_MAX, "invariant 1");
            assert!(contact.place <= self.next_place && contact.heard <= Some(contact.arrived));
        }
    }
}

impl Contact {
    fn new(now: Time, address: String, place: u64) -> Contact {
        Contact {
            address,
            place,
            replaced: false,
            number: 0,
            arrived: now,
            heard: None,
            turns: None,
            epoch: Epoch(0),
            accused: Vec::new(),
            beats: VecDeque::new(),
        }
    }

    fn on_heartbeat(&mut self, now: Time, heartbeat: Heartbeat) {
        self.number = heartbeat.number;
        self.arrived = now;
        let goes_on = self.turns.is_none_or(|turns| heartbeat.turns > turns);
        let echoes = is_planted(Bug::HeartbeatWithoutEcho)
            || self.beats.iter().any(|&(beat, sent)| beat == heartbeat.echo && now.since(sent) <= DETECTION);
        if goes_on && echoes {
            self.heard = Some(now);
            self.turns = Some(heartbeat.turns);
            self.epoch = heartbeat.epoch;
            self.accused = heartbeat.accused;
        }
    }
}

impl Standings {
    /// What is known of a member; `None`: its node is listed under another incarnation, or not at all.
    pub(super) fn of(&self, member: Member) -> Option<&Standing> {
        let at = self.0.binary_search_by_key(&member.node, |standing| standing.member.node).ok()?;
        Some(&self.0[at]).filter(|standing| standing.member == member)
    }

    /// The start of a node that is listed.
    pub(super) fn listed(&self, node: NodeId) -> Option<&Standing> {
        self.0.binary_search_by_key(&node, |standing| standing.member.node).ok().map(|at| &self.0[at])
    }

    /// Whether a member has been heard within two beats.
    pub(super) fn just_now(&self, member: Member) -> bool {
        self.of(member).is_some_and(|standing| standing.just_now)
    }

    /// Whether a member has been silent for [`DETECTION`]. One whose node is listed under another incarnation has: a process
    /// that was replaced is gone.
    pub(super) fn is_silent(&self, member: Member) -> bool {
        self.of(member).is_none_or(|standing| standing.silent_for >= DETECTION)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Standing> {
        self.0.iter()
    }
}

fn is_within(heard: Option<Time>, now: Time, span: Duration) -> bool {
    heard.is_some_and(|heard| now.since(heard) <= span)
}
