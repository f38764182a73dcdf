//! The keys of a run: number `i` of N as exactly `--key-size` bytes, printable, all different.

/// Digits of a key, by rising byte.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE: u64 = DIGITS.len() as u64;

/// How to write keys: the number in base 62, with leading zeros.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    key_bytes: usize,
}

impl Keys {
    /// Keys of `key_bytes` bytes; `None` when `count` of them cannot all differ.
    pub(crate) fn new(count: u64, key_bytes: usize) -> Option<Keys> {
        let mut room = 1u64;
        for _ in 0..key_bytes {
            room = room.saturating_mul(BASE);
        }
        (key_bytes > 0 && count <= room).then_some(Keys { key_bytes })
    }

    /// Writes key number `index` over `out`.
    pub(crate) fn write(self, index: u64, out: &mut Vec<u8>) {
        out.clear();
        out.resize(self.key_bytes, b'0');
        let mut rest = index;
        for place in out.iter_mut().rev() {
            if rest == 0 {
                break;
            }
            *place = DIGITS[(rest % BASE) as usize];
            rest /= BASE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(keys: Keys, index: u64) -> String {
        let mut out = b"what was there".to_vec();
        keys.write(index, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn sizes_are_exact_and_keys_differ() {
        for (key_bytes, count) in [(1, 62), (2, 62 * 62), (3, 10_000), (16, 10_000)] {
            let keys = Keys::new(count, key_bytes).unwrap();
            let mut seen = std::collections::HashSet::new();
            for index in 0..count {
                let key = key(keys, index);
                assert_eq!(key.len(), key_bytes);
                assert!(seen.insert(key));
            }
        }
        assert_eq!(key(Keys::new(100, 4).unwrap(), 62 + 10), "001A");
    }

    #[test]
    fn too_many_keys_for_their_size_are_refused() {
        assert!(Keys::new(62, 1).is_some());
        assert!(Keys::new(63, 1).is_none());
        assert!(Keys::new(1, 0).is_none());
        assert!(Keys::new(u64::MAX, 11).is_some());
        assert!(Keys::new(u64::MAX, 10).is_none());
    }
}
