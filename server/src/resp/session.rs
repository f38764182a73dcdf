//! What a connection has agreed on, and the commands that are about that: `HELLO`, `AUTH`, `CLIENT`, `SELECT`, `RESET`.

use super::args::Args;
use super::reply::{self, Resp};
use crate::limits::RESP_CLIENT_NAME_BYTES_MAX;

/// What a connection has agreed on.
#[derive(Debug, Default)]
pub(crate) struct RespSession {
    pub(crate) resp: Resp,
    /// Names the connection as long as the daemon runs.
    id: u64,
    name: Vec<u8>,
}

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. Are you \
                           sure your configuration is correct?";
const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";
const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters, and are at most 256 \
                        bytes long";

impl RespSession {
    pub(crate) fn new(id: u64) -> RespSession {
        RespSession { id, ..RespSession::default() }
    }

    /// `HELLO [2|3 [AUTH name password] [SETNAME name]]`
    pub(crate) fn hello(&mut self, args: Args<'_>, out: &mut Vec<u8>) {
        let mut resp = self.resp;
        if args.len() > 1 {
            resp = match args.number(1) {
                Some(2) => Resp::Two,
                Some(3) => Resp::Three,
                Some(_) => return reply::error(out, "NOPROTO unsupported protocol version"),
                None => return reply::error(out, "ERR Protocol version is not an integer or out of range"),
            };
        }
        let mut name = None;
        let mut at = 2;
        while at < args.len() {
            if args.is(at, "auth") && at + 2 < args.len() {
                return reply::error(out, NO_PASSWORD);
            }
            if !args.is(at, "setname") || at + 1 == args.len() {
                return reply::error(out, "ERR Syntax error in HELLO option");
            }
            name = Some(args.get(at + 1));
            at += 2;
        }
        if name.is_some_and(|name| !is_name(name)) {
            return reply::error(out, BAD_NAME);
        }
        self.resp = resp;
        if let Some(name) = name {
            self.name = name.to_vec();
        }
        reply::map(resp, out, 7);
        let mut text = |name: &str, value: &str| {
            reply::bulk(out, name.as_bytes());
            reply::bulk(out, value.as_bytes());
        };
        text("server", "dhtd");
        text("version", env!("CARGO_PKG_VERSION"));
        // Not a Redis cluster: a client asks any node for any key.
        text("mode", "standalone");
        text("role", "master");
        reply::bulk(out, b"proto");
        reply::integer(out, if resp == Resp::Three { 3 } else { 2 });
        reply::bulk(out, b"id");
        reply::integer(out, self.id as i64);
        reply::bulk(out, b"modules");
        reply::array(out, 0);
    }

    /// `AUTH [name] password`: there is none.
    pub(crate) fn auth(args: Args<'_>, out: &mut Vec<u8>) {
        reply::error(out, if args.len() > 3 { "ERR syntax error" } else { NO_PASSWORD });
    }

    /// `SELECT 0`
    pub(crate) fn select(args: Args<'_>, out: &mut Vec<u8>) {
        match args.number(1) {
            Some(0) => reply::ok(out),
            Some(_) => reply::error(out, "ERR DB index is out of range"),
            None => reply::error(out, NOT_A_NUMBER),
        }
    }

    /// `CLIENT ID | GETNAME | SETNAME name | SETINFO LIB-NAME|LIB-VER text`
    pub(crate) fn client(&mut self, args: Args<'_>, out: &mut Vec<u8>) {
        if args.is(1, "id") && args.len() == 2 {
            reply::integer(out, self.id as i64);
        } else if args.is(1, "getname") && args.len() == 2 {
            match self.name.is_empty() {
                true => reply::null(self.resp, out),
                false => reply::bulk(out, &self.name),
            }
        } else if args.is(1, "setname") && args.len() == 3 {
            if !is_name(args.get(2)) {
                return reply::error(out, BAD_NAME);
            }
            self.name = args.get(2).to_vec();
            reply::ok(out);
        } else if args.is(1, "setinfo") && args.len() == 4 {
            match (args.is(2, "lib-name") || args.is(2, "lib-ver"), is_name(args.get(3))) {
                // Of no use here, and not kept.
                (true, true) => reply::ok(out),
                (true, false) => reply::error(out, BAD_NAME),
                (false, _) => reply::error(out, "ERR Unrecognized option"),
            }
        } else {
            unknown_subcommand("client", args, out);
        }
    }

    /// `RESET`: as a new connection.
    pub(crate) fn reset(&mut self, out: &mut Vec<u8>) {
        *self = RespSession::new(self.id);
        reply::simple(out, "RESET");
    }
}

fn is_name(name: &[u8]) -> bool {
    name.len() <= RESP_CLIENT_NAME_BYTES_MAX && name.iter().all(u8::is_ascii_graphic)
}

/// The reply to a subcommand that is not known, or has a wrong number of words.
pub(crate) fn unknown_subcommand(command: &str, args: Args<'_>, out: &mut Vec<u8>) {
    let name = String::from_utf8_lossy(&args.get(1)[..args.get(1).len().min(128)]).into_owned();
    reply::error(
        out,
        &format!(
            "ERR unknown subcommand or wrong number of arguments for '{name}'. Try {} HELP.",
            command.to_ascii_uppercase()
        ),
    );
}
