//! What a rule says: where, and what to do.

use std::fmt;

/// One place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    /// A finding at line `line` (from 1) of `path`.
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Runs `rule` on one file, and returns the lines of its findings.
#[cfg(test)]
pub(crate) fn lines(rule: crate::Rule, path: &str, text: &str) -> Vec<usize> {
    let repository = crate::Repository::of(&[(path, text)]);
    rule(&repository).into_iter().map(|finding| finding.line).collect()
}
