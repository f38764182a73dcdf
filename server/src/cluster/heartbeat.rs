//! A node's side of the talk with its coordinator: the heartbeat, the echo of what was heard, and the lease that comes with an
//! answer.
//!
//! A heartbeat that echoes nothing recent counts for nothing at the coordinator: a node that is heard but hears nothing
//! would miss the map that strikes it off.
//!
//! The lease counts from when the heartbeat was sent that the answer is to, and needs a map no older than the answer's epoch:
//! as leases between nodes do. It matters only where the cluster goes on empty after a loss: then the coordinator may
//! give away what this node alone has, once the lease has run out.

use std::collections::VecDeque;

use dht_protocol::ids::{Epoch, Incarnation, Member, NodeId};
use dht_protocol::peer::{Beat, Heartbeat};
use dht_protocol::placement::replica_map::ReplicaMap;

use crate::clock::Time;
use crate::replication::limits::BEACONS_MAX;
use crate::timings::{BEAT, LEASE};

/// The pulse of a node.
#[derive(Debug)]
pub(super) struct Pulse {
    incarnation: Incarnation,
    address: String,
    number: u64,
    /// Heartbeats without an answer, oldest first, and when they were sent.
    sent: VecDeque<(u64, Time)>,
    beat_at: Option<Time>,
    /// Number of the last answer.
    echo: u64,
    /// Of the heartbeat that it was to.
    heard: u64,
    lease_until: Time,
    /// A lease under a newer map than ours.
    newer: Option<(Epoch, Time)>,
    /// Of the map of that epoch.
    checksum: (Epoch, u64),
}

impl Pulse {
    pub(super) fn new(now: Time, incarnation: Incarnation, address: String) -> Pulse {
        Pulse {
            incarnation,
            address,
            number: 0,
            sent: VecDeque::new(),
            beat_at: None,
            echo: 0,
            heard: 0,
            lease_until: now,
            newer: None,
            checksum: (Epoch(0), 0),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.beat_at.is_none_or(|at| now.since(at) >= BEAT)
    }

    /// The checksum of the node's map; reckoned once a map.
    pub(super) fn checksum_of(&mut self, map: &ReplicaMap) -> u64 {
        if self.checksum.0 != map.epoch {
            self.checksum = (map.epoch, map.checksum());
        }
        self.checksum.1
    }

    /// The next heartbeat.
    pub(super) fn beat(
        &mut self,
        now: Time,
        node: Option<NodeId>,
        epoch: Epoch,
        checksum: u64,
        turns: u64,
        accused: Vec<Member>,
    ) -> Heartbeat {
        self.number += 1;
        self.beat_at = Some(now);
        if self.sent.len() == BEACONS_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((self.number, now));
        Heartbeat {
            node,
            incarnation: self.incarnation,
            address: self.address.clone(),
            number: self.number,
            epoch,
            checksum,
            echo: self.echo,
            turns,
            accused,
        }
    }

    /// The coordinator has answered.
    pub(super) fn on_beat(&mut self, beat: &Beat, epoch: Epoch) {
        if beat.heard >= self.heard {
            (self.heard, self.echo) = (beat.heard, beat.number);
        }
        let Some(at) = self.sent.iter().position(|(number, _)| *number == beat.heard) else { return };
        let (_, sent_at) = self.sent.drain(..=at).next_back().expect("it was found there");
        if beat.epoch <= epoch {
            self.lease_until = self.lease_until.max(sent_at + LEASE);
        } else {
            self.newer = Some((beat.epoch, sent_at + LEASE));
        }
    }

    /// The node's map is now that of `epoch`.
    pub(super) fn on_map(&mut self, epoch: Epoch) {
        if let Some((theirs, until)) = self.newer
            && theirs <= epoch
        {
            self.lease_until = self.lease_until.max(until);
            self.newer = None;
        }
    }

    /// When the coordinator's lease ends.
    pub(super) fn lease_end(&self) -> Time {
        self.lease_until
    }
}
