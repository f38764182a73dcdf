//! A node for tests: greets and gives its map by itself; what else it answers is the test's script.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use dht_protocol::cursor::Cursor;
use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{Cfg, ClusterId, Epoch, Incarnation, NodeId, Version};
use dht_protocol::limits::{BODY_BYTES_MAX, VALUE_BYTES_MAX};
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::map::{ClusterMap, Node, PartitionConfig};
use dht_protocol::placement::ring::Ring;
use dht_protocol::request::{Condition, Request, Scan, WriteToken};
use dht_protocol::response::{HelloAnswer, PageEntry, PageWriter, Refusal, Response};
use dht_protocol::status::Status;
use dht_protocol::value::ValueRef;

use crate::sync::lock;

pub(crate) const CLUSTER: ClusterId = ClusterId(7);

/// A map of 16 partitions, dealt out to the addresses in turn.
pub(crate) fn map_of(cluster_id: ClusterId, epoch: u32, addresses: &[&str]) -> ClusterMap {
    let ring = Ring::new(16).unwrap();
    let nodes =
        (0..).zip(addresses).map(|(id, address)| Node { id: NodeId(id), address: (*address).to_owned() });
    let partitions = ring.partitions().map(|partition| PartitionConfig {
        cfg: Cfg::new(0),
        primary: NodeId(partition.0 % addresses.len() as u32),
    });
    let (nodes, partitions) = (nodes.collect(), partitions.collect());
    ClusterMap::new(cluster_id, Epoch(epoch), ring, HashKey::GUESSABLE, nodes, partitions).unwrap()
}

/// What the node does about a request.
pub(crate) enum Reply {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Keeps these bytes back, and sends them before whatever it sends next.
    Later(Vec<u8>),
    /// Keeps these bytes back until there are so many; then sends them, last first.
    Reverse(Vec<u8>, usize),
    /// Says nothing.
    Silence,
    /// Sends these bytes and closes the connection.
    Close(Vec<u8>),
}

/// A request as the script sees it.
pub(crate) struct Asked<'a> {
    pub(crate) header: Header,
    pub(crate) request: Request<'a>,
    /// Number of the request among those that reached the script, from 0.
    pub(crate) number: usize,
    pub(crate) epoch: Epoch,
}

impl Asked<'_> {
    pub(crate) fn answer(&self, response: &Response<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        response.encode(self.header.request_id, self.epoch, &mut out);
        out
    }

    pub(crate) fn send(&self, response: &Response<'_>) -> Reply {
        Reply::Send(self.answer(response))
    }

    pub(crate) fn refuse(&self, status: Status) -> Reply {
        self.send(&Response::Refused(Refusal::of(status)))
    }

    pub(crate) fn token(&self) -> Option<WriteToken> {
        match self.request {
            Request::Put { token, .. }
            | Request::Delete { token, .. }
            | Request::Add { token, .. }
            | Request::Append { token, .. } => token,
            _ => None,
        }
    }
}

type Script = dyn Fn(&Asked<'_>) -> Reply + Send + Sync;

/// What the node says of itself; may be changed while it runs.
pub(crate) struct Identity {
    pub(crate) hello: HelloAnswer,
    pub(crate) map: ClusterMap,
    pub(crate) tokens: Vec<WriteToken>,
    requests: usize,
    connections: usize,
}

pub(crate) struct FakeNode {
    pub(crate) address: String,
    pub(crate) identity: Arc<Mutex<Identity>>,
}

impl FakeNode {
    /// A node that is its own cluster.
    pub(crate) fn alone(script: impl Fn(&Asked<'_>) -> Reply + Send + Sync + 'static) -> FakeNode {
        FakeNode::cluster(vec![Box::new(script)]).remove(0)
    }

    /// Nodes of one cluster, by script.
    pub(crate) fn cluster(scripts: Vec<Box<Script>>) -> Vec<FakeNode> {
        let listeners: Vec<_> = scripts.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> =
            listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
        let texts: Vec<_> = addresses.iter().map(String::as_str).collect();
        let map = map_of(CLUSTER, 1, &texts);
        let start = |(id, (listener, script))| FakeNode::start(NodeId(id), listener, script, map.clone());
        (0..).zip(listeners.into_iter().zip(scripts)).map(start).collect()
    }

    fn start(node: NodeId, listener: TcpListener, script: Box<Script>, map: ClusterMap) -> FakeNode {
        let hello = HelloAnswer {
            version: 1,
            features: 0,
            cluster_id: map.cluster_id(),
            incarnation: Incarnation(100),
            node,
            value_bytes_max: VALUE_BYTES_MAX as u32,
            body_bytes_max: BODY_BYTES_MAX as u32,
            write_span_max: 1 << 20,
        };
        let identity =
            Arc::new(Mutex::new(Identity { hello, map, tokens: Vec::new(), requests: 0, connections: 0 }));
        let fake =
            FakeNode { address: listener.local_addr().unwrap().to_string(), identity: Arc::clone(&identity) };
        let script: Arc<Script> = script.into();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (identity, script) = (Arc::clone(&identity), Arc::clone(&script));
                lock(&identity).connections += 1;
                thread::spawn(move || serve(&stream.unwrap(), &identity, &*script));
            }
        });
        fake
    }

    pub(crate) fn connections(&self) -> usize {
        lock(&self.identity).connections
    }

    /// Tokens of all writes that reached the script, in order.
    pub(crate) fn tokens(&self) -> Vec<WriteToken> {
        lock(&self.identity).tokens.clone()
    }
}

/// An address where nobody listens.
pub(crate) fn dead_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn serve(mut stream: &TcpStream, identity: &Mutex<Identity>, script: &Script) {
    stream.set_nodelay(true).unwrap();
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 65_536]);
    let (mut late, mut reversed) = (Vec::new(), Vec::new());
    loop {
        match cut(&buffer, BODY_BYTES_MAX) {
            Cut::Frame { header, body, frame_bytes } => {
                let request = Request::decode(&header, body).unwrap();
                match answer(header, request, identity, script) {
                    Reply::Send(bytes) => {
                        late.extend(bytes);
                        if stream.write_all(&late).is_err() {
                            return;
                        }
                        late.clear();
                    }
                    Reply::Later(bytes) => late.extend(bytes),
                    Reply::Reverse(bytes, count) => {
                        reversed.push(bytes);
                        if reversed.len() == count {
                            reversed.reverse();
                            stream.write_all(&reversed.concat()).unwrap();
                            reversed.clear();
                        }
                    }
                    Reply::Silence => {}
                    Reply::Close(bytes) => {
                        let _ = stream.write_all(&bytes);
                        let _ = stream.shutdown(std::net::Shutdown::Both);
                        return;
                    }
                }
                buffer.drain(..frame_bytes);
            }
            Cut::NeedMore { .. } => match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(bytes) => buffer.extend_from_slice(&chunk[..bytes]),
            },
            Cut::Refused { error, .. } => panic!("{error:?}"),
        }
    }
}

fn answer(header: Header, request: Request<'_>, identity: &Mutex<Identity>, script: &Script) -> Reply {
    let asked = {
        let mut identity = lock(identity);
        let mut asked = Asked { header, request, number: 0, epoch: identity.map.epoch() };
        match request {
            Request::Hello(_) => return asked.send(&Response::Hello(identity.hello)),
            Request::Map => return asked.send(&Response::Map(Box::new(identity.map.clone()))),
            _ => {}
        }
        asked.number = identity.requests;
        identity.requests += 1;
        identity.tokens.extend(asked.token());
        asked
    };
    script(&asked)
}

/// Version, type tag and value by key.
type Entries = BTreeMap<Vec<u8>, (Version, u8, Vec<u8>)>;

/// Entries, with what a real node does to them.
pub(crate) struct FakeStore {
    /// The last version given, and the entries.
    entries: Mutex<(u64, Entries)>,
    /// Longest value that a page carries, bytes.
    inline_bytes_max: usize,
}

impl FakeStore {
    pub(crate) fn new(inline_bytes_max: usize) -> FakeStore {
        FakeStore { entries: Mutex::default(), inline_bytes_max }
    }

    pub(crate) fn answer(&self, asked: &Asked<'_>) -> Reply {
        let mut guard = lock(&self.entries);
        let (last, entries) = &mut *guard;
        let key = match asked.request {
            Request::Scan(scan) => return self.page(asked, &scan, entries),
            Request::Get { key }
            | Request::Exists { key }
            | Request::Put { key, .. }
            | Request::Delete { key, .. }
            | Request::Add { key, .. }
            | Request::Append { key, .. } => key.as_bytes().to_vec(),
            Request::Ping => return asked.send(&Response::Pong),
            Request::Stats => {
                return asked.send(&Response::Stats(vec![("keys".into(), entries.len() as u64)]));
            }
            Request::Hello(_) | Request::Map | Request::PeerHello(_) => unreachable!(),
        };
        let old = entries.get(&key).cloned();
        let current = old.as_ref().map_or(Version::ABSENT, |(version, ..)| *version);
        let version = Version(*last + 1);
        if let Request::Put { condition, .. } | Request::Delete { condition, .. } = asked.request {
            let holds = match condition {
                Condition::Always => true,
                Condition::IfAbsent => old.is_none(),
                Condition::IfPresent => old.is_some(),
                Condition::IfVersion(version) => version == current,
            };
            if !holds {
                return asked.send(&Response::Refused(Refusal::ConditionFailed(current)));
            }
        }
        let (entry, response) = match (asked.request, old) {
            (Request::Get { .. } | Request::Exists { .. } | Request::Delete { .. }, None) => {
                return asked.refuse(Status::NotFound);
            }
            (Request::Get { .. }, Some((version, tag, bytes))) => {
                let value = ValueRef::new(tag, &bytes).unwrap();
                return asked.send(&Response::Found { version, value });
            }
            (Request::Exists { .. }, Some(_)) => return asked.send(&Response::Version(current)),
            (Request::Delete { .. }, Some(_)) => (None, Response::Version(version)),
            (Request::Put { value, .. }, _) => {
                (Some((value.value_type.tag(), value.bytes.to_vec())), Response::Version(version))
            }
            (Request::Add { delta, .. }, old) => {
                let counter =
                    old.map_or(Some(0), |(_, tag, bytes)| ValueRef::new(tag, &bytes).unwrap().as_counter());
                let Some(counter) = counter else { return asked.refuse(Status::WrongType) };
                let Some(value) = counter.checked_add(delta) else { return asked.refuse(Status::Overflow) };
                (Some((2, value.to_be_bytes().to_vec())), Response::Counted { version, value })
            }
            (Request::Append { suffix, .. }, old) => {
                let (tag, mut bytes) =
                    old.map_or((suffix.value_type.tag(), vec![]), |(_, tag, bytes)| (tag, bytes));
                if tag != suffix.value_type.tag() {
                    return asked.refuse(Status::WrongType);
                }
                bytes.extend_from_slice(suffix.bytes);
                let value_bytes = bytes.len() as u32;
                (Some((tag, bytes)), Response::Appended { version, value_bytes })
            }
            _ => unreachable!(),
        };
        *last += 1;
        match entry {
            Some((tag, bytes)) => entries.insert(key, (version, tag, bytes)),
            None => entries.remove(&key),
        };
        asked.send(&response)
    }

    pub(crate) fn remove(&self, key: &str) {
        lock(&self.entries).1.remove(key.as_bytes());
    }

    fn page(&self, asked: &Asked<'_>, scan: &Scan<'_>, entries: &Entries) -> Reply {
        let ring = Ring::new(16).unwrap();
        let mut out = Vec::new();
        let mut page = PageWriter::begin(asked.header.request_id, asked.epoch, &mut out);
        let mut cursor = scan.cursor;
        for (done, partition) in scan.partitions.iter().enumerate() {
            cursor = if done == 0 { cursor } else { ring.cursor_start(partition) };
            let mut inside: Vec<_> = entries
                .iter()
                .map(|(key, entry)| (Cursor::of_hash(HashKey::GUESSABLE.hash(key)), key, entry))
                .filter(|(at, key, _)| {
                    *at >= cursor && *at < ring.cursor_end(partition) && key.starts_with(scan.prefix)
                })
                .collect();
            inside.sort();
            for (at, key, (version, tag, bytes)) in inside {
                if page.entries_count() == scan.entries_max {
                    page.finish(done as u16, at, &mut out);
                    return Reply::Send(out);
                }
                let value = ValueRef::new(*tag, bytes).unwrap();
                page.push(
                    &PageEntry {
                        key,
                        version: *version,
                        value_type: value.value_type,
                        value_bytes: bytes.len() as u32,
                        value: (bytes.len() <= self.inline_bytes_max).then_some(bytes),
                    },
                    &mut out,
                );
            }
        }
        page.finish(scan.partitions.len() as u16, Cursor::END, &mut out);
        Reply::Send(out)
    }
}
