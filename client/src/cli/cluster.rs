//! The commands that ask every node: `map`, `stats` and `ping`.

use std::io::{self, Write};

use crate::Client;
use crate::cli::failure::{Failure, say};
use crate::cli::output::{self, NodeStats};

pub(crate) fn map(client: &Client) -> Result<(), Failure> {
    let answers = client.stats();
    let map = client.map();
    let mut failed = false;
    let mut text = String::new();
    for (node, answer) in answers {
        let stats = answer.inspect_err(|error| {
            say("dht", format_args!("{}: {error}", node.address));
            failed = true;
        });
        let partitions_count = map.partitions_of(node.id).count();
        text.push_str(&output::map_line(&node.address, partitions_count, stats.as_ref().ok()));
    }
    print(&text, failed)
}

/// The counters of every node that gives them, and whether one did not, which is said then.
pub(crate) fn node_stats(client: &Client) -> (Vec<(String, NodeStats)>, bool) {
    let mut failed = false;
    let mut nodes: Vec<(String, NodeStats)> = Vec::new();
    for (node, answer) in client.stats() {
        match answer {
            Ok(stats) => nodes.push((node.address, stats)),
            Err(error) => {
                say("dht", format_args!("{}: {error}; the totals are without it", node.address));
                failed = true;
            }
        }
    }
    (nodes, failed)
}

pub(crate) fn stats(client: &Client) -> Result<(), Failure> {
    let (nodes, failed) = node_stats(client);
    let lines = output::stats_lines(&nodes);
    let text: String = lines.iter().map(|(name, number)| format!("{name} {number}\n")).collect();
    print(&text, failed)
}

pub(crate) fn ping(client: &Client) -> Result<(), Failure> {
    let mut failed = false;
    let mut text = String::new();
    for (node, answer) in client.ping() {
        match answer {
            Ok(took) => {
                text.push_str(&format!("{}\tok\t{:.3} ms\n", node.address, took.as_secs_f64() * 1000.0));
            }
            Err(error) => {
                say("dht", format_args!("{}: {error}", node.address));
                failed = true;
            }
        }
    }
    print(&text, failed)
}

fn print(text: &str, failed: bool) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(Failure::of_output)?;
    if failed { Err(Failure::Reported) } else { Ok(()) }
}
