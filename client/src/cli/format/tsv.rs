//! The escapes of TSV: tab, newline, carriage return and backslash are written `\t`, `\n`, `\r` and `\\`, and
//! every other byte stands as it is; nothing is ever quoted.
//!
//! Reading is lenient where it can be without doubt: a backslash before any other byte, or at the end of a
//! field, stands for itself, so that files of programs which do not escape are read as they are meant. (Writing
//! such a value doubles the backslash: only so does every value read back.)

use std::borrow::Cow;

/// Appends a field, escaped.
pub(crate) fn escape(field: &[u8], out: &mut Vec<u8>) {
    for &byte in field {
        match byte {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            _ => out.push(byte),
        }
    }
}

/// The field that the escaped one stands for.
pub(crate) fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = field.iter().position(|&byte| byte == b'\\') else {
        return Cow::Borrowed(field);
    };
    let mut plain = field[..first].to_vec();
    let mut rest = &field[first..];
    while let Some((&byte, after)) = rest.split_first() {
        let meant = if byte == b'\\' { after.first().copied().and_then(meant_by) } else { None };
        plain.push(meant.unwrap_or(byte));
        rest = if meant.is_some() { &after[1..] } else { after };
    }
    Cow::Owned(plain)
}

/// What a backslash and this byte stand for.
fn meant_by(byte: u8) -> Option<u8> {
    match byte {
        b't' => Some(b'\t'),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b'\\' => Some(b'\\'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_field_reads_back(field in proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(&b"\\\t\r\ntnr"[..])], 0..40)) {
            let mut escaped = vec![];
            escape(&field, &mut escaped);
            prop_assert!(!escaped.iter().any(|byte| b"\t\r\n".contains(byte)));
            prop_assert_eq!(&*unescape(&escaped), &field[..]);
        }
    }

    #[test]
    fn a_lone_backslash_stands_for_itself() {
        for (written, meant) in [
            (&br"C:\dir"[..], &br"C:\dir"[..]),
            (br"end\", br"end\"),
            (br"\", br"\"),
            (br"\\", br"\"),
            (br"\\t", br"\t"),
            (br"\x\t", b"\\x\t"),
            (b"\"quoted\"", b"\"quoted\""),
        ] {
            assert_eq!(&*unescape(written), meant, "{}", written.escape_ascii());
        }
    }
}
