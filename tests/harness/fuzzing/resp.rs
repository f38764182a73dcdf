//! Cutting RESP commands from a stream. Input: the size of pieces, then the stream.
//!
//! Every word lies within its limit, and arrays mean what a second, plainer reading gives; bytes that come in pieces,
//! of any size, are read as the whole stream is; what measures a command that is still coming agrees with what cuts
//! it, and never asks for more than is needed; and words that were cut before are left alone.

use dht_server::limits::{RESP_ARGS_MAX, RESP_BULK_BYTES_MAX, RESP_COMMAND_BYTES_MAX, RESP_LINE_BYTES_MAX};
use dht_server::resp::{CommandError, Cut, Measure, Measured, Words, cut};

use super::draw::Draw;

/// Streams longer than this are also cut at the given piece size alone, not at every byte.
const CUT_EVERYWHERE_BYTES_MAX: usize = 600;

/// Words of each command and where it ends, and what ended the connection.
type Commands = (Vec<(usize, Vec<Vec<u8>>)>, Option<CommandError>);

/// Checks one input.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) {
    let mut draw = Draw::new(input);
    let piece_bytes = 1 + usize::from(draw.byte());
    let stream = draw.rest();
    let whole = read(stream, stream.len());
    assert_eq!(read(stream, piece_bytes), whole, "in pieces of {piece_bytes} bytes, and whole");
    if stream.len() <= CUT_EVERYWHERE_BYTES_MAX {
        assert_eq!(read(stream, 1), whole, "byte by byte, and whole");
    }
    check_batch(stream, &whole);
    check_plainly(stream, &whole);
}

/// Cuts a stream of which `piece_bytes` more arrive whenever more is needed, as a connection does.
fn read(stream: &[u8], piece_bytes: usize) -> Commands {
    let (mut commands, mut start, mut arrived) = (Vec::new(), 0, 0);
    let mut measure = Measure::default();
    let mut words = Words::default();
    loop {
        let buffer = &stream[start..arrived];
        words.clear();
        let outcome = cut(buffer, 0, &mut words);
        match (outcome, measure.go_on(buffer)) {
            (Cut::NeedMore, Measured::NeedMore(bytes)) => {
                assert!(bytes > buffer.len() && words.is_empty());
                assert!(bytes <= RESP_COMMAND_BYTES_MAX + 2, "{bytes} bytes are needed");
            }
            (Cut::Command { .. } | Cut::Refused(_), Measured::Whole) => {}
            // A string that does not end as it should is found by who cuts it.
            (Cut::Refused(_), Measured::NeedMore(_)) => {}
            (cut, measured) => panic!("{cut:?} and {measured:?} of {buffer:?}"),
        }
        match outcome {
            Cut::Command { words: count, bytes } => {
                assert_eq!(words.len(), count);
                assert!(
                    count <= RESP_ARGS_MAX.max(RESP_LINE_BYTES_MAX) && bytes <= buffer.len() && bytes > 0
                );
                start += bytes;
                let of_it: Vec<Vec<u8>> = (0..count).map(|at| words.get(at, buffer).to_vec()).collect();
                assert!(of_it.iter().all(|word| word.len() <= RESP_BULK_BYTES_MAX));
                commands.push((start, of_it));
                measure = Measure::default();
            }
            Cut::Refused(error) => return (commands, Some(error)),
            Cut::NeedMore if arrived == stream.len() => return (commands, None),
            Cut::NeedMore => arrived = stream.len().min(arrived + piece_bytes),
        }
    }
}

/// Several commands from one buffer, one behind the other, as a batch is cut.
fn check_batch(stream: &[u8], (commands, _): &Commands) {
    let mut words = Words::default();
    let mut start = 0;
    let mut firsts = Vec::new();
    for (end, expected) in commands {
        firsts.push(words.len());
        let bytes = end - start;
        assert_eq!(cut(stream, start, &mut words), Cut::Command { words: expected.len(), bytes });
        start = *end;
    }
    for (first, (_, expected)) in firsts.into_iter().zip(commands) {
        for (at, word) in expected.iter().enumerate() {
            assert_eq!(words.get(first + at, stream), word);
        }
    }
}

/// A whole array, written again as every client writes it, is the bytes that were read, but for the way numbers and
/// line ends may be written.
fn check_plainly(stream: &[u8], (commands, _): &Commands) {
    let mut start = 0;
    for (end, words) in commands {
        let bytes = &stream[start..*end];
        start = *end;
        if bytes.first() != Some(&b'*') {
            assert!(bytes.ends_with(b"\n") && bytes.len() <= RESP_LINE_BYTES_MAX);
            assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1, "a line");
            continue;
        }
        let mut again = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            again.extend(format!("${}\r\n", word.len()).into_bytes());
            again.extend_from_slice(word);
            again.extend_from_slice(b"\r\n");
        }
        // Zeros in front and a plus are longer; a negative count is none.
        assert!(again == bytes || again.len() < bytes.len(), "{bytes:?} reads as {words:?}");
    }
}
