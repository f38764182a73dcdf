//! A client that keeps every rule while somebody else keeps none: it writes, reads and removes keys of its own on a
//! connection of its own, checks every answer, and notes how long each took.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dht_protocol::request::Request;
use dht_protocol::status::Status;

use crate::raw_client::{Answer, RawClient};
use crate::requests::{delete, get, put};
use crate::wait::{PATIENCE, wait_until};

/// Pause between two rounds: it is there to be served, not to load the machine.
const PAUSE: Duration = Duration::from_millis(1);

/// Keys that it goes round.
const KEYS_COUNT: usize = 16;

/// A bystander at work.
#[derive(Debug)]
pub struct Bystander {
    stop: Sender<()>,
    served: Arc<AtomicU64>,
    thread: JoinHandle<Testimony>,
}

/// What a bystander has seen.
#[derive(Clone, Debug, Default)]
pub struct Testimony {
    /// How long each call took, microseconds.
    latencies_us: Vec<u64>,
    /// Writes that were refused for lack of memory.
    pub refused_count: u64,
    /// Every answer that was wrong, late or missing.
    pub errors: Vec<String>,
}

/// The bystander's side of its work.
struct Round {
    client: RawClient,
    testimony: Testimony,
    served: Arc<AtomicU64>,
}

impl Bystander {
    /// Connects to the node at `address` and begins, with keys that this node serves. A call that is not answered
    /// within [`PATIENCE`] is an error.
    ///
    /// # Panics
    /// When it cannot connect, or is not served at first.
    #[must_use]
    #[track_caller]
    pub fn start(address: &str) -> Bystander {
        const FIRST_CALLS: u64 = 100;
        let mut client = RawClient::connect(address);
        let node = client.hello(0).node;
        let map = client.map();
        let is_served = |name: &Vec<u8>| map.owners(map.hash_key().hash(name)).config.primary == node;
        let names = (0..).map(|number| format!("bystander {number}").into_bytes()).filter(is_served);
        let names: Vec<Vec<u8>> = names.take(KEYS_COUNT).collect();
        let served = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = channel();
        let mut round = Round { client, testimony: Testimony::default(), served: Arc::clone(&served) };
        let thread = thread::spawn(move || {
            let mut values: Vec<Option<Vec<u8>>> = vec![None; KEYS_COUNT];
            for number in 0.. {
                round.run(number, &names[number % KEYS_COUNT], &mut values[number % KEYS_COUNT]);
                match stopped.recv_timeout(PAUSE) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            round.testimony
        });
        let bystander = Bystander { stop, served, thread };
        bystander.wait_for_calls(FIRST_CALLS);
        bystander
    }

    /// Calls that were answered so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until so many calls more have been answered.
    ///
    /// # Panics
    /// When they are not in time.
    #[track_caller]
    pub fn wait_for_calls(&self, count: u64) {
        let enough = self.served() + count;
        wait_until(PATIENCE, "the bystander to be served", || self.served() >= enough);
    }

    /// Ends it; what it has seen.
    #[must_use]
    pub fn stop(self) -> Testimony {
        // A bystander that has given up does not listen any more.
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok(testimony) => testimony,
            Err(panic) => Testimony { errors: vec![words_of(panic.as_ref())], ..Testimony::default() },
        }
    }
}

impl Round {
    /// Overwrites one key and reads it back; every fourth time it also removes it and finds it gone. `known` is what
    /// the key must hold.
    fn run(&mut self, number: usize, name: &[u8], known: &mut Option<Vec<u8>>) {
        let value = format!("{number:0100}").into_bytes();
        match self.timed(&put(name, &value)).status() {
            Status::Ok => *known = Some(value),
            Status::OutOfMemory => self.testimony.refused_count += 1,
            other => self.complain(format!("PUT was answered {}", other.name())),
        }
        self.expect(name, known.as_deref());
        if number % 4 == 3 && known.take().is_some() {
            let status = self.timed(&delete(name)).status();
            if status != Status::Ok {
                self.complain(format!("DELETE was answered {}", status.name()));
            }
            self.expect(name, None);
        }
    }

    fn expect(&mut self, name: &[u8], value: Option<&[u8]>) {
        let answer = self.timed(&get(name));
        let is_right = match answer.status() {
            Status::Ok => value == Some(answer.found().2),
            status => status == Status::NotFound && value.is_none(),
        };
        if !is_right {
            self.complain(format!("GET was answered {answer:?} in place of {value:?}"));
        }
    }

    fn timed(&mut self, request: &Request<'_>) -> Answer {
        let begun = Instant::now();
        let answer = self.client.call(request);
        self.testimony.latencies_us.push(begun.elapsed().as_micros() as u64);
        self.served.fetch_add(1, Ordering::Relaxed);
        answer
    }

    fn complain(&mut self, error: String) {
        self.testimony.errors.push(error);
    }
}

impl Testimony {
    /// The latency, microseconds, that `percent` of the calls did not exceed; 0 without calls.
    #[must_use]
    pub fn percentile_us(&self, percent: usize) -> u64 {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(0)
    }
}

impl fmt::Display for Testimony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [50, 99, 100].map(|percent| self.percentile_us(percent));
        let (calls, errors) = (self.latencies_us.len(), self.errors.len());
        write!(f, "{calls} calls, {errors} errors, p50 {p50} µs, p99 {p99} µs, max {max} µs")
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked without words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_calls() {
        let latencies_us = (1..=200).rev().collect();
        let testimony = Testimony { latencies_us, ..Testimony::default() };
        assert_eq!([1, 50, 99, 100].map(|percent| testimony.percentile_us(percent)), [2, 100, 198, 200]);
        assert_eq!(Testimony::default().percentile_us(99), 0);
    }
}
