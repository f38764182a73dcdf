//! Messages between daemons. Input: the greetings of two daemons, one after the other.
//!
//! A greeting has one length and one form, as the body of a request and of an answer alike, and takes no memory. And
//! whatever two daemons say of themselves, they come to verdicts that fit: never both to serve with different ideas
//! of the cluster, never one to stop that the other takes for agreed.

use dht_protocol::header::{Header, PROTOCOL_VERSION};
use dht_protocol::ids::{Epoch, RequestId};
use dht_protocol::limits::REFUSAL_TEXT_BYTES_MAX;
use dht_protocol::op::Op;
use dht_protocol::peer::PeerHello;
use dht_protocol::request::Request;
use dht_protocol::response::Response;
use dht_protocol::status::Status;
use dht_server::cluster::greeting::{Verdict, judge};

/// cluster id 16, incarnation 8, node 4, age 8
const GREETING_BYTES: usize = 36;

/// Checks one input.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) {
    let (first, second) = input.split_at(input.len().min(GREETING_BYTES));
    if let (Some(one), Some(other)) = (check_body(first), check_body(second)) {
        check_verdicts(&one, &other);
    }
}

/// Reads one greeting in each way in which it can be read.
fn check_body(body: &[u8]) -> Option<PeerHello> {
    let mut read = None;
    let allocated = allocation_counter::measure(|| read = PeerHello::decode(body).ok());
    assert_eq!(allocated.bytes_total, 0);
    assert_eq!(read.is_some(), body.len() == GREETING_BYTES, "{} bytes", body.len());
    let header = |code| Header {
        version: PROTOCOL_VERSION,
        code,
        flags: 0,
        request_id: RequestId(1),
        epoch: Epoch(1),
    };
    let request = Request::decode(&header(Op::PeerHello as u8), body);
    let answer = Response::decode(Op::PeerHello, &header(Status::Ok as u8), body);
    let Some(hello) = read else {
        assert!(request.is_err_and(|error| error.status == Status::Malformed) && answer.is_err());
        return None;
    };
    assert_eq!(request, Ok(Request::PeerHello(hello)));
    assert_eq!(answer, Ok(Response::PeerHello(hello)));
    let mut again = Vec::new();
    hello.encode(&mut again);
    assert_eq!(again, body, "written again");
    Some(hello)
}

fn check_verdicts(one: &PeerHello, other: &PeerHello) {
    let verdicts = [judge(one, other), judge(other, one)];
    for verdict in &verdicts {
        if let Verdict::GiveWay(why) = verdict {
            assert!(why.len() <= REFUSAL_TEXT_BYTES_MAX, "a sentence of {} bytes", why.len());
        }
    }
    let agree = one.cluster_id == other.cluster_id;
    match &verdicts {
        [Verdict::Agreed, Verdict::Agreed] => assert!(agree),
        [Verdict::GiveWay(_), Verdict::OtherGivesWay] => assert!(!agree && one.age_ms < other.age_ms),
        [Verdict::OtherGivesWay, Verdict::GiveWay(_)] => assert!(!agree && one.age_ms > other.age_ms),
        [Verdict::GiveWay(_), Verdict::GiveWay(_)] => assert!(!agree && one.age_ms == other.age_ms),
        verdicts => panic!("verdicts that do not fit: {verdicts:?}"),
    }
}
