//! Sockets, and nothing else of the daemon knows any. An acceptor hands connections to a fixed pool of workers;
//! each worker owns its poll and its connections, and carries a request to its end itself.

mod acceptor;
mod activity;
mod commands;
mod connection;
mod connection_table;
mod door;
mod frames;
mod gathering;
mod greeter;
mod handover;
mod inbox;
mod keep_alive;
mod listener;
mod peer_link;
mod peer_links;
mod reservation;
mod seats;
mod sweep;
mod turn;
mod waker;
mod worker;

pub use acceptor::Acceptor;
pub use door::Door;
pub use greeter::Greeter;
pub use listener::{BindError, Listener, bind};
pub use reservation::Reservation;
pub use worker::{Worker, WorkerHandle};
