//! The part of replication that threads of one node share.

#[path = "../../../server/src/replication/clients.rs"]
pub mod clients;
#[path = "../../../server/src/replication/dedup.rs"]
pub mod dedup;
