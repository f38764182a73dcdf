//! Stories of a few nodes and maps made by hand: each message arrives at once, unless a story holds it back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dht_protocol::ids::{
    Cfg, ClientId, ClusterId, Epoch, Incarnation, Member, NodeId, PartitionId, Revision, Seq, Version,
};
use dht_protocol::peer::{
    At, Beat, CopyItem, Effect, FromCoordinator, ListTag, LogEntry, PeerBody, PeerMessage, ToCoordinator,
};
use dht_protocol::placement::hash::HashKey;
use dht_protocol::placement::replica_map::{Configuration, ListedNode, OnLoss, ReplicaMap, Settings};
use dht_protocol::placement::ring::Ring;
use dht_protocol::request::{Condition, WriteToken};
use dht_protocol::status::Status;
use dht_protocol::value::ValueType;

use super::node::ClusterNode;
use crate::clock::Time;
use crate::memory::{MemoryAccount, MemoryKind};
use crate::replication::limits::{CopyPace, OUTCOMES_MAX, PREPARED_ENTRIES_MAX, WAITERS_MAX};
use crate::replication::operation::{KeyAnswer, KeyRequest, Operation, Ticket};
use crate::replication::replica_store::ReplicaStore;
use crate::replication::{NodeAction, Role};
use crate::store::{Pool, ReplicaPartition};
use crate::timings::{LEASE, NEWCOMER_PAUSE_MAX, QUEUE_WAIT_MAX, RESEND, RESEND_LONG_MAX, RESEND_MAX, TICK};

const HASH_KEY: HashKey = HashKey::GUESSABLE;
const P0: PartitionId = PartitionId(0);

/// A few nodes, the first of them primary of partition 0.
struct Village {
    now: Time,
    map: ReplicaMap,
    nodes: Vec<ClusterNode<ReplicaPartition>>,
    accounts: Vec<Arc<MemoryAccount>>,
    answers: Vec<(Ticket, KeyAnswer)>,
    abandoned: Vec<Ticket>,
    to_coordinator: Vec<ToCoordinator>,
    on_the_way: VecDeque<PeerMessage>,
    /// Whether what is sent last arrives first.
    is_reversed: bool,
    /// Messages that do not arrive.
    lost: Box<dyn Fn(&PeerMessage) -> bool>,
    next_ticket: u64,
}

fn member(node: u32) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(u64::from(node) + 100) }
}

fn address(node: u32) -> String {
    format!("node:{node}")
}

fn is_talk(message: &PeerMessage) -> bool {
    !matches!(message.body, PeerBody::Beacon { .. } | PeerBody::Grant { .. })
}

impl Village {
    /// `in_sync` of `nodes` nodes hold all partitions.
    fn new(nodes: u32, in_sync: u32, min_in_sync: u8) -> Village {
        let ring = Ring::new(16).unwrap();
        let config = Configuration {
            cfg: Cfg::new(1),
            primary: member(0),
            primary_since: Epoch(1),
            began: Cfg::new(1),
            handed_over: false,
            backups: (1..in_sync).map(member).collect(),
            joining: Vec::new(),
        };
        let map = ReplicaMap {
            cluster_id: ClusterId(1),
            epoch: Epoch(1),
            ring,
            hash_key: HASH_KEY,
            settings: Settings {
                replicas: in_sync as u8,
                min_in_sync,
                on_loss: OnLoss::Wait,
                refill_delay_ms: 1_000,
            },
            nodes: (0..nodes)
                .map(|node| ListedNode {
                    id: NodeId(node),
                    address: address(node),
                    incarnation: member(node).incarnation,
                })
                .collect(),
            partitions: vec![config; 16],
        };
        let accounts: Vec<_> = (0..nodes).map(|_| MemoryAccount::new(1 << 30)).collect();
        let now = Time(1_000_000_000);
        let node = |node: u32| {
            let pool = Pool::new(Arc::clone(&accounts[node as usize]));
            let make = move |partition, map: &ReplicaMap| {
                ReplicaPartition::new(partition, map.ring, map.hash_key, Arc::clone(&pool))
            };
            ClusterNode::new(now, member(node).incarnation, address(node), Box::new(make))
        };
        let mut village = Village {
            now,
            map,
            nodes: (0..nodes).map(node).collect(),
            accounts: accounts.clone(),
            answers: Vec::new(),
            abandoned: Vec::new(),
            to_coordinator: Vec::new(),
            on_the_way: VecDeque::new(),
            is_reversed: false,
            lost: Box::new(|_| false),
            next_ticket: 0,
        };
        for node in 0..nodes {
            village.tell_map(node);
        }
        village.pass(Duration::from_millis(700));
        village
    }

    /// Edits partition 0 and raises its cfg, and the epoch.
    fn edit(&mut self, change: impl FnOnce(&mut Configuration)) {
        self.map.epoch = Epoch(self.map.epoch.0 + 1);
        let config = &mut self.map.partitions[0];
        let before = config.primary;
        config.cfg = Cfg::new(config.cfg.get() + 1);
        config.handed_over = false;
        change(config);
        if config.primary != before {
            config.primary_since = self.map.epoch;
        }
    }

    fn tell_map(&mut self, node: u32) {
        let map = FromCoordinator::Map(Arc::new(self.map.clone()));
        self.nodes[node as usize].on_coordinator(self.now, map);
        self.settle();
    }

    fn tell_map_to_all(&mut self) {
        (0..self.nodes.len() as u32).for_each(|node| self.tell_map(node));
    }

    /// Carries out what the nodes want, until they want nothing.
    fn settle(&mut self) {
        loop {
            for node in &mut self.nodes {
                while let Some(action) = node.poll_action() {
                    match action {
                        NodeAction::Peer(message) => self.on_the_way.push_back(message),
                        NodeAction::Coordinator(message) => self.to_coordinator.push(message),
                        NodeAction::Answer(ticket, answer) => self.answers.push((ticket, answer)),
                        NodeAction::Abandon(ticket) => self.abandoned.push(ticket),
                    }
                }
            }
            let next =
                if self.is_reversed { self.on_the_way.pop_back() } else { self.on_the_way.pop_front() };
            let Some(message) = next else { break };
            if !(self.lost)(&message) {
                let node = message.to.node.0 as usize;
                self.nodes[node].on_peer(self.now, message);
            }
        }
        self.nodes.iter().for_each(ClusterNode::check_invariants);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = self.now + TICK;
            for node in 0..self.nodes.len() {
                self.nodes[node].on_tick(self.now, self.now.0);
                self.settle();
            }
        }
    }

    fn request(&mut self, node: u32, key: &str, operation: Operation, token: Option<(u64, bool)>) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let key: Arc<[u8]> = key.as_bytes().into();
        let writer = token.map(|(seq, retry)| (ClientId(9), WriteToken { seq, floor: 1, retry }));
        let hash = HASH_KEY.hash(&key);
        let request = KeyRequest { epoch: self.map.epoch, hash, key, operation, writer };
        self.nodes[node as usize].on_request(self.now, ticket, request);
        self.settle();
        ticket
    }

    fn put(&mut self, node: u32, key: &str, value: &str) -> Ticket {
        self.request(node, key, put(value, Condition::Always), None)
    }

    fn answer(&self, ticket: Ticket) -> Option<&KeyAnswer> {
        self.answers.iter().find(|(answered, _)| *answered == ticket).map(|(_, answer)| answer)
    }

    fn status(&self, ticket: Ticket) -> Option<Status> {
        self.answer(ticket).map(|answer| answer.status)
    }

    fn get(&mut self, node: u32, key: &str) -> Result<Option<String>, Status> {
        let ticket = self.request(node, key, Operation::Get, None);
        let answer = self.answer(ticket).expect("a read is answered at once");
        match answer.status {
            Status::Ok => {
                Ok(answer.value.as_ref().map(|(_, value)| String::from_utf8_lossy(value).into_owned()))
            }
            Status::NotFound => Ok(None),
            status => Err(status),
        }
    }

    fn commit(&self, node: u32) -> Version {
        self.nodes[node as usize].replica(P0).expect("it has a replica").commit
    }

    fn role(&self, node: u32) -> Option<Role> {
        self.nodes[node as usize].replica(P0).map(|replica| replica.role)
    }

    fn table(&self, node: u32) -> Vec<(String, Version)> {
        let replica = self.nodes[node as usize].replica(P0).expect("it has a replica");
        let (start, _) = replica.store.range();
        let (entries, _) = replica.store.piece(start, 1 << 30);
        entries
            .iter()
            .map(|entry| (String::from_utf8_lossy(&entry.key).into_owned(), entry.version))
            .collect()
    }
}

fn put(value: &str, condition: Condition) -> Operation {
    Operation::Put { value_type: ValueType::TEXT, value: value.as_bytes().into(), condition }
}

/// A key of partition 0.
fn key(number: u32) -> String {
    let ring = Ring::new(16).unwrap();
    let mut keys = (0..)
        .map(|i: u32| format!("key-{i}"))
        .filter(|key| ring.partition_of(HASH_KEY.hash(key.as_bytes())) == P0);
    keys.nth(number as usize).unwrap()
}

fn losing(body: fn(&PeerBody) -> bool, to: u32) -> Box<dyn Fn(&PeerMessage) -> bool> {
    Box::new(move |message| message.to == member(to) && body(&message.body))
}

/// Loses nothing from now on, and counts the entries in pieces of copies.
fn count_copied(village: &mut Village) -> std::rc::Rc<std::cell::Cell<usize>> {
    let copied = std::rc::Rc::new(std::cell::Cell::new(0));
    let counter = std::rc::Rc::clone(&copied);
    village.lost = Box::new(move |message| {
        if let PeerBody::Copy { item: CopyItem::Piece { entries }, .. } = &message.body {
            counter.set(counter.get() + entries.len());
        }
        false
    });
    copied
}

fn cut_off(node: u32) -> Box<dyn Fn(&PeerMessage) -> bool> {
    Box::new(move |message| message.to == member(node) || message.from == member(node))
}

#[test]
fn a_write_is_answered_when_every_backup_has_it_and_not_before() {
    let mut village = Village::new(3, 3, 1);
    village.lost = losing(|body| matches!(body, PeerBody::Prepare { .. }), 2);
    let ticket = village.put(0, &key(0), "one");
    assert_eq!(village.status(ticket), None);
    assert_eq!(village.get(0, &key(0)), Ok(None), "nothing is read that is not committed");
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(100));
    assert_eq!(village.status(ticket), Some(Status::Ok));
    assert_eq!(village.get(0, &key(0)), Ok(Some("one".into())));
    let version = village.answer(ticket).unwrap().version;
    assert_eq!(version, Version::new(Cfg::new(1), 1));
    for node in 0..3 {
        assert_eq!((village.commit(node), village.table(node)), (version, vec![(key(0), version)]));
    }
}

#[test]
fn a_commit_point_that_was_lost_is_told_again() {
    let mut village = Village::new(2, 2, 1);
    village.lost = losing(|body| matches!(body, PeerBody::Prepare { entries, .. } if entries.is_empty()), 1);
    let ticket = village.put(0, &key(0), "one");
    village.pass(Duration::from_millis(30));
    assert_eq!((village.status(ticket), village.commit(1)), (Some(Status::Ok), Version::ABSENT));
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(100));
    assert_eq!(village.commit(1), village.commit(0));
}

/// Says which messages do not arrive.
type Lost = Box<dyn Fn(&PeerMessage) -> bool>;

/// Loses what `node` acknowledges of entries, and counts how often it is sent some.
fn deaf_to(node: u32) -> (std::rc::Rc<std::cell::Cell<usize>>, Lost) {
    let sent = std::rc::Rc::new(std::cell::Cell::new(0));
    let counter = std::rc::Rc::clone(&sent);
    let lost = move |message: &PeerMessage| {
        if matches!(&message.body, PeerBody::Prepare { entries, .. } if !entries.is_empty()) {
            counter.set(counter.get() + usize::from(message.to == member(node)));
        }
        message.from == member(node) && is_talk(message)
    };
    (sent, Box::new(lost))
}

#[test]
fn what_is_sent_in_vain_is_sent_less_and_less_often_and_soon_arrives_all_the_same() {
    for (value_bytes, times_max, recovery) in [(10, 12, RESEND_MAX), (1 << 20, 6, RESEND_LONG_MAX)] {
        let mut village = Village::new(2, 2, 1);
        let (sent, lost) = deaf_to(1);
        village.lost = lost;
        let ticket = village.put(0, &key(0), &"x".repeat(value_bytes));
        village.pass(Duration::from_millis(2_000));
        assert!((4..=times_max).contains(&sent.get()), "{value_bytes} bytes were sent {} times", sent.get());
        village.lost = Box::new(|_| false);
        village.pass(recovery + TICK);
        assert_eq!(village.status(ticket), Some(Status::Ok));
        // The next one that is lost is sent again as soon as the first was.
        village.lost = losing(|body| matches!(body, PeerBody::Prepare { .. }), 1);
        let ticket = village.put(0, &key(0), &"y".repeat(value_bytes));
        village.lost = Box::new(|_| false);
        village.pass(RESEND + TICK);
        assert_eq!(village.status(ticket), Some(Status::Ok));
    }
}

/// Each new entry put off the time at which the lost one would be sent again, so that a backup that was well was accused.
#[test]
fn what_is_lost_is_sent_again_in_time_however_much_follows_it() {
    let mut village = Village::new(2, 2, 1);
    village.lost = losing(|body| matches!(body, PeerBody::Prepare { entries, .. } if !entries.is_empty()), 1);
    let ticket = village.put(0, &key(0), "lost");
    village.lost = Box::new(|_| false);
    let mut waited = Duration::ZERO;
    while village.status(ticket).is_none() {
        village.put(0, &key(1), "follows");
        village.pass(TICK);
        waited += TICK;
        assert!(waited <= RESEND + 2 * TICK, "it has not been sent again for {waited:?}");
    }
    assert!(waited >= RESEND, "it was not lost");
}

#[test]
fn entries_that_come_out_of_order_are_acknowledged_without_the_gap() {
    let mut village = Village::new(2, 2, 1);
    village.lost = Box::new(
        |message| matches!(&message.body, PeerBody::Prepare { entries, .. } if entries.len() == 1 && entries[0].name.seq() == 1),
    );
    let first = village.put(0, &key(0), "one");
    let second = village.put(0, &key(1), "two");
    assert_eq!((village.status(first), village.status(second)), (None, None));
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(100));
    assert_eq!((village.status(first), village.status(second)), (Some(Status::Ok), Some(Status::Ok)));
}

#[test]
fn a_primary_without_its_leases_answers_nothing() {
    let mut village = Village::new(2, 2, 1);
    let ticket = village.put(0, &key(0), "one");
    assert_eq!(village.status(ticket), Some(Status::Ok));
    village.lost = Box::new(|message| matches!(message.body, PeerBody::Grant { .. }));
    village.pass(Duration::from_millis(500));
    assert_eq!(village.get(0, &key(0)), Err(Status::Unavailable));
    let ticket = village.put(0, &key(0), "two");
    assert_eq!(village.status(ticket), Some(Status::Unavailable));
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(200));
    assert_eq!(village.get(0, &key(0)), Ok(Some("one".into())));
    assert_eq!(village.get(1, &key(0)), Err(Status::NotOwner));
}

#[test]
fn a_new_primary_commits_what_it_holds_and_waits_out_the_grace() {
    let mut village = Village::new(3, 3, 1);
    // The old primary has sent the entry to all, and heard of none.
    village.lost = losing(|body| matches!(body, PeerBody::Prepared { .. }), 0);
    let ticket = village.put(0, &key(0), "one");
    assert_eq!(village.status(ticket), None);
    village.lost = cut_off(0);
    village.edit(|config| {
        (config.primary, config.backups) = (member(1), vec![member(2)]);
    });
    village.tell_map(1);
    village.tell_map(2);
    assert_eq!(village.get(1, &key(0)), Err(Status::Unavailable), "the grace is not over");
    assert_eq!(village.get(0, &key(0)), Ok(None), "the old one still has its leases");
    village.pass(Duration::from_millis(520));
    assert_eq!(village.get(0, &key(0)), Err(Status::Unavailable));
    assert_eq!(village.get(1, &key(0)), Ok(Some("one".into())), "under the name that it was given first");
    assert_eq!(village.table(1), vec![(key(0), Version::new(Cfg::new(1), 1))]);
    let next = village.put(1, &key(0), "two");
    assert_eq!(village.answer(next).unwrap().version, Version::new(Cfg::new(2), 2));
}

#[test]
fn a_backup_keeps_its_tail_until_it_has_the_new_list() {
    let mut village = Village::new(3, 3, 1);
    let ticket = village.put(0, &key(0), "one");
    assert_eq!(village.status(ticket), Some(Status::Ok));
    village.lost = losing(|body| matches!(body, PeerBody::Prepare { commit, .. } if commit.0 > 0), 2);
    village.pass(Duration::from_millis(50));
    assert_eq!(
        village.commit(2),
        Version::ABSENT,
        "it has the entry, and has not heard that it is committed"
    );
    // The next primary is heard by nobody, then gone.
    village.lost =
        Box::new(|message| is_talk(message) || message.to == member(0) || message.from == member(0));
    village.edit(|config| (config.primary, config.backups) = (member(1), vec![member(2)]));
    village.tell_map(1);
    village.tell_map(2);
    village.lost = Box::new(|message| message.to != member(2));
    village.edit(|config| (config.primary, config.backups) = (member(2), Vec::new()));
    village.tell_map(2);
    village.pass(Duration::from_millis(520));
    assert_eq!(village.get(2, &key(0)), Ok(Some("one".into())));
}

#[test]
fn what_only_a_deposed_primary_had_gives_way_to_the_new_list() {
    let mut village = Village::new(3, 3, 1);
    // Entry 1 reaches only node 2.
    village.lost = losing(|body| matches!(body, PeerBody::Prepare { .. }), 1);
    let _ = village.put(0, &key(0), "lost");
    village.lost = cut_off(0);
    village.edit(|config| (config.primary, config.backups) = (member(1), vec![member(2)]));
    village.tell_map(1);
    village.tell_map(2);
    village.pass(Duration::from_millis(520));
    let ticket = village.put(1, &key(1), "other");
    assert_eq!(village.answer(ticket).unwrap().version, Version::new(Cfg::new(2), 1));
    village.pass(Duration::from_millis(50));
    assert_eq!(village.table(2), village.table(1));
}

#[test]
fn a_second_arrival_waits_for_the_first_and_gets_its_answer_wherever_it_comes() {
    let mut village = Village::new(3, 3, 1);
    let add = Operation::Add { delta: 5 };
    village.lost = losing(|body| matches!(body, PeerBody::Prepared { .. }), 0);
    let first = village.request(0, &key(0), add.clone(), Some((1, false)));
    let twin = village.request(0, &key(0), add.clone(), Some((1, true)));
    assert_eq!((village.status(first), village.status(twin)), (None, None));
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(100));
    assert_eq!(village.answer(first).unwrap().number, 5);
    let (twin, answer) = (village.answer(twin).unwrap(), village.answer(first).unwrap());
    assert_eq!((twin.status, twin.version, twin.number), (answer.status, answer.version, answer.number));
    assert!(
        twin.valid_until.is_some() && answer.valid_until.is_none(),
        "one is a read, the other its own write"
    );
    village.lost = cut_off(0);
    village.edit(|config| (config.primary, config.backups) = (member(1), vec![member(2)]));
    village.tell_map(1);
    village.tell_map(2);
    village.pass(Duration::from_millis(520));
    let again = village.request(1, &key(0), add, Some((1, true)));
    let (again, first) = (village.answer(again).unwrap(), village.answer(first).unwrap());
    assert_eq!((again.status, again.version, again.number), (first.status, first.version, first.number));
}

#[test]
fn a_condition_that_fails_on_a_prepared_entry_is_answered_when_that_is_committed() {
    let mut village = Village::new(2, 2, 1);
    village.lost = losing(|body| matches!(body, PeerBody::Prepared { .. }), 0);
    let _ = village.put(0, &key(0), "one");
    let absent = village.request(0, &key(0), put("two", Condition::IfAbsent), None);
    assert_eq!(village.status(absent), None);
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(100));
    let answer = village.answer(absent).unwrap();
    assert_eq!((answer.status, answer.version), (Status::ConditionFailed, Version::new(Cfg::new(1), 1)));
}

#[test]
fn a_refusal_makes_no_ops_of_the_entry_and_of_what_is_built_on_it() {
    let mut village = Village::new(2, 2, 1);
    let ticket = village.put(0, &key(1), "there before");
    assert_eq!(village.status(ticket), Some(Status::Ok));
    village.accounts[1].set_limit_bytes(0);
    village.lost = losing(|body| matches!(body, PeerBody::Prepare { .. }), 1);
    let first = village.put(0, &key(0), "no room");
    let built = village.request(0, &key(0), put("x", Condition::IfPresent), None);
    let gone = village.request(0, &key(1), Operation::Delete { condition: Condition::Always }, None);
    assert_eq!(village.status(built), None);
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(200));
    assert_eq!(village.status(first), Some(Status::OutOfMemory));
    assert_eq!(village.status(built), Some(Status::ConditionFailed), "it was evaluated again");
    assert_eq!(village.status(gone), Some(Status::Ok), "deletes need no memory");
    assert_eq!((village.table(0), village.table(1)), (Vec::new(), Vec::new()));
    village.accounts[1].set_limit_bytes(1 << 30);
    let ticket = village.put(0, &key(0), "room");
    assert_eq!(village.status(ticket), Some(Status::Ok));
}

#[test]
fn fewer_replicas_than_a_write_needs_refuse_it_and_serve_reads() {
    let mut village = Village::new(3, 3, 2);
    let ticket = village.put(0, &key(0), "one");
    assert_eq!(village.status(ticket), Some(Status::Ok));
    village.edit(|config| config.backups.clear());
    village.tell_map(0);
    let ticket = village.put(0, &key(0), "two");
    assert_eq!(village.status(ticket), Some(Status::NotEnoughReplicas));
    assert_eq!(village.get(0, &key(0)), Ok(Some("one".into())));
}

#[test]
fn a_write_that_is_prepared_when_the_set_shrinks_ends_as_unknown() {
    let mut village = Village::new(3, 3, 2);
    village.lost = losing(|body| matches!(body, PeerBody::Prepared { .. }), 0);
    let ticket = village.put(0, &key(0), "one");
    village.lost = Box::new(|_| false);
    village.edit(|config| config.backups.clear());
    village.tell_map(0);
    village.pass(Duration::from_millis(4_900));
    assert_eq!(village.status(ticket), None);
    village.pass(Duration::from_millis(200));
    assert_eq!(village.abandoned, [ticket]);
    assert_eq!(village.get(0, &key(0)), Ok(None));
}

/// Lets the primary fill `newcomer`, and takes it in as the coordinator would.
fn take_in(village: &mut Village, newcomer: u32) {
    village.edit(|config| config.joining = vec![member(newcomer)]);
    village.tell_map_to_all();
    village.to_coordinator.clear();
    village.pass(Duration::from_millis(1_500));
    let cfg = village.map.partitions[0].cfg;
    let is_proposal = |message: &ToCoordinator| matches!(message, ToCoordinator::Propose { partition: P0, cfg: its, newcomer: who, .. } if *its == cfg && *who == member(newcomer));
    assert!(village.to_coordinator.iter().any(is_proposal), "it was not proposed");
    village.edit(|config| {
        config.joining.clear();
        config.backups.push(member(newcomer));
    });
    village.tell_map_to_all();
    village.pass(Duration::from_millis(100));
}

#[test]
fn a_newcomer_gets_everything_while_writes_go_on() {
    let mut village = Village::new(2, 1, 1);
    for node in &mut village.nodes {
        node.set_copy_pace(CopyPace { piece_bytes: 100, window: 1 });
    }
    let long = "x".repeat(200_000);
    for number in 0..40 {
        let value = if number == 7 { long.as_str() } else { "value" };
        let ticket = village.put(0, &key(number), value);
        assert_eq!(village.status(ticket), Some(Status::Ok));
    }
    let add = village.request(0, &key(50), Operation::Add { delta: 3 }, Some((1, false)));
    village.edit(|config| config.joining = vec![member(1)]);
    village.tell_map_to_all();
    // One acknowledgement is held back, so that the copy stands in the middle.
    village.lost = losing(|body| matches!(body, PeerBody::CopyAck { next, .. } if *next >= 3), 0);
    village.pass(Duration::from_millis(600));
    for number in 0..20 {
        let delete = Operation::Delete { condition: Condition::Always };
        let ticket = village.request(0, &key(number), delete, None);
        assert_eq!(village.status(ticket), Some(Status::Ok), "it does not count yet");
    }
    let rewritten = village.put(0, &key(30), "rewritten");
    assert_eq!(village.status(rewritten), Some(Status::Ok));
    village.lost = Box::new(|_| false);
    take_in(&mut village, 1);
    assert_eq!(village.role(1), Some(Role::Backup));
    assert_eq!(village.table(1), village.table(0));
    assert_eq!(village.table(1).len(), 21);
    village.lost = cut_off(0);
    village.edit(|config| (config.primary, config.backups) = (member(1), Vec::new()));
    village.tell_map(1);
    village.pass(Duration::from_millis(520));
    let again = village.request(1, &key(50), Operation::Add { delta: 3 }, Some((1, true)));
    assert_eq!(village.answer(again).map(|answer| answer.number), Some(3));
    assert_eq!(village.answer(again).unwrap().version, village.answer(add).unwrap().version);
}

#[test]
fn parts_of_a_copy_that_come_early_are_taken_in_their_turn() {
    let mut village = Village::new(2, 1, 1);
    for node in &mut village.nodes {
        node.set_copy_pace(CopyPace { piece_bytes: 100, window: 16 });
    }
    for number in 0..100 {
        let _ = village.put(0, &key(number), "value");
    }
    // Of the parts that are on the way together the last arrives first.
    village.is_reversed = true;
    village.edit(|config| config.joining = vec![member(1)]);
    village.tell_map_to_all();
    village.pass(Duration::from_millis(250));
    assert!(village.to_coordinator.iter().any(|message| matches!(message, ToCoordinator::Propose { .. })));
    assert_eq!(village.table(1), village.table(0));
}

#[test]
fn a_newcomer_counts_before_it_is_proposed() {
    let mut village = Village::new(2, 1, 1);
    village.edit(|config| config.joining = vec![member(1)]);
    village.tell_map_to_all();
    village.pass(Duration::from_millis(600));
    assert!(village.to_coordinator.iter().any(|message| matches!(message, ToCoordinator::Propose { .. })));
    village.lost = losing(|body| matches!(body, PeerBody::Prepare { .. }), 1);
    let ticket = village.put(0, &key(0), "one");
    assert_eq!(village.status(ticket), None);
    village.pass(Duration::from_millis(3_000));
    assert_eq!(village.status(ticket), None, "once proposed it cannot be dropped");
    // The coordinator has taken it off.
    village.edit(|config| config.joining.clear());
    village.tell_map_to_all();
    assert_eq!(village.status(ticket), Some(Status::Ok));
    assert_eq!(village.role(1), None);
}

#[test]
fn a_replica_that_comes_back_gets_what_it_missed_and_no_more() {
    let mut village = Village::new(2, 2, 1);
    for number in 0..10 {
        let _ = village.put(0, &key(number), "before");
    }
    village.pass(Duration::from_millis(50));
    village.lost = cut_off(1);
    village.edit(|config| (config.backups, config.joining) = (Vec::new(), vec![member(1)]));
    village.tell_map(0);
    for number in 10..15 {
        let ticket = village.put(0, &key(number), "meanwhile");
        assert_eq!(village.status(ticket), Some(Status::Ok));
    }
    let copied = count_copied(&mut village);
    village.tell_map(1);
    assert_eq!(village.role(1), Some(Role::Joining));
    village.pass(Duration::from_millis(700));
    assert_eq!(village.table(1), village.table(0));
    assert_eq!(copied.get(), 0, "no piece was copied");
}

#[test]
fn a_hand_over_queues_and_sends_on_without_a_failure() {
    let mut village = Village::new(2, 2, 1);
    let target = member(1);
    village.lost = losing(|body| matches!(body, PeerBody::Prepared { .. }), 0);
    let prepared = village.put(0, &key(0), "one");
    let wish = FromCoordinator::Move { to: member(0), partition: P0, cfg: Cfg::new(1), target };
    village.nodes[0].on_coordinator(village.now, wish);
    village.settle();
    let queued = village.put(0, &key(1), "two");
    assert_eq!(village.get(0, &key(0)), Ok(None), "until it has given up it serves reads");
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(100));
    assert_eq!(village.status(prepared), Some(Status::Ok));
    assert_eq!(village.status(queued), None);
    let asks = |message: &ToCoordinator| matches!(message, ToCoordinator::HandOver { cfg, .. } if *cfg == Cfg::new(1));
    assert!(village.to_coordinator.iter().any(asks));
    village.edit(|config| {
        (config.primary, config.backups, config.handed_over) = (target, vec![member(0)], true);
    });
    village.tell_map(1);
    village.tell_map(0);
    assert_eq!(village.status(queued), Some(Status::NotOwner), "its client follows");
    village.pass(Duration::from_millis(200));
    assert_eq!(village.get(1, &key(0)), Ok(Some("one".into())), "no grace is waited out");
}

#[test]
fn a_hand_over_that_takes_too_long_is_called_off_before_anybody_is_asked() {
    let mut village = Village::new(3, 3, 1);
    village.lost = losing(|body| matches!(body, PeerBody::Prepare { .. }), 2);
    let prepared = village.put(0, &key(0), "one");
    let wish = FromCoordinator::Move { to: member(0), partition: P0, cfg: Cfg::new(1), target: member(1) };
    village.nodes[0].on_coordinator(village.now, wish);
    village.settle();
    let queued = village.put(0, &key(1), "two");
    village.pass(Duration::from_millis(600));
    assert!(!village.to_coordinator.iter().any(|message| matches!(message, ToCoordinator::HandOver { .. })));
    village.lost = Box::new(|_| false);
    village.pass(RESEND_MAX);
    assert_eq!((village.status(prepared), village.status(queued)), (Some(Status::Ok), Some(Status::Ok)));
}

#[test]
fn a_primary_that_has_given_up_serves_only_under_a_higher_cfg() {
    let mut village = Village::new(2, 2, 1);
    let wish = FromCoordinator::Move { to: member(0), partition: P0, cfg: Cfg::new(1), target: member(1) };
    village.nodes[0].on_coordinator(village.now, wish);
    village.settle();
    let read = village.request(0, &key(0), Operation::Get, None);
    village.pass(Duration::from_millis(2_000));
    assert_eq!(village.status(read), None);
    // The coordinator found the target wanting.
    village.edit(|_| {});
    village.tell_map_to_all();
    village.pass(Duration::from_millis(100));
    assert_eq!(village.status(read), Some(Status::NotFound));
}

#[test]
fn who_queues_for_a_hand_over_is_turned_away_when_no_coordinator_answers() {
    let mut village = Village::new(2, 2, 1);
    let wish = FromCoordinator::Move { to: member(0), partition: P0, cfg: Cfg::new(1), target: member(1) };
    village.nodes[0].on_coordinator(village.now, wish);
    village.settle();
    let early = village.put(0, &key(0), "never prepared");
    village.pass(Duration::from_millis(500));
    let late = village.request(0, &key(0), Operation::Get, None);
    village.pass(QUEUE_WAIT_MAX - Duration::from_millis(500) - TICK);
    assert_eq!(village.status(early), None);
    village.pass(2 * TICK);
    assert_eq!((village.status(early), village.status(late)), (Some(Status::Unavailable), None));
    village.pass(Duration::from_millis(500));
    assert_eq!(village.status(late), Some(Status::Unavailable));
    assert!(!village.nodes[0].is_serving(village.now, P0), "it has given up for good");
    village.edit(|_| {});
    village.tell_map_to_all();
    village.pass(Duration::from_millis(100));
    assert_eq!(village.get(0, &key(0)), Ok(None));
}

#[test]
fn requests_made_under_a_map_older_than_the_term_are_refused() {
    let mut village = Village::new(2, 2, 1);
    village.edit(|config| (config.primary, config.backups) = (member(1), vec![member(0)]));
    village.tell_map_to_all();
    village.pass(Duration::from_millis(600));
    village.map.epoch = Epoch(1);
    let ticket = village.put(1, &key(0), "late");
    assert_eq!(village.status(ticket), Some(Status::NotOwner));
}

#[test]
fn messages_for_another_start_of_a_node_or_under_another_map_change_nothing() {
    let mut village = Village::new(2, 2, 1);
    let stranger = Member { incarnation: Incarnation(1), ..member(1) };
    let beacon = PeerBody::Beacon { number: 1 };
    let message = PeerMessage { from: member(0), to: stranger, epoch: Epoch(1), body: beacon };
    village.nodes[1].on_peer(village.now, message);
    assert_eq!(village.nodes[1].poll_action(), None);
    // A message under a map that is not here yet waits for that map.
    let first = village.put(0, &key(0), "one");
    assert_eq!(village.status(first), Some(Status::Ok));
    village.edit(|_| {});
    village.tell_map(0);
    let second = village.put(0, &key(0), "two");
    assert_eq!(village.status(second), None);
    assert!(village.to_coordinator.iter().any(|message| matches!(message, ToCoordinator::FetchMap { .. })));
    village.tell_map(1);
    assert_eq!(village.status(second), Some(Status::Ok));
    // And one under an older map is too late.
    let old = village.map.epoch;
    village.edit(|_| {});
    village.tell_map(1);
    let third = village.put(0, &key(0), "three");
    village.pass(Duration::from_millis(200));
    assert_eq!(village.status(third), None);
    assert!(village.nodes[0].map().unwrap().epoch == old);
    village.tell_map(0);
    village.pass(Duration::from_millis(100));
    assert_eq!(village.status(third), Some(Status::Ok));
}

#[test]
fn an_answer_that_reads_says_until_when_it_may_be_sent() {
    let mut village = Village::new(2, 2, 1);
    let ticket = village.request(0, &key(0), Operation::Get, None);
    let valid_until = village.answer(ticket).unwrap().valid_until.expect("a read");
    assert!(valid_until > village.now && valid_until <= village.now + LEASE);
    village.lost = Box::new(|message| matches!(message.body, PeerBody::Grant { .. }));
    while village.get(0, &key(0)).is_ok() {
        village.pass(TICK);
    }
    assert!(village.now >= valid_until, "it never serves past the end of its leases");
    let mut alone = Village::new(1, 1, 1);
    let ticket = alone.request(0, &key(0), Operation::Get, None);
    assert_eq!(alone.answer(ticket).unwrap().valid_until, Some(Time(u64::MAX)), "who is alone needs none");
}

#[test]
fn where_the_cluster_goes_on_empty_who_is_alone_needs_the_coordinator_s_lease() {
    let mut village = Village::new(1, 1, 1);
    village.map.epoch = Epoch(2);
    village.map.settings.on_loss = OnLoss::Empty;
    village.tell_map(0);
    assert_eq!(village.get(0, &key(0)), Err(Status::Unavailable));
    village.to_coordinator.clear();
    village.pass(Duration::from_millis(110));
    let number = village.to_coordinator.iter().find_map(|message| match message {
        ToCoordinator::Heartbeat(heartbeat) => Some(heartbeat.number),
        _ => None,
    });
    let beat = Beat {
        incarnation: member(0).incarnation,
        node: Some(NodeId(0)),
        number: 77,
        heard: number.unwrap(),
        epoch: Epoch(2),
    };
    village.nodes[0].on_coordinator(village.now, FromCoordinator::Beat(beat));
    assert_eq!(village.get(0, &key(0)), Ok(None));
    village.pass(Duration::from_millis(400));
    assert_eq!(village.get(0, &key(0)), Err(Status::Unavailable));
}

#[test]
fn a_partition_that_begins_again_keeps_nothing_of_what_was() {
    let mut village = Village::new(3, 2, 1);
    let before = village.put(0, &key(0), "lost");
    village.pass(Duration::from_millis(50));
    village.edit(|config| (config.primary, config.backups) = (member(2), Vec::new()));
    village.map.partitions[0].began = village.map.partitions[0].cfg;
    village.tell_map_to_all();
    village.pass(Duration::from_millis(520));
    assert_eq!(village.get(2, &key(0)), Ok(None));
    let after = village.put(2, &key(0), "new");
    assert!(village.answer(after).unwrap().version > village.answer(before).unwrap().version);
    // Who had something is filled from nothing, also where it has more entries than there are by now.
    take_in(&mut village, 1);
    assert_eq!(village.table(1), village.table(2));
    assert_eq!(village.table(1).len(), 1);
}

#[test]
fn a_history_that_was_given_up_is_not_built_upon() {
    let mut village = Village::new(3, 3, 1);
    let _ = village.put(0, &key(0), "one");
    village.pass(Duration::from_millis(50));
    // Node 0 goes on alone, by its own map, and commits what nobody else has.
    village.lost = cut_off(0);
    village.edit(|config| config.backups.clear());
    village.tell_map(0);
    let _ = village.put(0, &key(1), "given up");
    assert_eq!(village.commit(0), Version::new(Cfg::new(2), 2));
    // It is stated to be lost: node 1 goes on, from the same first entry.
    village.edit(|config| {
        (config.primary, config.backups, config.joining) = (member(1), vec![member(2)], vec![member(0)]);
    });
    village.tell_map(1);
    village.tell_map(2);
    village.pass(Duration::from_millis(520));
    let _ = village.put(1, &key(2), "goes on");
    assert_eq!(village.commit(1).seq(), village.commit(0).seq());
    village.lost = Box::new(|_| false);
    village.tell_map(0);
    village.pass(Duration::from_millis(800));
    assert_eq!(village.table(0), village.table(1), "it was filled anew");
}

#[test]
fn a_newcomer_without_memory_is_dropped_and_tries_again() {
    let mut village = Village::new(2, 1, 1);
    for number in 0..20 {
        let _ = village.put(0, &key(number), "value");
    }
    village.accounts[1].set_limit_bytes(0);
    village.edit(|config| config.joining = vec![member(1)]);
    village.tell_map_to_all();
    village.pass(Duration::from_millis(1_600));
    assert!(!village.to_coordinator.iter().any(|message| matches!(message, ToCoordinator::Propose { .. })));
    assert_eq!(village.table(1), Vec::new());
    let ticket = village.put(0, &key(30), "goes on");
    assert_eq!(village.status(ticket), Some(Status::Ok), "nobody waits for it");
    village.accounts[1].set_limit_bytes(1 << 30);
    village.pass(NEWCOMER_PAUSE_MAX);
    take_in(&mut village, 1);
    assert_eq!(village.table(1), village.table(0));
}

#[test]
fn a_newcomer_without_memory_is_tried_less_and_less_often() {
    let mut village = Village::new(2, 1, 1);
    let _ = village.put(0, &key(0), "value");
    village.accounts[1].set_limit_bytes(0);
    let begun = std::rc::Rc::new(std::cell::Cell::new(0));
    let counter = std::rc::Rc::clone(&begun);
    village.lost = Box::new(move |message| {
        let item = if let PeerBody::Copy { item, .. } = &message.body { Some(item) } else { None };
        counter.set(counter.get() + usize::from(matches!(item, Some(CopyItem::Begin { .. }))));
        false
    });
    village.edit(|config| config.joining = vec![member(1)]);
    village.tell_map_to_all();
    village.pass(3 * NEWCOMER_PAUSE_MAX);
    assert!((3..=8).contains(&begun.get()), "{} copies were begun", begun.get());
    village.accounts[1].set_limit_bytes(1 << 30);
    village.pass(NEWCOMER_PAUSE_MAX);
    take_in(&mut village, 1);
    assert_eq!(village.table(1), village.table(0));
}

/// Lets the primary fill `newcomer` until it counts, and keeps it from being proposed; what was prepared then.
fn let_count(village: &mut Village, newcomer: u32) -> Ticket {
    village.lost = losing(|body| matches!(body, PeerBody::Prepare { .. }), newcomer);
    village.edit(|config| config.joining = vec![member(newcomer)]);
    village.tell_map_to_all();
    for number in 0..100 {
        let ticket = village.put(0, &key(number), "value");
        if village.status(ticket).is_none() {
            return ticket;
        }
        village.pass(TICK);
    }
    panic!("it does not come to count");
}

#[test]
fn a_newcomer_that_dies_before_it_is_proposed_holds_writes_up_no_longer_than_a_lease_and_no_reads() {
    let mut village = Village::new(2, 1, 1);
    let ticket = let_count(&mut village, 1);
    village.lost = cut_off(1);
    let died_at = village.now;
    while village.status(ticket).is_none() {
        village.pass(TICK);
        assert!(village.get(0, &key(0)).is_ok());
        assert!(village.now <= died_at + LEASE);
    }
    assert_eq!(village.status(ticket), Some(Status::Ok));
    // Who grants no lease does not begin to count.
    village.lost = Box::new(|message| matches!(message.body, PeerBody::Grant { .. }));
    village.edit(|_| {});
    village.tell_map_to_all();
    for _ in 0..200 {
        village.pass(TICK);
        assert!(village.get(0, &key(0)).is_ok());
        let ticket = village.put(0, &key(0), "value");
        assert_eq!(village.status(ticket), Some(Status::Ok));
    }
    village.lost = Box::new(|_| false);
    take_in(&mut village, 1);
    assert_eq!(village.table(1), village.table(0));
}

#[test]
fn a_newcomer_that_counts_and_has_no_memory_is_dropped_and_the_write_is_done() {
    let mut village = Village::new(2, 1, 1);
    let ticket = let_count(&mut village, 1);
    village.accounts[1].set_limit_bytes(0);
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(100));
    assert_eq!(village.status(ticket), Some(Status::Ok), "those in sync have room");
    assert!(!village.to_coordinator.iter().any(|message| matches!(message, ToCoordinator::Propose { .. })));
    village.accounts[1].set_limit_bytes(1 << 30);
    take_in(&mut village, 1);
    assert_eq!(village.table(1), village.table(0));
}

#[test]
fn past_the_bound_on_what_is_prepared_writes_are_told_busy_and_nothing_is_lost() {
    let mut village = Village::new(2, 2, 1);
    village.lost = losing(|body| matches!(body, PeerBody::Prepared { .. }), 0);
    let tickets: Vec<Ticket> =
        (1..PREPARED_ENTRIES_MAX as u32).map(|number| village.put(0, &key(number % 50), "value")).collect();
    let one_more = village.put(0, &key(0), "too many");
    assert_eq!(village.status(one_more), Some(Status::Busy));
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(200));
    assert!(tickets.iter().all(|&ticket| village.status(ticket) == Some(Status::Ok)));
    assert_eq!(village.table(0), village.table(1));
}

#[test]
fn past_the_bound_on_waiters_twins_are_told_busy() {
    let mut village = Village::new(2, 2, 1);
    village.lost = losing(|body| matches!(body, PeerBody::Prepared { .. }), 0);
    let add = Operation::Add { delta: 1 };
    let first = village.request(0, &key(0), add.clone(), Some((1, false)));
    for _ in 1..WAITERS_MAX {
        let twin = village.request(0, &key(0), add.clone(), Some((1, true)));
        assert_eq!(village.status(twin), None);
    }
    let one_more = village.request(0, &key(0), add, Some((1, true)));
    assert_eq!(village.status(one_more), Some(Status::Busy));
    let write = village.put(0, &key(1), "no room to wait");
    assert_eq!(
        village.status(write),
        Some(Status::Busy),
        "it must not be prepared without its client waiting"
    );
    village.lost = Box::new(|_| false);
    village.pass(Duration::from_millis(200));
    assert_eq!(village.answer(first).unwrap().number, 1);
}

#[test]
fn clients_that_vanish_are_forgotten_on_every_replica_and_their_retries_are_unknown() {
    let mut village = Village::new(2, 2, 1);
    let add = Operation::Add { delta: 1 };
    for seq in 1..=OUTCOMES_MAX as u64 + 2 {
        let ticket = village.request(0, &key(0), add.clone(), Some((seq, false)));
        assert_eq!(village.status(ticket), Some(Status::Ok));
    }
    village.pass(Duration::from_millis(50));
    let retry = village.request(0, &key(0), add.clone(), Some((1, true)));
    assert_eq!(village.status(retry), Some(Status::OutcomeUnknown));
    village.lost = cut_off(0);
    village.edit(|config| (config.primary, config.backups) = (member(1), Vec::new()));
    village.tell_map(1);
    village.pass(Duration::from_millis(520));
    let retry = village.request(1, &key(0), add.clone(), Some((1, true)));
    assert_eq!(
        village.status(retry),
        Some(Status::OutcomeUnknown),
        "the new primary knows that it does not know"
    );
    let retry = village.request(1, &key(0), add, Some((OUTCOMES_MAX as u64, true)));
    assert_eq!(village.answer(retry).map(|answer| answer.number), Some(OUTCOMES_MAX as i64));
    assert!(village.nodes[1].replica(P0).unwrap().outcomes <= OUTCOMES_MAX);
}

/// Gives each node a budget of so many bytes for its logs and outcomes.
fn bound_logs(village: &mut Village, bytes_max: u64) {
    for (node, account) in village.nodes.iter_mut().zip(&village.accounts) {
        node.set_memory(Arc::clone(account), bytes_max);
    }
}

/// What logs and outcomes of a node take; its account knows of it.
fn log_bytes(village: &Village, node: usize) -> u64 {
    let used_bytes = village.nodes[node].budget().used_bytes();
    assert_eq!(village.accounts[node].used_by(MemoryKind::Log), used_bytes);
    used_bytes
}

#[test]
fn past_the_budget_nothing_is_kept_for_who_comes_back_and_it_is_filled_anew() {
    const BYTES_MAX: u64 = 40_000;
    let mut village = Village::new(2, 2, 1);
    bound_logs(&mut village, BYTES_MAX);
    let _ = village.put(0, &key(0), "before");
    village.pass(Duration::from_millis(50));
    village.lost = cut_off(1);
    village.edit(|config| (config.backups, config.joining) = (Vec::new(), vec![member(1)]));
    village.tell_map(0);
    for number in 1..30 {
        let ticket = village.put(0, &key(number), &"x".repeat(4_000));
        assert_eq!(village.status(ticket), Some(Status::Ok));
        assert!(log_bytes(&village, 0) < BYTES_MAX);
    }
    let copied = count_copied(&mut village);
    take_in(&mut village, 1);
    assert_eq!(village.table(1), village.table(0));
    assert_eq!(copied.get(), 30, "it was filled anew");
}

#[test]
fn past_the_budget_writes_wait_for_those_that_are_prepared() {
    const BYTES_MAX: u64 = 40_000;
    let mut village = Village::new(2, 2, 1);
    bound_logs(&mut village, BYTES_MAX);
    village.lost = losing(|body| matches!(body, PeerBody::Prepared { .. }), 0);
    let mut tickets = Vec::new();
    let busy = loop {
        let ticket = village.put(0, &key(tickets.len() as u32), &"x".repeat(4_000));
        if village.status(ticket).is_some() {
            break ticket;
        }
        tickets.push(ticket);
    };
    assert_eq!((village.status(busy), tickets.len()), (Some(Status::Busy), 10));
    assert!(log_bytes(&village, 0) < BYTES_MAX + 5_000 && log_bytes(&village, 1) < BYTES_MAX + 5_000);
    village.lost = Box::new(|_| false);
    village.pass(RESEND_LONG_MAX);
    assert!(tickets.iter().all(|&ticket| village.status(ticket) == Some(Status::Ok)));
    // What is kept goes, too, with time.
    assert!(log_bytes(&village, 0) < BYTES_MAX && log_bytes(&village, 1) < BYTES_MAX);
}

#[test]
fn past_the_budget_outcomes_are_forgotten_on_every_replica() {
    let mut village = Village::new(2, 2, 1);
    let add = Operation::Add { delta: 1 };
    for seq in 1..=400 {
        let ticket = village.request(0, &key(0), add.clone(), Some((seq, false)));
        assert_eq!(village.status(ticket), Some(Status::Ok));
    }
    assert_eq!(village.nodes[0].replica(P0).unwrap().outcomes, 400);
    let used_bytes = village.nodes[0].budget().used_bytes();
    assert!(used_bytes > 400 * 90);
    bound_logs(&mut village, used_bytes / 2);
    // It is not written to: it is looked at now and then.
    village.pass(Duration::from_millis(1_500));
    for node in 0..2 {
        assert!(village.nodes[node].replica(P0).unwrap().outcomes <= 200);
        assert!(log_bytes(&village, node) < used_bytes / 2);
    }
    let retry = village.request(0, &key(0), add.clone(), Some((1, true)));
    assert_eq!(village.status(retry), Some(Status::OutcomeUnknown));
    let retry = village.request(0, &key(0), add, Some((400, true)));
    assert_eq!(village.answer(retry).map(|answer| answer.number), Some(400));
}

#[test]
fn what_no_primary_says_changes_nothing_and_stops_nobody() {
    let mut village = Village::new(2, 2, 1);
    let _ = village.put(0, &key(0), "one");
    village.pass(Duration::from_millis(50));
    let table = village.table(1);
    let at = At { partition: P0, cfg: Cfg::new(1) };
    let entry = |cfg, seq, key: &str| LogEntry {
        name: Version::new(Cfg::new(cfg), seq),
        effect: Effect::Put {
            key: key.as_bytes().into(),
            value_type: ValueType::TEXT,
            value: b"x"[..].into(),
        },
        origin: None,
    };
    let elsewhere = (0..)
        .map(|i: u32| format!("other-{i}"))
        .find(|key| Ring::new(16).unwrap().partition_of(HASH_KEY.hash(key.as_bytes())) != P0);
    let elsewhere = elsewhere.unwrap();
    let list = |revision, base, end| ListTag { revision: Revision(revision), base: Seq(base), end: Seq(end) };
    let bodies = [
        (list(9, 0, 0), vec![entry(1, 0, &key(1))]),
        (list(10, 2, 2), vec![entry(1, 2, &elsewhere)]),
        (list(11, 2, 2), vec![entry(7, 2, &key(1))]),
        (list(12, 2, 3), vec![entry(1, 2, &key(1)), entry(0, 3, &key(1))]),
        (list(13, u64::MAX, u64::MAX), vec![entry(1, Version::SEQ_MAX, &key(1))]),
        (list(14, 2, u64::MAX), Vec::new()),
    ];
    for (list, entries) in bodies {
        let body = PeerBody::Prepare { at, list, commit: Seq(u64::MAX), entries };
        let message = PeerMessage { from: member(0), to: member(1), epoch: Epoch(1), body };
        village.nodes[1].on_peer(village.now, message);
        while village.nodes[1].poll_action().is_some() {}
        village.nodes[1].check_invariants();
        assert_eq!(village.table(1), table);
    }
    for (upto, refused) in [(u64::MAX, true), (u64::MAX, false), (0, true)] {
        let body = PeerBody::Prepared { at, revision: Revision(1), upto: Seq(upto), refused };
        let message = PeerMessage { from: member(1), to: member(0), epoch: Epoch(1), body };
        village.nodes[0].on_peer(village.now, message);
        village.nodes[0].check_invariants();
    }
}

#[test]
fn a_primary_that_missed_another_s_term_begins_a_new_one() {
    let mut village = Village::new(3, 3, 1);
    // By maps that node 0 does not get, node 1 was primary and is deposed.
    village.lost = cut_off(1);
    village.edit(|config| (config.primary, config.backups) = (member(1), vec![member(0), member(2)]));
    village.tell_map(1);
    village.edit(|config| {
        (config.primary, config.backups, config.joining) = (member(0), vec![member(2)], vec![member(1)]);
    });
    let beacon = PeerBody::Beacon { number: 1 };
    let asks = PeerMessage { from: member(1), to: member(0), epoch: Epoch(2), body: beacon };
    village.nodes[0].on_peer(village.now, asks);
    village.tell_map(2);
    village.tell_map(0);
    assert_eq!(village.get(0, &key(0)), Err(Status::Unavailable), "node 1 may still serve under its lease");
    village.pass(Duration::from_millis(520));
    assert_eq!(village.get(0, &key(0)), Ok(None));
}

#[test]
fn what_was_built_on_a_refused_entry_is_answered_when_its_no_op_is_committed() {
    let mut village = Village::new(3, 3, 1);
    village.accounts[2].set_limit_bytes(0);
    village.lost = losing(|body| matches!(body, PeerBody::Prepare { .. }), 2);
    let first = village.put(0, &key(0), "no room");
    let built = village.request(0, &key(0), put("x", Condition::IfPresent), None);
    // Node 1 has both entries, as they were, and does not hear that they are no-ops.
    village.lost = Box::new(|message| match &message.body {
        PeerBody::Prepare { list, .. } => message.to == member(1) && list.revision > Revision(1),
        PeerBody::Prepared { .. } => message.from == member(1),
        _ => false,
    });
    village.pass(Duration::from_millis(100));
    assert_eq!((village.status(first), village.status(built)), (None, None), "node 1 may yet commit both");
    village.lost = cut_off(0);
    village.edit(|config| (config.primary, config.backups) = (member(1), Vec::new()));
    village.tell_map(1);
    village.pass(Duration::from_millis(520));
    assert_eq!(village.get(1, &key(0)), Ok(Some("x".into())));
}

#[test]
fn a_late_copy_below_the_floor_is_not_applied() {
    let mut village = Village::new(2, 2, 1);
    let request = |seq, floor| KeyRequest {
        epoch: Epoch(1),
        key: key(0).as_bytes().into(),
        hash: HASH_KEY.hash(key(0).as_bytes()),
        operation: Operation::Add { delta: 1 },
        writer: Some((ClientId(9), WriteToken { seq, floor, retry: false })),
    };
    for (ticket, seq, floor) in [(1, 1, 1), (2, 2, 2), (3, 1, 1)] {
        village.nodes[0].on_request(village.now, Ticket(ticket), request(seq, floor));
        village.settle();
    }
    assert_eq!(village.status(Ticket(2)), Some(Status::Ok));
    assert_eq!(village.status(Ticket(3)), Some(Status::OutcomeUnknown));
}
