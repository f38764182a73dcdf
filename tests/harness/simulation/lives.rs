//! Clients come and go: each place of a client is taken by many, one after the other. Who goes leaves calls open, requests on
//! their way, and outcomes that no floor passes.

use dht_protocol::ids::{ClientId, Version};

use crate::linearizability::Answer;
use crate::random::Random;

use super::client::{Link, Stage};
use super::report::FaultKind;
use super::trace::Subject;
use super::world::World;

impl World<'_> {
    /// A client crashes, with what it has open.
    pub(super) fn crash_client(&mut self, client: u16) {
        self.count(FaultKind::ClientCrash, || format!("client {client} crashes"));
        self.replace_client(client);
    }

    /// A client is gone, and another one takes its place, as long as there are any.
    pub(super) fn replace_client(&mut self, client: u16) {
        let Some(tokens) = self.tokens.next() else { return };
        for slot in 0..self.scenario.slots as u16 {
            let place = &self.clients[client as usize].slots[slot as usize];
            let Some(call) = &place.call else { continue };
            let may_be_done =
                call.write.is_some() && (call.retry.in_doubt() || matches!(place.stage, Stage::Waiting(..)));
            self.finish(client, slot, if may_be_done { Answer::Unknown } else { Answer::NotDone });
        }
        let is_machine_gone = self.random.percent(30);
        for node in 0..self.nodes.len() {
            let link = self.clients[client as usize].links[node];
            let (Link::Opening(session, _) | Link::Open(session, _)) = link else { continue };
            if is_machine_gone {
                // Nothing more is sent, and nobody says so.
                let kept = self.random.below(3) as usize;
                self.sessions.cut_short(session, kept);
                self.sessions.get(session).abandoned = true;
            } else {
                self.abandon_until(client, session, 0);
            }
        }
        let id = new_client_id(&mut self.random);
        let keys = self.workload.keys.len();
        let now = self.queue.now();
        let state = &mut self.clients[client as usize];
        if self.trace.wants(Subject::Cluster) {
            let text = format!("client {client}: {:08x} follows {:08x}", id.0 as u32, state.id.0 as u32);
            self.trace.say(now, text);
        }
        (state.id, state.tokens, state.map, state.refreshed_at) = (id, tokens, None, 0);
        state.links.fill(Link::Closed(0));
        state.seen = vec![Version::ABSENT; keys];
    }
}

/// A name that no other client has.
pub(super) fn new_client_id(random: &mut Random) -> ClientId {
    ClientId(u128::from(random.next_u64()) << 64 | u128::from(random.next_u64() | 1))
}
