//! A connection of the RESP door: its part of a turn, and the answers of other nodes.

use std::time::Instant;

use mio::Token;

use super::connection::Connection;
use super::peer_links::PeerLinks;
use super::turn::{Round, TurnContext, note_durations};
use crate::dispatch::AnswerBounds;
use crate::resp::{Answer, Batch, BatchEnd, CommandError, Environment, Peers, SlotId, write_error};

/// A connection's way to other nodes.
struct PeersOf<'a> {
    links: &'a mut PeerLinks,
    token: Token,
}

impl Peers for PeersOf<'_> {
    fn send(
        &mut self,
        node: dht_protocol::ids::NodeId,
        request: &dht_protocol::request::Request<'_>,
        slot: SlotId,
    ) -> bool {
        self.links.send(node, request, self.token, slot)
    }
}

impl Connection {
    /// Whether replies wait for other nodes.
    pub(super) fn is_waiting_for_nodes(&self) -> bool {
        self.resp.as_ref().is_some_and(|resp| resp.is_waiting())
    }

    /// Whether no command may begin before other nodes have answered.
    pub(super) fn is_held(&self) -> bool {
        self.resp.as_ref().is_some_and(|resp| resp.is_held())
    }

    /// Bytes of replies that wait behind those of other nodes.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.resp.as_ref().map_or(0, |resp| resp.waiting_bytes())
    }

    /// Another node has answered, or will not. A turn must follow.
    pub(crate) fn on_node_answer(&mut self, slot: SlotId, answer: &Answer<'_>) {
        if let Some(resp) = &mut self.resp {
            resp.on_answer(slot, answer);
        }
    }

    /// A link that was full has room again. A turn must follow.
    pub(crate) fn on_link_room(&mut self) {
        if let Some(resp) = &mut self.resp {
            resp.on_link_room();
        }
    }

    /// Goes on with what waited for other nodes; `true`: there is more to do at once, in another turn.
    pub(super) fn go_on_with_nodes(&mut self, turn_ends: Instant, context: &mut TurnContext<'_>) -> bool {
        let Some(resp) = self.resp.as_mut().filter(|resp| resp.is_waiting()) else { return false };
        let bounds = AnswerBounds { output_bytes_max: usize::MAX, turn_ends, slow_ns: None };
        let mut peers = PeersOf { links: context.links, token: context.token };
        resp.go_on(
            &mut self.output,
            &mut Environment {
                dispatcher: context.dispatcher,
                metrics: context.metrics,
                peers: &mut peers,
                scratch: context.scratch,
                bounds,
            },
        )
    }

    /// Answers the whole commands at the front of `bytes` until a bound is reached; says how many bytes they took.
    pub(super) fn answer_commands(
        &mut self,
        bytes: &[u8],
        round: Round,
        context: &mut TurnContext<'_>,
    ) -> usize {
        let Round { bounds, mut begun } = round;
        let mut used = 0;
        loop {
            let Some(resp) = &mut self.resp else { return bytes.len() };
            let mut peers = PeersOf { links: context.links, token: context.token };
            let mut environment = Environment {
                dispatcher: context.dispatcher,
                metrics: context.metrics,
                peers: &mut peers,
                scratch: context.scratch,
                bounds,
            };
            let batch = resp.answer(&bytes[used..], &mut self.output, &mut environment);
            begun = note_durations(begun, batch.commands, context.metrics);
            used += batch.used;
            self.note_slow_commands(&batch, begun, context);
            match batch.end {
                BatchEnd::Full if begun < bounds.turn_ends => {}
                BatchEnd::Full | BatchEnd::NeedMore | BatchEnd::Stopped => return used,
                BatchEnd::Close(why) => {
                    self.begin_close(why);
                    return bytes.len();
                }
                BatchEnd::Refused(error) => {
                    self.refuse_command(error, context);
                    return bytes.len();
                }
            }
        }
    }

    /// There is no memory for the command that is coming. Where it ends is not known, so the connection must.
    pub(super) fn refuse_unkept(&mut self, context: &TurnContext<'_>) {
        self.note_refusal("no memory for a command", context);
        self.reply_error("OOM command not allowed when used memory > 'maxmemory'.");
        self.begin_close("no memory for a command");
    }

    fn refuse_command(&mut self, error: CommandError, context: &TurnContext<'_>) {
        self.note_refusal(error.text(), context);
        let found = match error {
            CommandError::NoBulk(byte) => format!(", got '{}'", char::from(byte)),
            _ => String::new(),
        };
        self.reply_error(&format!("ERR Protocol error: {}{found}", error.text()));
        self.begin_close(error.text());
    }

    fn reply_error(&mut self, text: &str) {
        if let Some(resp) = &mut self.resp {
            resp.back(&mut self.output).append(|out| write_error(out, text));
        }
    }

    /// Writes slow commands to the log: what they were, never a key or a value.
    fn note_slow_commands(&self, batch: &Batch, now: Instant, context: &TurnContext<'_>) {
        context.metrics.slow_requests.add(batch.slow.len() as u64);
        for command in &batch.slow {
            let Some(suppressed) = context.slow_lines.admit(now) else { continue };
            log::warn!(
                command = command.name, took_ms = (command.took_ns / 1_000) as f64 / 1_000.0,
                request_bytes = command.request_bytes, answer_bytes = command.answer_bytes, peer:% = self.peer,
                suppressed;
                "slow request"
            );
        }
    }
}
