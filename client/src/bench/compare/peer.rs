//! What is compared: our daemon at both of its doors, the peers, and the limit loops; where the programs are, and what
//! they are.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Serialize;

use super::limits::{LOOK_PERIOD, PEER_NAME_BYTES_MAX, PEERS_MAX, VERSION_MAX};
use super::wire::Protocol;

/// Peers that are known by name, and their programs.
const KNOWN: [(&str, &str); 4] = [
    ("redis", "redis-server"),
    ("valkey", "valkey-server"),
    ("keydb", "keydb-server"),
    ("memcached", "memcached"),
];

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Our daemon, at the door of this protocol.
    Daemon(Protocol),
    /// Redis or Valkey.
    Redis,
    /// KeyDB, which has threads where Redis has none.
    KeyDb,
    Memcached,
    /// The limit loop of this protocol.
    Limit(Protocol),
}

/// What a server is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Ours,
    Peer,
    Limit,
}

/// A server under comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) family: Family,
    pub(crate) program: PathBuf,
    /// Product and version.
    pub(crate) version: String,
}

/// A peer that was asked for and is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// A peer as `--peers` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    name: String,
    /// `NAME=PATH`; `None`: by its known program, if that is installed.
    path: Option<PathBuf>,
}

impl Family {
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Family::Daemon(protocol) | Family::Limit(protocol) => protocol,
            Family::Redis | Family::KeyDb => Protocol::Resp,
            Family::Memcached => Protocol::Memcached,
        }
    }

    pub(crate) fn role(self) -> Role {
        match self {
            Family::Daemon(_) => Role::Ours,
            Family::Redis | Family::KeyDb | Family::Memcached => Role::Peer,
            Family::Limit(_) => Role::Limit,
        }
    }
}

/// Reads `--peers`.
///
/// # Errors
/// What is wrong with it, and what to give instead.
pub(crate) fn parse(list: &str) -> Result<Vec<Wanted>, String> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, path) = match part.split_once('=') {
            Some((name, path)) => (name, Some(PathBuf::from(path))),
            None if KNOWN.iter().any(|(name, _)| *name == part) => (part, None),
            None => {
                let known = KNOWN.map(|(name, _)| name).join(", ");
                return Err(format!("{part} is no known peer: give {known}, or NAME=PATH of the program"));
            }
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > PEER_NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(format!(
                "a peer's name is 1 to {PEER_NAME_BYTES_MAX} letters, digits, . _ and -: {name}"
            ));
        }
        if wanted.iter().any(|other| other.name == name) {
            return Err(format!("the peer {name} is named twice: give it another name as NAME=PATH"));
        }
        wanted.push(Wanted { name: name.to_owned(), path });
    }
    if wanted.len() > PEERS_MAX {
        return Err(format!("{} peers are too many: name {PEERS_MAX} at most", wanted.len()));
    }
    Ok(wanted)
}

/// Finds the peers, and those that are left out because they are not installed.
///
/// # Errors
/// A path that leads to no program, or to one that is no server that this knows.
pub(crate) fn find(wanted: &[Wanted]) -> Result<(Vec<Subject>, Vec<LeftOut>), String> {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for Wanted { name, path } in wanted {
        let known = KNOWN.iter().find(|(known, _)| known == name).map(|(_, program)| *program);
        let program = match (path, known) {
            (Some(path), _) if is_program(path) => path.clone(),
            (Some(path), _) => {
                return Err(format!("{name}: {} is no program: check the path", path.display()));
            }
            (None, Some(program)) => match in_path(program) {
                Some(path) => path,
                None => {
                    left_out.push(LeftOut { name: name.clone(), why: format!("{program} is not installed") });
                    continue;
                }
            },
            (None, None) => return Err(format!("{name} is no known peer: give NAME=PATH")),
        };
        let said = version_of(&program).map_err(|why| format!("{name}: {why}"))?;
        let (family, version) = identify(&said).ok_or_else(|| {
            format!(
                "{name}: {} is none of Redis, Valkey, KeyDB and memcached, as far as its --version tells",
                program.display()
            )
        })?;
        found.push(Subject { name: name.clone(), family, program, version });
    }
    Ok((found, left_out))
}

/// Our daemon: where `given` says, or beside this program, or in `PATH`.
///
/// # Errors
/// There is none, and what to do.
pub(crate) fn find_daemon(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = given {
        return match is_program(path) {
            true => Ok(path.to_owned()),
            false => Err(format!("--daemon {} is no program: check the path", path.display())),
        };
    }
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name("dhtd"));
    let found = beside.filter(|path| is_program(path)).or_else(|| in_path("dhtd"));
    found.ok_or_else(|| "there is no dhtd beside dht-bench or in PATH: give --daemon PATH".to_owned())
}

/// What the program answers to `--version`, its first line.
///
/// # Errors
/// It does not run, or not end.
pub(crate) fn version_of(program: &Path) -> Result<String, String> {
    let failed = |why: String| format!("cannot ask {} for its version: {why}", program.display());
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if started.elapsed() < VERSION_MAX => std::thread::sleep(LOOK_PERIOD),
            outcome => {
                let _ = child.kill();
                let _ = child.wait();
                let why = outcome.err().map(|error| error.to_string());
                return Err(failed(why.unwrap_or_else(|| "it does not end".to_owned())));
            }
        }
    }
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // What a program says of its version is short; one that has left a child behind may never end the stream.
        stdout.take(1 << 10).read_to_end(&mut text).map_err(|error| failed(error.to_string()))?;
    }
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned())
}

/// Family, product and version by what `--version` prints: `Redis server v=7.0.15 sha=…`, `memcached 1.6.18`.
fn identify(said: &str) -> Option<(Family, String)> {
    let word_behind = |start: &str| said.strip_prefix(start)?.split_whitespace().next();
    for (product, family) in [("Redis", Family::Redis), ("Valkey", Family::Redis), ("KeyDB", Family::KeyDb)] {
        if let Some(version) = word_behind(&format!("{product} server v=")) {
            return Some((family, format!("{product} {version}")));
        }
    }
    word_behind("memcached ").map(|version| (Family::Memcached, format!("memcached {version}")))
}

fn in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_known_names_or_paths() {
        let wanted = parse("redis, memcached,old=/opt/redis-6/bin/redis-server").unwrap();
        let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        assert_eq!(names, ["redis", "memcached", "old"]);
        assert_eq!(wanted[2].path.as_deref(), Some(Path::new("/opt/redis-6/bin/redis-server")));
        assert_eq!(parse(""), Ok(vec![]));
        for (list, part) in [
            ("etcd", "etcd is no known peer: give redis, valkey, keydb, memcached, or NAME=PATH"),
            ("redis,redis", "named twice"),
            ("=/bin/true", "a peer's name is"),
            ("a b=/bin/true", "a peer's name is"),
            ("a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1", "9 peers are too many"),
        ] {
            let error = parse(list).unwrap_err();
            assert!(error.contains(part), "{list}: {error}");
        }
    }

    #[test]
    fn a_server_is_known_by_what_it_says_of_itself() {
        for (said, family, version) in [
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0", Family::Redis, "Redis 7.0.15"),
            ("Valkey server v=8.1.1 sha=00000000:0", Family::Redis, "Valkey 8.1.1"),
            ("KeyDB server v=6.3.4 sha=0:0", Family::KeyDb, "KeyDB 6.3.4"),
            ("memcached 1.6.18", Family::Memcached, "memcached 1.6.18"),
        ] {
            assert_eq!(identify(said), Some((family, version.to_owned())));
        }
        assert_eq!(
            (identify("etcd Version: 3.4.23"), identify(""), identify("memcached ")),
            (None, None, None)
        );
    }

    #[test]
    fn what_a_path_leads_to_is_looked_at_first() {
        let find = |list: &str| find(&parse(list).unwrap());
        assert!(find("a=/no/such/file").unwrap_err().contains("no program: check the path"));
        assert!(find("a=/etc/passwd").unwrap_err().contains("no program"));
        assert!(find("a=/bin/true").unwrap_err().contains("none of Redis, Valkey, KeyDB and memcached"));
        assert!(find_daemon(Some(Path::new("/no/such/file"))).unwrap_err().contains("--daemon"));
    }
}
