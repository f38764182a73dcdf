//! Numbers for writes, so that a retry never applies twice.
//!
//! One window over all nodes: `floor` is the lowest number without an answer, `answered` says of each number
//! from there on whether it has one.
//!
//! ```text
//!   … answered │ floor                      next
//!              │ false  true  true  false │
//! ```
//! 1. The front of `answered` is false, or `answered` is empty: nothing is open.
//! 2. A number is open from [`WriteTokens::open`] until its [`OpenWrite`] is dropped, retries included.
//! 3. `next - floor` never exceeds the span: `open` waits.

use std::collections::VecDeque;

use dht_protocol::limits::WRITE_SPAN_MAX;
use dht_protocol::request::WriteToken;

use super::sync::{Condvar, Instant, Mutex, lock, wait_until};

/// The numbers of one client.
#[derive(Debug)]
pub(crate) struct WriteTokens {
    window: Mutex<Window>,
    /// Notified when the floor rises while somebody waits.
    room: Condvar,
}

#[derive(Debug)]
struct Window {
    floor: u64,
    answered: VecDeque<bool>,
    span_max: u64,
    waiting_count: usize,
}

/// A write without an answer. Dropping it says that the answer is there, or that nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct OpenWrite<'a> {
    tokens: &'a WriteTokens,
    seq: u64,
}

impl WriteTokens {
    pub(crate) fn new() -> WriteTokens {
        WriteTokens {
            window: Mutex::new(Window {
                floor: 1,
                answered: VecDeque::new(),
                span_max: WRITE_SPAN_MAX,
                waiting_count: 0,
            }),
            room: Condvar::new(),
        }
    }

    /// Keeps to a node's limit from now on, if it is narrower than those known so far.
    pub(crate) fn narrow_span(&self, span_max: u32) {
        let mut window = lock(&self.window);
        window.span_max = window.span_max.min(u64::from(span_max)).max(1);
    }

    /// Opens the next number; waits while the span is at its widest. `None` when that lasts past `deadline`.
    /// Cost: constant.
    pub(crate) fn open(&self, deadline: Instant) -> Option<OpenWrite<'_>> {
        let mut window = lock(&self.window);
        while window.answered.len() as u64 >= window.span_max {
            window.waiting_count += 1;
            let waited = wait_until(&self.room, window, deadline);
            let timed_out = waited.is_err();
            window = waited.unwrap_or_else(|window| window);
            window.waiting_count -= 1;
            if timed_out {
                return None;
            }
        }
        let seq = window.floor + window.answered.len() as u64;
        window.answered.push_back(false);
        Some(OpenWrite { tokens: self, seq })
    }

    /// Cost: constant on average, as every number is dropped from the window once.
    fn close(&self, seq: u64) {
        let mut window = lock(&self.window);
        let at = (seq - window.floor) as usize;
        window.answered[at] = true;
        if at > 0 {
            return;
        }
        while window.answered.front() == Some(&true) {
            window.answered.pop_front();
            window.floor += 1;
        }
        if window.waiting_count > 0 {
            self.room.notify_all();
        }
    }
}

impl OpenWrite<'_> {
    /// What to send now: the floor may have risen since the last time.
    pub(crate) fn token(&self, retry: bool) -> WriteToken {
        WriteToken { seq: self.seq, floor: lock(&self.tokens.window).floor, retry }
    }
}

impl Drop for OpenWrite<'_> {
    fn drop(&mut self) {
        self.tokens.close(self.seq);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn the_floor_is_the_lowest_open_number() {
        let tokens = WriteTokens::new();
        let (one, two) = (tokens.open(soon()).unwrap(), tokens.open(soon()).unwrap());
        assert_eq!(one.token(false), WriteToken { seq: 1, floor: 1, retry: false });
        assert_eq!(two.token(true), WriteToken { seq: 2, floor: 1, retry: true });
        drop(one);
        assert_eq!(two.token(false).floor, 2);
        let three = tokens.open(soon()).unwrap();
        drop(two);
        assert_eq!(three.token(false), WriteToken { seq: 3, floor: 3, retry: false });
        drop(three);
        assert_eq!(tokens.open(soon()).unwrap().token(false), WriteToken { seq: 4, floor: 4, retry: false });
    }

    #[test]
    fn numbers_answered_out_of_order_move_the_floor_at_once() {
        let tokens = WriteTokens::new();
        let mut open: Vec<_> = (0..100).map(|_| tokens.open(soon()).unwrap()).collect();
        let first = open.remove(0);
        open.truncate(98);
        open.clear();
        assert_eq!(first.token(false).floor, 1);
        drop(first);
        assert_eq!(
            tokens.open(soon()).unwrap().token(false),
            WriteToken { seq: 101, floor: 101, retry: false }
        );
    }

    #[test]
    fn a_span_at_its_widest_waits_and_then_times_out() {
        let tokens = WriteTokens::new();
        tokens.narrow_span(2);
        tokens.narrow_span(9);
        let (one, two) = (tokens.open(soon()).unwrap(), tokens.open(soon()).unwrap());
        assert!(tokens.open(Instant::now() + Duration::from_millis(10)).is_none());
        drop(two);
        assert!(tokens.open(Instant::now() + Duration::from_millis(10)).is_none());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| tokens.open(soon()).unwrap().token(false));
            while lock(&tokens.window).waiting_count == 0 {
                thread::yield_now();
            }
            drop(one);
            assert_eq!(waiter.join().unwrap(), WriteToken { seq: 3, floor: 3, retry: false });
        });
    }

    #[test]
    fn many_threads_get_every_number_once_and_keep_the_span() {
        let tokens = WriteTokens::new();
        tokens.narrow_span(5);
        let sum = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let token = tokens.open(soon()).unwrap().token(false);
                        assert!(token.floor <= token.seq && token.seq - token.floor < 5);
                        sum.fetch_add(token.seq, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 8_000 * 8_001 / 2);
        assert!(lock(&tokens.window).answered.is_empty());
    }
}
