//! A server under comparison, started as a child: on a free port, pinned, waited for, and gone with this value.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dht_protocol::ids::Epoch;

use super::crew::Broken;
use super::helper;
use super::lane::{Lane, Target, connect};
use super::limits::{
    LOOK_PERIOD, START_ATTEMPTS_MAX, START_MAX, TAIL_BYTES_MAX, TAIL_END_MAX, TAIL_SHOWN_BYTES_MAX,
};
use super::peer::{Family, Subject};
use super::wire::Protocol;
use crate::bench::bootstrap;

/// What all servers are started with.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// This program.
    pub(crate) bench: PathBuf,
    /// The processor that servers run on.
    pub(crate) cpu: Option<usize>,
    /// Most entries that a server will hold.
    pub(crate) entries: u64,
    /// Bytes of a key.
    pub(crate) key_bytes: usize,
    /// Bytes of a value of the load.
    pub(crate) value_bytes: usize,
    /// Bytes of the longest value.
    pub(crate) value_bytes_max: usize,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    tail: Tail,
    /// Where it is.
    pub(crate) target: Target,
}

/// The end of what a server has printed.
#[derive(Clone, Debug, Default)]
struct Tail(Arc<Mutex<Printed>>);

#[derive(Debug, Default)]
struct Printed {
    bytes: Vec<u8>,
    /// Whether the stream has ended.
    ended: bool,
}

impl Server {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// It ended, or does not answer in time; with what it printed.
    pub(crate) fn start(subject: &Subject, launch: &Launch, stop: &AtomicBool) -> Result<Server, Broken> {
        let mut attempts = 1;
        loop {
            match Server::start_once(subject, launch, stop) {
                Err(Broken::Server(_)) if attempts < START_ATTEMPTS_MAX => attempts += 1,
                outcome => return outcome,
            }
        }
    }

    fn start_once(subject: &Subject, launch: &Launch, stop: &AtomicBool) -> Result<Server, Broken> {
        let ports = free_ports().map_err(|error| format!("finds no free port: {error}"))?;
        let (reader, writer) = std::io::pipe().map_err(|error| format!("cannot be listened to: {error}"))?;
        let mut command = Command::new(&launch.bench);
        command.args([helper::COMMAND, "exec", "--parent", &std::process::id().to_string()]);
        if let Some(cpu) = launch.cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        command.arg("--").arg(&subject.program).args(arguments(subject.family, ports, launch));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DHT_") {
                command.env_remove(name);
            }
        }
        // In a group of its own, so that Ctrl-C reaches this process alone, which then stops the servers.
        command.process_group(0).stdin(Stdio::null());
        let copy = writer.try_clone().map_err(|error| format!("cannot be listened to: {error}"))?;
        let child = command.stdout(copy).stderr(writer).spawn();
        let child = child.map_err(|error| format!("cannot be started: {error}"))?;
        // The command holds the writing ends of the pipe: without them, it ends with the server.
        drop(command);
        let protocol = subject.family.protocol();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
        let target = Target { address, protocol, epoch: Epoch(1) };
        let mut server = Server { child, tail: Tail::of(reader), target };
        server.wait_until_it_answers(subject.family, stop)?;
        Ok(server)
    }

    fn wait_until_it_answers(&mut self, family: Family, stop: &AtomicBool) -> Result<(), Broken> {
        let started = Instant::now();
        loop {
            let answer = greet(family, &self.target);
            if stop.load(Ordering::Relaxed) {
                return Err(Broken::Stopped);
            }
            // First whether it still runs: what answered may have had the port before.
            self.check_running()?;
            match answer {
                Ok(epoch) => {
                    self.target.epoch = epoch;
                    return Ok(());
                }
                Err(why) if started.elapsed() > START_MAX => {
                    let waited_s = START_MAX.as_secs();
                    return Err(self.broken(&format!("does not answer within {waited_s} s ({why})")).into());
                }
                Err(_) => std::thread::sleep(LOOK_PERIOD),
            }
        }
    }

    /// Whether the process is still there.
    ///
    /// # Errors
    /// How it ended, and what it printed.
    pub(crate) fn check_running(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.tail.wait_for_the_end();
                Err(self.broken(&format!("has ended ({status})")))
            }
            Err(error) => Err(self.broken(&format!("cannot be looked after: {error}"))),
        }
    }

    /// What went wrong, with what the server printed last.
    pub(crate) fn broken(&self, why: &str) -> String {
        match self.tail.text() {
            text if text.is_empty() => why.to_owned(),
            text => format!("{why}; it printed: {text}"),
        }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    /// There is nothing that it should save: it is killed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two ports that are free, on this machine's own address.
fn free_ports() -> std::io::Result<[u16; 2]> {
    let listeners =
        [TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}

/// How each is told to serve with one thread, to keep everything in memory and nothing on disk. All else is as its
/// makers have it.
fn arguments(family: Family, [port, other_port]: [u16; 2], launch: &Launch) -> Vec<OsString> {
    let words = match family {
        Family::Daemon(Protocol::Binary) => format!("--listen 127.0.0.1:{port} --workers 1"),
        Family::Daemon(_) => {
            format!("--listen 127.0.0.1:{other_port} --resp 127.0.0.1:{port} --workers 1")
        }
        Family::Redis => format!("{REDIS} --port {port} --io-threads 1"),
        Family::KeyDb => format!("{REDIS} --port {port} --server-threads 1"),
        // -M: a server that is out of memory says so, where it would drop entries in silence otherwise.
        Family::Memcached => {
            let root = if rustix::process::geteuid().is_root() { " -u root" } else { "" };
            let memory_mib = memcached_mib(launch);
            format!("-l 127.0.0.1 -p {port} -U 0 -t 1 -c 1024 -M -m {memory_mib}{root}")
        }
        Family::Limit(protocol) => format!(
            "{} limit --protocol {} --port {port} --key-size {} --value-size {}",
            helper::COMMAND,
            protocol.argument(),
            launch.key_bytes,
            launch.value_bytes
        ),
    };
    words.split(' ').map(|word| if word == EMPTY { OsString::new() } else { word.into() }).collect()
}

/// Stands for an argument without a character.
const EMPTY: &str = "''";
/// What Redis and its kin share: no snapshots, no log of writes.
const REDIS: &str = "--bind 127.0.0.1 --save '' --appendonly no --daemonize no --loglevel warning";

/// Room for twice what the entries can take, for sizes that change leave holes. It is taken only as it is needed.
fn memcached_mib(launch: &Launch) -> u64 {
    /// More than the head of an item, its slot in the table, and what is lost to the size classes.
    const ENTRY_BYTES: u64 = 128;
    let entry_bytes = (launch.key_bytes + launch.value_bytes_max) as u64 + ENTRY_BYTES;
    1_024 + ((launch.entries * entry_bytes * 2) >> 20)
}

/// Asks a server whether it serves; answers the epoch of its map, which only ours has.
fn greet(family: Family, target: &Target) -> Result<Epoch, String> {
    match family {
        Family::Daemon(Protocol::Binary) => {
            bootstrap::fetch_map(&target.address.to_string()).map(|map| map.epoch())
        }
        Family::Limit(Protocol::Binary) => Lane::open(target).map(|_| Epoch(1)),
        Family::Memcached | Family::Limit(Protocol::Memcached) => {
            ask(target.address, b"version\r\n", b"VERSION ")
        }
        _ => ask(target.address, b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
    }
}

fn ask(address: SocketAddr, question: &[u8], answer: &[u8]) -> Result<Epoch, String> {
    let mut stream = connect(address)?;
    let mut got = vec![0; answer.len()];
    let asked = stream.write_all(question).and_then(|()| stream.read_exact(&mut got));
    asked.map_err(|error| format!("gives no answer: {error}"))?;
    if got == answer { Ok(Epoch(1)) } else { Err("answers in another protocol".to_owned()) }
}

impl Tail {
    /// Reads a stream to its end in a thread, and keeps what came last.
    fn of(mut stream: impl Read + Send + 'static) -> Tail {
        let tail = Tail::default();
        let writer = tail.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 1 << 10];
            loop {
                match stream.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(bytes) => writer.push(&chunk[..bytes]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            writer.held().ended = true;
        });
        tail
    }

    fn push(&self, bytes: &[u8]) {
        let held = &mut self.held().bytes;
        held.extend_from_slice(bytes);
        let surplus = held.len().saturating_sub(TAIL_BYTES_MAX);
        held.drain(..surplus);
    }

    /// Waits until everything is read that a process which has ended has printed; in vain, but not for long, where it
    /// has left another one behind.
    fn wait_for_the_end(&self) {
        let started = Instant::now();
        while !self.held().ended && started.elapsed() < TAIL_END_MAX {
            std::thread::sleep(LOOK_PERIOD);
        }
    }

    /// The last lines, in one.
    fn text(&self) -> String {
        let held = self.held();
        let from = held.bytes.len().saturating_sub(TAIL_SHOWN_BYTES_MAX);
        let text = String::from_utf8_lossy(&held.bytes[from..]);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }

    fn held(&self) -> MutexGuard<'_, Printed> {
        // What is held is whole after every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(entries: u64) -> Launch {
        Launch {
            bench: PathBuf::from("dht-bench"),
            cpu: None,
            entries,
            key_bytes: 16,
            value_bytes: 32,
            value_bytes_max: 64,
        }
    }

    #[test]
    fn servers_keep_nothing_on_disk_and_have_one_thread() {
        let line = |family| {
            let words = arguments(family, [7, 8], &launch(1_000_000));
            words.iter().map(|word| format!("[{}]", word.to_string_lossy())).collect::<String>()
        };
        assert!(line(Family::Redis).contains("[--save][][--appendonly][no]"));
        assert!(line(Family::Redis).ends_with("[--port][7][--io-threads][1]"));
        assert!(line(Family::KeyDb).ends_with("[--port][7][--server-threads][1]"));
        assert!(
            line(Family::Memcached).contains("[-t][1]") && line(Family::Memcached).contains("[-M][-m][1420]")
        );
        assert_eq!(line(Family::Daemon(Protocol::Binary)), "[--listen][127.0.0.1:7][--workers][1]");
        let resp = "[--listen][127.0.0.1:8][--resp][127.0.0.1:7][--workers][1]";
        assert_eq!(line(Family::Daemon(Protocol::Resp)), resp);
        assert!(
            line(Family::Limit(Protocol::Memcached)).contains("[limit][--protocol][memcached][--port][7]")
        );
    }

    #[test]
    fn the_end_of_what_was_printed_is_kept() {
        let tail = Tail::default();
        tail.push(&vec![b'x'; 3 * TAIL_BYTES_MAX]);
        tail.push(b"\n\n  first\nlast\n");
        assert!(tail.text().ends_with("xx; first; last"), "{}", tail.text());
        assert!(tail.text().len() <= TAIL_SHOWN_BYTES_MAX);
    }
}
