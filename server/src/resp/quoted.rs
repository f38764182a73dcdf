//! The words of an inline command that quotes some of them, as `redis-cli` and a person at `telnet` write them.
//!
//! Between double quotes a backslash writes `\n`, `\r`, `\t`, `\b`, `\a`, `\xHH`, or the byte behind it as it is;
//! between single quotes only `\'` does. A closing quote must end its word.

use super::parse::{Words, is_blank};

/// A quote is not closed, or closed in the middle of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Adds the words of `line`, written out.
pub(super) fn split_words(line: &[u8], words: &mut Words) -> Result<(), Unbalanced> {
    let mut rest = line;
    let mut word = Vec::new();
    loop {
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Ok(());
        }
        word.clear();
        rest = take_word(rest, &mut word)?;
        words.write_out(&word);
    }
}

/// Writes the word at the front of `rest` out; what is behind it.
fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match rest {
            [] => return Ok(rest),
            [byte, ..] if is_blank(*byte) => return Ok(rest),
            [quote @ (b'"' | b'\''), inside @ ..] => {
                let behind = take_quoted(*quote, inside, word)?;
                return match behind.first() {
                    None => Ok(behind),
                    Some(byte) if is_blank(*byte) => Ok(behind),
                    Some(_) => Err(Unbalanced),
                };
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                behind
            }
        };
    }
}

/// Writes out what stands before the closing quote; what is behind it.
fn take_quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    let is_double = quote == b'"';
    loop {
        rest = match rest {
            [] => return Err(Unbalanced),
            [byte, behind @ ..] if *byte == quote => return Ok(behind),
            [b'\\', b'x', high, low, behind @ ..]
                if is_double && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                behind
            }
            [b'\\', byte, behind @ ..] if is_double => {
                word.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                behind
            }
            [b'\\', b'\'', behind @ ..] if !is_double => {
                word.push(b'\'');
                behind
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                behind
            }
        };
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
