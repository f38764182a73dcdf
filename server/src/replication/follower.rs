//! What a primary knows of a replica that counts for commit: a backup, or a newcomer that has all there is.
//!
//! Invariants:
//! 1. Only acknowledgements of the present list count, and only from a follower that is ready for it.

use dht_protocol::ids::{Cfg, Member, PartitionId, Seq};
use dht_protocol::peer::{ListTag, LogEntry, PeerBody};

use super::context::{Context, at};
use super::limits::{MESSAGE_BYTES_MAX, MESSAGE_ENTRIES_MAX};
use super::log::seq_of;
use super::resend::Resend;
use crate::clock::Time;

/// A replica that counts for commit.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) member: Member,
    /// `Some`: a newcomer, not in sync by the map.
    pub(super) newcomer: Option<Candidacy>,
    /// Last entry of the present list that it has, without a gap; `None`: it has not got the list yet.
    acked: Option<Seq>,
    /// Last entry sent.
    sent: Seq,
    resend: Resend,
    /// The commit point that went out last with this list; `None`: nothing of it did.
    told: Option<Seq>,
    /// When that went out, while nothing has been heard of the follower since: it may be lost, and no entry may follow.
    unheard_since: Option<Time>,
    /// Since when it has owed an acknowledgement.
    pub(super) owes_since: Option<Time>,
}

/// How far a newcomer is on its way into the set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Candidacy {
    /// Whether the last part of its copy has arrived.
    pub(super) is_filled: bool,
    /// When its addition was last proposed under the present configuration.
    pub(super) proposed_at: Option<Time>,
}

impl Follower {
    pub(super) fn new(now: Time, member: Member, newcomer: Option<Candidacy>) -> Follower {
        Follower {
            member,
            newcomer,
            acked: None,
            sent: Seq::ZERO,
            resend: Resend::new(now),
            told: None,
            unheard_since: None,
            owes_since: None,
        }
    }

    /// Whether entries may be sent to it.
    fn is_ready(&self) -> bool {
        self.newcomer.is_none_or(|candidacy| candidacy.is_filled)
    }

    /// Whether its addition has been proposed, so that it counts until the map has moved on.
    pub(super) fn is_proposed(&self) -> bool {
        self.newcomer.is_some_and(|candidacy| candidacy.proposed_at.is_some())
    }

    /// A new list: nothing of it has been sent.
    pub(super) fn on_new_list(&mut self, now: Time, list: ListTag) {
        self.acked = None;
        self.sent = Seq(list.base.0 - 1);
        (self.told, self.owes_since) = (None, Some(now));
        self.resend = Resend::new(now);
    }

    /// It has the list up to `upto`.
    pub(super) fn on_ack(&mut self, now: Time, upto: Seq) {
        self.unheard_since = None;
        if self.is_ready() && self.acked.is_none_or(|acked| upto > acked) {
            self.acked = Some(upto);
            self.sent = self.sent.max(upto);
            self.resend = Resend::new(now);
            self.owes_since = Some(now);
        }
    }

    /// Up to which entry it has the list; `None`: it has not got it.
    pub(super) fn acked(&self) -> Option<Seq> {
        self.acked
    }

    /// Whether it has the list up to `last`.
    pub(super) fn has_all(&self, last: Seq) -> bool {
        self.acked.is_some_and(|acked| acked >= last)
    }

    /// Whether it may not have heard the present commit point.
    pub(super) fn lacks_commit(&self, commit: Seq) -> bool {
        self.told.is_none_or(|told| told < commit) || self.unheard_since.is_some()
    }

    /// Sends what it has not been sent, from `prepared`, whose first entry is the one behind `commit`; and again what it has not
    /// acknowledged in time. The commit point alone goes out where `tell_commit`.
    pub(super) fn send<'e>(
        &mut self,
        context: &mut Context<'_>,
        (partition, cfg): (PartitionId, Cfg),
        list: ListTag,
        commit: Seq,
        prepared: &(impl ExactSizeIterator<Item = &'e LogEntry> + Clone),
        tell_commit: bool,
    ) {
        if !self.is_ready() {
            return;
        }
        let last = Seq(commit.0 + prepared.len() as u64);
        if self.has_all(last) {
            self.owes_since = None;
        } else {
            self.owes_since.get_or_insert(context.now);
        }
        let is_under_way = self.acked.map_or(self.told.is_some(), |acked| self.sent > acked);
        let is_late = is_under_way && !self.has_all(last) && self.resend.is_due(context.now);
        let is_untold = self.told.is_none_or(|told| told < commit);
        let is_unheard = self.unheard_since.is_some_and(|since| self.resend.is_over(context.now, since));
        let mut is_due = self.told.is_none() || (tell_commit && is_untold) || is_unheard || is_late;
        if is_late {
            self.sent = self.acked.unwrap_or(Seq(list.base.0 - 1));
        }
        if is_late || is_unheard {
            let skipped = self.sent.0.saturating_sub(commit.0) as usize;
            let bytes = prepared.clone().skip(skipped).map(|entry| entry.effect.bytes()).sum();
            self.resend.on_resent(context.now, bytes);
        }
        // What is committed is gone from the list; a follower has acknowledged it.
        self.sent = self.sent.max(commit);
        while self.sent < last || is_due {
            let skipped = (self.sent.0 - commit.0) as usize;
            let entries = cut(prepared.clone().skip(skipped));
            self.sent = entries.last().map_or(self.sent, seq_of);
            if !is_under_way {
                self.resend.on_sent(context.now);
            }
            self.told = Some(commit);
            self.unheard_since = Some(context.now);
            context.send(self.member, PeerBody::Prepare { at: at(partition, cfg), list, commit, entries });
            is_due = false;
        }
    }
}

/// As many entries as one message takes, one at least where there is one.
fn cut<'e>(entries: impl Iterator<Item = &'e LogEntry>) -> Vec<LogEntry> {
    let (mut taken, mut bytes): (Vec<LogEntry>, usize) = (Vec::new(), 0);
    for entry in entries.take(MESSAGE_ENTRIES_MAX) {
        bytes += entry.effect.bytes();
        if bytes > MESSAGE_BYTES_MAX && !taken.is_empty() {
            break;
        }
        taken.push(entry.clone());
    }
    taken
}
