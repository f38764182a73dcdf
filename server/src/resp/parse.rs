//! Cuts commands from the front of a buffer, as RESP writes them: an array of bulk strings, or a line of words. No
//! I/O. Three outcomes: a command, more bytes needed, refused.
//!
//! ```text
//! *2 CR LF $3 CR LF GET CR LF $1 CR LF k CR LF        or        GET k LF
//! ```
//!
//! 1. Nothing is allocated for a length that is only announced. A length past its limit is refused as soon as it
//!    stands there.
//! 2. Words are not copied: an argument is a place in the buffer. Only a word that an inline command quotes is
//!    written out, behind the others.
//! 3. [`Measure`] goes on where it stopped, so a command that comes a byte at a time costs no more than its bytes.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use super::quoted::split_words;
use crate::limits::{RESP_ARGS_MAX, RESP_BULK_BYTES_MAX, RESP_COMMAND_BYTES_MAX, RESP_LINE_BYTES_MAX};

/// A word of a command: a place in the buffer that it was cut from, or among the words written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
    is_written_out: bool,
}

/// The words of the commands that were cut from one buffer. Kept for the next one, so that usually nothing is
/// allocated.
#[derive(Debug, Default)]
pub struct Words {
    spans: Vec<Span>,
    written_out: Vec<u8>,
}

/// What stands at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A command; its words have been added. One without a word is nothing to answer.
    Command {
        /// How many words it has.
        words: usize,
        /// Bytes that it takes.
        bytes: usize,
    },
    /// The start of one.
    NeedMore,
    /// No command. Where the next one begins is not known: the connection must end.
    Refused(CommandError),
}

/// Why bytes are no command. Nothing has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The number behind `*` is none, or too large.
    ArrayLength,
    /// The number behind `$` is none, negative, or too large.
    BulkLength,
    /// Something else stands where a bulk string must begin; the byte.
    NoBulk(u8),
    /// A bulk string does not end where it should.
    BulkEnd,
    /// A line has no end within its limit.
    LongLine,
    /// A quote in an inline command is not closed, or closed in the middle of a word.
    Quotes,
    /// All words together are longer than the limit.
    LongCommand,
}

/// How far a command has been looked at whose bytes are still coming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Bytes from the front that are whole parts of it; past the end of what is there in the middle of a string.
    at: usize,
    /// Strings still to come behind that; `None` before the first line.
    left: Option<usize>,
}

/// How much of a command is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// All of it, or what is wrong with it.
    Whole,
    /// At least so many bytes from its front are needed.
    NeedMore(usize),
}

impl Words {
    /// Forgets all words.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.written_out.clear();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Word `at`; `bytes` is the buffer that it was cut from.
    ///
    /// # Panics
    /// Past the last one.
    #[must_use]
    #[inline]
    pub fn get<'a>(&'a self, at: usize, bytes: &'a [u8]) -> &'a [u8] {
        let Span { start, end, is_written_out } = self.spans[at];
        let source = if is_written_out { &self.written_out } else { bytes };
        &source[start as usize..end as usize]
    }

    #[inline]
    fn push(&mut self, start: usize, end: usize) {
        self.spans.push(Span { start: start as u32, end: end as u32, is_written_out: false });
    }

    pub(super) fn write_out(&mut self, word: &[u8]) {
        let start = self.written_out.len();
        self.written_out.extend_from_slice(word);
        let end = self.written_out.len();
        self.spans.push(Span { start: start as u32, end: end as u32, is_written_out: true });
    }
}

/// Cuts the command at `bytes[start..]` and adds its words; nothing is added where it is not whole.
#[must_use]
#[inline]
pub fn cut(bytes: &[u8], start: usize, words: &mut Words) -> Cut {
    let before = words.len();
    let cut = if bytes.get(start) == Some(&b'*') {
        cut_array(bytes, start, words)
    } else {
        cut_inline(bytes, start, words)
    };
    if !matches!(cut, Cut::Command { .. }) {
        words.spans.truncate(before);
    }
    cut
}

fn cut_array(bytes: &[u8], start: usize, words: &mut Words) -> Cut {
    let mut at = start;
    let count = match array_head(bytes, &mut at) {
        Part::Is(count) => count,
        Part::NeedMore => return Cut::NeedMore,
        Part::Refused(error) => return Cut::Refused(error),
    };
    for _ in 0..count {
        match bulk_head(bytes, &mut at) {
            Part::Is(length) => {
                let end = at + length;
                if end - start > RESP_COMMAND_BYTES_MAX {
                    return Cut::Refused(CommandError::LongCommand);
                }
                match bytes.get(end..end + 2) {
                    Some(b"\r\n") => {}
                    Some(_) => return Cut::Refused(CommandError::BulkEnd),
                    None => return Cut::NeedMore,
                }
                words.push(at, end);
                at = end + 2;
            }
            Part::NeedMore => return Cut::NeedMore,
            Part::Refused(error) => return Cut::Refused(error),
        }
    }
    Cut::Command { words: count, bytes: at - start }
}

fn cut_inline(bytes: &[u8], start: usize, words: &mut Words) -> Cut {
    let end = match line_end(bytes, start) {
        Part::Is(end) => end,
        Part::NeedMore => return Cut::NeedMore,
        Part::Refused(error) => return Cut::Refused(error),
    };
    let before = words.len();
    let line = bytes[start..end].strip_suffix(b"\r").unwrap_or(&bytes[start..end]);
    if line.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
        if split_words(line, words).is_err() {
            return Cut::Refused(CommandError::Quotes);
        }
    } else {
        let mut at = start;
        for word in line.split(|byte| is_blank(*byte)) {
            if !word.is_empty() {
                words.push(at, at + word.len());
            }
            at += word.len() + 1;
        }
    }
    Cut::Command { words: words.len() - before, bytes: end + 1 - start }
}

/// What separates the words of an inline command.
pub(super) fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0B)
}

/// A part of a command.
enum Part<T> {
    Is(T),
    NeedMore,
    Refused(CommandError),
}

/// Reads `*N`, and moves `at` behind it.
#[inline]
fn array_head(bytes: &[u8], at: &mut usize) -> Part<usize> {
    match number_line(bytes, at) {
        Part::Is(Some(count)) if count <= RESP_ARGS_MAX as i64 => Part::Is(count.max(0) as usize),
        Part::Is(_) => Part::Refused(CommandError::ArrayLength),
        Part::NeedMore => Part::NeedMore,
        Part::Refused(error) => Part::Refused(error),
    }
}

/// Reads `$N`, and moves `at` behind it.
#[inline]
fn bulk_head(bytes: &[u8], at: &mut usize) -> Part<usize> {
    match bytes.get(*at) {
        None => return Part::NeedMore,
        Some(b'$') => {}
        Some(&other) => return Part::Refused(CommandError::NoBulk(other)),
    }
    match number_line(bytes, at) {
        Part::Is(Some(length @ 0..)) if length <= RESP_BULK_BYTES_MAX as i64 => Part::Is(length as usize),
        Part::Is(_) => Part::Refused(CommandError::BulkLength),
        Part::NeedMore => Part::NeedMore,
        Part::Refused(error) => Part::Refused(error),
    }
}

/// Longest line with a number: a byte that says what it counts, sign, digits, CR LF.
const NUMBER_LINE_BYTES_MAX: usize = 24;

/// The number behind the byte at `at`, up to the end of the line, and moves `at` behind that; `None`: no number.
#[inline]
fn number_line(bytes: &[u8], at: &mut usize) -> Part<Option<i64>> {
    let line = &bytes[*at + 1..];
    // One or two digits: nearly every length.
    if let [digit @ b'0'..=b'9', b'\r', b'\n', ..] = line {
        *at += 4;
        return Part::Is(Some(i64::from(digit - b'0')));
    }
    if let [ten @ b'0'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..] = line {
        *at += 5;
        return Part::Is(Some(i64::from(ten - b'0') * 10 + i64::from(one - b'0')));
    }
    let within = &line[..line.len().min(NUMBER_LINE_BYTES_MAX)];
    let Some(end) = within.iter().position(|&byte| byte == b'\n') else {
        return if within.len() < NUMBER_LINE_BYTES_MAX { Part::NeedMore } else { Part::Is(None) };
    };
    *at += 1 + end + 1;
    let text = within[..end].strip_suffix(b"\r");
    let number = text.and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.parse().ok());
    Part::Is(number)
}

/// Where the line that begins at `start` ends.
fn line_end(bytes: &[u8], start: usize) -> Part<usize> {
    let within = &bytes[start..bytes.len().min(start + RESP_LINE_BYTES_MAX)];
    match within.iter().position(|&byte| byte == b'\n') {
        Some(end) => Part::Is(start + end),
        None if within.len() < RESP_LINE_BYTES_MAX => Part::NeedMore,
        None => Part::Refused(CommandError::LongLine),
    }
}

impl Measure {
    /// Looks at `bytes`, all that is there of a command: what was given the last time, and what has come since.
    #[must_use]
    pub fn go_on(&mut self, bytes: &[u8]) -> Measured {
        if self.left.is_none() {
            match bytes.first() {
                None => return Measured::NeedMore(1),
                Some(b'*') => match array_head(bytes, &mut self.at) {
                    Part::Is(count) => self.left = Some(count),
                    Part::NeedMore => return Measured::NeedMore(bytes.len() + 1),
                    Part::Refused(_) => return Measured::Whole,
                },
                Some(_) => {
                    return match line_end(bytes, 0) {
                        Part::NeedMore => Measured::NeedMore(bytes.len() + 1),
                        Part::Is(_) | Part::Refused(_) => Measured::Whole,
                    };
                }
            }
        }
        let left = self.left.get_or_insert(0);
        while *left > 0 {
            if self.at > bytes.len() {
                return Measured::NeedMore(self.at);
            }
            match bulk_head(bytes, &mut self.at) {
                // The end of a string is looked at when it is cut.
                Part::Is(length) if self.at + length <= RESP_COMMAND_BYTES_MAX => self.at += length + 2,
                Part::NeedMore => return Measured::NeedMore(bytes.len() + 1),
                Part::Is(_) | Part::Refused(_) => return Measured::Whole,
            }
            *left -= 1;
        }
        if self.at > bytes.len() { Measured::NeedMore(self.at) } else { Measured::Whole }
    }
}

impl CommandError {
    /// The sentence of the answer, as Redis' users know it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            CommandError::ArrayLength => "invalid multibulk length",
            CommandError::BulkLength => "invalid bulk length",
            CommandError::NoBulk(_) => "expected '$'",
            CommandError::BulkEnd => "a bulk string does not end with CR LF",
            CommandError::LongLine => "too big inline request",
            CommandError::Quotes => "unbalanced quotes in request",
            CommandError::LongCommand => "too big command",
        }
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
