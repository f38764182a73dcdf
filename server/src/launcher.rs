//! `dhtd dev`: several nodes on this machine, as child processes, for a laptop.
//!
//! Each child binds its port and says so, then reads the list of members from its standard input, and stops when
//! that closes. So nothing is left behind however the launcher ends, even by SIGKILL: the system closes the pipes.
//!
//! SIGHUP stops it as Ctrl-C does: it is what a terminal sends that closes, and the nodes have no file that could be
//! read again.

use std::env;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::config::{DEV_HTTP_PORT_OFFSET, DEV_RESP_PORT_OFFSET, DevSettings};
use crate::control::StopReason;
use crate::process;

/// How often the launcher looks whether a child has ended by itself.
const CHILD_CHECK: Duration = Duration::from_millis(100);
/// How long children may take to stop before they are killed.
const CHILD_STOP_MAX: Duration = Duration::from_secs(15);

/// Why the nodes did not come to serve, or had to stop. Those that had started have been stopped.
#[derive(Debug)]
pub enum LaunchError {
    /// A child cannot be started.
    Spawn(io::Error),
    /// A child ended before it was ready; it has said why on standard error.
    NotReady {
        /// Where it was to listen.
        listen: String,
    },
    /// A child ended while it served.
    Ended {
        /// Its address.
        address: String,
        /// How.
        status: String,
    },
    /// The system gives no signals.
    Signals(io::Error),
    /// Standard output cannot be written to.
    Output(io::Error),
}

/// One node of the laptop's cluster.
struct Node {
    child: Child,
    /// Kept open for as long as the node shall serve.
    input: Option<ChildStdin>,
    address: String,
    /// Where it answers HTTP.
    http: String,
    /// Where it answers RESP.
    resp: String,
}

/// Starts the nodes, prints a table of them and what to try on `out`, and stops them all on Ctrl-C, SIGTERM, SIGHUP,
/// or when one of them ends.
///
/// # Errors
/// [`LaunchError`].
pub fn run(settings: DevSettings, out: &mut dyn Write) -> Result<(), LaunchError> {
    let (stop, stopped) = bounded(1);
    process::watch_signals(stop, None).map_err(LaunchError::Signals)?;
    let mut nodes = Nodes(Vec::new());
    for number in 0..settings.nodes {
        nodes.0.push(start_node(settings, number)?);
    }
    let members: Vec<String> = nodes.0.iter().map(|node| node.address.clone()).collect();
    for node in &mut nodes.0 {
        node.tell(&members)?;
    }
    print_welcome(&nodes.0, &members, settings, out).map_err(LaunchError::Output)?;
    loop {
        match stopped.recv_timeout(CHILD_CHECK) {
            Ok(StopReason::Signal(name)) => {
                // The terminal may have gone; that is no failure.
                let _ = writeln!(out, "{name}: stopping {} nodes", members.len());
                return Ok(());
            }
            Ok(StopReason::LauncherGone | StopReason::Fatal(_)) | Err(RecvTimeoutError::Disconnected) => {
                return Ok(());
            }
            // Ctrl-C reaches the children too, perhaps before it reaches us: a signal that waits goes first.
            Err(RecvTimeoutError::Timeout) if stopped.is_empty() => nodes.check()?,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn start_node(settings: DevSettings, number: u16) -> Result<Node, LaunchError> {
    let local = |first: u16| if settings.base_port == 0 { 0 } else { settings.base_port + first + number };
    let listen = format!("127.0.0.1:{}", local(0));
    let http = format!("127.0.0.1:{}", local(DEV_HTTP_PORT_OFFSET));
    let resp = format!("127.0.0.1:{}", local(DEV_RESP_PORT_OFFSET));
    let mut command = Command::new(env::current_exe().map_err(LaunchError::Spawn)?);
    command.args(["node", "--listen", &listen, "--http", &http, "--resp", &resp, "--members", "-"]);
    command.args(["--memory-limit", &settings.memory_limit_per_node.to_string()]);
    let level = settings.log_level.as_str().to_ascii_lowercase();
    command.args(["--log-level", &level, "--log-format", &settings.log_format.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // What the environment says is for nodes that are started by hand.
    const NOT_FOR_CHILDREN: [&str; 7] = [
        "DHT_LISTEN",
        "DHT_ADVERTISE",
        "DHT_HTTP",
        "DHT_RESP",
        "DHT_MEMBERS",
        "DHT_CONFIG",
        "DHT_MEMORY_LIMIT",
    ];
    for name in NOT_FOR_CHILDREN {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(LaunchError::Spawn)?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    match output.and_then(read_ready) {
        Some([address, http, resp]) => Ok(Node { child, input, address, http, resp }),
        None => {
            drop(input);
            // It has printed why, and ends by itself now that its input is closed.
            let _ = child.wait();
            Err(LaunchError::NotReady { listen })
        }
    }
}

/// The addresses in the lines `ready HOST:PORT`, `http HOST:PORT` and `resp HOST:PORT`.
fn read_ready(output: ChildStdout) -> Option<[String; 3]> {
    let mut output = BufReader::new(output);
    let mut address_behind = |word: &str| {
        let mut line = String::new();
        output.read_line(&mut line).ok()?;
        Some(line.strip_prefix(word)?.trim().to_owned())
    };
    Some([address_behind("ready ")?, address_behind("http ")?, address_behind("resp ")?])
}

impl Node {
    fn tell(&mut self, members: &[String]) -> Result<(), LaunchError> {
        let line = format!("{}\n", members.join(","));
        match self.input.as_mut().map(|input| input.write_all(line.as_bytes())) {
            Some(Ok(())) => Ok(()),
            None | Some(Err(_)) => Err(LaunchError::NotReady { listen: self.address.clone() }),
        }
    }
}

/// All nodes; dropping it stops them.
struct Nodes(Vec<Node>);

impl Nodes {
    fn check(&mut self) -> Result<(), LaunchError> {
        for node in &mut self.0 {
            if let Ok(Some(status)) = node.child.try_wait() {
                return Err(LaunchError::Ended { address: node.address.clone(), status: status.to_string() });
            }
        }
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.0 {
            drop(node.input.take());
        }
        let deadline = Instant::now() + CHILD_STOP_MAX;
        for node in &mut self.0 {
            while Instant::now() < deadline && matches!(node.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
            // No effect on one that has ended.
            let _ = node.child.kill();
            let _ = node.child.wait();
        }
    }
}

fn print_welcome(
    nodes: &[Node],
    members: &[String],
    settings: DevSettings,
    out: &mut dyn Write,
) -> io::Result<()> {
    let memory = settings.memory_limit_per_node.0 >> 20;
    let urls: Vec<String> = nodes.iter().map(|node| format!("http://{}", node.http)).collect();
    let width_of = |texts: &[String]| texts.iter().map(String::len).max().unwrap_or(0).max("redis-cli".len());
    let resps: Vec<String> = nodes.iter().map(|node| format!("resp {}", node.resp)).collect();
    let (width, url_width, resp_width) = (width_of(members), width_of(&urls), width_of(&resps));
    writeln!(
        out,
        "node  {:width$}  {:url_width$}  {:resp_width$}  memory limit",
        "address", "figures", "redis-cli"
    )?;
    for (number, ((address, url), resp)) in members.iter().zip(&urls).zip(&resps).enumerate() {
        writeln!(out, "{number:<4}  {address:width$}  {url:url_width$}  {resp:resp_width$}  {memory} MiB")?;
    }
    let dht = dht_command(members);
    writeln!(out, "\nTry, in another terminal:\n\n  {dht} put hello world\n  {dht} get hello\n")?;
    writeln!(out, "Ctrl-C stops all nodes; what they hold is gone then.")?;
    out.flush()
}

/// How to call the command line so that it reaches these nodes: as cargo runs it, or the program beside this one.
fn dht_command(members: &[String]) -> String {
    let beside = || -> Option<PathBuf> {
        let path = env::current_exe().ok()?.with_file_name("dht");
        path.is_file().then_some(path)
    };
    let profile = if cfg!(debug_assertions) { "" } else { " --release" };
    let program = match (env::var_os("CARGO"), beside()) {
        (None, Some(path)) => path.display().to_string(),
        _ => format!("cargo run -q{profile} --bin dht --"),
    };
    match members.first() {
        Some(first) if first != "127.0.0.1:7400" => format!("{program} --servers {first}"),
        _ => program,
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaunchError::Spawn(error) => {
                write!(f, "cannot start a node: {error}; raise the limits of this process")
            }
            LaunchError::NotReady { listen } => {
                write!(
                    f,
                    "the node for {listen} did not start; see its message above, or choose another --base-port"
                )
            }
            LaunchError::Ended { address, status } => {
                write!(f, "node {address} ended ({status}); the others have been stopped; start again")
            }
            LaunchError::Signals(error) => {
                write!(f, "cannot watch for signals: {error}; raise the limits of this process")
            }
            LaunchError::Output(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

impl std::error::Error for LaunchError {}
