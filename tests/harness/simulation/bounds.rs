//! The bounds of a replica's queues, by the names that the product gives them.

use dht_server::replication::limits::{OUTCOMES_MAX, PREPARED_ENTRIES_MAX, WAITERS_MAX};

/// Which bound is passed, if any.
pub(super) fn excess(prepared: usize, queued: usize, outcomes: usize) -> Option<String> {
    // A list that is taken over, or a no-op that forgets a client, may come on top.
    let bounds = [
        ("prepared entries", prepared, 2 * PREPARED_ENTRIES_MAX),
        ("requests that wait", queued, 2 * WAITERS_MAX),
        ("outcomes", outcomes, OUTCOMES_MAX + PREPARED_ENTRIES_MAX),
    ];
    let passed = bounds.into_iter().find(|(_, count, most)| count > most);
    passed.map(|(what, count, most)| format!("{count} {what}, {most} are the most"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_a_bound_is_found() {
        assert_eq!(excess(PREPARED_ENTRIES_MAX, WAITERS_MAX, OUTCOMES_MAX), None);
        assert!(excess(usize::MAX, 0, 0).is_some() && excess(0, usize::MAX, 0).is_some());
        assert!(excess(0, 0, usize::MAX).is_some());
    }
}
