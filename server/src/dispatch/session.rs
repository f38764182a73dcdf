//! What a connection has agreed on: whether it has said `HELLO`, and who writes on it.

use std::sync::Arc;

use dht_protocol::header::PROTOCOL_VERSION;
use dht_protocol::ids::{ClientId, ClusterId};
use dht_protocol::limits::{BODY_BYTES_MAX, VALUE_BYTES_MAX, WRITE_SPAN_MAX};
use dht_protocol::op::Op;
use dht_protocol::request::{Hello, WriteToken};
use dht_protocol::response::{HelloAnswer, Refusal};
use dht_protocol::status::Status;

use super::Dispatcher;
use crate::replication::clients::{ClientConnection, ClientState};

/// The state of one connection that outlives a request.
#[derive(Debug, Default)]
pub struct Session {
    greeted: bool,
    client: Option<ClientConnection>,
}

impl Session {
    /// Whether `op` may be asked for now.
    pub(crate) fn allows(&self, op: Op) -> bool {
        self.greeted || matches!(op, Op::Hello | Op::Ping | Op::PeerHello)
    }

    /// The client and token by which a write is known, if it carries one.
    pub(crate) fn writer(
        &self,
        token: Option<WriteToken>,
    ) -> Result<Option<(&Arc<ClientState>, WriteToken)>, Refusal<'static>> {
        match (&self.client, token) {
            (_, None) => Ok(None),
            (None, Some(_)) => {
                Err(Refusal::Other(Status::Malformed, "an anonymous client's write carries a token".into()))
            }
            (Some(_), Some(token)) if token.seq - token.floor >= WRITE_SPAN_MAX => {
                Err(Refusal::of(Status::SpanTooWide))
            }
            (Some(connection), Some(token)) => Ok(Some((connection.client(), token))),
        }
    }

    /// Answers `HELLO`.
    pub(crate) fn greet(
        &mut self,
        hello: &Hello,
        dispatcher: &Dispatcher,
    ) -> Result<HelloAnswer, Refusal<'static>> {
        if self.greeted {
            return Err(Refusal::Other(
                Status::Malformed,
                "HELLO was said already on this connection".into(),
            ));
        }
        if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
            return Err(Refusal::of(Status::UnknownVersion));
        }
        let cluster_id = dispatcher.map().cluster_id();
        if hello.cluster_id != ClusterId(0) && hello.cluster_id != cluster_id {
            return Err(Refusal::Other(Status::WrongCluster, format!("this is cluster {cluster_id}").into()));
        }
        self.greeted = true;
        let named = hello.client_id != ClientId(0);
        self.client = named.then(|| ClientConnection::new(dispatcher.clients().greet(hello.client_id)));
        Ok(HelloAnswer {
            version: PROTOCOL_VERSION,
            features: 0,
            cluster_id,
            incarnation: dispatcher.identity().incarnation,
            node: dispatcher.identity().node,
            value_bytes_max: VALUE_BYTES_MAX as u32,
            body_bytes_max: BODY_BYTES_MAX as u32,
            write_span_max: WRITE_SPAN_MAX as u32,
        })
    }
}
