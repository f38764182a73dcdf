//! What a seed means: how many nodes, copies, clients and keys, and how bad it is going to be.

use dht_protocol::placement::replica_map::{OnLoss, Settings};

use dht_server::replication::limits::CopyPace;

use crate::random::Random;

use super::network::Weather;
use super::queue::{MS, SECOND};

/// What a seed is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything that leaves one in-sync replica of each partition.
    Usual,
    /// All replicas of some partition are lost, once, between two bouts of operations.
    TotalLoss,
    /// A hundred nodes, each of which holds everything; short.
    Wide,
}

/// The seed, spelt out.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// What it is about.
    pub kind: Kind,
    /// Nodes.
    pub nodes: usize,
    /// What the cluster is told.
    pub settings: Settings,
    /// Clients.
    pub clients: usize,
    /// Of a hundred calls, those after which their client is gone and another takes its place.
    pub(super) lives_end: u64,
    /// Clients that may take the places of others.
    pub(super) lives: usize,
    /// Calls that a client has open at once.
    pub slots: usize,
    /// Partitions that have keys.
    pub partitions: usize,
    /// Keys of each.
    pub keys: usize,
    /// Most of them hold long values.
    pub(super) is_bulky: bool,
    pub(super) weather: Weather,
    /// How fast newcomers are filled: often slowly, so that something happens meanwhile.
    pub(super) pace: CopyPace,
    /// Nothing may fall silent: the cluster goes on empty, and is to do so for one loss.
    pub(super) is_calm: bool,
    /// Nodes crash whatever goes with them.
    pub(super) is_ruthless: bool,
    /// Between two random faults, nanoseconds on average.
    pub(super) fault_gap: u64,
    /// Moments that are aimed at, in a hundred of those that come by.
    pub(super) aim: u64,
    /// Longest that a call takes, nanoseconds.
    pub(super) op_timeout: u64,
    /// Longest that a client waits for one answer, nanoseconds.
    pub(super) attempt_timeout: u64,
    /// At least so many operations, faults and nanoseconds, and at most so long.
    pub(super) operations_min: u64,
    pub(super) faults_min: u64,
    pub(super) span_min: u64,
    pub(super) span_max: u64,
}

/// One entry at a time.
const SLOW: CopyPace = CopyPace { piece_bytes: 200, window: 1 };
/// Partitions of the ring.
pub(super) const PARTITIONS: u32 = 16;

impl Scenario {
    /// What `seed` means.
    #[must_use]
    pub fn of(seed: u64) -> Scenario {
        let mut random = Random::new(seed ^ 0x5CE2_A210_5CE2_A210);
        let kind = match seed % 512 {
            511 => Kind::Wide,
            at if at % 8 == 5 => Kind::TotalLoss,
            _ => Kind::Usual,
        };
        let (nodes, replicas) = match kind {
            Kind::Wide => (100, 100),
            Kind::TotalLoss => {
                let nodes = 3 + random.below(3);
                let most = nodes.min(4) - 1;
                (nodes, if random.percent(15) { 1 } else { 2 + random.below(most - 1) })
            }
            Kind::Usual => usual_size(&mut random),
        };
        let min_in_sync = match replicas {
            // What is left of a loss has to take writes.
            _ if kind == Kind::TotalLoss => 1,
            1 => 1,
            2 => 1 + u64::from(random.percent(25)),
            _ => 2 - u64::from(random.percent(35)),
        };
        let goes_on_empty = match kind {
            Kind::TotalLoss => random.percent(35),
            Kind::Usual => random.percent(12),
            Kind::Wide => false,
        };
        let on_loss = if goes_on_empty { OnLoss::Empty } else { OnLoss::Wait };
        let is_calm = kind == Kind::TotalLoss && goes_on_empty;
        let refill_delay_ms = *random.pick(&[100, 500, 1_000, 3_000]);
        let settings =
            Settings { replicas: replicas as u8, min_in_sync: min_in_sync as u8, on_loss, refill_delay_ms };
        let short = kind == Kind::Wide;
        // Clients come and go, until outcomes have to be forgotten.
        let is_crowded = kind == Kind::Usual && random.percent(4);
        Scenario {
            seed,
            kind,
            nodes: nodes as usize,
            settings,
            clients: 3 + random.below(4) as usize,
            slots: 2 + random.below(3) as usize,
            lives_end: if is_crowded { 40 } else { *random.pick(&[0, 0, 1, 5]) },
            lives: if is_crowded { 4_000 } else { 300 },
            partitions: if is_crowded { 1 } else { 2 + random.below(4) as usize },
            keys: if is_crowded { 12 } else { 3 + random.below(2) as usize },
            is_bulky: random.percent(15) && !short,
            weather: if is_calm { Weather::CALM } else { weather(&mut random) },
            pace: *random.pick(&[CopyPace::FULL, SLOW, SLOW]),
            is_calm,
            is_ruthless: kind == Kind::Usual && goes_on_empty && random.percent(50),
            fault_gap: *random.pick(&[800 * MS, 1_500 * MS, 2_500 * MS]),
            aim: *random.pick(&[2, 6, 20]),
            op_timeout: *random.pick(&[400 * MS, SECOND, 3 * SECOND, 7 * SECOND]),
            attempt_timeout: *random.pick(&[40 * MS, 150 * MS, 400 * MS, SECOND, 7 * SECOND]),
            operations_min: match kind {
                Kind::Wide => 200,
                Kind::Usual if is_crowded => 6_000,
                Kind::Usual | Kind::TotalLoss => 2_000,
            },
            faults_min: if short || is_calm { 2 } else { 20 },
            span_min: if short { 3 * SECOND } else { 60 * SECOND },
            span_max: if short { 6 * SECOND } else { 150 * SECOND },
        }
    }
}

/// Nodes and copies of a usual seed: three copies most often, as those have most to get wrong.
fn usual_size(random: &mut Random) -> (u64, u64) {
    match random.below(100) {
        0..3 => (1, 1),
        3..12 => {
            let nodes = 2 + random.below(3);
            (nodes, nodes)
        }
        12..22 => (2 + random.below(4), 1),
        22..50 => (2 + random.below(5), 2),
        50..97 => (3 + random.below(4), 3),
        _ => (7 + random.below(3), 3),
    }
}

fn weather(random: &mut Random) -> Weather {
    Weather {
        loss: *random.pick(&[0, 20, 100, 300]),
        twice: *random.pick(&[0, 50, 200]),
        late: *random.pick(&[5, 30, 100]),
        tail: *random.pick(&[30 * MS, 200 * MS, 2 * SECOND]),
    }
}
