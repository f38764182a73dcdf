//! The picture of a comparison: bars of medians with their spread, a panel for memory, some for processor time, and
//! one for latencies. SVG without fonts of its own: whoever shows it brings one.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::limits::{MGET_KEYS, PIPELINES};
use super::peer::Role;
use super::report::{CompareReport, Comparison};
use super::wire::Op;
use crate::bench::report::grouped;

/// Size of a panel, pixels.
const PANEL: (u32, u32) = (480, 300);
/// Height of the lines above all panels, and below.
const HEAD: u32 = 84;
const FOOT: u32 = 40;
/// What is left free around the bars of a panel, pixels: left, right, top, bottom.
const MARGIN: (i32, i32, i32, i32) = (58, 12, 38, 30);
/// A panel shows at most so many times its highest median.
const HEADROOM: f64 = 1.5;
/// Lines across a panel.
const TICKS: u32 = 4;
const FONT: &str = "sans-serif";

/// Colours that are told apart with every kind of sight: Okabe and Ito, *Color Universal Design*, 2008.
const OURS: [RGBColor; 2] = [RGBColor(0, 114, 178), RGBColor(86, 180, 233)];
const PEERS: [RGBColor; 5] = [
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(240, 228, 66),
];
const LIMIT: RGBColor = RGBColor(176, 176, 176);
const INK: RGBColor = RGBColor(51, 51, 51);
const RULE: RGBColor = RGBColor(225, 225, 225);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One panel: groups of bars.
struct Panel<'a> {
    title: String,
    groups: Vec<(String, &'a Comparison)>,
}

/// Draws it.
///
/// # Errors
/// What the drawing library says.
pub(crate) fn svg(report: &CompareReport) -> Result<String, String> {
    let panels = panels(report);
    let rows = (panels.len() as u32).div_ceil(2);
    let size = (2 * PANEL.0, HEAD + rows * PANEL.1 + FOOT);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let drawn =
            draw(&area, report, &panels).and_then(|()| area.present().map_err(|error| error.to_string()));
        drawn.map_err(|error| format!("cannot draw the picture: {error}"))?;
    }
    Ok(text)
}

fn panels(report: &CompareReport) -> Vec<Panel<'_>> {
    let millions = |entries: u64| match entries % 1_000_000 {
        0 => format!("{} M entries", entries / 1_000_000),
        _ => format!("{} entries", grouped(entries)),
    };
    let memory = report.overhead.iter().map(|step| (millions(step.entries), &step.overhead_bytes_per_entry));
    let memory = Panel { title: "Memory overhead per entry, bytes".to_owned(), groups: memory.collect() };
    // What one pipeline costs stands together, for another one costs several times as much.
    let single = PIPELINES.map(|pipeline| {
        let cells = report.cells.iter().filter(|cell| cell.op != Op::Mget && cell.pipeline == pipeline);
        Panel {
            title: format!("Server CPU per request at pipeline {pipeline}, ns"),
            groups: cells.map(|cell| (cell.op.name().to_owned(), &cell.cpu_ns_per_key)).collect(),
        }
    });
    let cells = report.cells.iter().filter(|cell| cell.op == Op::Mget);
    let many = Panel {
        title: format!("Server CPU per key of an MGET of {MGET_KEYS}, ns"),
        groups: cells.map(|cell| (format!("pipeline {}", cell.pipeline), &cell.cpu_ns_per_key)).collect(),
    };
    let open = &report.open_loop;
    let rate = grouped(open.requests_per_second as u64);
    let latency = Panel {
        title: format!("GET latency at {rate} requests/s, µs"),
        groups: open
            .latency_us
            .iter()
            .map(|quantile| (format!("p{}", f64::from(quantile.permille) / 10.0), &quantile.of))
            .collect(),
    };
    [memory].into_iter().chain(single).chain([many, latency]).collect()
}

fn draw(area: &Area<'_>, report: &CompareReport, panels: &[Panel<'_>]) -> Result<(), String> {
    area.fill(&WHITE).map_err(|error| error.to_string())?;
    write(
        area,
        "Lower is better. Bars are medians, lines the spread of the rounds; one that ends at the top goes further.",
        (16, 12),
        17,
        HPos::Left,
    )?;
    legend(area, report)?;
    for (at, panel) in panels.iter().enumerate() {
        let (column, row) = (at as u32 % 2, at as u32 / 2);
        let (left, top) = (column * PANEL.0, HEAD + row * PANEL.1);
        let colours: Vec<(&str, RGBColor)> = colours(report);
        draw_panel(area, panel, &colours, (left as i32, top as i32))?;
    }
    let machine = &report.machine;
    let foot = format!(
        "{}, {} processors, {}; {} entries of {} + {} B; {}",
        machine.processor,
        machine.processors,
        machine.kernel,
        grouped(report.settings.keys),
        report.settings.key_size,
        report.settings.value_size,
        report.date
    );
    let (_, height) = area.dim_in_pixel();
    write(area, &foot, (16, height as i32 - 26), 13, HPos::Left)
}

/// The colour of each server, by role and order.
fn colours(report: &CompareReport) -> Vec<(&str, RGBColor)> {
    let (mut ours, mut peers) = (OURS.into_iter().cycle(), PEERS.into_iter().cycle());
    let colour = |role| match role {
        Role::Ours => ours.next().unwrap_or(INK),
        Role::Peer => peers.next().unwrap_or(INK),
        Role::Limit => LIMIT,
    };
    let roles = report.servers.iter().map(|server| server.role);
    report.servers.iter().map(|server| server.name.as_str()).zip(roles.map(colour)).collect()
}

fn legend(area: &Area<'_>, report: &CompareReport) -> Result<(), String> {
    /// Width of a letter, more or less.
    const LETTER: i32 = 7;
    let mut left = 16;
    let mut limit_shown = false;
    for (server, (name, colour)) in report.servers.iter().zip(colours(report)) {
        // The loops have one colour and stand beside their servers.
        if server.role == Role::Limit && std::mem::replace(&mut limit_shown, true) {
            continue;
        }
        let text = match server.role {
            Role::Limit => "limit: a loop without look-ups".to_owned(),
            Role::Ours => format!("{name} ({})", server.version),
            Role::Peer if server.version.to_lowercase().starts_with(name) => server.version.clone(),
            Role::Peer => format!("{name} ({})", server.version),
        };
        rectangle(area, (left, 46), (left + 12, 58), colour)?;
        write(area, &text, (left + 17, 45), 13, HPos::Left)?;
        left += 17 + 16 + LETTER * text.chars().count() as i32;
    }
    Ok(())
}

fn draw_panel(
    area: &Area<'_>,
    panel: &Panel<'_>,
    colours: &[(&str, RGBColor)],
    (left, top): (i32, i32),
) -> Result<(), String> {
    let series =
        || panel.groups.iter().flat_map(|(_, comparison)| &comparison.servers).map(|figure| &figure.series);
    let highest = series().map(|series| series.highest).fold(0.0, f64::max);
    // One bad round of one server must not make all others too small to be seen.
    let highest = series().map(|series| series.median * HEADROOM).fold(0.0, f64::max).min(highest);
    let step = tick(highest / f64::from(TICKS));
    let ticks = (highest / step).ceil().max(1.0);
    let (from, to) = (left + MARGIN.0, left + PANEL.0 as i32 - MARGIN.1);
    let (ceiling, floor) = (top + MARGIN.2, top + PANEL.1 as i32 - MARGIN.3);
    let height =
        |value: f64| floor - ((value / (ticks * step)).clamp(0.0, 1.0) * f64::from(floor - ceiling)) as i32;
    write(area, &panel.title, (left + 16, top + 8), 15, HPos::Left)?;
    for number in 0..=ticks as u32 {
        let value = f64::from(number) * step;
        path(area, (from, height(value)), (to, height(value)), RULE)?;
        write(area, &tick_text(value), (from - 6, height(value) - 7), 12, HPos::Right)?;
    }
    let group_width = (to - from) / panel.groups.len().max(1) as i32;
    for (group, (name, comparison)) in panel.groups.iter().enumerate() {
        let group_left = from + group as i32 * group_width;
        // A bar's width on either side of a group stays free.
        let bar_width = (group_width / (comparison.servers.len() as i32 + 1)).max(2);
        for (bar, figure) in comparison.servers.iter().enumerate() {
            let bar_left = group_left + bar_width / 2 + bar as i32 * bar_width;
            let colour =
                colours.iter().find(|(name, _)| *name == figure.name).map_or(INK, |(_, colour)| *colour);
            let series = &figure.series;
            rectangle(
                area,
                (bar_left + 1, height(series.median)),
                (bar_left + bar_width - 1, floor),
                colour,
            )?;
            let middle = bar_left + bar_width / 2;
            path(area, (middle, height(series.lowest)), (middle, height(series.highest)), INK)?;
        }
        write(area, name, (group_left + group_width / 2, floor + 8), 13, HPos::Center)?;
    }
    path(area, (from, floor), (to, floor), INK)
}

/// The least of 1, 2 and 5 times a power of ten that is not below `least`.
fn tick(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-3).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|&step| step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

fn tick_text(value: f64) -> String {
    if value.fract() == 0.0 { grouped(value as u64) } else { format!("{value}") }
}

fn rectangle(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Result<(), String> {
    area.draw(&Rectangle::new([from, to], colour.filled())).map_err(|error| error.to_string())
}

fn path(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Result<(), String> {
    area.draw(&PathElement::new([from, to], colour)).map_err(|error| error.to_string())
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, anchor: HPos) -> Result<(), String> {
    let style = TextStyle::from((FONT, size).into_font()).color(&INK).pos(Pos::new(anchor, VPos::Top));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::report::testing;
    use super::*;

    #[test]
    fn every_server_has_its_bars() {
        let report = testing::report();
        let text = svg(&report).unwrap();
        assert!(text.starts_with("<svg ") && text.trim_end().ends_with("</svg>"), "{text}");
        let colours = colours(&report);
        // Three pipelines of three operations and three quantiles; four sizes for all but the limit; and the legend.
        for (name, bars) in [("limit-binary", 12), ("dhtd-binary", 16), ("redis", 16), ("memcached", 16)] {
            let (_, RGBColor(r, g, b)) = colours.iter().find(|(of, _)| *of == name).unwrap();
            let fill = format!("fill=\"#{r:02X}{g:02X}{b:02X}\"");
            assert_eq!(text.matches(&fill).count(), bars + 1, "{name}:\n{text}");
        }
        for part in [
            "Server CPU per request at pipeline 64, ns",
            "5 M entries",
            "pipeline 64",
            "p99.9",
            "redis 1.0",
            "Example CPU",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    #[test]
    fn ticks_are_round_numbers() {
        for (least, step) in
            [(0.7, 1.0), (1.0, 1.0), (1.1, 2.0), (23.0, 50.0), (450.0, 500.0), (600.0, 1000.0)]
        {
            assert!((tick(least) - step).abs() < step * 1e-9, "{least}: {}", tick(least));
        }
        assert!(tick(0.0) > 0.0);
        assert_eq!((tick_text(0.5), tick_text(1500.0)), ("0.5".to_owned(), "1,500".to_owned()));
    }
}
