//! The network: who can reach whom, and how long that takes. Ends are numbered: nodes, then the coordinator, then clients.

use crate::random::Random;

use super::queue::{MS, SECOND};

/// Directions in which something is wrong; the same one may be under many of these.
#[derive(Clone, Debug)]
struct Trouble {
    /// Names it, to be healed.
    id: u32,
    /// Pairs of ends, from and to.
    pairs: Vec<(u16, u16)>,
    passes: Passes,
}

/// What still gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passes {
    /// Nothing.
    Nothing,
    /// What has at most so many bytes, as on a path on which a smaller maximum is not heard of: it answers every ping, and
    /// carries nothing of any length.
    Short(u32),
    /// So many bytes a second. What has to wait for too long for those before it is lost.
    Slowly(u32),
}

/// A direction, under all its troubles.
#[derive(Clone, Copy, Debug)]
struct Path {
    /// Longest message that gets through, bytes; 0: none does.
    longest: u32,
    /// Bytes that get through in a second; [`u32::MAX`]: as many as come.
    rate: u32,
    /// When the last byte of what was sent has gone through, true time.
    busy_until: u64,
}

impl Path {
    const CLEAR: Path = Path { longest: u32::MAX, rate: u32::MAX, busy_until: 0 };

    fn narrow(&mut self, passes: Passes) {
        match passes {
            Passes::Nothing => self.longest = 0,
            Passes::Short(bytes) => self.longest = self.longest.min(bytes),
            Passes::Slowly(rate) => self.rate = self.rate.min(rate),
        }
    }

    /// How long so many bytes take, nanoseconds.
    fn span_of(self, bytes: usize) -> u64 {
        if self.rate == u32::MAX { 0 } else { bytes as u64 * SECOND / u64::from(self.rate) }
    }

    /// Sends so many bytes behind those that are being sent; says how long that takes. `None`: the queue is full.
    fn send(&mut self, now: u64, bytes: usize) -> Option<u64> {
        let begins = now.max(self.busy_until);
        if begins - now > QUEUE_MAX {
            return None;
        }
        self.busy_until = begins + self.span_of(bytes);
        Some(self.busy_until - now)
    }
}

/// Longest that something waits before a slow path, nanoseconds.
const QUEUE_MAX: u64 = 300 * MS;

/// How bad the network is at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Datagrams lost, in ten thousand.
    pub(super) loss: u64,
    /// Datagrams that arrive twice, in ten thousand.
    pub(super) twice: u64,
    /// Messages that take up to [`Weather::tail`], in ten thousand.
    pub(super) late: u64,
    /// Longest delay of such a one, nanoseconds.
    pub(super) tail: u64,
}

/// The network.
pub(super) struct Network {
    ends: usize,
    /// By pair.
    paths: Vec<Path>,
    troubles: Vec<Trouble>,
    next_trouble: u32,
    /// How it usually is.
    pub(super) usual: Weather,
    /// How it is now.
    pub(super) weather: Weather,
}

/// When the copies of a datagram arrive: none, one or two delays.
pub(super) type Fate = [Option<u64>; 2];

impl Weather {
    /// Nothing is lost and nothing is late.
    pub(super) const CALM: Weather = Weather { loss: 0, twice: 0, late: 0, tail: MS };
}

impl Network {
    /// A network of so many ends, none of them cut off.
    pub(super) fn new(ends: usize, usual: Weather) -> Network {
        let paths = vec![Path::CLEAR; ends * ends];
        Network { ends, paths, troubles: Vec::new(), next_trouble: 0, usual, weather: usual }
    }

    fn path(&self, from: u16, to: u16) -> Path {
        self.paths[from as usize * self.ends + to as usize]
    }

    /// Whether everything may get from one end to the other, at once.
    pub(super) fn is_clear(&self, from: u16, to: u16) -> bool {
        let Path { longest, rate, .. } = self.path(from, to);
        longest == u32::MAX && rate == u32::MAX
    }

    /// Whether a message of so many bytes cannot get from one end to the other.
    pub(super) fn swallows(&self, from: u16, to: u16, bytes: usize) -> bool {
        let longest = self.path(from, to).longest;
        longest == 0 || bytes > longest as usize
    }

    /// Nothing gets through between these pairs, until the trouble of this number is healed.
    pub(super) fn cut(&mut self, pairs: Vec<(u16, u16)>) -> u32 {
        self.trouble(pairs, Passes::Nothing)
    }

    /// Only this gets through between these pairs, until the trouble of this number is healed.
    pub(super) fn trouble(&mut self, pairs: Vec<(u16, u16)>, passes: Passes) -> u32 {
        self.next_trouble += 1;
        for &(from, to) in &pairs {
            self.paths[from as usize * self.ends + to as usize].narrow(passes);
        }
        self.troubles.push(Trouble { id: self.next_trouble, pairs, passes });
        self.next_trouble
    }

    /// Heals a trouble, and says of what; one that was healed before is no more.
    pub(super) fn heal(&mut self, id: u32) -> Vec<(u16, u16)> {
        let Some(at) = self.troubles.iter().position(|trouble| trouble.id == id) else { return Vec::new() };
        let pairs = self.troubles.swap_remove(at).pairs;
        for pair in &pairs {
            let mut path = Path::CLEAR;
            let others = self.troubles.iter().filter(|trouble| trouble.pairs.contains(pair));
            others.for_each(|trouble| path.narrow(trouble.passes));
            self.paths[pair.0 as usize * self.ends + pair.1 as usize] = path;
        }
        pairs
    }

    /// Everything is well from now on.
    pub(super) fn calm_down(&mut self) {
        self.troubles.clear();
        self.paths.fill(Path::CLEAR);
        self.usual = Weather::CALM;
        self.weather = Weather::CALM;
    }

    /// How long a message of a stream takes by its length alone, nanoseconds.
    pub(super) fn span_of(&self, from: u16, to: u16, bytes: usize) -> u64 {
        self.path(from, to).span_of(bytes)
    }

    /// What becomes of a datagram of so many bytes that is sent now.
    pub(super) fn fate(&mut self, random: &mut Random, now: u64, ends: (u16, u16), bytes: usize) -> Fate {
        let (from, to) = ends;
        if self.swallows(from, to, bytes) {
            return [None, None];
        }
        let roll = random.below(10_000);
        if roll < self.weather.loss {
            return [None, None];
        }
        let Some(span) = self.paths[from as usize * self.ends + to as usize].send(now, bytes) else {
            return [None, None];
        };
        let first = span + self.delay(random);
        let second = (roll >= 10_000 - self.weather.twice).then(|| span + self.delay(random));
        [Some(first), second]
    }

    /// How long a message takes, nanoseconds.
    pub(super) fn delay(&self, random: &mut Random) -> u64 {
        let bits = random.next_u64();
        if bits >> 32 < (self.weather.late << 32) / 10_000 {
            return MS + random.below(self.weather.tail);
        }
        // From 0.1 to 2 ms, the shorter the likelier.
        let (a, b) = (bits & 0xFFFF, bits >> 16 & 0xFFFF);
        MS / 10 + ((a * b) >> 16) * 1_900_000 / 0xFFFF
    }

    /// How long until a stream that met a cut tries again, nanoseconds.
    pub(super) fn retransmission(random: &mut Random) -> u64 {
        5 * MS + random.below(SECOND / 5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_has_a_direction_and_heals_by_its_number() {
        let mut network = Network::new(3, Weather::CALM);
        let (first, second) = (network.cut(vec![(0, 1)]), network.cut(vec![(0, 1), (2, 0)]));
        let mut random = Random::new(1);
        assert_eq!(network.fate(&mut random, 0, (0, 1), 10), [None, None]);
        assert!(network.fate(&mut random, 0, (1, 0), 10)[0].is_some());
        network.heal(first);
        assert!(network.swallows(0, 1, 0) && network.swallows(2, 0, 0));
        network.heal(second);
        network.heal(second);
        assert!(!network.swallows(0, 1, 0) && network.troubles.is_empty());
    }

    #[test]
    fn a_narrow_path_swallows_what_is_long() {
        let mut network = Network::new(2, Weather::CALM);
        let mut random = Random::new(3);
        let narrow = network.trouble(vec![(0, 1)], Passes::Short(200));
        assert!(network.fate(&mut random, 0, (0, 1), 200)[0].is_some());
        assert_eq!(network.fate(&mut random, 0, (0, 1), 201), [None, None]);
        assert!(!network.swallows(0, 1, 0) && !network.is_clear(0, 1) && network.is_clear(1, 0));
        let cut = network.cut(vec![(0, 1)]);
        assert!(network.swallows(0, 1, 0) && network.swallows(0, 1, 0));
        network.heal(cut);
        assert!(network.swallows(0, 1, 201) && !network.swallows(0, 1, 200));
        network.heal(narrow);
        assert!(network.is_clear(0, 1) && !network.swallows(0, 1, 1 << 30));
    }

    #[test]
    fn on_a_slow_path_messages_wait_for_each_other_and_not_for_long() {
        let mut network = Network::new(2, Weather::CALM);
        let mut random = Random::new(4);
        let slow = network.trouble(vec![(0, 1)], Passes::Slowly(10_000));
        let mut send = |network: &mut Network, now| network.fate(&mut random, now, (0, 1), 1_000)[0];
        for place in 1..=4 {
            let delay = send(&mut network, 0).unwrap();
            assert!((place * 100 * MS..place * 100 * MS + 2 * MS).contains(&(delay - MS / 10)), "{delay}");
        }
        assert_eq!(send(&mut network, 0), None, "400 ms are more than anything waits");
        assert!(send(&mut network, 150 * MS).is_some());
        network.heal(slow);
        assert!(network.is_clear(0, 1) && send(&mut network, 0).unwrap() < 3 * MS);
    }

    #[test]
    fn usual_delays_are_short_and_late_ones_are_not() {
        let mut network = Network::new(2, Weather::CALM);
        let mut random = Random::new(2);
        for _ in 0..1_000 {
            let delay = network.delay(&mut random);
            assert!((MS / 10..=2 * MS).contains(&delay), "{delay}");
        }
        network.weather = Weather { loss: 5_000, twice: 2_000, late: 10_000, tail: SECOND };
        let fates: Vec<Fate> = (0..1_000).map(|_| network.fate(&mut random, 0, (0, 1), 10)).collect();
        assert!(fates.iter().any(|fate| fate[0].is_none()) && fates.iter().any(|fate| fate[1].is_some()));
        assert!(fates.iter().any(|fate| fate[0].is_some_and(|delay| delay > SECOND / 2)));
    }
}
