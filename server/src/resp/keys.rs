//! Commands with keys: asked here, or of the node that has the key.

use std::borrow::Cow;
use std::time::Instant;

use dht_protocol::ids::{NodeId, Version};
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::request::{Condition, Key, Request};
use dht_protocol::value::{ValueRef, ValueType};

use super::args::Args;
use super::execute::{Flow, wrong_arity};
use super::reply::{self, Bulk, text_of};
use super::rmw::{Goal, Only, Rmw, Step};
use super::state::{Active, Environment, RespState, Work};
use super::want::Want;
use crate::dispatch::{Access, FoundShape, Home, Output};
use crate::limits::{BATCH_REQUESTS_MAX, GROUP_LOOKUPS_MAX, HELD_ANSWER_BYTES_MAX, RESP_PENDING_MAX};

/// The length of a found value, and nothing of it.
struct LengthOf(usize);

impl FoundShape for LengthOf {
    fn head(&mut self, _: Version, _: ValueType, value_bytes: usize, _: &mut Vec<u8>) {
        self.0 = value_bytes;
    }

    fn tail(&mut self, _: &mut Vec<u8>) {}

    fn shows_numbers_as_text(&self) -> bool {
        true
    }

    fn number(&mut self, _: Version, value: ValueRef<'_>, _: &mut Vec<u8>) {
        self.0 = text_of(value).len();
    }
}

/// What a `SET` is told besides key and value.
struct SetOptions {
    only: Only,
    replies_old: bool,
}

impl RespState {
    /// `GET key`
    #[inline]
    pub(super) fn get(
        &mut self,
        args: Args<'_>,
        hash: Option<KeyHash>,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        let (Ok(key), Some(hash)) = (Key::new(args.get(1)), hash) else { return self.bad_key(args, output) };
        self.get_one(key, hash, output, env)
    }

    #[inline]
    fn get_one(
        &mut self,
        key: Key<'_>,
        hash: KeyHash,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        match env.dispatcher.home_of(hash) {
            Home::Here(hosted) => {
                let back = self.pending.back(output);
                if !env.dispatcher.show(hash, key, hosted, back, &mut Bulk, env.metrics) {
                    back.append(|out| reply::null(self.session.resp, out));
                }
                Flow::Done
            }
            Home::There(node) => self.send(node, &Request::Get { key }, Want::Value, env),
        }
    }

    /// `SET key value [NX|XX] [GET]`
    #[inline]
    pub(super) fn set(
        &mut self,
        args: Args<'_>,
        hash: Option<KeyHash>,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        let options = if args.len() == 3 {
            SetOptions { only: Only::Always, replies_old: false }
        } else {
            match SetOptions::read(args) {
                Ok(options) => options,
                Err(text) => return self.fail(&text, output),
            }
        };
        if options.replies_old {
            return self.swap(args, hash, Some(args.get(2)), options.only, output, env);
        }
        let condition = match options.only {
            Only::Always => Condition::Always,
            Only::IfAbsent => Condition::IfAbsent,
            Only::IfPresent => Condition::IfPresent,
        };
        self.put(args, hash, condition, Want::Set, output, env)
    }

    /// `SETNX key value`
    pub(super) fn set_nx(
        &mut self,
        args: Args<'_>,
        hash: Option<KeyHash>,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        self.put(args, hash, Condition::IfAbsent, Want::SetNx, output, env)
    }

    fn put(
        &mut self,
        args: Args<'_>,
        hash: Option<KeyHash>,
        condition: Condition,
        want: Want,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        let (Ok(key), Some(hash)) = (Key::new(args.get(1)), hash) else { return self.bad_key(args, output) };
        let value = ValueRef { value_type: ValueType::BYTES, bytes: args.get(2) };
        self.one(&Request::Put { key, value, condition, token: None }, hash, want, output, env)
    }

    /// `STRLEN key`
    pub(super) fn strlen(
        &mut self,
        args: Args<'_>,
        hash: Option<KeyHash>,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        let (Ok(key), Some(hash)) = (Key::new(args.get(1)), hash) else { return self.bad_key(args, output) };
        match env.dispatcher.home_of(hash) {
            Home::Here(hosted) => {
                let mut length = LengthOf(0);
                env.dispatcher.show(hash, key, hosted, &mut Output::default(), &mut length, env.metrics);
                self.back(output).append(|out| reply::integer(out, length.0 as i64));
                Flow::Done
            }
            Home::There(node) => self.send(node, &Request::Get { key }, Want::Length, env),
        }
    }

    /// `TYPE key`
    pub(super) fn key_type(
        &mut self,
        args: Args<'_>,
        hash: Option<KeyHash>,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        let (Ok(key), Some(hash)) = (Key::new(args.get(1)), hash) else { return self.bad_key(args, output) };
        self.one(&Request::Exists { key }, hash, Want::Kind, output, env)
    }

    /// Replies what is there, and puts `value` in its place, or removes it.
    pub(super) fn swap(
        &mut self,
        args: Args<'_>,
        hash: Option<KeyHash>,
        value: Option<&[u8]>,
        only: Only,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        self.steps(args, hash, Goal::Swap(value.map(Cow::Borrowed), only), output, env)
    }

    /// Begins a command that reads and then writes; where its key lives here, ends it too.
    pub(super) fn steps(
        &mut self,
        args: Args<'_>,
        hash: Option<KeyHash>,
        goal: Goal<'_>,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        let (Ok(key), Some(hash)) = (Key::new(args.get(1)), hash) else { return self.bad_key(args, output) };
        let mut rmw = Rmw::new(key, goal);
        match env.dispatcher.home_of(hash) {
            Home::Here(hosted) => loop {
                let value = &mut env.scratch.value;
                let response = env.dispatcher.ask(&rmw.request(), hash, hosted, value, env.metrics);
                let resp = self.session.resp;
                let back = self.pending.back(output);
                if back.append(|out| rmw.on_response(resp, &response, out)) == Step::Done {
                    return Flow::Done;
                }
            },
            Home::There(node) => {
                let slot = self.pending.open(Want::Steps);
                let work = Work::Rmw(Box::new(rmw.into_owned()), node, true);
                self.active = Some(Active { slot, work });
                self.go_on(output, env);
                Flow::Done
            }
        }
    }

    /// `MGET key ...`
    pub(super) fn mget(&mut self, args: Args<'_>, output: &mut Output, env: &mut Environment<'_>) -> Flow {
        let keys_count = args.len() - 1;
        if self.begins_many() {
            if !self.keys_are_good(args, 1, output) {
                return Flow::Done;
            }
            self.back(output).append(|out| reply::array(out, keys_count));
        }
        while self.progress.keys < keys_count {
            if self.is_to_rest(output, env) {
                return Flow::Stop;
            }
            let accesses: [Access; GROUP_LOOKUPS_MAX] = self.accesses(args, 1, false, env);
            let group = &accesses[..GROUP_LOOKUPS_MAX.min(keys_count - self.progress.keys)];
            let dispatcher = env.dispatcher;
            let mut held = dispatcher.look_ahead(group);
            let held_bytes_max = output.bytes() + HELD_ANSWER_BYTES_MAX;
            for (number, access) in group.iter().enumerate() {
                if self.is_past_bounds(output, env) {
                    return Flow::Stop;
                }
                let Ok(key) = Key::new(args.get(1 + self.progress.keys)) else { return Flow::Done };
                let inner = held.as_ref().and_then(|held| held.get(number));
                if let Some(inner) = inner.filter(|_| output.bytes() <= held_bytes_max) {
                    let back = self.pending.back(output);
                    if !dispatcher.show_held(access.hash, key, inner, back, &mut Bulk, env.metrics) {
                        back.append(|out| reply::null(self.session.resp, out));
                    }
                } else {
                    // It may take a lock.
                    held = None;
                    if self.get_one(key, access.hash, output, env) == Flow::Stop {
                        return Flow::Stop;
                    }
                }
                self.progress.keys += 1;
            }
        }
        Flow::Done
    }

    /// `MSET key value ...`: each by itself, not all or none.
    pub(super) fn mset(&mut self, args: Args<'_>, output: &mut Output, env: &mut Environment<'_>) -> Flow {
        if args.len().is_multiple_of(2) {
            self.back(output).append(|out| wrong_arity("mset", out));
            return Flow::Done;
        }
        self.gather_keys(args, 2, true, output, env, |args, at, key| {
            let value = ValueRef { value_type: ValueType::BYTES, bytes: args.get(at + 1) };
            Request::Put { key, value, condition: Condition::Always, token: None }
        })
    }

    /// `DEL key ...`, `UNLINK key ...` and `EXISTS key ...`
    pub(super) fn count_keys(
        &mut self,
        removes: bool,
        args: Args<'_>,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        self.gather_keys(args, 1, false, output, env, |_, _, key| match removes {
            true => Request::Delete { key, condition: Condition::Always, token: None },
            false => Request::Exists { key },
        })
    }

    /// A request for each key, and one reply of all: their number, or OK.
    fn gather_keys<'a>(
        &mut self,
        args: Args<'a>,
        stride: usize,
        is_ok: bool,
        output: &mut Output,
        env: &mut Environment<'_>,
        request_of: impl Fn(Args<'a>, usize, Key<'a>) -> Request<'a>,
    ) -> Flow {
        if self.begins_many() && !self.keys_are_good(args, stride, output) {
            return Flow::Done;
        }
        let keys_count = (args.len() - 1) / stride;
        while self.progress.keys < keys_count {
            let hashes = match self.next_keys(args, stride, true, output, env) {
                Some(hashes) => hashes,
                None => return Flow::Stop,
            };
            for hash in hashes {
                let at = 1 + stride * self.progress.keys;
                let Ok(key) = Key::new(args.get(at)) else { return Flow::Done };
                let request = request_of(args, at, key);
                match env.dispatcher.home_of(hash) {
                    Home::Here(hosted) => {
                        let value = &mut env.scratch.value;
                        let response = env.dispatcher.ask(&request, hash, hosted, value, env.metrics);
                        let slot = self.progress.slot.and_then(|slot| self.pending.gather(slot));
                        slot.unwrap_or(&mut self.progress.gather).on_response(&response);
                    }
                    Home::There(node) => {
                        if !self.send_gathered(node, &request, is_ok, env) {
                            return Flow::Stop;
                        }
                    }
                }
                self.progress.keys += 1;
            }
        }
        self.finish_gather(is_ok, output)
    }

    /// The reply of what was gathered, now or once other nodes have answered.
    pub(super) fn finish_gather(&mut self, is_ok: bool, output: &mut Output) -> Flow {
        match self.progress.slot {
            Some(slot) => self.pending.close_gather(slot),
            None => {
                self.progress.gather.is_closed = true;
                let gather = std::mem::take(&mut self.progress.gather);
                self.back(output).append(|out| gather.write_if_complete(is_ok, out));
            }
        }
        Flow::Done
    }

    /// Whether a command of many keys is at its start. The first time it says so.
    fn begins_many(&mut self) -> bool {
        !std::mem::replace(&mut self.progress.has_begun, true)
    }

    /// Hashes the next keys of a command of many, and asks for their memory; `None`: a bound is reached.
    fn next_keys(
        &mut self,
        args: Args<'_>,
        stride: usize,
        writes: bool,
        output: &Output,
        env: &mut Environment<'_>,
    ) -> Option<impl Iterator<Item = KeyHash> + use<>> {
        if self.is_to_rest(output, env) {
            return None;
        }
        let accesses: [Access; BATCH_REQUESTS_MAX] = self.accesses(args, stride, writes, env);
        let count = BATCH_REQUESTS_MAX.min((args.len() - 1) / stride - self.progress.keys);
        env.dispatcher.prefetch(&accesses[..count]);
        Some(accesses.into_iter().take(count).map(|access| access.hash))
    }

    /// Whether a command of many that has come some way is to go on later.
    fn is_to_rest(&self, output: &Output, env: &Environment<'_>) -> bool {
        self.progress.keys > 0 && (self.is_past_bounds(output, env) || Instant::now() >= env.bounds.turn_ends)
    }

    /// The look-ups of the next keys, as many as there are.
    fn accesses<const N: usize>(
        &self,
        args: Args<'_>,
        stride: usize,
        writes: bool,
        env: &Environment<'_>,
    ) -> [Access; N] {
        let mut accesses = [Access { hash: KeyHash(0), writes }; N];
        let keys = (1 + stride * self.progress.keys..args.len()).step_by(stride);
        for (access, at) in accesses.iter_mut().zip(keys) {
            access.hash = Key::new(args.get(at)).map_or(KeyHash(0), |key| env.dispatcher.hash_of(key));
        }
        accesses
    }

    /// Whether enough waits to go out, or to be answered by other nodes.
    fn is_past_bounds(&self, output: &Output, env: &Environment<'_>) -> bool {
        output.bytes() + self.waiting_bytes() >= env.bounds.output_bytes_max
            || self.pending.len() >= RESP_PENDING_MAX
    }

    fn keys_are_good(&mut self, args: Args<'_>, stride: usize, output: &mut Output) -> bool {
        let bad = (1..args.len()).step_by(stride).find_map(|at| Key::new(args.get(at)).err());
        if let Some(error) = bad {
            self.fail(&format!("ERR {}", error.text), output);
        }
        bad.is_none()
    }

    fn bad_key(&mut self, args: Args<'_>, output: &mut Output) -> Flow {
        let text = Key::new(args.get(1)).err().map_or("the key cannot be used", |error| error.text);
        self.fail(&format!("ERR {text}"), output)
    }

    /// A command of one request.
    #[inline]
    fn one(
        &mut self,
        request: &Request<'_>,
        hash: KeyHash,
        want: Want,
        output: &mut Output,
        env: &mut Environment<'_>,
    ) -> Flow {
        match env.dispatcher.home_of(hash) {
            Home::Here(hosted) => {
                let response = env.dispatcher.ask(request, hash, hosted, &mut env.scratch.value, env.metrics);
                let resp = self.session.resp;
                self.back(output).append(|out| want.write(resp, &response, out));
                Flow::Done
            }
            Home::There(node) => self.send(node, request, want, env),
        }
    }

    /// Asks another node; its answer becomes the reply.
    pub(super) fn send(
        &mut self,
        node: NodeId,
        request: &Request<'_>,
        want: Want,
        env: &mut Environment<'_>,
    ) -> Flow {
        let slot = self.pending.open(want);
        if env.peers.send(node, request, slot) {
            return Flow::Done;
        }
        self.pending.cancel_last();
        self.is_held_by_link = true;
        Flow::Stop
    }

    /// Asks another node for one of several parts of a reply; `false`: the link is full.
    pub(super) fn send_gathered(
        &mut self,
        node: NodeId,
        request: &Request<'_>,
        is_ok: bool,
        env: &mut Environment<'_>,
    ) -> bool {
        let gathered = std::mem::take(&mut self.progress.gather);
        let slot = match self.progress.slot {
            Some(slot) => slot,
            None => self.pending.open(Want::Gather(gathered, is_ok)),
        };
        self.progress.slot = Some(slot);
        let sent = env.peers.send(node, request, slot);
        self.is_held_by_link = !sent;
        if let Some(gather) = self.pending.gather(slot).filter(|_| sent) {
            gather.left += 1;
        }
        sent
    }
}

impl SetOptions {
    fn read(args: Args<'_>) -> Result<SetOptions, String> {
        let mut options = SetOptions { only: Only::Always, replies_old: false };
        for at in 3..args.len() {
            if args.is(at, "nx") && options.only != Only::IfPresent {
                options.only = Only::IfAbsent;
            } else if args.is(at, "xx") && options.only != Only::IfAbsent {
                options.only = Only::IfPresent;
            } else if args.is(at, "get") {
                options.replies_old = true;
            } else if let Some(name) = EXPIRY.into_iter().find(|name| args.is(at, name)) {
                return Err(format!(
                    "ERR the option {name} of SET is not supported: entries do not expire here"
                ));
            } else {
                return Err("ERR syntax error".to_owned());
            }
        }
        Ok(options)
    }
}

/// Options of `SET` that are about when an entry ends.
const EXPIRY: [&str; 5] = ["EX", "PX", "EXAT", "PXAT", "KEEPTTL"];
