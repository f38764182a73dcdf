//! Lines that end in CR LF, and decimal numbers in them.

use crate::bench::compare::limits::LINE_BYTES_MAX;

/// What stands at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A whole line, without its end, and the bytes that it takes up with it.
    Whole { text: &'a [u8], bytes: usize },
    /// The line has not ended yet.
    NeedMore,
}

/// The line at the front of `received`.
///
/// # Errors
/// It is longer than any, or ends in LF alone.
#[inline]
pub(crate) fn line(received: &[u8]) -> Result<Line<'_>, String> {
    let within = &received[..received.len().min(LINE_BYTES_MAX)];
    match within.iter().position(|&byte| byte == b'\n') {
        Some(at) if at > 0 && received[at - 1] == b'\r' => {
            Ok(Line::Whole { text: &received[..at - 1], bytes: at + 1 })
        }
        Some(_) => Err("a line ends in LF without CR".to_owned()),
        None if received.len() >= LINE_BYTES_MAX => Err("a line has no end".to_owned()),
        None => Ok(Line::NeedMore),
    }
}

/// A number of at most nine decimal digits; `None` for anything else.
#[inline]
pub(crate) fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + usize::from(digit - b'0')))
}

/// Appends a number in decimal digits.
#[inline]
pub(crate) fn put_decimal(number: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The start of what a server has said, for an error.
pub(crate) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(120)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_cr_lf() {
        assert_eq!(line(b"ab\r\nc"), Ok(Line::Whole { text: b"ab", bytes: 4 }));
        assert_eq!(line(b"\r\n"), Ok(Line::Whole { text: b"", bytes: 2 }));
        assert_eq!((line(b""), line(b"ab\r")), (Ok(Line::NeedMore), Ok(Line::NeedMore)));
        assert!(line(b"ab\n").is_err() && line(b"\n").is_err());
        assert!(line(&[b'x'; LINE_BYTES_MAX]).is_err());
        assert_eq!(line(&[b'x'; LINE_BYTES_MAX - 1]), Ok(Line::NeedMore));
    }

    #[test]
    fn numbers_read_back() {
        for number in [0, 7, 10, 32, 999_999_999] {
            let mut out = vec![];
            put_decimal(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
            assert_eq!(decimal(&out), Some(number));
        }
        for text in ["", "-1", "1 ", "0x1", "1000000000"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }
}
