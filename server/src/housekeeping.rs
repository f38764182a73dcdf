//! Work that no request waits for: compaction, shrinking, dropping outcomes of writes that no client can ask for any
//! more, and giving memory back to the system. One thread, one bounded step under one partition's lock at a time.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::dispatch::Dispatcher;
use crate::gate::Passer;
use crate::limits::{GIVE_BACK_BYTES_MIN, GIVE_BACK_SHARE, GIVE_BACK_TIME_SHARE, HOUSEKEEPING_PAUSE_MS};
use crate::memory::MemoryAccount;
use crate::process;
use crate::store::allocator;

/// The running thread.
#[derive(Debug)]
pub struct Housekeeping {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Housekeeping {
    /// Starts going round all partitions, with pauses of `HOUSEKEEPING_PAUSE_MS` in a round. They lie between its slices: a
    /// request that comes meanwhile, where there is a processor for both alone, waits for a slice and not for the round.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(dispatcher: Arc<Dispatcher>, passer: Passer) -> io::Result<Housekeeping> {
        let (stop, stopped) = bounded(1);
        let slices_count = dispatcher.housekeeping_slices_count();
        let pause = Duration::from_millis(HOUSEKEEPING_PAUSE_MS) / slices_count as u32;
        let mut unused = Unused::default();
        let rounds = move || {
            for slice in (0..slices_count).cycle() {
                if passer.rest(|| stopped.recv_timeout(pause)) != Some(Err(RecvTimeoutError::Timeout)) {
                    return;
                }
                dispatcher.keep_house_in(slice, || stopped.is_empty() && passer.pass());
                if slice + 1 == slices_count {
                    dispatcher.trim();
                    unused.give_back(dispatcher.memory());
                }
            }
        };
        let thread = thread::Builder::new().name("housekeeping".into()).spawn(rounds)?;
        Ok(Housekeeping { stop, thread })
    }

    /// Ends it after the step in hand.
    pub fn stop(self) {
        let _ = self.stop.try_send(());
        if self.thread.join().is_err() {
            log::error!("the housekeeping thread panicked");
        }
    }
}

/// Memory that is resident and not in use.
#[derive(Debug, Default)]
struct Unused {
    /// So much of it, bytes, is not to be had: code, stacks, the allocator's own, and what is in use by no account.
    kept_bytes: u64,
    /// When it may be looked for again; `None` before the first time.
    not_before: Option<Instant>,
}

impl Unused {
    /// Gives free pages back to the system if there are many.
    fn give_back(&mut self, memory: &MemoryAccount) {
        let begun = Instant::now();
        if self.not_before.is_some_and(|not_before| begun < not_before) {
            return;
        }
        let unused_bytes = || Some(process::resident_bytes()?.saturating_sub(memory.used_bytes()));
        let Some(before_bytes) = unused_bytes() else { return };
        if !self.is_much(before_bytes, memory.used_bytes()) {
            return;
        }
        allocator::give_free_pages_back();
        let took = begun.elapsed();
        self.not_before = Some(begun + took * GIVE_BACK_TIME_SHARE);
        let took_us = took.as_micros();
        if let Some(after_bytes) = unused_bytes() {
            log::debug!(
                "free memory given back: unused_before={before_bytes} unused_after={after_bytes} took_us={took_us}"
            );
            self.kept_bytes = after_bytes;
        }
    }

    /// Whether there is so much more than was left the last time that looking for free pages is worth what it costs.
    fn is_much(&mut self, unused_bytes: u64, used_bytes: u64) -> bool {
        self.kept_bytes = self.kept_bytes.min(unused_bytes);
        unused_bytes - self.kept_bytes >= GIVE_BACK_BYTES_MIN.max(used_bytes / GIVE_BACK_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_given_back_is_not_looked_for_again() {
        let mut unused = Unused { kept_bytes: 100, not_before: None };
        assert!(!unused.is_much(100 + GIVE_BACK_BYTES_MIN - 1, 0));
        assert!(unused.is_much(100 + GIVE_BACK_BYTES_MIN, 0));
        assert!(!unused.is_much(0, 0), "it went by itself");
        assert!(unused.is_much(GIVE_BACK_BYTES_MIN, 0));
    }

    #[test]
    fn who_holds_much_gives_back_in_large_pieces() {
        let mut unused = Unused::default();
        let used_bytes = GIVE_BACK_BYTES_MIN * GIVE_BACK_SHARE * 100;
        assert!(!unused.is_much(GIVE_BACK_BYTES_MIN * 99, used_bytes));
        assert!(unused.is_much(GIVE_BACK_BYTES_MIN * 100, used_bytes));
    }
}
