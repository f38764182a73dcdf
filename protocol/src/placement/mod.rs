//! Where a key lives: its hash, its arc of the ring, and the map that names the node of each arc.

pub mod deal;
pub mod hash;
pub mod map;
pub mod planner;
pub mod replica_map;
pub mod ring;
