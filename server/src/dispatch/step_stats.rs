//! The figures about steps: how much growth, compaction and housekeeping do at a time, and how long it keeps the processor.

use crate::metrics::{Metric, Sample};
use crate::store::{PartitionUsage, StepBooks, StepKind};

/// What the figures of one kind of step are called, in `STATS` and at the HTTP door, and what they mean.
struct Figures {
    steps: [&'static str; 3],
    slots_max: [&'static str; 3],
    bytes_max: [&'static str; 3],
    timed: [&'static str; 3],
    cpu: [&'static str; 3],
}

const GROWTH: Figures = Figures {
    steps: ["growth_steps", "growth_steps_total", "Steps by which tables grew or shrank."],
    slots_max: ["growth_slots_max", "growth_slots_max", "Most slots that one of them touched."],
    bytes_max: ["growth_bytes_max", "growth_max_bytes", "Most bytes that one of them moved."],
    timed: ["growth_timed_steps", "growth_timed_steps_total", "Those that were timed, one in 4."],
    cpu: ["growth_cpu_ns_*", "growth_cpu_seconds", "Processor time of those: percentiles, and the longest."],
};

const COMPACTION: Figures = Figures {
    steps: ["compaction_steps", "compaction_steps_total", "Steps of compaction that came with writes."],
    slots_max: ["compaction_slots_max", "compaction_slots_max", "Most slots that one of them touched."],
    bytes_max: ["compaction_bytes_max", "compaction_max_bytes", "Most bytes that one of them moved."],
    timed: ["compaction_timed_steps", "compaction_timed_steps_total", "Those that were timed, one in 64."],
    cpu: [
        "compaction_cpu_ns_*",
        "compaction_cpu_seconds",
        "Processor time of those: percentiles, and the longest.",
    ],
};

const MAINTENANCE: Figures = Figures {
    steps: [
        "maintenance_steps",
        "maintenance_steps_total",
        "Steps of housekeeping that compacted, or looked for blocks to move.",
    ],
    slots_max: [
        "maintenance_slots_max",
        "maintenance_slots_max",
        "Most slots and blocks that one of them looked at.",
    ],
    bytes_max: ["maintenance_bytes_max", "maintenance_max_bytes", "Most bytes that one of them moved."],
    timed: ["maintenance_timed_steps", "maintenance_timed_steps_total", "Those that were timed, one in 4."],
    cpu: [
        "maintenance_cpu_ns_*",
        "maintenance_cpu_seconds",
        "Processor time of those: percentiles, and the longest.",
    ],
};

/// Adds the figures of every kind of step.
pub(super) fn add_samples(samples: &mut Vec<Sample>, total: &PartitionUsage, books: &StepBooks) {
    let most = books.operation_max();
    let help = "Most slots that one operation under a lock has touched.";
    samples.push(Metric::gauge("step_slots_max", "step_slots_max", help).sample(most.slots as u64));
    let help = "Most bytes of entries that one operation under a lock has copied.";
    samples.push(Metric::gauge("step_bytes_max", "step_max_bytes", help).sample(most.bytes as u64));
    for kind in StepKind::ALL {
        let (figures, steps) = match kind {
            StepKind::Growth => (GROWTH, total.growth_steps),
            StepKind::Compaction => (COMPACTION, total.compaction_steps),
            StepKind::Maintenance => (MAINTENANCE, total.maintenance_steps),
        };
        add_kind(samples, kind, &figures, steps, books);
    }
}

fn add_kind(samples: &mut Vec<Sample>, kind: StepKind, figures: &Figures, steps: u64, books: &StepBooks) {
    let counter = |[stat, name, help]: [&'static str; 3]| Metric::counter(stat, name, help);
    let gauge = |[stat, name, help]: [&'static str; 3]| Metric::gauge(stat, name, help);
    let (most, cpu_times) = (books.step_max(kind), books.cpu_times(kind));
    samples.push(counter(figures.steps).sample(steps));
    samples.push(gauge(figures.slots_max).sample(most.slots as u64));
    samples.push(gauge(figures.bytes_max).sample(most.bytes as u64));
    samples.push(counter(figures.timed).sample(cpu_times.timed));
    let cpu = gauge(figures.cpu).in_nanoseconds();
    for (quantile, ns) in [
        ("p50", cpu_times.p50_ns),
        ("p99", cpu_times.p99_ns),
        ("p9999", cpu_times.p9999_ns),
        ("max", cpu_times.max_ns),
    ] {
        samples.push(cpu.labelled("quantile", quantile, ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_steps_that_is_timed_is_told() {
        for (kind, figures) in [
            (StepKind::Growth, GROWTH),
            (StepKind::Compaction, COMPACTION),
            (StepKind::Maintenance, MAINTENANCE),
        ] {
            let [_, _, help] = figures.timed;
            assert!(help.ends_with(&format!("one in {}.", kind.timed_one_in())), "{help}");
        }
    }
}
