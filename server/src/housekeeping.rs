//! Work that no request waits for: compaction, shrinking, and dropping outcomes of writes that no client can ask
//! for any more. One thread, one bounded step under one partition's lock at a time.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::dispatch::Dispatcher;
use crate::gate::Passer;
use crate::limits::HOUSEKEEPING_PAUSE_MS;

/// The running thread.
#[derive(Debug)]
pub struct Housekeeping {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Housekeeping {
    /// Starts a round over all partitions every `HOUSEKEEPING_PAUSE_MS`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(dispatcher: Arc<Dispatcher>, passer: Passer) -> io::Result<Housekeeping> {
        let (stop, stopped) = bounded(1);
        let pause = Duration::from_millis(HOUSEKEEPING_PAUSE_MS);
        let rounds = move || {
            while passer.rest(|| stopped.recv_timeout(pause)) == Some(Err(RecvTimeoutError::Timeout)) {
                dispatcher.keep_house(|| stopped.is_empty() && passer.pass());
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
