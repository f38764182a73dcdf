//! Carrying out one command.

use super::args::Args;
use super::command::Verb;
use super::flush::Flush;
use super::info;
use super::pending::Gather;
use super::reply;
use super::rmw::{Goal, Only};
use super::scan::{Asked, Keys, PageWant, ScanOptions};
use super::session::RespSession;
use super::state::{Active, Environment, RespState, Work};
use super::want::Want;
use crate::dispatch::Output;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::request::Request;
use std::borrow::Cow;

/// How carrying out a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Its reply stands in its place, or will.
    Done,
    /// It, or what is left of it, comes again later.
    Stop,
    /// The same as `Done`, and the connection ends.
    Close(&'static str),
}

/// Bytes of an unknown command, and of its arguments together, that the reply repeats.
const REPEATED_BYTES_MAX: usize = 128;

impl RespState {
    /// Carries out a command; `hash` is that of its only key.
    #[inline]
    pub(super) fn execute(
        &mut self,
        verb: Option<Verb>,
        hash: Option<KeyHash>,
        args: Args<'_>,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        let Some(verb) = verb else {
            if args.len() > 0 {
                env.metrics.resp_refused.add(1);
                if is_http(args) {
                    self.fail("ERR this port speaks Redis' protocol, not HTTP", output);
                    return Flow::Close("HTTP at the RESP door");
                }
                self.back(output).append(|out| refuse(args, out));
            }
            return Flow::Done;
        };
        let flow = match verb {
            Verb::Get => self.get(args, hash, output, env),
            Verb::Set => self.set(args, hash, output, env),
            _ => self.execute_other(verb, hash, args, output, env),
        };
        if flow != Flow::Stop {
            env.metrics.count_command(verb as usize);
        }
        flow
    }

    fn execute_other(
        &mut self,
        verb: Verb,
        hash: Option<KeyHash>,
        args: Args<'_>,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        match verb {
            Verb::Get | Verb::Set => unreachable!("carried out above"),
            Verb::Strlen => self.strlen(args, hash, output, env),
            Verb::Type => self.key_type(args, hash, output, env),
            Verb::SetNx => self.set_nx(args, hash, output, env),
            Verb::GetSet => self.swap(args, hash, Some(args.get(2)), Only::Always, output, env),
            Verb::GetDel => self.swap(args, hash, None, Only::Always, output, env),
            Verb::Append => self.steps(args, hash, Goal::Append(Cow::Borrowed(args.get(2))), output, env),
            Verb::Incr => self.steps(args, hash, Goal::Add(1), output, env),
            Verb::Decr => self.steps(args, hash, Goal::Add(-1), output, env),
            Verb::IncrBy | Verb::DecrBy => match (args.number(2), verb) {
                (None, _) => self.fail("ERR value is not an integer or out of range", output),
                (Some(i64::MIN), Verb::DecrBy) => self.fail("ERR decrement would overflow", output),
                (Some(delta), Verb::DecrBy) => self.steps(args, hash, Goal::Add(-delta), output, env),
                (Some(delta), _) => self.steps(args, hash, Goal::Add(delta), output, env),
            },
            Verb::Mget => self.mget(args, output, env),
            Verb::Mset => self.mset(args, output, env),
            Verb::Del | Verb::Unlink => self.count_keys(true, args, output, env),
            Verb::Exists => self.count_keys(false, args, output, env),
            Verb::DbSize => self.db_size(output, env),
            Verb::Scan => self.scan(args, output, env),
            Verb::FlushDb => self.flush(args, output, env),
            Verb::Quit => {
                self.back(output).append(reply::ok);
                Flow::Close("QUIT")
            }
            Verb::Ping
            | Verb::Echo
            | Verb::Hello
            | Verb::Auth
            | Verb::Select
            | Verb::Client
            | Verb::Command
            | Verb::Config
            | Verb::Info
            | Verb::Reset => self.execute_keyless(verb, args, output, env),
        }
    }

    /// Commands that ask nobody.
    fn execute_keyless(
        &mut self,
        verb: Verb,
        args: Args<'_>,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        let (resp, dispatcher) = (self.session.resp, env.dispatcher);
        let session = &mut self.session;
        self.pending.back(output).append(|out| match verb {
            Verb::Ping if args.len() > 2 => wrong_arity("ping", out),
            Verb::Ping if args.len() == 2 => reply::bulk(out, args.get(1)),
            Verb::Ping => reply::simple(out, "PONG"),
            Verb::Echo => reply::bulk(out, args.get(1)),
            Verb::Hello => session.hello(args, out),
            Verb::Auth => RespSession::auth(args, out),
            Verb::Select => RespSession::select(args, out),
            Verb::Client => session.client(args, out),
            Verb::Reset => session.reset(out),
            Verb::Command => info::command(args, resp, out),
            Verb::Config => info::config(args, dispatcher, resp, out),
            _ => info::info(args, dispatcher, resp, out),
        });
        Flow::Done
    }

    /// Replies with an error.
    pub(super) fn fail(&mut self, text: &str, output: &mut Output) -> Flow {
        self.back(output).append(|out| reply::error(out, text));
        Flow::Done
    }

    /// `DBSIZE`: entries of all nodes together.
    fn db_size(&mut self, output: &mut Output, env: &mut Environment<'_>) -> Flow {
        let nodes = env.dispatcher.map().nodes();
        if !std::mem::replace(&mut self.progress.has_begun, true) {
            self.progress.gather = Gather { sum: env.dispatcher.entries_count() as i64, ..Gather::default() };
        }
        while let Some(node) = nodes.get(self.progress.keys) {
            let is_other = node.id != env.dispatcher.identity().node;
            if is_other && !self.send_gathered(node.id, &Request::Stats, false, env) {
                return Flow::Stop;
            }
            self.progress.keys += 1;
        }
        self.finish_gather(false, output)
    }

    /// `SCAN cursor [MATCH pattern] [COUNT n]`
    fn scan(&mut self, args: Args<'_>, output: &mut Output, env: &mut Environment<'_>) -> Flow {
        let options = match ScanOptions::read(args) {
            Ok(options) => options,
            Err(text) => return self.fail(text, output),
        };
        let (dispatcher, position) = (env.dispatcher, options.position);
        let nodes = dispatcher.map().nodes();
        let mut keys = Keys::default();
        let next = match nodes.get(position.place) {
            Some(node) if node.id == dispatcher.identity().node => {
                let mut add = |key: &[u8]| keys.add(key, options.pattern);
                position.at(dispatcher.walk(position.cursor, options.count, options.prefix(), &mut add))
            }
            Some(node) => match Asked::new(dispatcher.map(), position) {
                None => position.at(dht_protocol::cursor::Cursor::END),
                Some(asked) => {
                    let want = Box::new(PageWant::new(&options, asked.clone(), nodes.len()));
                    let request =
                        asked.request(dispatcher.map(), position.cursor, options.count, options.prefix());
                    return self.send(node.id, &request, Want::Page(want), env);
                }
            },
            None => position,
        };
        self.back(output).append(|out| keys.write(next.number(nodes.len()), out));
        Flow::Done
    }

    /// `FLUSHDB [ASYNC|SYNC]`
    fn flush(&mut self, args: Args<'_>, output: &mut Output, env: &mut Environment<'_>) -> Flow {
        if args.len() > 2 || (args.len() == 2 && !args.is(1, "async") && !args.is(1, "sync")) {
            return self.fail("ERR syntax error", output);
        }
        let slot = self.pending.open(Want::Steps);
        self.active = Some(Active { slot, work: Work::Flush(Box::new(Flush::new())) });
        self.go_on(output, env);
        Flow::Done
    }
}

/// Whether this is a line of an HTTP request. A page in somebody's browser can send one here, with commands in its
/// body: they must not be carried out.
fn is_http(args: Args<'_>) -> bool {
    args.is(0, "post") || args.is(0, "host:")
}

/// The reply to what is no command, or one with a wrong number of words.
fn refuse(args: Args<'_>, out: &mut Vec<u8>) {
    let name = args.get(0);
    if let Some(verb) = Verb::named(name) {
        return wrong_arity(verb.spec().name, out);
    }
    let shown =
        |bytes: &[u8], left: usize| String::from_utf8_lossy(&bytes[..bytes.len().min(left)]).into_owned();
    let mut text =
        format!("ERR unknown command '{}', with args beginning with: ", shown(name, REPEATED_BYTES_MAX));
    let mut left = REPEATED_BYTES_MAX;
    for arg in args.from(1) {
        if left == 0 {
            break;
        }
        text.push_str(&format!("'{}' ", shown(arg, left)));
        left = left.saturating_sub(arg.len().max(1));
    }
    reply::error(out, &text);
}

pub(super) fn wrong_arity(name: &str, out: &mut Vec<u8>) {
    reply::error(out, &format!("ERR wrong number of arguments for '{name}' command"));
}
