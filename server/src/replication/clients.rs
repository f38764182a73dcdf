//! What a node knows of each client that writes: how far its writes have been answered (its *floor*), and what
//! had to be forgotten about it.
//!
//! A [`ClientState`] lives as long as a connection of that client, or an outcome remembered for it, holds it. So
//! a late copy of a write, waiting in the buffer of some connection, always meets the state that knows better.
//!
//! Invariants:
//! 1. `floor` and `forgotten` only rise.
//! 2. A write whose number lies below `floor` has been answered, and its client waits for nothing: it is refused.
//! 3. A write whose number is at most `forgotten` may have been applied and its outcome dropped: it is refused
//!    as *unknown*.
//!    (A client sends its first write on a connection after the answer to its `HELLO`, so a connection that holds
//!    an old copy has held the state all along.)
//! 4. The list of clients that have gone and of whom something was forgotten is bounded. Once a name has been
//!    pushed off it, a retry from a client that the node does not know is *unknown* too ([`ClientState::doubtful`]).
//!
//! The model is RIFL (*Implementing Linearizability at Large Scale and Low Latency*, SOSP 2015); floors take the
//! place of its leases.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, Weak};

use dht_protocol::ids::ClientId;

use crate::limits::FORGOTTEN_CLIENTS_MAX;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};

/// One client, as this node knows it.
#[derive(Debug)]
pub struct ClientState {
    id: ClientId,
    /// Lowest number that the client still waits for. Raised by any worker.
    floor: AtomicU64,
    /// Highest number of a write whose outcome was dropped while the client might still ask. Raised by any worker.
    forgotten: AtomicU64,
    /// Connections on which the client has said `HELLO`. Changed by [`ClientConnection`] alone.
    connections: AtomicU32,
    /// Whether the node may have forgotten this very client altogether (invariant 4).
    doubtful: bool,
}

/// A connection's hold on its client.
#[derive(Debug)]
pub struct ClientConnection(Arc<ClientState>);

/// All clients of a node, by id. Locked at `HELLO` only, never by a write.
#[derive(Debug, Default)]
pub struct ClientTable {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: BTreeMap<ClientId, Weak<ClientState>>,
    /// Where in `known` the next clean-up goes on.
    cleaned_up_to: ClientId,
    /// Clients gone, of whom something was forgotten: highest forgotten number, and whether they were doubtful.
    forgotten: BTreeMap<ClientId, (u64, bool)>,
    /// The ids of `forgotten`, oldest first.
    forgotten_order: VecDeque<ClientId>,
    /// Whether `forgotten` has ever been full.
    overflowed: bool,
}

impl ClientState {
    fn new(id: ClientId, forgotten: u64, doubtful: bool) -> ClientState {
        ClientState {
            id,
            floor: AtomicU64::new(0),
            forgotten: AtomicU64::new(forgotten),
            connections: AtomicU32::new(0),
            doubtful,
        }
    }

    /// The client's id.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Lowest number that the client still waits for, as far as this node has heard.
    #[must_use]
    pub fn floor(&self) -> u64 {
        // Acquire and Release suffice: a write's check, its application and the drop of its outcome all happen
        // under its partition's lock, which orders them; the floor only has to be no older than that.
        self.floor.load(Ordering::Acquire)
    }

    /// Takes in the floor that came with a write.
    pub fn raise_floor(&self, floor: u64) {
        if floor > self.floor.load(Ordering::Relaxed) {
            self.floor.fetch_max(floor, Ordering::AcqRel);
        }
    }

    /// Highest number of a write whose outcome was dropped too early.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Notes that the outcome of write `seq` is dropped although the client may still ask for it.
    pub fn forget(&self, seq: u64) {
        self.forgotten.fetch_max(seq, Ordering::AcqRel);
    }

    /// Whether the client has a connection to this node.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        // Only guides the choice of whom to forget: relaxed is enough.
        self.connections.load(Ordering::Relaxed) > 0
    }

    /// Whether a retry of this client that finds no outcome may be of a write that was applied and forgotten.
    #[must_use]
    pub fn doubtful(&self) -> bool {
        self.doubtful
    }
}

impl ClientConnection {
    /// Counts a connection of `client` until this is dropped.
    #[must_use]
    pub fn new(client: Arc<ClientState>) -> ClientConnection {
        client.connections.fetch_add(1, Ordering::Relaxed);
        ClientConnection(client)
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Arc<ClientState> {
        &self.0
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ClientTable {
    /// The state of client `id`, new if nothing holds one. Cost: a lock and a search; at `HELLO` only.
    #[must_use]
    pub fn greet(&self, id: ClientId) -> Arc<ClientState> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = inner.known.get(&id).and_then(Weak::upgrade) {
            return state;
        }
        inner.clean_up();
        let state = match inner.forgotten.get(&id) {
            Some(&(forgotten, doubtful)) => Arc::new(ClientState::new(id, forgotten, doubtful)),
            None => Arc::new(ClientState::new(id, 0, inner.overflowed)),
        };
        inner.known.insert(id, Arc::downgrade(&state));
        state
    }

    /// Puts a client of whom something was forgotten on the list, so that the node still knows when the client
    /// comes back after its state is gone.
    pub fn remember_forgotten(&self, state: &ClientState) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = state.forgotten();
        if let Some((known, doubtful)) = inner.forgotten.get_mut(&state.id) {
            *known = forgotten.max(*known);
            *doubtful |= state.doubtful;
            return;
        }
        if inner.forgotten_order.len() == FORGOTTEN_CLIENTS_MAX
            && let Some(oldest) = inner.forgotten_order.pop_front()
        {
            inner.forgotten.remove(&oldest);
            inner.overflowed = true;
        }
        if inner.forgotten_order.capacity() == 0 {
            // All of it at once: a list that grows would be copied, up to half a megabyte, under a partition's lock.
            inner.forgotten_order.reserve_exact(FORGOTTEN_CLIENTS_MAX);
        }
        inner.forgotten.insert(state.id, (forgotten, state.doubtful));
        inner.forgotten_order.push_back(state.id);
    }

    /// Clients known at the moment, for statistics; some may have just gone.
    #[must_use]
    pub fn known_count(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).known.len()
    }
}

impl Inner {
    /// Looks at a few names and drops those whose state is gone. One name comes with each call and `CLEANED_NAMES`
    /// are looked at, so few more are kept than are in use.
    fn clean_up(&mut self) {
        const CLEANED_NAMES: usize = 4;
        let rest = (Bound::Excluded(self.cleaned_up_to), Bound::Unbounded);
        let looked_at: Vec<(ClientId, bool)> = self
            .known
            .range(rest)
            .take(CLEANED_NAMES)
            .map(|(id, state)| (*id, state.strong_count() == 0))
            .collect();
        self.cleaned_up_to = match looked_at.last() {
            Some((id, _)) if looked_at.len() == CLEANED_NAMES => *id,
            // The end: begin again. No client has id 0.
            _ => ClientId(0),
        };
        for (id, _) in looked_at.into_iter().filter(|(_, gone)| *gone) {
            self.known.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_shared_while_anyone_holds_it() {
        let table = ClientTable::default();
        let first = table.greet(ClientId(1));
        first.raise_floor(9);
        let second = table.greet(ClientId(1));
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        assert_eq!(table.greet(ClientId(1)).floor(), 0, "nobody held it: it began anew");
    }

    #[test]
    fn connections_are_counted() {
        let client = ClientTable::default().greet(ClientId(1));
        let (one, two) =
            (ClientConnection::new(Arc::clone(&client)), ClientConnection::new(Arc::clone(&client)));
        drop(one);
        assert!(client.is_connected());
        drop(two);
        assert!(!client.is_connected());
    }

    #[test]
    fn floors_and_forgotten_numbers_only_rise() {
        let state = ClientState::new(ClientId(1), 5, false);
        state.forget(3);
        assert_eq!(state.forgotten(), 5);
        state.raise_floor(7);
        state.raise_floor(6);
        assert_eq!(state.floor(), 7);
    }

    #[test]
    fn a_forgotten_client_is_known_again_when_it_comes_back() {
        let table = ClientTable::default();
        let state = table.greet(ClientId(1));
        state.forget(40);
        table.remember_forgotten(&state);
        drop(state);
        let back = table.greet(ClientId(1));
        assert_eq!((back.forgotten(), back.doubtful()), (40, false));
    }

    #[test]
    fn past_the_bound_strangers_are_doubtful() {
        let table = ClientTable::default();
        for id in 1..=FORGOTTEN_CLIENTS_MAX as u128 + 1 {
            assert!(!table.greet(ClientId(u128::MAX)).doubtful());
            let state = ClientState::new(ClientId(id), 1, false);
            table.remember_forgotten(&state);
        }
        assert!(table.greet(ClientId(1)).doubtful(), "the oldest name was pushed off");
        assert!(!table.greet(ClientId(2)).doubtful(), "this one still stands in the list");
        assert_eq!(table.inner.lock().unwrap().forgotten.len(), FORGOTTEN_CLIENTS_MAX);
    }

    #[test]
    fn a_doubtful_client_that_is_listed_again_stays_doubtful() {
        let table = ClientTable::default();
        for id in 1..=FORGOTTEN_CLIENTS_MAX as u128 + 1 {
            table.remember_forgotten(&ClientState::new(ClientId(id), 40, false));
        }
        let back = table.greet(ClientId(1));
        assert!(back.doubtful(), "its name was pushed off");
        back.forget(10);
        table.remember_forgotten(&back);
        drop(back);
        let again = table.greet(ClientId(1));
        assert_eq!((again.forgotten(), again.doubtful()), (10, true), "number 40 may still come back");
    }

    #[test]
    fn clients_that_come_and_go_leave_nothing() {
        let table = ClientTable::default();
        let staying = table.greet(ClientId(5_000));
        for id in 1..10_000 {
            drop(table.greet(ClientId(id)));
            assert!(table.known_count() <= 8, "{}", table.known_count());
        }
        assert!(Arc::ptr_eq(&table.greet(ClientId(5_000)), &staying));
    }
}
