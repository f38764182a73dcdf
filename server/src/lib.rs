//! stub

pub mod memory;
pub mod store;
