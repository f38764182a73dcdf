//! The daemon's log: one line an event on standard error, for people or for programs. Process-wide, so only `main`
//! and `node` may touch it.
//!
//! ```text
//! 2026-11-20T16:21:39.123Z WARN  connection refused: peer=10.0.0.9:51234 reason="--max-connections is reached"
//! {"ts":"2026-11-20T16:21:39.123Z","level":"warn","message":"connection refused","peer":"10.0.0.9:51234",…}
//! ```
//!
//! What belongs to an event is given as pairs of a name and a value, never woven into the sentence. No key and no
//! value of a user is ever among them.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use log::{LevelFilter, Record};
use serde::Serializer;
use serde::ser::SerializeMap;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether lines are JSON. Relaxed: a line that is written while it changes may be either.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Starts the log. Call it once in a process; later calls only do what [`tune`] does.
pub fn start(level: LevelFilter, format: LogFormat) {
    let mut builder = env_logger::Builder::new();
    // What passes is `tune`'s to say; here everything does.
    builder.filter_level(LevelFilter::Trace).format(|line, record| {
        let timestamp = line.timestamp_millis().to_string();
        if IS_JSON.load(Ordering::Relaxed) {
            write_json(line, &timestamp, record)
        } else {
            line.write_all(text_line(&timestamp, record).as_bytes())
        }
    });
    let _ = builder.try_init();
    tune(level, format);
}

/// Lets lines of `level` and above through, in that format.
pub fn tune(level: LevelFilter, format: LogFormat) {
    log::set_max_level(level);
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Reads a level.
///
/// # Errors
/// A sentence that names the levels.
pub fn parse_level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| format!("{text:?} is no level: use off, error, warn, info, debug or trace"))
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("{text:?} is no log format: use text or json")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

fn text_line(timestamp: &str, record: &Record<'_>) -> String {
    let mut line = format!("{timestamp} {:<5} {}", record.level(), record.args());
    let mut pairs = TextPairs { line: &mut line, separator: ": " };
    // Writing to a string cannot fail.
    let _ = record.key_values().visit(&mut pairs);
    line.push('\n');
    line
}

/// Appends pairs as `name=value`; nothing where there is no value.
struct TextPairs<'a> {
    line: &'a mut String,
    separator: &'static str,
}

impl<'kvs> VisitSource<'kvs> for TextPairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let Pair::Some { text, is_number: _ } = Pair::of(&value)? else { return Ok(()) };
        let _ = write!(self.line, "{}{key}=", self.separator);
        self.separator = " ";
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
        if !text.is_empty() && text.chars().all(is_plain) {
            self.line.push_str(&text);
        } else {
            let _ = write!(self.line, "{text:?}");
        }
        Ok(())
    }
}

fn write_json(line: &mut impl io::Write, timestamp: &str, record: &Record<'_>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("ts", timestamp)?;
    map.serialize_entry("level", &record.level().as_str().to_ascii_lowercase())?;
    map.serialize_entry("message", &record.args().to_string())?;
    record.key_values().visit(&mut JsonPairs(&mut map)).map_err(io::Error::other)?;
    map.end()?;
    bytes.push(b'\n');
    line.write_all(&bytes)
}

/// Appends pairs as members of an object, numbers as numbers; nothing where there is no value.
struct JsonPairs<'a, M>(&'a mut M);

impl<'kvs, M: SerializeMap> VisitSource<'kvs> for JsonPairs<'_, M> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let failed = |_| Error::msg("a pair cannot be written");
        let Pair::Some { text, is_number } = Pair::of(&value)? else { return Ok(()) };
        let number =
            Some(&text).filter(|_| is_number).and_then(|text| serde_json::Number::from_str(text).ok());
        match number {
            Some(number) => self.0.serialize_entry(key.as_str(), &number).map_err(failed),
            None => self.0.serialize_entry(key.as_str(), &text).map_err(failed),
        }
    }
}

/// The value of a pair.
enum Pair {
    None,
    Some { text: String, is_number: bool },
}

impl Pair {
    fn of(value: &Value<'_>) -> Result<Pair, Error> {
        let mut pair = Pair::None;
        value.visit(&mut pair)?;
        Ok(pair)
    }

    fn set(&mut self, value: impl fmt::Display, is_number: bool) -> Result<(), Error> {
        *self = Pair::Some { text: value.to_string(), is_number };
        Ok(())
    }
}

impl<'v> VisitValue<'v> for Pair {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.set(value, false)
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.set(value, true)
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.set(value, true)
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.set(value, value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    type Pairs<'a> = &'a [(&'a str, Value<'a>)];

    fn with_record<R>(pairs: Pairs<'_>, look: impl FnOnce(&Record<'_>) -> R) -> R {
        look(
            &Record::builder()
                .level(Level::Warn)
                .args(format_args!("connection \"refused\""))
                .key_values(&pairs)
                .build(),
        )
    }

    fn json(pairs: Pairs<'_>) -> String {
        let mut bytes = vec![];
        with_record(pairs, |record| write_json(&mut bytes, "2026-11-20T00:00:00.000Z", record)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn pairs_stand_behind_the_message() {
        let none: Option<u32> = None;
        let pairs = [
            ("peer", Value::from("10.0.0.1:7")),
            ("reason", Value::from("too \"many\"\nof = them")),
            ("empty", Value::from("")),
            ("count", Value::from(7)),
            ("took_ms", Value::from(1.25)),
            ("partition", none.to_value()),
        ];
        assert_eq!(
            with_record(&pairs, |record| text_line("T", record)),
            "T WARN  connection \"refused\": peer=10.0.0.1:7 reason=\"too \\\"many\\\"\\nof = them\" empty=\"\" \
             count=7 took_ms=1.25\n"
        );
        let text = json(&pairs);
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.starts_with("{\"ts\":\"2026-11-20T00:00:00.000Z\",\"level\":\"warn\",\"message\":"),
            "{text}"
        );
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["message"], "connection \"refused\"");
        assert_eq!(object["reason"], "too \"many\"\nof = them");
        assert_eq!((&object["count"], &object["took_ms"]), (&7.into(), &1.25.into()));
        assert_eq!(object.as_object().unwrap().len(), 8, "no value, no member: {text}");
    }

    #[test]
    fn without_pairs_a_line_is_its_message() {
        assert_eq!(with_record(&[], |record| text_line("T", record)), "T WARN  connection \"refused\"\n");
        let object: serde_json::Value = serde_json::from_str(&json(&[])).unwrap();
        assert_eq!(object.as_object().unwrap().len(), 3);
    }

    #[test]
    fn a_number_that_is_a_text_stays_one() {
        let object: serde_json::Value = serde_json::from_str(&json(&[("name", Value::from("12"))])).unwrap();
        assert_eq!(object["name"], "12");
        let endless = json(&[("ratio", Value::from(f64::NAN))]);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&endless).unwrap()["ratio"], "NaN");
    }

    #[test]
    fn levels_and_formats_are_read() {
        assert_eq!(parse_level("WARN"), Ok(LevelFilter::Warn));
        assert_eq!(parse_level("off"), Ok(LevelFilter::Off));
        assert!(parse_level("dht_server=debug").unwrap_err().contains("debug or trace"));
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("xml".parse::<LogFormat>().unwrap_err().contains("text or json"));
    }

    use log::kv::ToValue;
}
