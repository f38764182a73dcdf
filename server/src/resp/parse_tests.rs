//! Tests of cutting commands: cut at every byte, bits flipped, lengths at and beyond every limit.

use super::*;

/// The words of all whole commands, and what is behind them.
fn read(bytes: &[u8]) -> (Vec<Vec<Vec<u8>>>, Option<CommandError>, usize) {
    let (mut commands, mut start) = (vec![], 0);
    let mut words = Words::default();
    loop {
        let before = words.len();
        match cut(bytes, start, &mut words) {
            Cut::Command { words: count, bytes: length } => {
                assert_eq!(words.len(), before + count);
                commands.push((before..before + count).map(|at| words.get(at, bytes).to_vec()).collect());
                start += length;
            }
            Cut::NeedMore => return (commands, None, start),
            Cut::Refused(error) => return (commands, Some(error), start),
        }
        if start == bytes.len() {
            return (commands, None, start);
        }
    }
}

fn words_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    match read(bytes) {
        (mut commands, None, end) if commands.len() == 1 && end == bytes.len() => commands.remove(0),
        other => panic!("{:?} gives {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn refused(bytes: &[u8]) -> CommandError {
    let error = read(bytes).1;
    error.unwrap_or_else(|| panic!("{:?} is not refused", String::from_utf8_lossy(bytes)))
}

const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$13\r\nkey with \r\nit\r\n";
const MIXED: &[u8] =
    b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$0\r\n\r\nPING  twice\r\n*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n";

#[test]
fn a_command_cut_at_every_byte_needs_more() {
    assert_eq!(words_of(GET), [&b"GET"[..], b"key with \r\nit"]);
    for whole in [GET, b"get \"a b\"\n", b"*1\r\n$100\r\n"] {
        let mut measure = Measure::default();
        for end in 0..whole.len() {
            assert_eq!(cut(&whole[..end], 0, &mut Words::default()), Cut::NeedMore, "{end} bytes");
            let needed = measure.go_on(&whole[..end]);
            assert!(matches!(needed, Measured::NeedMore(bytes) if bytes > end), "{needed:?} at {end}");
        }
    }
    let mut measure = Measure::default();
    assert_eq!(measure.go_on(b"*2\r\n$3\r\nGET\r\n$13\r\nk"), Measured::NeedMore(GET.len()));
    assert_eq!(measure.go_on(GET), Measured::Whole);
}

#[test]
fn commands_follow_each_other_in_either_form() {
    let (commands, error, end) = read(MIXED);
    assert_eq!((error, end), (None, MIXED.len()));
    let lengths: Vec<usize> = commands.iter().map(Vec::len).collect();
    assert_eq!(lengths, [3, 2, 0, 0, 0, 1]);
    assert_eq!(commands[0], [&b"set"[..], b"k", b""]);
    assert_eq!(commands[1], [&b"PING"[..], b"twice"]);
}

#[test]
fn a_flipped_bit_never_panics_and_never_takes_more_than_there_is() {
    for at in 0..MIXED.len() * 8 {
        let mut bytes = MIXED.to_vec();
        bytes[at / 8] ^= 1 << (at % 8);
        let (_, _, end) = read(&bytes);
        assert!(end <= bytes.len());
    }
}

#[test]
fn lengths_at_and_beyond_their_limits() {
    let bulk = |length: i64| format!("*1\r\n${length}\r\n").into_bytes();
    let array = |length: i64| format!("*{length}\r\n").into_bytes();
    assert_eq!(read(&bulk(RESP_BULK_BYTES_MAX as i64)).1, None);
    assert_eq!(read(&array(RESP_ARGS_MAX as i64)).1, None);
    for length in [RESP_BULK_BYTES_MAX as i64 + 1, -1, i64::MAX, i64::MIN] {
        assert_eq!(refused(&bulk(length)), CommandError::BulkLength, "{length}");
    }
    for length in [RESP_ARGS_MAX as i64 + 1, i64::MAX] {
        assert_eq!(refused(&array(length)), CommandError::ArrayLength, "{length}");
    }
    for text in ["", " 1", "x", "99999999999999999999", "0x1", "1\n"] {
        assert_eq!(refused(format!("*{text}\r\n").as_bytes()), CommandError::ArrayLength, "{text:?}");
        assert_eq!(refused(format!("*1\r\n${text}\r\n").as_bytes()), CommandError::BulkLength, "{text:?}");
    }
    assert_eq!(refused(&[b'*'; 40]), CommandError::ArrayLength, "a number without end");
    assert_eq!(refused(b"*1\r\n+OK\r\n"), CommandError::NoBulk(b'+'));
    assert_eq!(refused(b"*1\r\n$1\r\nabc"), CommandError::BulkEnd);
    // All words together.
    let most = RESP_COMMAND_BYTES_MAX / RESP_BULK_BYTES_MAX;
    let mut long = format!("*{}\r\n", most + 1).into_bytes();
    for _ in 0..most {
        long.extend(format!("${RESP_BULK_BYTES_MAX}\r\n").into_bytes());
        long.resize(long.len() + RESP_BULK_BYTES_MAX, b'x');
        long.extend(b"\r\n");
    }
    long.extend(format!("${RESP_BULK_BYTES_MAX}\r\n").into_bytes());
    assert_eq!(refused(&long), CommandError::LongCommand);
    assert_eq!(Measure::default().go_on(&long), Measured::Whole);
}

#[test]
fn a_line_is_bounded() {
    let line = |bytes: usize| [&vec![b'a'; bytes - 1][..], b"\n"].concat();
    assert_eq!(words_of(&line(RESP_LINE_BYTES_MAX)).len(), 1);
    assert_eq!(refused(&line(RESP_LINE_BYTES_MAX + 1)), CommandError::LongLine);
    assert_eq!(refused(&vec![b'a'; RESP_LINE_BYTES_MAX]), CommandError::LongLine);
    assert_eq!(read(&vec![b'a'; RESP_LINE_BYTES_MAX - 1]), (vec![], None, 0));
}

#[test]
fn quotes_in_a_line() {
    assert_eq!(words_of(b"set \"a b\" 'c\\'d\\n'\r\n"), [&b"set"[..], b"a b", b"c'd\\n"]);
    assert_eq!(words_of(b"x \"\\x41\\xzz\\n\\\"\" \"\"\n"), [&b"x"[..], b"Axzz\n\"", b""]);
    assert_eq!(words_of(b"pre\"fix\"\n"), [b"prefix"]);
    for line in [&b"get \"a\n"[..], b"get 'a\n", b"get \"a\"b\n", b"get 'a'b\n", b"get \"a\\\n"] {
        assert_eq!(refused(line), CommandError::Quotes, "{:?}", String::from_utf8_lossy(line));
    }
}
