//! The limits of client and daemon, which the included files know as `crate::limits`.

#[allow(dead_code)]
#[path = "../../../client/src/limits.rs"]
mod client;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../server/src/limits.rs"]
mod server;

pub(crate) use client::*;
pub(crate) use server::{DEDUP_RECORDS_PER_PARTITION_MAX, FORGOTTEN_CLIENTS_MAX, GROUP_LOOKUPS_MAX};
