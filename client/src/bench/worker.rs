//! One thread of load: its connections, its operations, its tally.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dht_protocol::cursor::Cursor;
use dht_protocol::ids::NodeId;
use dht_protocol::limits::SCAN_PARTITIONS_MAX;
use dht_protocol::placement::hash::KeyHash;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::request::Key;
use mio::{Events, Poll, Token};

use crate::bench::keys::Keys;
use crate::bench::limits::{BACKLOG_OPS_MAX, EVENTS_MAX, POLL_MS_MAX, VALUE_OFFSETS};
use crate::bench::link::Link;
use crate::bench::live::{Live, PUBLISH_PERIOD};
use crate::bench::pace::Pace;
use crate::bench::pipeline::Job;
use crate::bench::random::Random;
use crate::bench::source::{Kind, Operation, Source};
use crate::bench::tally::Tally;

/// Longest wait without a single answer while requests are under way.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Random streams of values, one a worker, begin here; those of operations begin at 0.
const VALUES_STREAM: u64 = 1 << 32;

/// When a run begins to count and when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// When the first operation may be drawn.
    pub(crate) start: Instant,
    /// Operations drawn from here on count.
    pub(crate) counting_from: Instant,
    /// Answers past this are not waited for; `None`: until the source runs dry.
    pub(crate) end: Option<Instant>,
    /// Operations a second, all workers together; `None`: as many as the connections take.
    pub(crate) rate: Option<f64>,
}

/// What the workers of a run have in common.
pub(crate) struct Common<'a> {
    pub(crate) map: &'a ClusterMap,
    pub(crate) keys: Keys,
    /// Keys of the load.
    pub(crate) keys_count: u64,
    pub(crate) value_bytes: usize,
    pub(crate) seed: u64,
    pub(crate) schedule: Schedule,
    /// Set by Ctrl-C, and by a worker that lost a connection.
    pub(crate) stop: &'a AtomicBool,
    pub(crate) live: Option<&'a Live>,
}

impl Common<'_> {
    /// How many partitions a scan names: likely enough for its entries, without a long list for a short page. Nothing
    /// for what is no scan.
    fn partitions_of_scan(&self, kind: Kind) -> usize {
        let Kind::Scan { entries } = kind else { return 0 };
        let partitions_count = u64::from(self.map.ring().partitions_count());
        let holding = u64::from(entries).saturating_mul(partitions_count) / self.keys_count;
        usize::try_from(2 * holding + 2).map_or(SCAN_PARTITIONS_MAX, |count| count.min(SCAN_PARTITIONS_MAX))
    }
}

/// The connections of one worker to one node.
pub(crate) struct Lane {
    pub(crate) node: NodeId,
    pub(crate) links: Vec<Link>,
    /// Where to look first for a link with room.
    next: usize,
    /// Operations that were drawn while no link had room, with when they were due, under a rate.
    backlog: VecDeque<(Operation, Option<Instant>)>,
    /// The node's partitions as in a frame, by rising number, twice over: a scan that comes past the last goes on
    /// with the first.
    partitions: Vec<[u8; 4]>,
}

/// The thread's state.
pub(crate) struct Worker<'a> {
    common: &'a Common<'a>,
    /// Which of the run's workers this is.
    number: usize,
    poll: Poll,
    lanes: Vec<Lane>,
    source: Source,
    /// When operations are due, under a rate.
    pace: Option<Pace>,
    exhausted: bool,
    backlog_count: usize,
    /// Random bytes that values are cut from.
    pool: Vec<u8>,
    random: Random,
    key: Vec<u8>,
    tally: Tally,
    last_answer: Instant,
    /// When nothing was under way for the last time.
    idle: Instant,
    /// When the live line was last given what there is.
    published: Instant,
}

impl Lane {
    pub(crate) fn new(node: NodeId, links: Vec<Link>, map: &ClusterMap) -> Lane {
        let mut partitions: Vec<_> = map.partitions_of(node).map(|id| id.0.to_be_bytes()).collect();
        partitions.extend_from_within(..);
        Lane { node, links, next: 0, backlog: VecDeque::new(), partitions }
    }

    /// `count` of the node's partitions or all of them, from `first` on.
    fn partitions_from(partitions: &[[u8; 4]], first: u32, count: usize) -> &[[u8; 4]] {
        let once = partitions.len() / 2;
        // As big-endian bytes, numbers sort as they do themselves.
        let at = partitions[..once].partition_point(|number| *number < first.to_be_bytes());
        &partitions[at..at + count.min(once)]
    }

    /// A link with room for a request, taken in turn.
    fn open_link(&mut self) -> Option<&mut Link> {
        let count = self.links.len();
        let at = (0..count)
            .map(|step| (self.next + step) % count)
            .find(|&at| self.links[at].pipeline.has_room())?;
        // The same link takes requests until it is full, so that they leave in one piece.
        self.next = at;
        Some(&mut self.links[at])
    }

    fn unanswered_count(&self) -> usize {
        self.links.iter().map(|link| link.pipeline.unanswered_count()).sum()
    }
}

impl<'a> Worker<'a> {
    /// A worker over connections that have said their greeting. `number` tells workers apart.
    ///
    /// # Errors
    /// What the system says to polling them.
    pub(crate) fn new(
        common: &'a Common<'a>,
        number: usize,
        mut lanes: Vec<Lane>,
        source: Source,
        pace: Option<Pace>,
    ) -> io::Result<Worker<'a>> {
        let poll = Poll::new()?;
        for (lane_at, lane) in lanes.iter_mut().enumerate() {
            for (link_at, link) in lane.links.iter_mut().enumerate() {
                link.register(poll.registry(), token(lane_at, link_at))?;
            }
        }
        let mut random = Random::new(common.seed, VALUES_STREAM + number as u64);
        let words = (common.value_bytes + VALUE_OFFSETS).div_ceil(8);
        let pool = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
        Ok(Worker {
            common,
            number,
            poll,
            lanes,
            source,
            pace,
            exhausted: false,
            backlog_count: 0,
            pool,
            random,
            key: Vec::new(),
            tally: Tally::new(),
            last_answer: Instant::now(),
            idle: Instant::now(),
            published: Instant::now(),
        })
    }

    /// Runs to the end, and gives what was counted and when the end was.
    pub(crate) fn run(mut self) -> (Tally, Instant) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let ended = loop {
            match self.turn(&mut events) {
                Ok(Some(ended)) => break ended,
                Ok(None) => {}
                Err(why) => {
                    // What was under way on the lost connection, or everything if all is silent: not answered.
                    let lost: usize = self.lanes.iter().map(Lane::unanswered_count).sum();
                    self.tally.on_errors(lost.max(1) as u64, || why);
                    self.common.stop.store(true, Ordering::Relaxed);
                    break Instant::now();
                }
            }
        };
        self.count_unfinished(ended);
        (self.tally, ended)
    }

    /// Under a rate, what was due and has no latency must not be passed over in silence.
    fn count_unfinished(&mut self, ended: Instant) {
        if let Some(pace) = &self.pace {
            let overdue_count = if self.exhausted { 0 } else { pace.overdue_count(ended) };
            self.tally.backlog_count = overdue_count + self.backlog_count as u64;
            self.tally.unanswered_count = self.unanswered_count() as u64;
        }
    }

    /// One turn: draw and send, sleep, receive. Gives the end when it has come.
    fn turn(&mut self, events: &mut Events) -> Result<Option<Instant>, String> {
        self.fill();
        for link in self.lanes.iter_mut().flat_map(|lane| &mut lane.links) {
            link.send()?;
        }
        let now = Instant::now();
        let end = self.common.schedule.end;
        if end.is_some_and(|end| now >= end) || self.common.stop.load(Ordering::Relaxed) {
            return Ok(Some(end.map_or(now, |end| now.min(end))));
        }
        if self.exhausted && self.backlog_count == 0 && self.unanswered_count() == 0 {
            return Ok(Some(self.last_answer));
        }
        if self.unanswered_count() == 0 {
            self.idle = now;
        }
        if now.saturating_duration_since(self.last_answer.max(self.idle)) > SILENCE_MAX {
            return Err(format!("no answer for {} s: look at the daemons", SILENCE_MAX.as_secs()));
        }
        let nap = Duration::from_millis(POLL_MS_MAX);
        let nap = end.map_or(nap, |end| nap.min(end.duration_since(now)));
        let nap = self.nap_of_pace(nap, now);
        match self.poll.poll(events, Some(nap)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(format!("cannot wait for answers: {error}"));
            }
            Ok(()) | Err(_) => {}
        }
        for event in events.iter() {
            self.receive(event.token())?;
        }
        if let Some(live) = self.common.live
            && now.duration_since(self.published) >= PUBLISH_PERIOD
        {
            self.published = now;
            live.publish(self.number, &self.tally.latency_ns);
        }
        Ok(None)
    }

    /// How long to sleep so as not to miss when the next operation is due. The system's poll counts milliseconds
    /// and rounds up, which would be measured as latency: a shorter wait is not slept but spent looking.
    fn nap_of_pace(&self, nap: Duration, now: Instant) -> Duration {
        let Some(pace) = self.pace.as_ref().filter(|_| !self.exhausted && self.has_room()) else {
            return nap;
        };
        let nap = nap.min(pace.next_due().saturating_duration_since(now));
        if nap < Duration::from_millis(1) {
            // The daemon may be waiting for this processor.
            std::thread::yield_now();
        }
        Duration::from_millis(nap.as_millis() as u64)
    }

    /// Hands requests to the links until they are full or the backlog is.
    fn fill(&mut self) {
        let now = Instant::now();
        for at in 0..self.lanes.len() {
            while !self.lanes[at].backlog.is_empty() && self.lanes[at].open_link().is_some() {
                if let Some((operation, due)) = self.lanes[at].backlog.pop_front() {
                    self.backlog_count -= 1;
                    self.common.keys.write(operation.key, &mut self.key);
                    let hash = self.hash_of_key();
                    self.push(at, operation, hash, due.unwrap_or(now));
                }
            }
        }
        let mut room = self.has_room();
        while room && !self.exhausted && self.backlog_count < BACKLOG_OPS_MAX {
            let due = match &mut self.pace {
                None => None,
                Some(pace) => match pace.poll_due(now) {
                    None => return,
                    due => due,
                },
            };
            let counting = due.unwrap_or(now) >= self.common.schedule.counting_from;
            let Some(operation) = self.source.next(counting) else {
                self.exhausted = true;
                return;
            };
            self.common.keys.write(operation.key, &mut self.key);
            let hash = self.hash_of_key();
            let at = self.lane_of(hash);
            if self.lanes[at].open_link().is_some() {
                self.push(at, operation, hash, due.unwrap_or(now));
            } else {
                self.lanes[at].backlog.push_back((operation, due));
                self.backlog_count += 1;
                room = self.lanes.iter_mut().any(|lane| lane.open_link().is_some());
            }
        }
    }

    fn has_room(&self) -> bool {
        self.lanes.iter().flat_map(|lane| &lane.links).any(|link| link.pipeline.has_room())
    }

    fn hash_of_key(&self) -> KeyHash {
        self.common.map.hash_key().hash(&self.key)
    }

    /// The lane to the node that serves the keys of that hash.
    fn lane_of(&self, hash: KeyHash) -> usize {
        let node = self.common.map.owners(hash).config.primary;
        // Lanes are made one a node of the map, in its order, and every primary is in it.
        self.lanes.binary_search_by_key(&node, |lane| lane.node).unwrap_or(0)
    }

    /// Hands the operation on the key in `self.key` to a link of that lane; its latency counts from `since`.
    fn push(&mut self, lane: usize, operation: Operation, hash: KeyHash, since: Instant) {
        let offset = self.random.below(VALUE_OFFSETS as u64) as usize;
        let value = &self.pool[offset..offset + self.common.value_bytes];
        let Ok(key) = Key::new(&self.key) else { return };
        let partitions_count = self.common.partitions_of_scan(operation.kind);
        let lane = &mut self.lanes[lane];
        let all = std::mem::take(&mut lane.partitions);
        if let Some(link) = lane.open_link() {
            let first = self.common.map.ring().partition_of(hash);
            let partitions = Lane::partitions_from(&all, first.0, partitions_count);
            link.pipeline
                .push(&Job { operation, key, value, cursor: Cursor::of_hash(hash), partitions }, since);
        }
        lane.partitions = all;
    }

    fn receive(&mut self, token: Token) -> Result<(), String> {
        let (lane_at, link_at) = (token.0 >> LINK_BITS, token.0 & ((1 << LINK_BITS) - 1));
        let Some(link) = self.lanes.get_mut(lane_at).and_then(|lane| lane.links.get_mut(link_at)) else {
            return Ok(());
        };
        let (tally, source, mut answered) = (&mut self.tally, &self.source, false);
        let outcome = link.receive(|answer| {
            answered = true;
            // A refused one as well: keys behind a gap that never closes would be kept for ever.
            if answer.operation.kind == Kind::Insert {
                source.on_inserted(answer.operation.key);
            }
            tally.on_answer(answer);
        });
        if answered {
            self.last_answer = Instant::now();
        }
        outcome
    }

    fn unanswered_count(&self) -> usize {
        self.lanes.iter().map(Lane::unanswered_count).sum()
    }
}

/// Bits of a token that tell the links of a lane apart.
const LINK_BITS: u32 = 16;
const _: () = assert!(crate::bench::limits::CONNECTIONS_MAX <= 1 << LINK_BITS);

fn token(lane: usize, link: usize) -> Token {
    Token(lane << LINK_BITS | link)
}
