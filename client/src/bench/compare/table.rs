//! The table of a comparison, for people. Lines fit 80 columns but for long names of machines.

use super::limits::VALUE_SPREAD;
use super::report::{CellFigures, CompareReport, Comparison, Figure};
use super::wire::Op;
use crate::bench::report::grouped;

/// Writes the table.
pub(crate) fn table(report: &CompareReport) -> String {
    let mut text = head(report);
    text.push_str(&heading("overhead per entry, bytes", false));
    for overhead in &report.overhead {
        text.push_str(&format!("{} entries\n", grouped(overhead.entries)));
        text.push_str(&rows(&overhead.overhead_bytes_per_entry, |_| None));
    }
    for op in [Op::Get, Op::Set, Op::Mget] {
        let per = if op == Op::Mget { "key of an MGET" } else { op.name() };
        text.push_str(&heading(&format!("server CPU per {per}, ns"), true));
        for cell in report.cells.iter().filter(|cell| cell.op == op) {
            text.push_str(&format!(
                "pipeline {}, {} connections{}\n",
                cell.pipeline,
                cell.connections,
                keys(cell)
            ));
            text.push_str(&rows(&cell.cpu_ns_per_key, |name| {
                let rate = cell.keys_per_second.iter().find(|rate| rate.name == name)?;
                Some(rate.series.median)
            }));
        }
    }
    let open = &report.open_loop;
    text.push_str(&heading("GET latency in an open loop, µs", false));
    for quantile in &open.latency_us {
        let rate = grouped(open.requests_per_second as u64);
        let percent = f64::from(quantile.permille) / 10.0;
        text.push_str(&format!("p{percent}, {rate} requests/s on {} connections\n", open.connections));
        text.push_str(&rows(&quantile.of, |_| None));
    }
    text
}

fn head(report: &CompareReport) -> String {
    let (settings, machine) = (&report.settings, &report.machine);
    let mut text = format!("comparison of {}\n", report.date);
    let mut line = |name: &str, what: String| text.push_str(&format!("{name:<10}{what}\n"));
    line("machine", format!("{}, {} processors, {}", machine.processor, machine.processors, machine.kernel));
    line(
        "",
        match (machine.server_cpu, machine.load_cpu) {
            (Some(servers), Some(load)) => {
                format!("servers on processor {servers}, load on processor {load}")
            }
            _ => "not pinned: servers and load share what there is".to_owned(),
        },
    );
    line(
        "load",
        format!(
            "{} entries, keys of {} B, values of {} B; SET writes {} to {} B",
            grouped(settings.keys),
            settings.key_size,
            settings.value_size,
            settings.value_size / VALUE_SPREAD,
            settings.value_size * VALUE_SPREAD
        ),
    );
    line(
        "",
        format!("{} round(s) of {} s a load, seed {}", settings.rounds, settings.seconds, settings.seed),
    );
    for (at, server) in report.servers.iter().enumerate() {
        let name = if at == 0 { "servers" } else { "" };
        line(name, format!("{:<17} {:<15} {}", server.name, server.protocol.name(), server.version));
    }
    for peer in &report.left_out {
        line("left out", format!("{}: {}", peer.name, peer.why));
    }
    text
}

/// A blank line, what follows, and the names of the columns.
fn heading(title: &str, is_load: bool) -> String {
    let mut columns = format!("{:>31}{:>10}{:>10}{:>8}", "median", "lowest", "highest", "× peer");
    if is_load {
        columns.push_str(&format!("{:>9}{:>12}", "× limit", "keys/s"));
    }
    format!("\n{title}\n{columns}\n")
}

fn rows(comparison: &Comparison, rate: impl Fn(&str) -> Option<f64>) -> String {
    let row = |figure: &Figure| {
        let times = |ratio: Option<f64>| ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let [median, lowest, highest] =
            [figure.series.median, figure.series.lowest, figure.series.highest].map(short);
        let peer = times(figure.ratio_to_best_peer);
        let mut line = format!("  {:<19}{median:>10}{lowest:>10}{highest:>10}{peer:>8}", figure.name);
        if let Some(rate) = rate(&figure.name) {
            line.push_str(&format!(
                "{:>9}{:>12}",
                times(figure.ratio_to_limit),
                grouped(rate.round() as u64)
            ));
        }
        line + "\n"
    };
    comparison.servers.iter().map(row).collect()
}

/// A number with as many digits as mean something.
fn short(number: f64) -> String {
    match number.abs() {
        size if size < 100.0 => format!("{number:.1}"),
        _ => grouped_signed(number.round()),
    }
}

fn grouped_signed(number: f64) -> String {
    let sign = if number < 0.0 { "-" } else { "" };
    format!("{sign}{}", grouped(number.abs() as u64))
}

fn keys(cell: &CellFigures) -> String {
    match cell.keys_per_request {
        1 => String::new(),
        keys => format!(", {keys} keys a request"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::testing;
    use super::*;

    #[test]
    fn the_table_says_what_was_compared_and_how_it_came_out() {
        let text = table(&testing::report());
        for part in [
            "comparison of 2026-11-20",
            "machine   Example CPU, 2 processors, Linux 6.1",
            "servers on processor 1, load on processor 0",
            "5,000,000 entries, keys of 16 B, values of 32 B; SET writes 16 to 64 B",
            "left out  valkey: valkey-server is not installed",
            "p99.9, 50,000 requests/s on 50 connections",
            "pipeline 64, 8 connections, 100 keys a request",
        ] {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
        let row = "  dhtd-binary              40.0      20.0      60.0    0.67     2.00          40";
        assert_eq!(text.lines().filter(|line| *line == row).count(), 9, "one in each cell:\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        for (number, text) in
            [(0.04, "0.0"), (12.94, "12.9"), (99.94, "99.9"), (1234.5, "1,235"), (-250.0, "-250")]
        {
            assert_eq!(short(number), text);
        }
    }
}
