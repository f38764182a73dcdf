//! Before the load: finding the cluster's map, and opening a connection with its greeting. Blocking, with a
//! time limit, for neither is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::PROTOCOL_VERSION;
use dht_protocol::ids::{ClientId, ClusterId, Epoch, RequestId};
use dht_protocol::limits::BODY_BYTES_MAX;
use dht_protocol::placement::map::ClusterMap;
use dht_protocol::request::{Hello, Request};
use dht_protocol::response::{HelloAnswer, Response};

/// Longest wait for a connection, and for each step of a greeting.
const STEP_MAX: Duration = Duration::from_secs(5);

/// The cluster's map, from the first of the servers that gives one.
///
/// # Errors
/// Why the last of them gave none.
pub(crate) fn fetch_map(servers: &str) -> Result<ClusterMap, String> {
    let mut last = "no server given: name at least one as HOST:PORT".to_owned();
    for server in servers.split(',').map(str::trim).filter(|server| !server.is_empty()) {
        match fetch_map_from(server) {
            Ok(map) => return Ok(map),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn fetch_map_from(server: &str) -> Result<ClusterMap, String> {
    let (mut stream, _) = open(server, ClusterId::default())?;
    exchange(&mut stream, &Request::Map, |response| match response {
        Response::Map(map) => Ok(*map),
        other => Err(unexpected(&other)),
    })
    .map_err(|error| format!("{server} gives no cluster map: {error}"))
}

/// A connection that has greeted a node of that cluster, as a client of its own.
///
/// # Errors
/// What went wrong, with the address and what to do.
pub(crate) fn open(address: &str, cluster_id: ClusterId) -> Result<(TcpStream, HelloAnswer), String> {
    let unreachable = |error| {
        format!(
            "cannot reach {address} ({error}): check the address, and that the daemon runs and has room for one more connection"
        )
    };
    let mut stream = connect(address).map_err(unreachable)?;
    let mut client_id = [0; 16];
    getrandom::fill(&mut client_id)
        .map_err(|error| format!("the system gives no random numbers: {error}"))?;
    let hello = Request::Hello(Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        features: 0,
        client_id: ClientId(u128::from_be_bytes(client_id)),
        cluster_id,
    });
    let answer = exchange(&mut stream, &hello, |response| match response {
        Response::Hello(answer) => Ok(answer),
        other => Err(unexpected(&other)),
    })
    .map_err(|error| format!("{address} does not return the greeting: {error}"))?;
    Ok((stream, answer))
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    for address in addresses {
        match TcpStream::connect_timeout(&address, STEP_MAX) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(STEP_MAX))?;
                stream.set_write_timeout(Some(STEP_MAX))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends one request and reads its answer.
fn exchange<T>(
    stream: &mut TcpStream,
    request: &Request<'_>,
    read: impl FnOnce(Response<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let mut out = Vec::new();
    request.encode(RequestId(0), Epoch(0), &mut out);
    stream.write_all(&out).map_err(|error| error.to_string())?;
    let mut received = Vec::new();
    loop {
        match cut(&received, BODY_BYTES_MAX) {
            Cut::Frame { header, body, .. } => {
                let response = Response::decode(request.op(), &header, body);
                return read(response.map_err(|error| error.to_string())?);
            }
            Cut::Refused { .. } => return Err("the answer is no frame of this protocol".to_owned()),
            Cut::NeedMore { frame_bytes } => {
                // Memory follows the bytes that arrive, not the length that was announced.
                let missing = (frame_bytes - received.len()) as u64;
                let read = Read::by_ref(stream).take(missing).read_to_end(&mut received);
                if read.map_err(|error| error.to_string())? < missing as usize {
                    return Err("the connection was closed".to_owned());
                }
            }
        }
    }
}

fn unexpected(response: &Response<'_>) -> String {
    match response {
        Response::Refused(refusal) => format!("{}: {}", refusal.status().name(), refusal.status().text()),
        _ => "the answer is one to another question".to_owned(),
    }
}
