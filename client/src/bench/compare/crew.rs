//! The connections to one server, and load on them: in a closed loop, or at a rate.
//!
//! Closed loop: a connection sends `pipeline` requests in one go, waits until all are answered, and sends the next
//! ones. That is what a pipeline of redis-benchmark is, and it makes a batch the same size for every server: refilling
//! as answers come would make it a matter of who happens to be faster.
//!
//! Open loop: each request is due at its time, whatever became of those before it, and its latency counts from then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use super::lane::{Lane, Target};
use super::limits::{OPEN_LOOP_PIPELINE_MAX, SILENCE_MAX};
use super::source::Source;
use crate::bench::limits::{EVENTS_MAX, POLL_MS_MAX};
use crate::bench::pace::Pace;
use crate::bench::tally::{nanos, new_histogram};

/// Why a load ended early: what the server did wrong, or the wish of the user.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A sentence that goes on from the server's name.
    Server(String),
    /// Ctrl-C or SIGTERM.
    Stopped,
}

impl From<String> for Broken {
    fn from(why: String) -> Broken {
        Broken::Server(why)
    }
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Keys that were asked for and answered.
    pub(crate) keys: u64,
    /// From the first request to the last answer.
    pub(crate) seconds: f64,
}

/// Open connections to one server.
#[derive(Debug)]
pub(crate) struct Crew<'a> {
    poll: Poll,
    events: Events,
    lanes: Vec<Lane>,
    /// Whether to look for answers without ever sleeping, so that no server pays for waking the load.
    spins: bool,
    stop: &'a AtomicBool,
    /// When the server last answered anything.
    heard: Instant,
}

impl<'a> Crew<'a> {
    /// Opens so many connections.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) fn open(
        target: &Target,
        connections: usize,
        spins: bool,
        stop: &'a AtomicBool,
    ) -> Result<Crew<'a>, Broken> {
        let poll = Poll::new().map_err(|error| format!("cannot be polled: {error}"))?;
        let mut lanes = Vec::with_capacity(connections);
        for number in 0..connections {
            let mut lane = Lane::open(target)?;
            lane.register(poll.registry(), Token(number))?;
            lanes.push(lane);
        }
        let events = Events::with_capacity(EVENTS_MAX);
        Ok(Crew { poll, events, lanes, spins, stop, heard: Instant::now() })
    }

    /// Keeps every connection busy until the time is over, or without one until the source is dry, and waits for the
    /// last answer.
    ///
    /// # Errors
    /// What the server did wrong, a miss included.
    pub(crate) fn run(
        &mut self,
        source: &mut Source<'_>,
        pipeline: usize,
        time: Option<Duration>,
    ) -> Result<Outcome, Broken> {
        let expected = source.expected();
        let started = Instant::now();
        self.heard = started;
        let (mut keys, mut busy, mut over) = (0, 0, false);
        for lane in &mut self.lanes {
            busy += usize::from(fill(lane, source, pipeline));
            lane.send()?;
        }
        while busy > 0 {
            let now = self.wait()?;
            over = over || time.is_some_and(|time| now.duration_since(started) >= time);
            for event in &self.events {
                let lane = &mut self.lanes[event.token().0];
                lane.send()?;
                if !event.is_readable() || lane.keys_open == 0 {
                    continue;
                }
                let taken = lane.receive(&expected, |_| {})?;
                refuse_misses(taken.misses)?;
                if taken.keys > 0 {
                    self.heard = now;
                }
                keys += taken.keys as u64;
                if lane.keys_open == 0 {
                    if over || !fill(lane, source, pipeline) {
                        busy -= 1;
                    } else {
                        lane.send()?;
                    }
                }
            }
        }
        Ok(Outcome { keys, seconds: started.elapsed().as_secs_f64() })
    }

    /// Sends `rate` requests a second for so long, and waits for the last answer; answers their latencies,
    /// nanoseconds. Every request must be for one key.
    ///
    /// # Errors
    /// What the server did wrong, a miss included.
    pub(crate) fn run_at_rate(
        &mut self,
        source: &mut Source<'_>,
        rate: f64,
        time: Duration,
    ) -> Result<Histogram<u64>, Broken> {
        let expected = source.expected();
        let mut latency_ns = new_histogram();
        let started = Instant::now();
        let end = started + time;
        self.heard = started;
        let mut pace = Pace::new(started, rate, 0, 1);
        let mut since = vec![[None; OPEN_LOOP_PIPELINE_MAX]; self.lanes.len()];
        let (mut turn, mut open) = (0, 0usize);
        while open > 0 || pace.next_due() < end {
            let now = self.wait()?;
            for event in &self.events {
                let lane = &mut self.lanes[event.token().0];
                lane.send()?;
                if !event.is_readable() {
                    continue;
                }
                let (mut unasked, received) = (false, Instant::now());
                let slots = &mut since[event.token().0];
                let taken = lane.receive(&expected, |id| match slots[slot_of(id)].take() {
                    Some(due) => latency_ns.saturating_record(nanos(received.saturating_duration_since(due))),
                    None => unasked = true,
                })?;
                refuse_misses(taken.misses)?;
                if unasked {
                    return Err("answers what was not asked".to_owned().into());
                }
                if taken.keys > 0 {
                    self.heard = now;
                }
                open -= taken.keys;
            }
            // What is due goes out in turn; a connection without room is passed over, and when none has any, it
            // stays due.
            'due: while pace.next_due() <= Instant::now() && pace.next_due() < end {
                for _ in 0..self.lanes.len() {
                    turn = (turn + 1) % self.lanes.len();
                    if self.lanes[turn].keys_open < OPEN_LOOP_PIPELINE_MAX {
                        let due = pace.next_due();
                        open += usize::from(push_due(&mut self.lanes[turn], source, &mut since[turn], due)?);
                        pace.poll_due(Instant::now());
                        continue 'due;
                    }
                }
                break;
            }
        }
        Ok(latency_ns)
    }

    /// Waits for the next answers; answers the time.
    fn wait(&mut self) -> Result<Instant, Broken> {
        let patience = if self.spins { Duration::ZERO } else { Duration::from_millis(POLL_MS_MAX) };
        if let Err(error) = self.poll.poll(&mut self.events, Some(patience))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(format!("cannot be polled: {error}").into());
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(Broken::Stopped);
        }
        let now = Instant::now();
        if now.duration_since(self.heard) > SILENCE_MAX {
            return Err(format!("has not answered for {} s", SILENCE_MAX.as_secs()).into());
        }
        Ok(now)
    }
}

/// Appends the next batch of a connection; whether there was any request left.
fn fill(lane: &mut Lane, source: &mut Source<'_>, pipeline: usize) -> bool {
    let keys_per_request = source.expected().keys_per_request;
    for _ in 0..pipeline {
        if source.push(&mut lane.wire, &mut lane.out).is_none() {
            break;
        }
        lane.keys_open += keys_per_request;
    }
    lane.keys_open > 0
}

/// Sends the next request, which was due then; whether there was one left.
fn push_due(
    lane: &mut Lane,
    source: &mut Source<'_>,
    since: &mut [Option<Instant>; OPEN_LOOP_PIPELINE_MAX],
    due: Instant,
) -> Result<bool, String> {
    let Some(id) = source.push(&mut lane.wire, &mut lane.out) else { return Ok(false) };
    // Answers may overtake each other, so the place of a new id can still be taken: then it has been unanswered for
    // longer than so many others, which no server under comparison does.
    if since[slot_of(id)].replace(due).is_some() {
        return Err(format!(
            "leaves a request unanswered while it answers {OPEN_LOOP_PIPELINE_MAX} later ones"
        ));
    }
    lane.keys_open += 1;
    lane.send()?;
    Ok(true)
}

fn slot_of(id: u32) -> usize {
    id as usize % OPEN_LOOP_PIPELINE_MAX
}

/// All keys that are asked for were stored: a miss means that the server has lost an entry, and that what is measured
/// is not what was meant.
fn refuse_misses(misses: usize) -> Result<(), String> {
    if misses == 0 { Ok(()) } else { Err(format!("has lost entries: {misses} of one answer were not found")) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use dht_protocol::ids::Epoch;

    use super::super::source::Entries;
    use super::super::wire::{Op, Protocol};
    use super::*;

    /// A server of one connection that answers each read with the same bytes for every request in it, and then ends;
    /// requests are told by their `*2`.
    fn server(reply: &'static [u8], reads_most: usize) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut chunk = [0; 4096];
            for _ in 0..reads_most {
                let bytes = stream.read(&mut chunk).unwrap_or(0);
                let requests = chunk[..bytes].windows(2).filter(|two| two == b"*2").count();
                if stream.write_all(&reply.repeat(requests)).is_err() {
                    break;
                }
            }
        });
        Target { address, protocol: Protocol::Resp, epoch: Epoch(0) }
    }

    fn entries() -> Entries {
        Entries::new(1000, 4, 2, 1).unwrap()
    }

    fn run(target: &Target, stop: &AtomicBool) -> Result<Outcome, Broken> {
        let entries = entries();
        let mut source = Source::reads(&entries, 1000, Op::Get, 1, 0, Some(20));
        Crew::open(target, 1, false, stop)?.run(&mut source, 8, None)
    }

    #[test]
    fn a_load_asks_for_all_and_waits_for_all() {
        let outcome = run(&server(b"$2\r\nab\r\n", usize::MAX), &AtomicBool::new(false)).unwrap();
        assert_eq!(outcome.keys, 20);
        assert!(outcome.seconds > 0.0);
    }

    #[test]
    fn a_miss_a_refusal_and_an_end_are_told() {
        for (reply, part) in [
            (&b"$-1\r\n"[..], "has lost entries"),
            (b"-OOM no room\r\n", "refuses: OOM no room"),
            (b"$3\r\nabc\r\n", "3 bytes where 2 to 2"),
            (b"$2\r\nab\r\n$2\r\nab\r\n", "more than was asked"),
        ] {
            match run(&server(reply, usize::MAX), &AtomicBool::new(false)) {
                Err(Broken::Server(why)) => assert!(why.contains(part), "{part}: {why}"),
                other => panic!("{part}: {other:?}"),
            }
        }
        match run(&server(b"$2\r\nab\r\n", 1), &AtomicBool::new(false)) {
            Err(Broken::Server(why)) => assert!(why.contains("a connection"), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wish_to_stop_ends_a_load_that_nobody_answers() {
        let stop = AtomicBool::new(true);
        assert_eq!(run(&server(b"", usize::MAX), &stop).unwrap_err(), Broken::Stopped);
    }

    #[test]
    fn an_open_loop_sends_what_is_due_and_times_each() {
        let (entries, stop) = (entries(), AtomicBool::new(false));
        let mut source = Source::reads(&entries, 1000, Op::Get, 1, 0, None);
        let target = server(b"$2\r\nab\r\n", usize::MAX);
        let mut crew = Crew::open(&target, 1, true, &stop).unwrap();
        let latency_ns = crew.run_at_rate(&mut source, 2000.0, Duration::from_millis(100)).unwrap();
        assert_eq!(latency_ns.len(), 200, "one every half a millisecond, however late");
        let lost = server(b"$-1\r\n", usize::MAX);
        let mut crew = Crew::open(&lost, 1, true, &stop).unwrap();
        let time = Duration::from_millis(10);
        assert!(matches!(crew.run_at_rate(&mut source, 2000.0, time), Err(Broken::Server(_))));
    }
}
