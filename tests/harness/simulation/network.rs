//! The network: who can reach whom, and how long that takes. Ends are numbered: nodes, then the coordinator, then clients.

use crate::random::Random;

use super::queue::{MS, SECOND};

/// One direction that is cut, many times over if need be.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Names it, to be healed.
    pub(super) id: u32,
    /// Pairs of ends, from and to.
    pub(super) pairs: Vec<(u16, u16)>,
}

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
    /// By pair: how many cuts it is under.
    cut: Vec<u8>,
    cuts: Vec<Cut>,
    next_cut: u32,
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
        Network { ends, cut: vec![0; ends * ends], cuts: Vec::new(), next_cut: 0, usual, weather: usual }
    }

    /// Whether nothing gets from one end to the other.
    pub(super) fn is_cut(&self, from: u16, to: u16) -> bool {
        self.cut[from as usize * self.ends + to as usize] > 0
    }

    /// Cuts these pairs, until the cut of this number is healed.
    pub(super) fn cut(&mut self, pairs: Vec<(u16, u16)>) -> u32 {
        self.next_cut += 1;
        for &(from, to) in &pairs {
            self.cut[from as usize * self.ends + to as usize] += 1;
        }
        self.cuts.push(Cut { id: self.next_cut, pairs });
        self.next_cut
    }

    /// Heals a cut, and says of what; one that was healed before is no more.
    pub(super) fn heal(&mut self, id: u32) -> Vec<(u16, u16)> {
        let Some(at) = self.cuts.iter().position(|cut| cut.id == id) else { return Vec::new() };
        let pairs = self.cuts.swap_remove(at).pairs;
        for &(from, to) in &pairs {
            self.cut[from as usize * self.ends + to as usize] -= 1;
        }
        pairs
    }

    /// Everything is well from now on.
    pub(super) fn calm_down(&mut self) {
        self.cuts.clear();
        self.cut.fill(0);
        self.usual = Weather::CALM;
        self.weather = Weather::CALM;
    }

    /// What becomes of a datagram.
    pub(super) fn fate(&self, random: &mut Random, from: u16, to: u16) -> Fate {
        if self.is_cut(from, to) {
            return [None, None];
        }
        let roll = random.below(10_000);
        if roll < self.weather.loss {
            return [None, None];
        }
        let first = self.delay(random);
        let second = (roll >= 10_000 - self.weather.twice).then(|| self.delay(random));
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
        assert_eq!(network.fate(&mut random, 0, 1), [None, None]);
        assert!(network.fate(&mut random, 1, 0)[0].is_some());
        network.heal(first);
        assert!(network.is_cut(0, 1) && network.is_cut(2, 0));
        network.heal(second);
        network.heal(second);
        assert!(!network.is_cut(0, 1) && network.cuts.is_empty());
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
        let fates: Vec<Fate> = (0..1_000).map(|_| network.fate(&mut random, 0, 1)).collect();
        assert!(fates.iter().any(|fate| fate[0].is_none()) && fates.iter().any(|fate| fate[1].is_some()));
        assert!(fates.iter().any(|fate| fate[0].is_some_and(|delay| delay > SECOND / 2)));
    }
}
