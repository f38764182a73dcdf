//! The floors of clients, as far as this node has heard: each client's lowest unanswered number. A write below it is a late
//! copy of one that was answered, and is refused.
//!
//! A late copy comes over a session that its client had opened here before it sent it. So a floor is kept while any session
//! of its client is open, and for the [`FLOORS_MAX`] clients heard of last besides. (A copy that was sent to this node when it
//! was primary before is refused by the epoch that it carries: see `primary`.)

use std::collections::{BTreeMap, VecDeque};

use dht_protocol::ids::ClientId;

use super::limits::FLOORS_MAX;

/// The floors that a node knows.
#[derive(Debug, Default)]
pub struct Floors {
    known: BTreeMap<ClientId, Known>,
    /// Clients without a session, the longest unheard first; some twice, some that have come back.
    idle: VecDeque<ClientId>,
}

#[derive(Debug, Default)]
struct Known {
    floor: u64,
    /// Highest number whose outcome some partition here has forgotten.
    forgotten: u64,
    sessions: u32,
}

impl Floors {
    /// A session of `client` was opened.
    pub fn on_session_opened(&mut self, client: ClientId) {
        self.known.entry(client).or_default().sessions += 1;
    }

    /// A session of `client` was closed: nothing comes over it any more.
    pub fn on_session_closed(&mut self, client: ClientId) {
        if let Some(known) = self.known.get_mut(&client) {
            known.sessions = known.sessions.saturating_sub(1);
            if known.sessions == 0 {
                self.idle.push_back(client);
            }
        }
        self.drop_surplus();
    }

    /// A write of `client` says that its floor is at least this.
    pub(crate) fn raise(&mut self, client: ClientId, floor: u64) {
        let known = self.known.entry(client).or_insert_with(|| {
            self.idle.push_back(client);
            Known::default()
        });
        known.floor = known.floor.max(floor);
        self.drop_surplus();
    }

    /// Some partition has forgotten the outcomes of `client` up to `seq`. A copy of such a write that lies unread in one of
    /// its sessions must not be taken for new, whatever the partition's own list still says.
    pub(crate) fn forget(&mut self, client: ClientId, seq: u64) {
        if let Some(known) = self.known.get_mut(&client) {
            known.forgotten = known.forgotten.max(seq);
        }
    }

    /// Highest number of `client` whose outcome may be forgotten.
    #[must_use]
    pub fn forgotten(&self, client: ClientId) -> u64 {
        self.known.get(&client).map_or(0, |known| known.forgotten)
    }

    /// Lowest number that `client` still waits for, as far as this node has heard.
    #[must_use]
    pub fn of(&self, client: ClientId) -> u64 {
        self.known.get(&client).map_or(0, |known| known.floor)
    }

    fn drop_surplus(&mut self) {
        while self.idle.len() > FLOORS_MAX
            && let Some(client) = self.idle.pop_front()
        {
            if self.known.get(&client).is_some_and(|known| known.sessions == 0) {
                self.known.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_stays_while_a_session_is_open() {
        let mut floors = Floors::default();
        let staying = ClientId(u128::MAX);
        floors.on_session_opened(staying);
        floors.raise(staying, 9);
        floors.raise(staying, 3);
        for id in 0..2 * FLOORS_MAX as u128 {
            floors.raise(ClientId(id), 5);
        }
        assert_eq!(floors.of(staying), 9);
        assert_eq!(floors.of(ClientId(0)), 0, "the longest unheard went");
        assert!(floors.known.len() <= FLOORS_MAX + 1 && floors.idle.len() <= FLOORS_MAX);
        floors.on_session_closed(staying);
        assert_eq!(floors.of(staying), 9);
    }
}
