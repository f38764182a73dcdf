//! Writes that outlive a lost answer. So far the part of it that one copy needs: a retry never applies twice.
//! State machines only: no socket, no clock, no table.

pub mod clients;
pub mod dedup;
