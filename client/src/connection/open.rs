//! Making a connection: name, socket, greeting.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use dht_protocol::error::Malformed;
use dht_protocol::header::PROTOCOL_VERSION;
use dht_protocol::ids::{ClientId, ClusterId, Epoch, RequestId};
use dht_protocol::op::Op;
use dht_protocol::request::{Hello, Request};
use dht_protocol::response::{HelloAnswer, Response};
use dht_protocol::status::Status;

use crate::connection::frame_reader::FrameReader;
use crate::connection::shared::Connection;
use crate::connection::slots::Answer;
use crate::connection::socket::{TcpSocket, is_no_failure, prepare};
use crate::sync::Instant;

/// `HELLO` has the id that no slot has.
const HELLO_ID: RequestId = RequestId(0);

/// What the client says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Greeting {
    pub(crate) client_id: ClientId,
    /// The cluster that it must be; zero: any.
    pub(crate) cluster_id: ClusterId,
}

/// Why there is no connection. No operation was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// The name, the socket or the exchange of greetings failed.
    Unreachable(String),
    /// The node belongs to another cluster, to this one if it said so.
    WrongCluster(Option<ClusterId>),
    /// The node refuses the greeting.
    Refused(Status, String),
    /// The node's greeting is malformed.
    Malformed(Malformed),
}

/// Connects to `address`, whose name is looked up anew, and exchanges greetings, all within `timeout` (but for
/// the time that the system takes to look up the name).
///
/// # Errors
/// [`OpenError`].
pub(crate) fn open(address: &str, greeting: &Greeting, timeout: Duration) -> Result<Connection, OpenError> {
    open_with(|name| Ok(name.to_socket_addrs()?.collect()), address, greeting, timeout)
}

/// As [`open`], the name being looked up by `resolve`. Of several addresses the first one counts that greets.
fn open_with(
    resolve: impl Fn(&str) -> io::Result<Vec<SocketAddr>>,
    address: &str,
    greeting: &Greeting,
    timeout: Duration,
) -> Result<Connection, OpenError> {
    let unreachable = |error: io::Error| OpenError::Unreachable(error.to_string());
    let resolved = resolve(address).map_err(unreachable)?;
    let deadline = Instant::now() + timeout;
    let nothing = if resolved.is_empty() { "the name has no address" } else { "no time was left to connect" };
    let mut last = OpenError::Unreachable(nothing.to_owned());
    for (at, socket_address) in resolved.iter().enumerate() {
        // What is left is shared out, so that one dead address does not use up the time of the others.
        let left = deadline.saturating_duration_since(Instant::now()) / (resolved.len() - at) as u32;
        if left.is_zero() {
            break;
        }
        let until = Instant::now() + left;
        let stream = TcpStream::connect_timeout(socket_address, left).map_err(unreachable);
        match stream.and_then(|stream| greet(address, stream, greeting, until)) {
            Err(OpenError::Unreachable(reason)) => last = OpenError::Unreachable(reason),
            greeted => return greeted,
        }
    }
    Err(last)
}

fn greet(
    address: &str,
    stream: TcpStream,
    greeting: &Greeting,
    deadline: Instant,
) -> Result<Connection, OpenError> {
    let unreachable = |error: io::Error| OpenError::Unreachable(error.to_string());
    prepare(&stream).map_err(unreachable)?;
    let mut frame = Vec::new();
    let hello = Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        features: 0,
        client_id: greeting.client_id,
        cluster_id: greeting.cluster_id,
    };
    Request::Hello(hello).encode(HELLO_ID, Epoch(0), &mut frame);
    // A new socket has room for so short a frame.
    (&stream).write_all(&frame).map_err(|error| {
        if is_no_failure(&error) {
            OpenError::Unreachable("the node takes no bytes".to_owned())
        } else {
            unreachable(error)
        }
    })?;
    let mut reader = FrameReader::new();
    let answer = read_greeting(&stream, &mut reader, deadline)?;
    let hello = understand(&answer, greeting)?;
    Ok(Connection::new(address.to_owned(), hello, TcpSocket::new(stream, reader)))
}

fn read_greeting(
    stream: &TcpStream,
    reader: &mut FrameReader,
    deadline: Instant,
) -> Result<Answer, OpenError> {
    loop {
        let (answers, _) = reader.read(stream, deadline).map_err(OpenError::Unreachable)?;
        let mut answers = answers.into_iter();
        match (answers.next(), answers.next()) {
            (Some(answer), None) if answer.header.request_id == HELLO_ID => return Ok(answer),
            (None, _) if Instant::now() >= deadline => {
                return Err(OpenError::Unreachable("connected, but HELLO is not answered".to_owned()));
            }
            (None, _) => {}
            (Some(_), _) => return Err(OpenError::Malformed(Malformed("answers that nobody asked for"))),
        }
    }
}

fn understand(answer: &Answer, greeting: &Greeting) -> Result<HelloAnswer, OpenError> {
    let response = Response::decode(Op::Hello, &answer.header, &answer.body).map_err(OpenError::Malformed)?;
    let hello = match response {
        Response::Hello(hello) => hello,
        Response::Refused(refusal) if refusal.status() == Status::WrongCluster => {
            return Err(OpenError::WrongCluster(None));
        }
        Response::Refused(refusal) => return Err(OpenError::refused(&refusal)),
        _ => return Err(OpenError::Malformed(Malformed("answer to HELLO"))),
    };
    if greeting.cluster_id != ClusterId(0) && hello.cluster_id != greeting.cluster_id {
        return Err(OpenError::WrongCluster(Some(hello.cluster_id)));
    }
    if hello.version != PROTOCOL_VERSION {
        return Err(OpenError::Malformed(Malformed("protocol version that was not offered")));
    }
    Ok(hello)
}

impl OpenError {
    fn refused(refusal: &dht_protocol::response::Refusal<'_>) -> OpenError {
        use dht_protocol::response::Refusal;
        match refusal {
            Refusal::Other(status, text) => OpenError::Refused(*status, text.clone().into_owned()),
            Refusal::ConditionFailed(_) | Refusal::NotOwner(_) => {
                let status = refusal.status();
                OpenError::Refused(status, status.text().to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::testing::{FakeNode, Reply};

    const GREETING: Greeting = Greeting { client_id: ClientId(7), cluster_id: ClusterId(0) };
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn node() -> (FakeNode, SocketAddr) {
        let node = FakeNode::alone(|_| Reply::Silence);
        let address = node.address.parse().unwrap();
        (node, address)
    }

    #[test]
    fn a_name_is_looked_up_for_every_connection() {
        let ((first, first_address), (second, second_address)) = (node(), node());
        let looked_up = Cell::new(0);
        let resolve = |name: &str| {
            assert_eq!(name, "node.example:7400");
            looked_up.set(looked_up.get() + 1);
            Ok(vec![if looked_up.get() == 1 { first_address } else { second_address }])
        };
        for _ in 0..2 {
            open_with(resolve, "node.example:7400", &GREETING, TIMEOUT).unwrap();
        }
        assert_eq!((first.connections(), second.connections()), (1, 1));
    }

    #[test]
    fn an_address_that_does_not_greet_leaves_the_others_their_turn() {
        let rude = TcpListener::bind("127.0.0.1:0").unwrap();
        let rude_address = rude.local_addr().unwrap();
        let closes = thread::spawn(move || drop(rude.accept().unwrap()));
        let (node, address) = node();
        let resolve = |_: &str| Ok(vec![rude_address, address]);
        open_with(resolve, "node.example:7400", &GREETING, TIMEOUT).unwrap();
        assert_eq!(node.connections(), 1);
        closes.join().unwrap();
        let nobody = open_with(|_| Ok(vec![]), "node.example:7400", &GREETING, TIMEOUT).err();
        assert_eq!(nobody, Some(OpenError::Unreachable("the name has no address".to_owned())));
    }
}
