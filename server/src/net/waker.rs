//! Waking a thread that sleeps in its poll.
//!
//! A message is put into its channel, or a flag is set, before the wake; the sleeper looks at channel and flag
//! after every return from its poll. The kernel's event counter orders the two, so no message waits for a time-out.

use std::io;
use std::sync::Arc;

use mio::{Registry, Token};

use super::handover::Wake;

/// The token under which a wake arrives; no connection has it.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// Wakes one poll. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<mio::Waker>);

impl Waker {
    pub(crate) fn new(registry: &Registry) -> io::Result<Waker> {
        Ok(Waker(Arc::new(mio::Waker::new(registry, WAKE)?)))
    }
}

impl Wake for Waker {
    /// A failure is logged: the sleeper will find out at its next event.
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
            log::error!(error:% = error; "cannot wake a thread");
        }
    }
}
