//! The daemon's settings: from flags, then the environment, then a TOML file, then defaults.

mod args;
mod file;
mod help;
mod settings;
mod size;

pub use args::{Args, Command, DevArgs, NodeArgs};
pub use settings::{ConfigError, DevSettings, Members, NodeSettings};
pub(crate) use settings::{DEV_HTTP_PORT_OFFSET, DEV_RESP_PORT_OFFSET, split_members};
pub use size::{ByteSize, parse_byte_size};
