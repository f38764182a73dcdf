//! Leases between nodes: a node's word to another that it will not serve what that one serves before the word ends.
//!
//! The holder asks with a numbered beacon and counts [`LEASE`] from the moment it asked; the granter answers, and counts [`GRACE`],
//! which is longer, from the moment it answered, before it may serve anything under a map that makes it a new primary. As the
//! answer is given after the question was sent, and clocks differ in rate by less than 25 %, the lease has ended by then.
//!
//! A grant carries the epoch of the granter's map. Under a map newer than the holder's, the granter may serve already what
//! the holder believes to be its own, so the grant counts only once the holder has that map.
//!
//! ```text
//!   holder   ask ───────────── lease ────────────▶│
//!               ╲    ╱
//!   granter      grant ───────────── grace ────────────────▶│ may serve
//! ```
//!
//! Invariants:
//! 1. A lease is held from a start of a node, never from the node.
//! 2. `valid_until` was granted under a map no newer than the holder's.

use std::collections::VecDeque;

use dht_protocol::ids::{Epoch, Member};

use super::limits::BEACONS_MAX;
use crate::clock::Time;
use crate::planted::{Bug, is_planted};
use crate::timings::{GRACE, LEASE};

/// The leases that a node holds, and when it last granted one.
#[derive(Debug, Default)]
pub struct Leases {
    /// Sorted by node; few, so that a list does.
    peers: Vec<Peer>,
    next_number: u64,
    last_granted: Option<Time>,
}

/// A peer whose leases are wanted.
#[derive(Debug)]
struct Peer {
    member: Member,
    /// Questions without an answer, oldest first, and when they were sent.
    asked: VecDeque<(u64, Time)>,
    valid_until: Time,
    /// A lease under a newer map than ours.
    newer: Option<(Epoch, Time)>,
    /// Since when it is wanted.
    since: Time,
}

impl Leases {
    /// Wants leases from exactly these members from now on. Those of others are dropped.
    pub fn want(&mut self, now: Time, mut members: Vec<Member>) {
        members.sort_unstable_by_key(|member| member.node);
        members.dedup();
        self.peers.retain(|peer| members.contains(&peer.member));
        for member in members {
            if self.peers.iter().all(|peer| peer.member != member) {
                let (asked, valid_until) = (VecDeque::new(), Time(0));
                self.peers.push(Peer { member, asked, valid_until, newer: None, since: now });
            }
        }
        self.peers.sort_unstable_by_key(|peer| peer.member.node);
    }

    /// The questions to ask now: of whom, and their number.
    pub fn ask(&mut self, now: Time) -> Vec<(Member, u64)> {
        let mut questions = Vec::with_capacity(self.peers.len());
        for peer in &mut self.peers {
            self.next_number += 1;
            if peer.asked.len() == BEACONS_MAX {
                peer.asked.pop_front();
            }
            peer.asked.push_back((self.next_number, now));
            questions.push((peer.member, self.next_number));
        }
        questions
    }

    /// `from` has answered question `number` under its map `theirs`; ours is `epoch`.
    pub fn on_grant(&mut self, now: Time, from: Member, number: u64, theirs: Epoch, epoch: Epoch) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.member == from) else { return };
        let Some(at) = peer.asked.iter().position(|(asked, _)| *asked == number) else { return };
        // A later answer says all that an earlier one does.
        let (_, asked_at) = peer.asked.drain(..=at).next_back().expect("it was found there");
        let counts_from = if is_planted(Bug::LeaseFromAnswer) { now } else { asked_at };
        let until = counts_from + LEASE;
        if theirs <= epoch || is_planted(Bug::LeaseUnderNewerMap) {
            peer.valid_until = peer.valid_until.max(until);
        } else {
            peer.newer = Some((theirs, until));
        }
    }

    /// The map is now that of `epoch`.
    pub fn on_map(&mut self, epoch: Epoch) {
        for peer in &mut self.peers {
            if let Some((theirs, until)) = peer.newer
                && theirs <= epoch
            {
                peer.valid_until = peer.valid_until.max(until);
                peer.newer = None;
            }
        }
    }

    /// Whether `member`'s lease is held at `now`.
    #[must_use]
    pub fn holds(&self, now: Time, member: Member) -> bool {
        now < self.end(member)
    }

    /// When `member`'s lease ends; past: none is held.
    #[must_use]
    pub fn end(&self, member: Member) -> Time {
        let held = self.peers.iter().find(|peer| peer.member == member);
        let end = held.map_or(Time(0), |peer| peer.valid_until);
        if is_planted(Bug::ReadAfterLease) { Time(u64::MAX) } else { end }
    }

    /// Since when `member` has owed a lease; `None`: it does not.
    #[must_use]
    pub fn owed_since(&self, now: Time, member: Member) -> Option<Time> {
        let peer = self.peers.iter().find(|peer| peer.member == member)?;
        (now >= peer.valid_until).then(|| peer.valid_until.max(peer.since))
    }

    /// A lease is granted.
    pub fn note_granted(&mut self, now: Time) {
        self.last_granted = Some(now);
    }

    /// When who becomes primary at this moment may serve, for all that it has granted.
    #[must_use]
    pub fn end_of_grace(&self) -> Time {
        match self.last_granted {
            Some(at) if !is_planted(Bug::SkipGrace) => at + GRACE,
            _ => Time(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dht_protocol::ids::{Incarnation, NodeId};

    use super::*;

    const START: Time = Time(1_000_000_000);

    fn member(node: u32, incarnation: u64) -> Member {
        Member { node: NodeId(node), incarnation: Incarnation(incarnation) }
    }

    fn after(ms: u64) -> Time {
        START + Duration::from_millis(ms)
    }

    #[test]
    fn a_lease_counts_from_the_question() {
        let mut leases = Leases::default();
        let peer = member(2, 7);
        leases.want(START, vec![peer]);
        assert_eq!(leases.owed_since(after(5), peer), Some(START));
        let asked = leases.ask(START);
        assert!(!leases.holds(after(100), peer));
        leases.on_grant(after(300), peer, asked[0].1, Epoch(1), Epoch(1));
        assert!(leases.holds(after(399), peer));
        assert_eq!(leases.owed_since(after(399), peer), None);
        assert!(!leases.holds(after(400), peer));
        assert_eq!(leases.owed_since(after(400), peer), Some(after(400)));
    }

    #[test]
    fn a_grant_under_a_newer_map_counts_once_that_map_is_here() {
        let mut leases = Leases::default();
        let peer = member(2, 7);
        leases.want(START, vec![peer]);
        let asked = leases.ask(START);
        leases.on_grant(after(1), peer, asked[0].1, Epoch(5), Epoch(4));
        assert!(!leases.holds(after(2), peer));
        leases.on_map(Epoch(5));
        assert!(leases.holds(after(3), peer));
    }

    #[test]
    fn answers_of_other_starts_and_to_other_questions_count_for_nothing() {
        let mut leases = Leases::default();
        let peer = member(2, 7);
        leases.want(START, vec![peer]);
        let asked = leases.ask(START);
        leases.on_grant(after(1), member(2, 8), asked[0].1, Epoch(1), Epoch(1));
        leases.on_grant(after(1), peer, asked[0].1 + 1, Epoch(1), Epoch(1));
        assert!(!leases.holds(after(2), peer) && !leases.holds(after(2), member(2, 8)));
        leases.on_grant(after(1), peer, asked[0].1, Epoch(1), Epoch(1));
        leases.want(after(2), vec![member(2, 8)]);
        assert!(!leases.holds(after(3), member(2, 8)) && !leases.holds(after(3), peer));
    }

    #[test]
    fn an_answer_that_comes_twice_or_late_prolongs_nothing() {
        let mut leases = Leases::default();
        let peer = member(2, 7);
        leases.want(START, vec![peer]);
        let first = leases.ask(START)[0].1;
        let second = leases.ask(after(100))[0].1;
        leases.on_grant(after(110), peer, second, Epoch(1), Epoch(1));
        leases.on_grant(after(450), peer, first, Epoch(1), Epoch(1));
        leases.on_grant(after(450), peer, second, Epoch(1), Epoch(1));
        assert!(leases.holds(after(499), peer) && !leases.holds(after(500), peer));
    }

    #[test]
    fn grace_is_counted_from_the_grant() {
        let mut leases = Leases::default();
        assert_eq!(leases.end_of_grace(), Time(0));
        leases.note_granted(after(50));
        assert_eq!(leases.end_of_grace(), after(550));
    }
}
