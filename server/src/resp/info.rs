//! What a node tells about itself: `INFO`, `CONFIG GET`, `COMMAND`.

use std::fmt::Write;

use super::args::Args;
use super::command::{COMMANDS, Spec, Verb};
use super::glob;
use super::reply::{self, Resp};
use super::session::unknown_subcommand;
use crate::dispatch::Dispatcher;

/// Sections of `INFO`, and what each says.
const SECTIONS: &[(&str, Section)] = &[
    ("server", |facts, text| {
        line(text, "dht_version", env!("CARGO_PKG_VERSION"));
        line(text, "redis_mode", "standalone");
        line(text, "process_id", std::process::id());
        line(text, "uptime_in_seconds", facts.figure("uptime_ms") / 1_000);
        line(text, "workers", facts.figure("workers"));
    }),
    ("clients", |facts, text| {
        line(text, "connected_clients", facts.figure("connections"));
        line(text, "maxclients", facts.figure("connections_max"));
    }),
    ("memory", |facts, text| {
        line(text, "used_memory", facts.figure("memory_used_bytes"));
        line(text, "maxmemory", facts.figure("memory_limit_bytes"));
        line(text, "maxmemory_policy", "noeviction");
    }),
    ("stats", |facts, text| {
        line(text, "total_connections_received", facts.figure("connections_total"));
        line(text, "total_net_input_bytes", facts.figure("bytes_in"));
        line(text, "total_net_output_bytes", facts.figure("bytes_out"));
        line(text, "rejected_connections", facts.figure("connections_refused"));
    }),
    ("replication", |_, text| {
        line(text, "role", "master");
        line(text, "connected_slaves", 0);
    }),
    ("cluster", |facts, text| {
        // Redis' own cluster protocol is not spoken.
        line(text, "cluster_enabled", 0);
        line(text, "dht_nodes", facts.nodes);
        line(text, "dht_partitions", facts.figure("partitions"));
    }),
    ("keyspace", |facts, text| {
        // Of this node alone; DBSIZE counts the cluster's.
        let entries = facts.figure("entries");
        if entries > 0 {
            line(text, "db0", format_args!("keys={entries},expires=0,avg_ttl=0"));
        }
    }),
];

/// Appends a section's lines.
type Section = fn(&Facts, &mut String);

/// What the sections are made of.
struct Facts {
    figures: Vec<(std::borrow::Cow<'static, str>, u64)>,
    nodes: usize,
}

impl Facts {
    fn figure(&self, name: &str) -> u64 {
        self.figures.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{name}:{value}\r\n");
}

/// `INFO [section ...]`. Cost: as [`Dispatcher::samples`].
pub(crate) fn info(args: Args<'_>, dispatcher: &Dispatcher, resp: Resp, out: &mut Vec<u8>) {
    let facts = Facts { figures: dispatcher.stats(), nodes: dispatcher.map().nodes().len() };
    let is_all = |at| ["all", "everything", "default"].iter().any(|word| args.is(at, word));
    let wants_all = args.len() == 1 || (1..args.len()).any(is_all);
    let mut text = String::new();
    for (name, write) in SECTIONS {
        if wants_all || (1..args.len()).any(|at| args.is(at, name)) {
            let (first, rest) = name.split_at(1);
            let separator = if text.is_empty() { "" } else { "\r\n" };
            let _ = write!(text, "{separator}# {}{rest}\r\n", first.to_ascii_uppercase());
            write(&facts, &mut text);
        }
    }
    reply::verbatim(resp, out, &text);
}

/// `CONFIG GET pattern ...`: what tools that measure and look want to know.
pub(crate) fn config(args: Args<'_>, dispatcher: &Dispatcher, resp: Resp, out: &mut Vec<u8>) {
    if !args.is(1, "get") || args.len() < 3 {
        return unknown_subcommand("config", args, out);
    }
    let settings = [
        ("appendonly", "no".to_owned()),
        ("databases", "1".to_owned()),
        ("maxclients", dispatcher.tuning().connections_max().to_string()),
        ("maxmemory", dispatcher.memory().limit_bytes().to_string()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("save", String::new()),
    ];
    let is_asked = |name: &str| {
        args.from(2).any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
    };
    let found: Vec<_> = settings.iter().filter(|(name, _)| is_asked(name)).collect();
    reply::map(resp, out, found.len());
    for (name, value) in found {
        reply::bulk(out, name.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
}

/// `COMMAND [COUNT | LIST | INFO name ... | DOCS [name ...]]`
pub(crate) fn command(args: Args<'_>, resp: Resp, out: &mut Vec<u8>) {
    if args.len() == 1 {
        reply::array(out, COMMANDS.len());
        COMMANDS.iter().for_each(|spec| describe(spec, out));
    } else if args.is(1, "count") && args.len() == 2 {
        reply::integer(out, COMMANDS.len() as i64);
    } else if args.is(1, "list") && args.len() == 2 {
        reply::array(out, COMMANDS.len());
        COMMANDS.iter().for_each(|spec| reply::bulk(out, spec.name.as_bytes()));
    } else if args.is(1, "info") {
        reply::array(out, if args.len() == 2 { COMMANDS.len() } else { args.len() - 2 });
        if args.len() == 2 {
            COMMANDS.iter().for_each(|spec| describe(spec, out));
        }
        for name in args.from(2) {
            match Verb::named(name) {
                Some(verb) => describe(verb.spec(), out),
                None => reply::null(resp, out),
            }
        }
    } else if args.is(1, "docs") {
        // redis-cli completes names without them.
        reply::map(resp, out, 0);
    } else {
        unknown_subcommand("command", args, out);
    }
}

fn describe(spec: &Spec, out: &mut Vec<u8>) {
    reply::array(out, 6);
    reply::bulk(out, spec.name.as_bytes());
    reply::integer(out, spec.arity);
    reply::array(out, spec.flags.len());
    spec.flags.iter().for_each(|flag| reply::simple(out, flag));
    let (first, last, step) = spec.keys;
    [first, last, step].into_iter().for_each(|number| reply::integer(out, number));
}
