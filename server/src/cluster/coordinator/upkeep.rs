//! What the coordinator does to the map by itself, looking at every partition once a tick: it strikes off who is silent, makes
//! others primary, has missing replicas filled, and gives lost partitions up where it was told to.
//!
//! All of it is judged by heartbeats alone, and none of it has to be right: a node that is well may be struck off. What has to
//! hold is that a replica leaves the in-sync set only by an edit, and that the in-sync set is never emptied.

use std::collections::BTreeMap;
use std::time::Duration;

use dht_protocol::ids::{Cfg, Epoch, Incarnation, Member, NodeId, PartitionId};
use dht_protocol::placement::replica_map::{OnLoss, ReplicaMap, Settings};

use crate::clock::Time;
use crate::planted::{Bug, is_planted};
use crate::timings::DETECTION;

use super::failure_detector::{FORGETTABLE, FailureDetector, Standings};
use super::map_edit::{Former, MapEdit};

/// What outlives a look at the partitions.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Joining replicas that were struck off: which start, and when. At most one a replica of the map.
    struck_off: BTreeMap<(PartitionId, NodeId), (Incarnation, Time)>,
    /// Partitions that somebody stated to be lost, and the configuration that the statement was about.
    losses: BTreeMap<PartitionId, Cfg>,
}

/// One look at all partitions.
pub(super) struct Look<'a> {
    now: Time,
    epoch: Epoch,
    settings: Settings,
    detector: &'a FailureDetector,
    standings: &'a Standings,
}

impl<'a> Look<'a> {
    /// A look at `map`, which is the newest that is out, but for newly listed nodes.
    pub(super) fn new(
        now: Time,
        map: &ReplicaMap,
        detector: &'a FailureDetector,
        standings: &'a Standings,
    ) -> Look<'a> {
        Look { now, epoch: map.epoch, settings: map.settings, detector, standings }
    }

    fn refill_delay(&self) -> Duration {
        Duration::from_millis(u64::from(self.settings.refill_delay_ms))
    }
}

impl Upkeep {
    /// Somebody states that all replicas in sync of a partition are dead.
    pub(super) fn state_loss(&mut self, partition: PartitionId, cfg: Cfg) {
        self.losses.insert(partition, cfg);
    }

    /// A map is out: what was remembered for configurations that are past is given up.
    pub(super) fn on_published(&mut self, map: &ReplicaMap) {
        self.losses.retain(|partition, cfg| map.partition(*partition).is_some_and(|now| now.cfg == *cfg));
        self.struck_off.retain(|(partition, node), (incarnation, _)| {
            let member = Member { node: *node, incarnation: *incarnation };
            map.partition(*partition).is_some_and(|now| now.joining.contains(&member))
        });
    }

    /// Does to every partition what there is to do, unless a request has changed it in this very edit. (A newcomer that is
    /// taken in, and follows its silent primary, does so by two maps: in one step it would look like one that was being
    /// filled when all was lost, and begins empty.)
    pub(super) fn look(&mut self, look: &Look<'_>, edit: &mut MapEdit) {
        for partition in edit.map().ring.partitions() {
            if edit.has_changed(partition) || self.give_up_lost(look, edit, partition) {
                continue;
            }
            self.strike_off_silent(look, edit, partition);
            self.heed_accusations(look, edit, partition);
            self.see_to_joining(look, edit, partition);
            fill_up(look, edit, partition);
        }
    }

    /// A replica in sync that is silent is struck off, if another one has been heard within two beats; a primary among them is
    /// followed by one that was.
    ///
    /// The schedules: *all three are cut off from the coordinator for a second.* None may be struck off, or whoever is left is
    /// an accident, and the last one is nobody. *Then one is heard again*: it has every acknowledged write, as all in sync
    /// have, so it becomes primary, and the others can be struck off. *The primary dies, and one that is being filled is the
    /// first to be heard*: it has not every write, and does not become primary.
    fn strike_off_silent(&mut self, look: &Look<'_>, edit: &mut MapEdit, partition: PartitionId) {
        let configuration = edit.at(partition);
        let silent: Vec<Member> =
            configuration.in_sync().filter(|&member| look.standings.is_silent(member)).collect();
        if silent.is_empty() {
            return;
        }
        let just_now = |member: &Member| look.standings.just_now(*member);
        let mut heard: Vec<Member> = configuration.in_sync().filter(just_now).collect();
        let is_last = heard.is_empty();
        if is_last && !is_planted(Bug::StrikeOffLast) {
            return;
        }
        if is_last || is_planted(Bug::PromoteJoining) {
            heard.extend(configuration.joining.iter().copied().filter(just_now));
        }
        self.strike_off(look.now, edit, partition, &silent, &heard);
    }

    /// Strikes off `silent`; where the primary is among them, one of `heirs` follows it. Where there is none, nothing happens.
    fn strike_off(
        &mut self,
        now: Time,
        edit: &mut MapEdit,
        partition: PartitionId,
        silent: &[Member],
        heirs: &[Member],
    ) {
        let old = edit.at(partition).primary;
        if silent.contains(&old) {
            let Some(heir) = edit.with_fewest_primaries(partition, heirs) else { return };
            edit.make_primary(partition, heir, Former::StruckOff);
            log::info!("partition {partition}: {heir} is primary after {old}, which is struck off");
        }
        for &member in silent {
            if member != old {
                edit.strike_off(partition, member);
                log::info!("partition {partition}: {member} is struck off");
            }
            self.note_struck_off(now, partition, member);
        }
    }

    fn note_struck_off(&mut self, now: Time, partition: PartitionId, member: Member) {
        let entry = self.struck_off.entry((partition, member.node)).or_insert((member.incarnation, now));
        if entry.0 != member.incarnation {
            *entry = (member.incarnation, now);
        }
    }

    /// A primary that is heard waits in vain for backups that are heard as well. They are struck off, if enough replicas are
    /// left; else the primary is, and one of them follows it.
    ///
    /// The schedule: the primary's network card receives nothing from its backups, or sends nothing to them, while everybody
    /// hears the coordinator. Nothing commits, nobody is silent, and without this rule it stays so. Were the primary always
    /// believed, one sick primary would rid itself of all its backups, and what is written next is on the sick one alone.
    ///
    /// Only what was said under the newest map counts: an accusation on its way may be of a replica that has since been struck
    /// off, filled, and taken in again.
    fn heed_accusations(&mut self, look: &Look<'_>, edit: &mut MapEdit, partition: PartitionId) {
        let configuration = edit.at(partition);
        let primary = configuration.primary;
        if edit.has_changed(partition) || !look.standings.just_now(primary) {
            return;
        }
        let accusations = look.detector.accused_by(primary.incarnation, look.epoch);
        if accusations.is_empty() {
            return;
        }
        let is_accused = |member: &Member| accusations.contains(member) && look.standings.just_now(*member);
        let accused: Vec<Member> = configuration.backups.iter().copied().filter(is_accused).collect();
        if accused.is_empty() {
            return;
        }
        let left = configuration.in_sync().count() - accused.len();
        if left >= usize::from(look.settings.min_in_sync) {
            self.strike_off(look.now, edit, partition, &accused, &[]);
        } else {
            self.strike_off(look.now, edit, partition, &[primary], &accused);
        }
    }

    /// Joining replicas that lead to nothing make room for others.
    ///
    /// * Another start of the node is listed: that one takes its place, at once. The earlier one is gone with all it had.
    /// * It was struck off, a refill delay ago, and there is a node that could take its place: it does.
    /// * It has been silent for the detection and the refill delay, and if it was struck off that is a refill delay ago: it is
    ///   taken off. (Where all replicas were silent for long, and one is heard again, the others are struck off only then, and
    ///   have what may be caught up from the log in a moment.)
    ///
    /// One that is heard is left alone however long its filling takes, unless it was struck off and there is a node to spare:
    /// taking it off would only throw away what it has.
    fn see_to_joining(&mut self, look: &Look<'_>, edit: &mut MapEdit, partition: PartitionId) {
        for member in edit.at(partition).joining.clone() {
            let Some(standing) = look.standings.of(member) else {
                edit.take_off(partition, member);
                let listed = look.standings.listed(member.node).filter(|standing| standing.live);
                if let Some(standing) = listed {
                    edit.put_on(partition, standing.member);
                }
                continue;
            };
            let note = self.struck_off.get(&(partition, member.node));
            let struck_off = note.filter(|(incarnation, _)| *incarnation == member.incarnation);
            let has_waited =
                struck_off.is_none_or(|(_, since)| look.now.since(*since) >= look.refill_delay());
            let is_away = standing.silent_for >= DETECTION + look.refill_delay();
            if !has_waited {
                continue;
            }
            if struck_off.is_some()
                && let Some(spare) = find_spare(look, edit, partition)
            {
                edit.take_off(partition, member);
                edit.put_on(partition, spare);
            } else if is_away {
                edit.take_off(partition, member);
            }
        }
    }

    /// A partition whose replicas in sync are all dead begins again, empty: if somebody has stated that they are, or if the
    /// cluster was told to go on so. Returns whether there is nothing else to do for it.
    ///
    /// The schedule that the wait closes: the primary of a partition without backups is cut off from the coordinator, and not
    /// from its clients. It serves for as long as the lease lasts that a Beat is, counted from when it sent the heartbeat that
    /// the Beat answers. The partition must not begin elsewhere before that: not until all its replicas in sync have been
    /// told nothing for the detection and the grace. Who told them something before this process began is not known, so its
    /// beginning counts too. (While such an edit is being stored they are told nothing either: `Coordinator::is_given_up`.)
    fn give_up_lost(&mut self, look: &Look<'_>, edit: &mut MapEdit, partition: PartitionId) -> bool {
        let configuration = edit.at(partition);
        let is_dead = |member: Member| !look.detector.may_be_alive(member.incarnation, look.now);
        if !configuration.in_sync().all(|member| is_dead(member) && look.standings.is_silent(member)) {
            return false;
        }
        let is_stated = self.losses.get(&partition) == Some(&configuration.cfg);
        let is_long_ago =
            |member: Member| look.now.since(look.detector.last_told(member.incarnation)) >= FORGETTABLE;
        if !is_stated && (look.settings.on_loss == OnLoss::Wait || !configuration.in_sync().all(is_long_ago))
        {
            return false;
        }
        let live = |member: &Member| look.standings.of(*member).is_some_and(|standing| standing.live);
        let joining: Vec<Member> = configuration.joining.iter().copied().filter(live).collect();
        let all: Vec<Member> =
            look.standings.iter().filter(|node| node.live).map(|node| node.member).collect();
        let heirs = if joining.is_empty() { all } else { joining };
        let Some(heir) = edit.with_fewest_replicas(partition, &heirs) else { return false };
        log::warn!(
            "partition {partition} has lost all its replicas in sync and begins again, empty, on {heir}"
        );
        edit.begin_empty(partition, heir);
        true
    }

    pub(super) fn check_invariants(&self, map: &ReplicaMap) {
        assert!(self.losses.len() <= map.partitions.len());
        assert!(self.losses.keys().all(|partition| map.partition(*partition).is_some()));
    }
}

/// As long as a partition has fewer replicas, joining ones too, than it should, nodes that have none of it get one to be
/// filled: those with the fewest replicas first.
fn fill_up(look: &Look<'_>, edit: &mut MapEdit, partition: PartitionId) {
    let wanted = usize::from(look.settings.replicas);
    while edit.at(partition).members().count() < wanted {
        let Some(spare) = find_spare(look, edit, partition) else { return };
        edit.put_on(partition, spare);
    }
}

/// A live node without a replica of the partition.
fn find_spare(look: &Look<'_>, edit: &mut MapEdit, partition: PartitionId) -> Option<Member> {
    let configuration = edit.at(partition);
    let has_none = |member: &Member| configuration.members().all(|other| other.node != member.node);
    let live = look.standings.iter().filter(|node| node.live).map(|node| node.member);
    let candidates: Vec<Member> = live.filter(has_none).collect();
    edit.with_fewest_replicas(partition, &candidates)
}
