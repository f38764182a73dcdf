//! The TOML file: the same settings under the same names as the flags, with `-` or `_`.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::args::NodeArgs;
use super::settings::ConfigError;
use super::size::parse_byte_size;
use crate::log_format::parse_level;

/// What a file may say. A name that is none of these is an error: it is likely a typing mistake.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileSettings {
    listen: Option<String>,
    advertise: Option<String>,
    http: Option<String>,
    resp: Option<String>,
    members: Option<Vec<String>>,
    workers: Option<usize>,
    partitions: Option<u32>,
    #[serde(alias = "hash_key")]
    hash_key: Option<String>,
    #[serde(alias = "memory_limit")]
    memory_limit: Option<String>,
    #[serde(alias = "shutdown_timeout")]
    shutdown_timeout: Option<u64>,
    #[serde(alias = "max_connections")]
    max_connections: Option<usize>,
    #[serde(alias = "idle_timeout")]
    idle_timeout: Option<u64>,
    #[serde(alias = "stall_timeout")]
    stall_timeout: Option<u64>,
    #[serde(alias = "slow_ms")]
    slow_ms: Option<u64>,
    #[serde(alias = "log_level")]
    log_level: Option<String>,
    #[serde(alias = "log_format")]
    log_format: Option<String>,
}

/// Fills in what `args` leaves open from the file at `path`.
///
/// # Errors
/// [`ConfigError::File`]: it cannot be read, or says something that no setting says.
pub(super) fn fill_in(args: &mut NodeArgs, path: &Path) -> Result<(), ConfigError> {
    let error = |why: String| ConfigError::File { path: path.to_owned(), why };
    let text = fs::read_to_string(path).map_err(|why| error(why.to_string()))?;
    let file: FileSettings = toml::from_str(&text).map_err(|why| error(one_line(&why)))?;
    let hash_key = file.hash_key.map(|text| text.parse().map_err(|why| error(format!("hash-key: {why}"))));
    let memory_limit = file.memory_limit.map(|text| parse_byte_size(&text).map_err(&error));
    let named = |name: &'static str| move |why: String| format!("{name}: {why}");
    let log_level = file.log_level.map(|text| parse_level(&text).map_err(named("log-level")).map_err(&error));
    let log_format = file.log_format.map(|text| text.parse().map_err(named("log-format")).map_err(&error));
    args.listen = args.listen.take().or(file.listen);
    args.advertise = args.advertise.take().or(file.advertise);
    args.http = args.http.take().or(file.http);
    args.resp = args.resp.take().or(file.resp);
    args.members = args.members.take().or(file.members.map(|list| list.join(",")));
    args.workers = args.workers.or(file.workers);
    args.partitions = args.partitions.or(file.partitions);
    args.hash_key = args.hash_key.or(hash_key.transpose()?);
    args.memory_limit = args.memory_limit.or(memory_limit.transpose()?);
    args.shutdown_timeout = args.shutdown_timeout.or(file.shutdown_timeout);
    args.max_connections = args.max_connections.or(file.max_connections);
    args.idle_timeout = args.idle_timeout.or(file.idle_timeout);
    args.stall_timeout = args.stall_timeout.or(file.stall_timeout);
    args.slow_ms = args.slow_ms.or(file.slow_ms);
    args.log_level = args.log_level.or(log_level.transpose()?);
    args.log_format = args.log_format.or(log_format.transpose()?);
    Ok(())
}

/// The parser's words without its drawing of the place, on one line.
fn one_line(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}
