//! A hand between node and checker, to see that the checker notices.

use std::sync::Arc;

use dht_server::memory::MemoryAccount;

/// Changes what the checker sees. By default nothing.
pub trait Meddle {
    /// May change the answers, whole frames, that the node has just given.
    fn answers(&mut self, answers: &mut Vec<u8>) {
        let _ = answers;
    }

    /// May charge something to the node's account. Called before every step.
    fn memory(&mut self, memory: &Arc<MemoryAccount>) {
        let _ = memory;
    }
}

/// Changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Honest;

impl Meddle for Honest {}
