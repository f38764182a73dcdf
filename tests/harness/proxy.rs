//! A bad network between a client and a daemon: connections are cut after a random number of bytes, either way,
//! and some of the bytes that were under way arrive later, when the client has long asked again elsewhere.
//!
//! ```text
//! client ─▶ accept ─┬─ up ──▶ daemon      cut: the client's side is reset at a random byte; what it had sent is
//!                   └◀─ down ─┘                lost, or kept and handed to the daemon later (a late copy)
//! ```
//!
//! 1. Late copies are handed over when so many more bytes have gone to the daemon, and all that are left by
//!    [`Proxy::deliver_late_copies`]; no clock decides.
//! 2. Once [`Proxy::heal`] was called, connections are cut no more.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use crate::random::Random;

/// Most bytes that are read at once.
const CHUNK_BYTES: usize = 4 << 10;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// A direction of a connection is cut after fewer bytes than this.
    pub cut_after_bytes_max: u64,
    /// How many cuts in a hundred keep what the client had sent for later.
    pub late_percent: u64,
    /// A late copy arrives after fewer further bytes than this.
    pub late_after_bytes_max: u64,
}

/// A listener in front of a daemon. It ends with the process.
#[derive(Clone, Debug)]
pub struct Proxy(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: String,
    target: OnceLock<String>,
    weather: Weather,
    healed: AtomicBool,
    random: Mutex<Random>,
    /// Bytes that went to the daemon, over all connections.
    up_bytes: AtomicU64,
    cuts_count: AtomicU64,
    late: Mutex<Vec<LateCopy>>,
    late_count: AtomicU64,
}

/// Bytes that the daemon is still to get, and the connection on which they were sent.
#[derive(Debug)]
struct LateCopy {
    due_bytes: u64,
    bytes: Vec<u8>,
    daemon: TcpStream,
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Proxy {
    /// Listens on a free local port. Where it leads to is said by [`Proxy::lead_to`]; until then it takes
    /// connections and closes them.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(weather: Weather, seed: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address").to_string();
        let proxy = Proxy(Arc::new(Shared {
            address,
            target: OnceLock::new(),
            weather,
            healed: AtomicBool::new(false),
            random: Mutex::new(Random::new(seed)),
            up_bytes: AtomicU64::new(0),
            cuts_count: AtomicU64::new(0),
            late: Mutex::new(Vec::new()),
            late_count: AtomicU64::new(0),
        }));
        let shared = Arc::clone(&proxy.0);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A daemon that does not answer closes the client's connection too.
                let _ = Shared::connect(&shared, &client);
            }
        });
        proxy
    }

    /// Says where connections go.
    ///
    /// # Panics
    /// When that was said before.
    pub fn lead_to(&self, daemon: &str) {
        self.0.target.set(daemon.to_owned()).expect("a proxy leads to one daemon");
    }

    /// `HOST:PORT` where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Connections that were cut.
    #[must_use]
    pub fn cuts_count(&self) -> u64 {
        self.0.cuts_count.load(Ordering::Relaxed)
    }

    /// Late copies that arrived, or that a daemon no longer took.
    #[must_use]
    pub fn late_copies_count(&self) -> u64 {
        self.0.late_count.load(Ordering::Relaxed)
    }

    /// Cuts no more connections.
    pub fn heal(&self) {
        self.0.healed.store(true, Ordering::Relaxed);
    }

    /// Hands over what is still kept, now.
    pub fn deliver_late_copies(&self) {
        self.0.deliver_due(u64::MAX);
    }
}

impl Shared {
    fn connect(self: &Arc<Shared>, client: &TcpStream) -> std::io::Result<()> {
        let target = self.target.get().ok_or(std::io::ErrorKind::NotConnected)?;
        let daemon = TcpStream::connect(target)?;
        client.set_nodelay(true)?;
        daemon.set_nodelay(true)?;
        for way in [Way::Up, Way::Down] {
            let (shared, client, daemon) = (Arc::clone(self), client.try_clone()?, daemon.try_clone()?);
            thread::spawn(move || shared.carry(way, &client, &daemon));
        }
        Ok(())
    }

    /// Carries bytes one way until an end closes, or the cut.
    fn carry(&self, way: Way, client: &TcpStream, daemon: &TcpStream) {
        let (mut from, mut to) = if way == Way::Up { (client, daemon) } else { (daemon, client) };
        let mut left = self.draw(self.weather.cut_after_bytes_max);
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(bytes @ 1..) = from.read(&mut chunk) {
            let bytes = &chunk[..bytes];
            if !self.healed.load(Ordering::Relaxed) && left < bytes.len() as u64 {
                self.cut(way, client, daemon, bytes, left as usize);
                return;
            }
            left = left.saturating_sub(bytes.len() as u64);
            if to.write_all(bytes).is_err() {
                break;
            }
            if way == Way::Up {
                let sent = self.up_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                self.deliver_due(sent);
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = daemon.shutdown(Shutdown::Both);
    }

    /// Ends the client's side; `bytes` were under way, `at` of them get through.
    fn cut(&self, way: Way, client: &TcpStream, mut daemon: &TcpStream, bytes: &[u8], at: usize) {
        self.cuts_count.fetch_add(1, Ordering::Relaxed);
        let late = self.draw(100) < self.weather.late_percent;
        match (way, daemon.try_clone()) {
            (Way::Up, Ok(later)) if late => {
                let due_bytes =
                    self.up_bytes.load(Ordering::Relaxed) + self.draw(self.weather.late_after_bytes_max);
                lock(&self.late).push(LateCopy { due_bytes, bytes: bytes.to_vec(), daemon: later });
            }
            (Way::Up, _) => {
                let _ = daemon.write_all(&bytes[..at]);
                let _ = daemon.shutdown(Shutdown::Both);
            }
            (Way::Down, _) => {
                let mut client = client;
                let _ = client.write_all(&bytes[..at]);
                let _ = daemon.shutdown(Shutdown::Both);
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    }

    fn deliver_due(&self, sent_bytes: u64) {
        let (due, rest) = {
            let mut late = lock(&self.late);
            std::mem::take(&mut *late).into_iter().partition(|copy| copy.due_bytes <= sent_bytes)
        };
        lock(&self.late).extend::<Vec<LateCopy>>(rest);
        let due: Vec<LateCopy> = due;
        for mut copy in due {
            // Counted when it is done: who waits for the count knows that the bytes are in the daemon's hands.
            let _ = copy.daemon.write_all(&copy.bytes);
            let _ = copy.daemon.shutdown(Shutdown::Write);
            let _ = copy.daemon.read_to_end(&mut Vec::new());
            self.late_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn draw(&self, bound: u64) -> u64 {
        lock(&self.random).below(bound)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole after every step, even that of a thread that panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::{PATIENCE, wait_until};

    /// A server that returns what it gets, and keeps it.
    fn echo() -> (String, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut chunk = [0; 64];
                while let Ok(bytes @ 1..) = stream.read(&mut chunk) {
                    lock(&all).extend_from_slice(&chunk[..bytes]);
                    let _ = stream.write_all(&chunk[..bytes]);
                }
            }
        });
        (address, heard)
    }

    #[test]
    fn a_cut_comes_within_its_bound_and_a_late_copy_arrives() {
        let weather = Weather { cut_after_bytes_max: 100, late_percent: 100, late_after_bytes_max: 1 };
        let proxy = Proxy::start(weather, 3);
        let (address, heard) = echo();
        proxy.lead_to(&address);
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        // More than either way lets through.
        let _ = stream.write_all(&[7; 200]);
        let mut back = Vec::new();
        let _ = stream.read_to_end(&mut back);
        assert!(back.len() < 100 && proxy.cuts_count() >= 1, "{} bytes came back", back.len());
        wait_until(PATIENCE, "the bytes under way", || {
            proxy.deliver_late_copies();
            lock(&heard).len() == 200
        });
        assert_eq!(proxy.late_copies_count(), 1);
    }

    #[test]
    fn a_healed_network_carries_everything() {
        let weather = Weather { cut_after_bytes_max: 100, late_percent: 0, late_after_bytes_max: 1 };
        let proxy = Proxy::start(weather, 3);
        proxy.lead_to(&echo().0);
        proxy.heal();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        for _ in 0..100 {
            stream.write_all(&[7; 50]).unwrap();
            stream.read_exact(&mut [0; 50]).unwrap();
        }
        assert_eq!(proxy.cuts_count(), 0);
    }
}
