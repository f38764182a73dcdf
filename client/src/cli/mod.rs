//! `dht`, the command line for people.

mod failure;
mod format;
