//! Patterns of `MATCH`: `*`, `?`, `[a-c]`, `[^a]`, and a backslash before a byte that stands for itself.

use crate::limits::RESP_MATCH_STEPS_MAX;

/// The bytes that every key that matches begins with.
pub(crate) fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    &pattern[..pattern.iter().position(special).unwrap_or(pattern.len())]
}

/// Whether all of `text` matches. Looks back at the last `*` alone, and gives up, as not matching, after
/// `RESP_MATCH_STEPS_MAX` comparisons.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut text_at) = (0, 0);
    // Behind the last star, and how much of the text it is taken for so far.
    let mut star: Option<(usize, usize)> = None;
    for _ in 0..RESP_MATCH_STEPS_MAX {
        if text_at == text.len() {
            return pattern[at..].iter().all(|&byte| byte == b'*');
        }
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, text_at));
            continue;
        }
        match one(&pattern[at..], text[text_at]) {
            Some(used) => (at, text_at) = (at + used, text_at + 1),
            None => match &mut star {
                Some((behind, taken)) => {
                    *taken += 1;
                    (at, text_at) = (*behind, *taken);
                }
                None => return false,
            },
        }
    }
    false
}

/// How many bytes of the pattern match this one byte; `None`: they do not.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (used, holds) = class_holds(class, byte);
            holds.then_some(1 + used)
        }
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [plain, ..] => (*plain == byte).then_some(1),
    }
}

/// How long a class is behind its `[`, its `]` included, and whether it holds `byte`. One that is not closed ends
/// with the pattern.
fn class_holds(class: &[u8], byte: u8) -> (usize, bool) {
    let is_negated = class.first() == Some(&b'^');
    let mut at = usize::from(is_negated);
    let mut holds = false;
    loop {
        match &class[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                holds |= *escaped == byte;
                at += 2;
            }
            [first, b'-', last, ..] => {
                holds |= (*first.min(last)..=*first.max(last)).contains(&byte);
                at += 3;
            }
            [plain, ..] => {
                holds |= *plain == byte;
                at += 1;
            }
        }
    }
    (at, holds != is_negated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "abc", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "aXbXbXc", true),
            ("user:*", "user:1", true),
            ("user:*", "use", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("[\\]]", "]", true),
            ("[abc", "c", true),
            ("[", "a", false),
            ("a\\", "a\\", true),
            ("***", "x", true),
            ("a?*", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_plain_at_the_front_is_known() {
        for (pattern, prefix) in [("user:*", "user:"), ("*", ""), ("ab", "ab"), ("a[b]", "a"), ("a\\*", "a")]
        {
            assert_eq!(literal_prefix(pattern.as_bytes()), prefix.as_bytes(), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        let pattern = "a*".repeat(5_000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(65_535).as_bytes()));
    }
}
