//! The connections of a worker, by slot. A token carries the slot and the slot's generation: an event for a
//! connection that has gone never reaches the one that took its place.
//!
//! Invariants:
//! 1. A slot's generation rises whenever its connection is removed.
//! 2. `free` names exactly the empty slots.

use std::ops::Range;

use mio::Token;

use crate::limits::CONNECTIONS_PER_WORKER_MAX;

/// Bits of a token that name the slot; the others are the generation.
const SLOT_BITS: u32 = CONNECTIONS_PER_WORKER_MAX.trailing_zeros();
const _: () = assert!(CONNECTIONS_PER_WORKER_MAX.is_power_of_two());
/// Generations before a number comes back; so chosen that no token is the waker's.
const GENERATIONS: u64 = (1 << (usize::BITS - SLOT_BITS)) - 1;

#[derive(Debug)]
pub(crate) struct ConnectionTable<C> {
    slots: Vec<Slot<C>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot<C> {
    generation: u64,
    connection: Option<C>,
}

impl<C> ConnectionTable<C> {
    pub(crate) fn new() -> ConnectionTable<C> {
        ConnectionTable { slots: vec![], free: vec![] }
    }

    /// Puts in the connection that `make` makes for its token. `None`, and nothing is made, when there are
    /// `CONNECTIONS_PER_WORKER_MAX` already; the error is `make`'s.
    pub(crate) fn insert_with<E>(
        &mut self,
        make: impl FnOnce(Token) -> Result<C, E>,
    ) -> Option<Result<Token, E>> {
        let at = match self.free.last() {
            Some(&at) => at,
            None if self.slots.len() < CONNECTIONS_PER_WORKER_MAX => {
                self.slots.push(Slot { generation: 0, connection: None });
                self.free.push(self.slots.len() - 1);
                self.slots.len() - 1
            }
            None => return None,
        };
        let token = token(at, self.slots[at].generation);
        Some(make(token).map(|connection| {
            self.free.pop();
            self.slots[at].connection = Some(connection);
            token
        }))
    }

    /// The connection of that token, if it is still there.
    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut C> {
        let (at, generation) = split(token);
        let slot = self.slots.get_mut(at)?;
        if slot.generation == generation { slot.connection.as_mut() } else { None }
    }

    /// Takes the connection of that token out.
    pub(crate) fn remove(&mut self, token: Token) -> Option<C> {
        self.get_mut(token)?;
        let (at, _) = split(token);
        let slot = &mut self.slots[at];
        slot.generation = (slot.generation + 1) % GENERATIONS;
        self.free.push(at);
        slot.connection.take()
    }

    /// Tokens of all connections.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        let taken = self.slots.iter().enumerate().filter(|(_, slot)| slot.connection.is_some());
        taken.map(|(at, slot)| token(at, slot.generation)).collect()
    }

    /// Places of the table, taken or free.
    pub(crate) fn slots_count(&self) -> usize {
        self.slots.len()
    }

    /// The connections in those places, with their tokens.
    pub(crate) fn in_slots(&self, places: Range<usize>) -> impl Iterator<Item = (Token, &C)> {
        let slots = self.slots.iter().enumerate().take(places.end).skip(places.start);
        slots.filter_map(|(at, slot)| Some((token(at, slot.generation), slot.connection.as_ref()?)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }
}

fn token(at: usize, generation: u64) -> Token {
    Token(((generation as usize) << SLOT_BITS) | at)
}

fn split(token: Token) -> (usize, u64) {
    (token.0 & (CONNECTIONS_PER_WORKER_MAX - 1), (token.0 >> SLOT_BITS) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::waker::WAKE;

    fn insert(table: &mut ConnectionTable<u32>, name: u32) -> Token {
        table.insert_with(|_| Ok::<_, ()>(name)).unwrap().unwrap()
    }

    #[test]
    fn an_old_token_never_reaches_the_slots_next_connection() {
        let mut table = ConnectionTable::new();
        let old = insert(&mut table, 1);
        assert_eq!(table.remove(old), Some(1));
        let new = insert(&mut table, 2);
        assert_ne!(old, new);
        assert_eq!(table.get_mut(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get_mut(new), Some(&mut 2));
        assert_eq!(table.get_mut(WAKE), None);
        assert_eq!(table.slots_count(), 1);
        assert_eq!(table.in_slots(0..9).collect::<Vec<_>>(), [(new, &2)]);
        assert_eq!(table.in_slots(1..9).count(), 0);
    }

    #[test]
    fn a_connection_that_could_not_be_made_leaves_its_slot_free() {
        let mut table = ConnectionTable::<u32>::new();
        assert_eq!(table.insert_with(|_| Err("no")), Some(Err("no")));
        assert!(table.is_empty());
        insert(&mut table, 1);
        assert_eq!(table.tokens().len(), 1);
    }

    #[test]
    fn there_is_a_limit() {
        let mut table = ConnectionTable::new();
        for name in 0..CONNECTIONS_PER_WORKER_MAX as u32 {
            insert(&mut table, name);
        }
        assert!(table.insert_with(|_| Ok::<_, ()>(0)).is_none());
        let tokens = table.tokens();
        table.remove(tokens[7]);
        assert!(table.insert_with(|_| Ok::<_, ()>(0)).is_some());
    }

    #[test]
    fn no_token_is_the_wakers() {
        assert_ne!(token(CONNECTIONS_PER_WORKER_MAX - 1, GENERATIONS - 1), WAKE);
    }
}
