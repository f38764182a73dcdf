//! Where the coordinator keeps the newest map: one file in a directory that belongs to one coordinator at a time.
//!
//! ```text
//! map      8 bytes "dht map\n" · format 2 · length of the map 4 · the map, as it travels · checksum 8
//! map.new  the next one while it is being written; whatever is left of it after a crash counts for nothing
//! ```
//!
//! A map is written to `map.new`, synced, renamed to `map`, and the directory synced: at every moment a whole map is there, and
//! once the last step is done no crash takes it back.
//!
//! Invariants:
//! 1. The directory is locked (`flock`) for as long as the store lives, so that no second coordinator, started by mistake,
//!    edits the same map. The system lets go of the lock when the process ends, however it ends.
//! 2. `map` is never written to, only replaced.
//! 3. What is read has been synced first: it is durable when it is given out. (A coordinator may have crashed between rename
//!    and sync; the file is there, and a crash of the machine could still take it back.)
//! 4. A file that is torn, foreign or of an unknown format is an error, never "there is no map": who begins anew over it
//!    would give out maps that contradict those which nodes have.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use dht_protocol::limits::REPLICA_MAP_BYTES_MAX;
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::replica_map::ReplicaMap;
use rustix::fs::{FlockOperation, flock};

use super::coordinator::StoreOutcome;

const MAGIC: &[u8; 8] = b"dht map\n";
/// Number of the file's form that this release writes and reads.
const FILE_FORMAT: u16 = 1;
/// magic 8, format 2, length 4
const HEAD_BYTES: usize = 14;
const CHECKSUM_BYTES: usize = 8;
const FILE_BYTES_MAX: usize = HEAD_BYTES + REPLICA_MAP_BYTES_MAX + CHECKSUM_BYTES;
/// The key of the checksum, which is of everything before it.
const CHECKSUM_KEY: HashKey = HashKey::from_bytes(*b"dht map on disk!");

const MAP_FILE: &str = "map";
const NEXT_FILE: &str = "map.new";

/// Where the newest map is kept. One coordinator uses it at a time, and asks for one thing at a time.
pub trait MapStore {
    /// The map that is kept, and durable; `None`: there never was one.
    ///
    /// # Errors
    /// When it cannot be read, or is none. Nothing has changed.
    fn read(&mut self) -> io::Result<Option<ReplicaMap>>;

    /// Keeps this map in place of the one there.
    fn replace(&mut self, map: &ReplicaMap) -> StoreOutcome;
}

/// A map in a file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// Open for its lock, and to be synced.
    directory: File,
    /// The step that fails next.
    #[cfg(test)]
    failing: Option<Step>,
}

/// The steps by which a map is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Write,
    Sync,
    Rename,
    SyncDirectory,
}

impl FileStore {
    /// The store in that directory, which is made if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made, opened or locked: another coordinator has it.
    pub fn open(path: &Path) -> io::Result<FileStore> {
        make_directory(path).map_err(|error| explain("make", path, &error))?;
        let directory = File::open(path).map_err(|error| explain("open", path, &error))?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let why = format!("another coordinator keeps its map in {}", path.display());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
            }
            Err(error) => return Err(explain("lock", path, &error.into())),
        }
        Ok(FileStore {
            path: path.to_owned(),
            directory,
            #[cfg(test)]
            failing: None,
        })
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        // Invariant 3.
        file.sync_all()?;
        self.directory.sync_all()?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Up to the rename nothing has happened to the map that is there.
    fn write_next(&mut self, map: &ReplicaMap) -> io::Result<()> {
        let bytes = to_bytes(map);
        self.begin(Step::Create)?;
        let next = self.path.join(NEXT_FILE);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(next)?;
        self.begin(Step::Write)?;
        file.write_all(&bytes)?;
        self.begin(Step::Sync)?;
        file.sync_all()
    }

    fn put_in_place(&mut self) -> io::Result<()> {
        self.begin(Step::Rename)?;
        fs::rename(self.path.join(NEXT_FILE), self.path.join(MAP_FILE))?;
        self.begin(Step::SyncDirectory)?;
        self.directory.sync_all()
    }

    #[cfg(test)]
    fn begin(&mut self, step: Step) -> io::Result<()> {
        if self.failing == Some(step) {
            self.failing = None;
            return Err(io::Error::other(format!("{step:?} fails in this test")));
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "tests make it fail")]
    fn begin(&mut self, _: Step) -> io::Result<()> {
        Ok(())
    }
}

impl MapStore for FileStore {
    fn read(&mut self) -> io::Result<Option<ReplicaMap>> {
        let path = self.path.join(MAP_FILE);
        let bytes = match self.read_file(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(explain("read", &path, &error)),
        };
        match from_bytes(&bytes) {
            Ok(map) => Ok(Some(map)),
            Err(why) => {
                let text = format!(
                    "{} holds no map ({why}): put it back from a copy that is not older, or remove it and rebuild the map \
                     from the nodes",
                    path.display()
                );
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }

    fn replace(&mut self, map: &ReplicaMap) -> StoreOutcome {
        if let Err(error) = self.write_next(map) {
            log::error!("cannot write the map to {}: {error}", self.path.display());
            return StoreOutcome::Failed;
        }
        match self.put_in_place() {
            Ok(()) => StoreOutcome::Durable,
            Err(error) => {
                log::error!("whether the map is stored in {} is not known: {error}", self.path.display());
                StoreOutcome::Ambiguous
            }
        }
    }
}

/// Makes a directory, and those above it, so that no crash takes them back with all that is in them.
fn make_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if !path.is_dir() {
        make_directory(parent)?;
        match fs::create_dir(path) {
            // Somebody else made it just now.
            Err(_) if path.is_dir() => {}
            made => made?,
        }
    }
    // Also where it was there: whoever made it may have crashed before this.
    File::open(parent)?.sync_all()
}

fn explain(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}, where the map is kept: {error}", path.display()))
}

fn to_bytes(map: &ReplicaMap) -> Vec<u8> {
    let mut body = Vec::new();
    map.encode(&mut body);
    let length = u32::try_from(body.len()).expect("a map is at most REPLICA_MAP_BYTES_MAX long");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len() + CHECKSUM_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FILE_FORMAT.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    let checksum = CHECKSUM_KEY.hash(&bytes).0;
    bytes.extend_from_slice(&checksum.to_be_bytes());
    bytes
}

/// The map in a file, or what is wrong with it.
fn from_bytes(bytes: &[u8]) -> Result<ReplicaMap, String> {
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else { return Err("it is too short".into()) };
    if magic != MAGIC {
        return Err("it begins with something else".into());
    }
    let Some((format, rest)) = rest.split_first_chunk::<2>() else { return Err("it is too short".into()) };
    let format = u16::from_be_bytes(*format);
    if format != FILE_FORMAT {
        return Err(format!("format {format} is not known: this program is too old or too new"));
    }
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Err("it is too short".into()) };
    let length = u32::from_be_bytes(*length) as usize;
    if rest.len() != length.saturating_add(CHECKSUM_BYTES) {
        return Err("it is cut, or longer than it says".into());
    }
    let (body, checksum) = rest.split_at(length);
    let expected = CHECKSUM_KEY.hash(&bytes[..HEAD_BYTES + length]).0;
    if checksum != expected.to_be_bytes() {
        return Err("its checksum is wrong".into());
    }
    ReplicaMap::decode(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use dht_protocol::ids::{Cfg, ClusterId, Epoch, Incarnation, Member, NodeId};
    use dht_protocol::placement::replica_map::{Configuration, ListedNode, OnLoss, Settings};
    use dht_protocol::placement::ring::Ring;
    use tempfile::TempDir;

    use super::*;

    fn map(epoch: u32) -> ReplicaMap {
        let member = Member { node: NodeId(0), incarnation: Incarnation(7) };
        let configuration = Configuration {
            cfg: Cfg::new(epoch),
            primary: member,
            primary_since: Epoch(1),
            began: Cfg::new(1),
            handed_over: false,
            backups: Vec::new(),
            joining: Vec::new(),
        };
        let node = ListedNode { id: member.node, address: "a:1".into(), incarnation: member.incarnation };
        ReplicaMap::new(ReplicaMap {
            cluster_id: ClusterId(1),
            epoch: Epoch(epoch),
            ring: Ring::new(16).unwrap(),
            hash_key: HashKey::GUESSABLE,
            settings: Settings { replicas: 1, min_in_sync: 1, on_loss: OnLoss::Wait, refill_delay_ms: 0 },
            nodes: vec![node],
            partitions: vec![configuration; 16],
        })
        .unwrap()
    }

    fn store() -> (TempDir, FileStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(&directory.path().join("of/the/map")).unwrap();
        (directory, store)
    }

    #[test]
    fn a_map_is_kept_and_replaced() {
        let (directory, mut store) = store();
        assert_eq!(store.read().unwrap(), None);
        for epoch in [1, 2, 9] {
            assert_eq!(store.replace(&map(epoch)), StoreOutcome::Durable);
            assert_eq!(store.read().unwrap(), Some(map(epoch)));
        }
        drop(store);
        let mut again = FileStore::open(&directory.path().join("of/the/map")).unwrap();
        assert_eq!(again.read().unwrap(), Some(map(9)));
        let names: Vec<_> =
            fs::read_dir(&again.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [MAP_FILE], "nothing else is left there");
    }

    #[test]
    fn two_coordinators_cannot_share_a_directory() {
        let (directory, store) = store();
        let path = directory.path().join("of/the/map");
        let refusal = FileStore::open(&path).unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::WouldBlock);
        assert!(refusal.to_string().contains("another coordinator"), "{refusal}");
        drop(store);
        FileStore::open(&path).unwrap();
    }

    #[test]
    fn what_fails_before_the_rename_is_not_stored_and_what_fails_after_it_may_be() {
        for (step, outcome) in [
            (Step::Create, StoreOutcome::Failed),
            (Step::Write, StoreOutcome::Failed),
            (Step::Sync, StoreOutcome::Failed),
            (Step::Rename, StoreOutcome::Ambiguous),
            (Step::SyncDirectory, StoreOutcome::Ambiguous),
        ] {
            let (_directory, mut store) = store();
            assert_eq!(store.replace(&map(1)), StoreOutcome::Durable);
            store.failing = Some(step);
            assert_eq!(store.replace(&map(2)), outcome, "{step:?}");
            let expected = if step == Step::SyncDirectory { map(2) } else { map(1) };
            assert_eq!(store.read().unwrap(), Some(expected), "{step:?}");
            assert_eq!(store.replace(&map(3)), StoreOutcome::Durable, "after {step:?}");
            assert_eq!(store.read().unwrap(), Some(map(3)));
        }
    }

    #[test]
    fn what_is_left_of_a_map_that_was_being_written_counts_for_nothing() {
        let (_directory, mut store) = store();
        let next = store.path.join(NEXT_FILE);
        fs::write(&next, to_bytes(&map(5))).unwrap();
        assert_eq!(store.read().unwrap(), None);
        fs::write(&next, [0xEE; 100_000]).unwrap();
        assert_eq!(store.replace(&map(1)), StoreOutcome::Durable);
        assert_eq!(store.read().unwrap(), Some(map(1)), "it is as long as it should be, too");
    }

    #[test]
    fn a_file_that_is_cut_anywhere_or_lengthened_is_an_error() {
        let (_directory, mut store) = store();
        let bytes = to_bytes(&map(1));
        assert!((0..bytes.len()).all(|length| from_bytes(&bytes[..length]).is_err()));
        for length in [0, 1, HEAD_BYTES, bytes.len() - 1] {
            fs::write(store.path.join(MAP_FILE), &bytes[..length]).unwrap();
            let error = store.read().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "cut to {length} bytes");
            assert!(error.to_string().contains("rebuild the map from the nodes"), "{error}");
        }
        fs::write(store.path.join(MAP_FILE), [&bytes[..], &[0]].concat()).unwrap();
        assert!(store.read().unwrap_err().to_string().contains("longer than it says"));
    }

    #[test]
    fn a_file_with_any_bit_flipped_is_an_error() {
        let bytes = to_bytes(&map(1));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            assert!(from_bytes(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_file_of_something_else_is_an_error_that_says_so() {
        let why = |bytes: &[u8]| from_bytes(bytes).unwrap_err();
        assert_eq!(why(b"#!/bin/sh and so on"), "it begins with something else");
        let mut newer = to_bytes(&map(1));
        newer[9] = 2;
        assert_eq!(why(&newer), "format 2 is not known: this program is too old or too new");
        let mut no_map = to_bytes(&map(1));
        no_map[HEAD_BYTES] = 9;
        let end = no_map.len() - CHECKSUM_BYTES;
        let checksum = CHECKSUM_KEY.hash(&no_map[..end]).0;
        no_map[end..].copy_from_slice(&checksum.to_be_bytes());
        assert!(why(&no_map).contains("map of an unknown format"));
    }

    #[test]
    fn a_map_file_that_is_no_file_is_an_error() {
        let (_directory, mut store) = store();
        fs::create_dir(store.path.join(MAP_FILE)).unwrap();
        assert!(store.read().unwrap_err().to_string().contains(MAP_FILE));
        assert_eq!(store.replace(&map(1)), StoreOutcome::Ambiguous, "the rename fails");
    }

    #[test]
    fn a_directory_that_takes_no_file_stores_nothing() {
        let (_directory, mut store) = store();
        assert_eq!(store.replace(&map(1)), StoreOutcome::Durable);
        fs::set_permissions(&store.path, fs::Permissions::from_mode(0o555)).unwrap();
        // Who may do everything is not held back by permissions: for them something stands in the way.
        let _ = fs::create_dir(store.path.join(NEXT_FILE));
        assert_eq!(store.replace(&map(2)), StoreOutcome::Failed);
        assert_eq!(store.read().unwrap(), Some(map(1)));
        fs::set_permissions(&store.path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = FileStore::open(&path).unwrap_err();
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }
}
