//! Where settings come from: flags, then the environment, then a TOML file, then defaults.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::failure::Failure;

const SERVERS_DEFAULT: &str = "127.0.0.1:7400";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// What was set on one level; nothing where the next level decides.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Given {
    /// One or more nodes of the cluster; the others are found through them. [default: 127.0.0.1:7400]
    #[arg(long, env = "DHT_SERVERS", global = true, value_name = "HOST:PORT[,…]")]
    servers: Option<String>,

    /// Longest wait for any single request: a number and ms, s or m, from 1ms to a day. [default: 5s]
    #[arg(long, env = "DHT_TIMEOUT", global = true, value_name = "TIME")]
    timeout: Option<Span>,
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// One or more nodes.
    pub(crate) servers: String,
    /// Longest wait for a request.
    pub(crate) timeout: Span,
}

impl Settings {
    /// Flags and environment before the file, the file before the defaults.
    pub(crate) fn resolve(given: Given, file: Given) -> Settings {
        Settings {
            servers: given.servers.or(file.servers).unwrap_or_else(|| SERVERS_DEFAULT.to_owned()),
            timeout: given.timeout.or(file.timeout).unwrap_or(Span(TIMEOUT_DEFAULT)),
        }
    }
}

/// Reads a TOML file of settings.
///
/// # Errors
/// A usage failure that names the file and, where there is one, the line.
pub(crate) fn read_config_file<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::Usage(format!("cannot read the settings in {}: {error}", path.display()))
    })?;
    parse_config(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

fn parse_config<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        let message = one_line(error.message());
        line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
    })
}

/// A text of several lines in one.
pub(crate) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A length of time as people write it: a number and `ms`, `s` or `m`; a bare number counts seconds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// The longest: beyond it a clock may not reach.
const SPAN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit_seconds = match &text[digits.len()..] {
            "ms" => 0.001,
            "s" | "" => 1.0,
            "m" => 60.0,
            _ => return Err("a time has the unit ms, s or m".to_owned()),
        };
        let number: f64 =
            digits.parse().map_err(|_| "a time is a number with a unit, such as 5s".to_owned())?;
        match Duration::try_from_secs_f64(number * unit_seconds) {
            Ok(span) if !span.is_zero() && span <= SPAN_MAX => Ok(Span(span)),
            _ => Err("a time must be above 0 and at most a day (1440m)".to_owned()),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 {
            write!(f, "{}s", self.0.as_secs_f64())
        } else {
            write!(f, "{}ms", self.0.as_secs_f64() * 1000.0)
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(servers: Option<&str>, timeout: Option<&str>) -> Given {
        Given {
            servers: servers.map(str::to_owned),
            timeout: timeout.map(|timeout| timeout.parse().unwrap()),
        }
    }

    #[test]
    fn the_command_line_goes_before_the_file_and_the_file_before_the_defaults() {
        let settings = Settings::resolve(given(Some("a:1"), None), given(Some("b:2"), Some("1m")));
        assert_eq!((settings.servers.as_str(), settings.timeout), ("a:1", Span(Duration::from_secs(60))));
        let settings = Settings::resolve(Given::default(), Given::default());
        assert_eq!((settings.servers.as_str(), settings.timeout), ("127.0.0.1:7400", Span(TIMEOUT_DEFAULT)));
    }

    #[test]
    fn what_is_printed_reads_back() {
        let settings = Settings::resolve(given(Some("a:1,b:2"), Some("250ms")), Given::default());
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(text, "servers = \"a:1,b:2\"\ntimeout = \"250ms\"\n");
        assert_eq!(Settings::resolve(Given::default(), parse_config(&text).unwrap()), settings);
    }

    #[test]
    fn a_wrong_file_is_refused_by_line() {
        for (text, line, part) in [
            ("servers = 'a:1'\nserver = 'b'\n", "line 2: ", "unknown field `server`"),
            ("timeout = '5 apples'", "line 1: ", "a time"),
            ("servers = 'a\n", "line 1: ", ""),
            ("\n\nservers = 5", "line 3: ", "string"),
        ] {
            let error = parse_config::<Given>(text).unwrap_err();
            assert!(error.starts_with(line) && error.contains(part) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn spans() {
        for (text, millis) in [("5s", 5000), ("5", 5000), ("2.5s", 2500), ("500ms", 500), ("1m", 60_000)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        for text in
            ["", "s", "5h", "-1s", "0s", "five", "NaN", "inf", "1e99", "1441m", "9223372036854775807s"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
