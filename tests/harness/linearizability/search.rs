//! The search for an order of one key's operations that the model accepts.
//!
//! # The method
//! Depth first over the operations that may come next (those called before the first return of any that is not
//! in order yet), as Wing and Gong (*Testing and Verifying Concurrent Objects*, 1993), and never twice from the
//! same set of ordered operations with the same register, as Lowe (*Testing for Linearizability*, 2017).
//!
//! # What is cut off, and why nothing is lost by it
//! 1. *Floors.* An answer that tells version v leaves the floor at v, and floors never fall. So answers that tell
//!    versions come in the order of these, only the lowest that is left may come next, and no more unknown writes
//!    fit in front of it than there are versions free.
//! 2. *Reads at once.* An answer that writes nothing, may come next and leaves the register as it is can be moved
//!    to the front of any order that completes this one. It is taken alone.
//! 3. *Twins.* Of unknown operations that ask the same, the one that was called first may stand for each other.
//! 4. *Idle unknowns.* If what follows a run of unknown operations would have left the same register without
//!    them (or one that allows as much), then leaving them for later is at least as good.
//!
//! Take, among the orders that complete a prefix, one with the fewest unknown operations, then the earliest twins,
//! then the earliest reads: none of the cuts removes it.
//!
//! # Limits
//! The problem is NP-complete. With versions told and few unknown operations a key the search is near linear: of
//! 2,000 operations on one key, 2 in 100 unknown, it takes milliseconds to accept or to reject. It gets hard where
//! many unknown appends and additions could have been combined: above some 10 in 100, and without versions above
//! a dozen a key. It then gives up after a named number of configurations, which is no verdict but a failure.

use std::collections::HashSet;

use dht_protocol::ids::Version;

use super::model::{Action, State, Told, Values};

/// One operation, ready to be ordered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// Place in the history.
    pub(super) record: usize,
    /// Clock at the call.
    pub(super) invoked: u64,
    /// Clock at the return; the end of time when the outcome is unknown.
    pub(super) returned: u64,
    /// What it does.
    pub(super) action: Action,
    /// What it was told.
    pub(super) told: Told,
}

/// How a search ended.
#[derive(Debug)]
pub(super) enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none. This is the longest beginning of one that was seen.
    Impossible(DeadEnd),
    /// More configurations than allowed.
    GaveUp,
}

/// Where the search got stuck.
#[derive(Debug, Default)]
pub(super) struct DeadEnd {
    /// How many operations with known answers could be ordered.
    pub(super) ordered_count: usize,
    /// Records of the last of them, oldest first.
    pub(super) last: Vec<usize>,
    /// The register after these, in words.
    pub(super) state: String,
    /// Records of those that would have to come next, none of which fits.
    pub(super) stuck: Vec<usize>,
    /// Record of the answer that tells the lowest version of those left: no higher one may come before it.
    pub(super) lowest: Option<usize>,
}

/// How many operations a report shows before the dead end.
const SHOWN_LAST_MAX: usize = 8;

/// A step of the path: a completed operation or one of unknown outcome, by place in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Completed(usize),
    Unknown(usize),
}

/// One node of the path.
struct Node {
    state: State,
    /// How it was reached; `None` for the first.
    via: Option<Move>,
    /// Completed operations still to be tried, best last.
    completed: Vec<usize>,
    /// First unknown operation still to be tried.
    unknown_next: usize,
    /// The first return of what is not ordered yet: whatever was called later cannot come next.
    bound: u64,
}

/// One key's search.
pub(super) struct Search<'a> {
    values: &'a mut Values,
    /// By time of call. Invariant: `chain` links those that are not ordered yet.
    completed: Vec<Call>,
    chain: Chain,
    unknown: Vec<Call>,
    unknown_ordered: Vec<bool>,
    /// For each unknown operation the last one before it that asks the same.
    twin_before: Vec<Option<usize>>,
    /// The floors that answers tell, rising. Invariant: the first `floors_passed` are ordered, by cut 1.
    floors: Vec<Version>,
    floors_passed: usize,
    seen: HashSet<Box<[u64]>>,
    configurations_max: usize,
    dead_end: DeadEnd,
}

impl<'a> Search<'a> {
    /// A search over `calls`, in any order.
    pub(super) fn new(values: &'a mut Values, mut calls: Vec<Call>, configurations_max: usize) -> Search<'a> {
        calls.sort_by_key(|call| (call.invoked, call.returned));
        let (unknown, completed): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|call| call.told == Told::Unknown);
        let mut floors: Vec<Version> = completed.iter().filter_map(|call| call.told.floor_after()).collect();
        floors.sort_unstable();
        Search {
            values,
            chain: Chain::new(completed.len()),
            twin_before: twins(&unknown),
            unknown_ordered: vec![false; unknown.len()],
            completed,
            unknown,
            floors,
            floors_passed: 0,
            seen: HashSet::new(),
            configurations_max,
            dead_end: DeadEnd::default(),
        }
    }

    /// How many configurations were looked at.
    pub(super) fn configurations_count(&self) -> usize {
        self.seen.len()
    }

    /// Looks for an order. Cost: see the limits of the module.
    pub(super) fn run(&mut self) -> Verdict {
        let mut path = vec![self.node(State::EMPTY, None)];
        while self.chain.open_count > 0 {
            if self.seen.len() > self.configurations_max {
                return Verdict::GaveUp;
            }
            let Some((step, state)) = self.advance(&mut path) else {
                self.note_dead_end(&path);
                match path.pop().and_then(|node| node.via) {
                    Some(via) => self.undo(via),
                    None => return Verdict::Impossible(std::mem::take(&mut self.dead_end)),
                }
                continue;
            };
            self.apply(step);
            if self.seen.insert(self.configuration(state)) {
                path.push(self.node(state, Some(step)));
            } else {
                self.undo(step);
            }
        }
        Verdict::Linearizable
    }

    /// The next step from the path's end that the model accepts, and the register after it.
    fn advance(&mut self, path: &mut [Node]) -> Option<(Move, State)> {
        loop {
            let (node, before) = path.split_last_mut()?;
            let step = self.next_move(node)?;
            let call = self.call(step);
            let Some(state) = node.state.step(self.values, call.action, call.told) else { continue };
            if !self.leaves_unknowns_idle(before, node, call, state) {
                return Some((step, state));
            }
        }
    }

    fn next_move(&self, node: &mut Node) -> Option<Move> {
        if let Some(at) = node.completed.pop() {
            return Some(Move::Completed(at));
        }
        while let Some(call) = self.unknown.get(node.unknown_next) {
            if call.invoked > node.bound {
                return None;
            }
            let at = node.unknown_next;
            node.unknown_next += 1;
            let twin_ordered = self.twin_before[at].is_none_or(|twin| self.unknown_ordered[twin]);
            if !self.unknown_ordered[at] && twin_ordered {
                return Some(Move::Unknown(at));
            }
        }
        None
    }

    /// Cut 4.
    fn leaves_unknowns_idle(&mut self, before: &[Node], node: &Node, call: Call, after: State) -> bool {
        let mut via = node.via;
        for earlier in before.iter().rev() {
            if !matches!(via, Some(Move::Unknown(_))) {
                return false;
            }
            let without = earlier.state.step(self.values, call.action, call.told);
            if without.is_some_and(|without| without.allows_all_that(after)) {
                return true;
            }
            via = earlier.via;
        }
        false
    }

    /// A node of what is ordered now, with what may come next.
    fn node(&mut self, state: State, via: Option<Move>) -> Node {
        let floor_next = self.floors.get(self.floors_passed).copied();
        let mut node = Node { state, via, completed: Vec::new(), unknown_next: 0, bound: u64::MAX };
        let mut next = self.chain.first();
        while let Some(at) = next.filter(|&at| self.completed[at].invoked <= node.bound) {
            let call = self.completed[at];
            node.bound = node.bound.min(call.returned);
            next = self.chain.after(at);
            if call.told.floor_after().is_some_and(|floor| Some(floor) != floor_next) {
                continue; // Cut 1.
            }
            if call.told.is_read() && state.step(self.values, call.action, call.told) == Some(state) {
                node.completed = vec![at]; // Cut 2.
                node.unknown_next = self.unknown.len();
                return node;
            }
            node.completed.push(at);
        }
        if floor_next.is_some_and(|floor| floor < state.floor) {
            node.completed.clear(); // Cut 1: the answer that tells `floor_next` can no longer come.
            node.unknown_next = self.unknown.len();
        }
        // Those that tell versions are the surest, then those that returned first.
        node.completed.sort_by_key(|&at| {
            let call = &self.completed[at];
            (call.told.floor_after().is_some(), std::cmp::Reverse(call.returned))
        });
        node
    }

    fn call(&self, step: Move) -> Call {
        match step {
            Move::Completed(at) => self.completed[at],
            Move::Unknown(at) => self.unknown[at],
        }
    }

    fn apply(&mut self, step: Move) {
        match step {
            Move::Completed(at) => {
                self.chain.take(at);
                self.floors_passed += usize::from(self.completed[at].told.floor_after().is_some());
            }
            Move::Unknown(at) => self.unknown_ordered[at] = true,
        }
    }

    fn undo(&mut self, step: Move) {
        match step {
            Move::Completed(at) => {
                self.chain.put_back(at);
                self.floors_passed -= usize::from(self.completed[at].told.floor_after().is_some());
            }
            Move::Unknown(at) => self.unknown_ordered[at] = false,
        }
    }

    /// What is ordered and the register, in few words: everything before the first open operation is ordered, so
    /// only the window behind it is spelt out. (The window has no fixed length, but what follows it has.)
    fn configuration(&self, state: State) -> Box<[u64]> {
        let mut words = self.chain.window();
        for chunk in self.unknown_ordered.chunks(64) {
            words.push(chunk.iter().rev().fold(0, |word, &ordered| (word << 1) | u64::from(ordered)));
        }
        words.push(state.floor.0);
        words.push(state.value.map_or(0, |value| (u64::from(value.number()) << 2) | 2));
        let last = words.len() - 1;
        words[last] |= u64::from(state.pinned);
        words.into_boxed_slice()
    }

    fn note_dead_end(&mut self, path: &[Node]) {
        let ordered_count = self.completed.len() - self.chain.open_count;
        let Some(node) = path.last() else { return };
        if ordered_count < self.dead_end.ordered_count
            || (ordered_count == self.dead_end.ordered_count && !self.dead_end.stuck.is_empty())
        {
            return;
        }
        let mut last: Vec<usize> = path
            .iter()
            .rev()
            .filter_map(|node| node.via)
            .take(SHOWN_LAST_MAX)
            .map(|step| self.call(step).record)
            .collect();
        last.reverse();
        let mut stuck = Vec::new();
        let mut next = self.chain.first();
        while let Some(at) = next.filter(|&at| self.completed[at].invoked <= node.bound) {
            stuck.push(self.completed[at].record);
            next = self.chain.after(at);
        }
        let floor_next = self.floors.get(self.floors_passed).copied();
        let lowest = std::iter::successors(self.chain.first(), |&at| self.chain.after(at))
            .map(|at| self.completed[at])
            .find(|call| floor_next.is_some() && call.told.floor_after() == floor_next)
            .map(|call| call.record);
        let state = self.values.describe(node.state);
        self.dead_end = DeadEnd { ordered_count, last, state, stuck, lowest };
    }
}

/// For each operation the last one before it that asks the same.
fn twins(unknown: &[Call]) -> Vec<Option<usize>> {
    let mut last = std::collections::HashMap::new();
    unknown.iter().enumerate().map(|(at, call)| last.insert(call.action, at)).collect()
}

/// The operations that are not ordered yet, by time of call: a doubly linked list in two vectors, so that taking
/// one out and putting it back (in the reverse order) costs nothing (Knuth's dancing links).
struct Chain {
    /// Link forwards; place `len` is the head.
    next: Vec<usize>,
    previous: Vec<usize>,
    taken: Vec<u64>,
    open_count: usize,
}

impl Chain {
    fn new(len: usize) -> Chain {
        Chain {
            next: (1..=len).chain([0]).collect(),
            previous: [len].into_iter().chain(0..len).collect(),
            taken: vec![0; len.div_ceil(64)],
            open_count: len,
        }
    }

    fn head(&self) -> usize {
        self.next.len() - 1
    }

    fn first(&self) -> Option<usize> {
        self.after(self.head())
    }

    fn after(&self, at: usize) -> Option<usize> {
        let next = self.next[at];
        (next != self.head()).then_some(next)
    }

    fn take(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = next;
        self.previous[next] = previous;
        self.taken[at / 64] |= 1 << (at % 64);
        self.open_count -= 1;
    }

    fn put_back(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = at;
        self.previous[next] = at;
        self.taken[at / 64] &= !(1 << (at % 64));
        self.open_count += 1;
    }

    /// The first open place, and the bits of what is taken behind it, without zeros at the end.
    fn window(&self) -> Vec<u64> {
        let len = self.head();
        let first = self.first().unwrap_or(len);
        let mut taken_behind = len - self.open_count - first;
        let mut words = vec![first as u64];
        for (at, &bits) in self.taken.iter().enumerate().skip(first / 64) {
            if taken_behind == 0 {
                break;
            }
            let word = if at == first / 64 { bits & (u64::MAX << (first % 64)) } else { bits };
            taken_behind -= word.count_ones() as usize;
            words.push(word);
        }
        words
    }
}
