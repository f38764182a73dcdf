//! Where unsafe code may stand, and what must stand above it.

use crate::finding::Finding;
use crate::source::{Repository, Source, places};

/// The files that may lift the ban on unsafe code, each for a gain that was measured. All lie in the store.
const UNSAFE_FILES: &[&str] = &[
    "server/src/store/allocator.rs",
    "server/src/store/pool.rs",
    "server/src/store/prefetch.rs",
    "server/src/store/tags.rs",
];

/// Files at the root of a crate, and the line that each must have.
const CRATE_LINES: &[(&str, &str)] = &[
    ("protocol/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("client/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("tests/harness/lib.rs", "#![forbid(unsafe_code)]"),
    ("tests/interleavings/src/lib.rs", "#![forbid(unsafe_code)]"),
    ("server/src/lib.rs", "#![deny(unsafe_code)]"),
];

/// Lines that may lie between a statement's start and the comment that is looked for.
const LINES_ABOVE_MAX: usize = 40;

/// No crate forgets the ban.
pub(crate) fn crates_rule_unsafe_out(repository: &Repository) -> Vec<Finding> {
    let wanted = CRATE_LINES.iter().filter_map(|(path, line)| {
        let file = repository.files.iter().find(|file| file.path == *path)?;
        // A crate of nothing yet has nothing to rule out.
        let empty = file.code.trim().is_empty();
        (!empty && !file.code.contains(line)).then(|| Finding::new(path, 1, format!("write `{line}` here")))
    });
    wanted.collect()
}

/// The ban is lifted by name.
pub(crate) fn only_listed_files_are_unsafe(repository: &Repository) -> Vec<Finding> {
    lifted_outside(repository, UNSAFE_FILES)
}

fn lifted_outside(repository: &Repository, listed: &[&str]) -> Vec<Finding> {
    let lifting = ["allow", "expect", "warn"].map(|level| format!("{level}(unsafe_code"));
    let mut findings = Vec::new();
    for file in &repository.files {
        let first = lifting.iter().flat_map(|words| places(&file.code, words)).min();
        match (first, listed.contains(&file.path.as_str())) {
            (Some(at), false) => findings.push(Finding::new(
                &file.path,
                file.line_of(at),
                "unsafe code in a file that is not listed: do without, or list it in tests/tidy/unsafety.rs \
                 with the gain that was measured",
            )),
            (None, true) => {
                let message = "listed in tests/tidy/unsafety.rs as unsafe but is not: take it off the list";
                findings.push(Finding::new(&file.path, 1, message));
            }
            (Some(_), true) | (None, false) => {}
        }
    }
    findings
}

/// Every unsafe block and implementation names the invariant that it relies on, every unsafe function its own.
pub(crate) fn unsafe_code_says_why(repository: &Repository) -> Vec<Finding> {
    repository.files.iter().flat_map(silent_places).collect()
}

fn silent_places(file: &Source) -> Vec<Finding> {
    let code_lines: Vec<&str> = file.code.lines().collect();
    let comment_lines: Vec<&str> = file.comments.lines().collect();
    let silent = places(&file.code, "unsafe").filter_map(|at| {
        let line = file.line_of(at);
        let what = file.code[at + "unsafe".len()..].trim_start();
        let (wanted, message) = if what.starts_with('{') || what.starts_with("impl") {
            ("SAFETY:", "say above it, in a `// SAFETY:` line, which invariant makes this sound")
        } else if ["fn", "extern", "trait"].iter().any(|word| what.starts_with(word))
            && !is_type(&file.code[..at])
        {
            ("# Safety", "say in its docs, under `# Safety`, what the caller must hold to")
        } else {
            return None;
        };
        let said = stands_above(&code_lines, &comment_lines, line - 1, wanted);
        (!said).then(|| Finding::new(&file.path, line, message))
    });
    silent.collect()
}

/// Whether what follows `before` is a type (`x: unsafe fn()`), not an item.
fn is_type(before: &str) -> bool {
    before.trim_end().ends_with([':', '(', '<', ',', '=', '&'])
}

/// Whether `wanted` stands in a comment on line `at` (from 0), or above it with only comments, attributes and the
/// beginning of the same statement in between.
fn stands_above(code: &[&str], comments: &[&str], at: usize, wanted: &str) -> bool {
    if comments[at].contains(wanted) {
        return true;
    }
    for above in (at.saturating_sub(LINES_ABOVE_MAX)..at).rev() {
        if comments[above].contains(wanted) {
            return true;
        }
        let statement = code[above].trim();
        let attribute = statement.starts_with('#');
        let empty = statement.is_empty() && comments[above].trim().is_empty();
        if empty || (!attribute && statement.ends_with([';', '{', '}', ','])) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    #[test]
    fn a_crate_without_the_ban_is_found() {
        for (path, line) in CRATE_LINES {
            assert_eq!(lines(crates_rule_unsafe_out, path, "//! A.\nmod a;\n"), [1], "{path}");
            assert_eq!(lines(crates_rule_unsafe_out, path, &format!("//! {line}\nmod a;\n")), [1], "{path}");
            assert_eq!(lines(crates_rule_unsafe_out, path, &format!("//! A.\n{line}\nmod a;\n")), [0; 0]);
        }
    }

    #[test]
    fn a_file_that_lifts_the_ban_is_found() {
        let text = "//! A.\n#![allow(unsafe_code)]\n";
        assert_eq!(lines(only_listed_files_are_unsafe, "server/src/net/worker.rs", text), [2]);
        assert_eq!(
            lines(only_listed_files_are_unsafe, "client/src/a.rs", "#[expect(unsafe_code)]\nfn a() {}"),
            [1]
        );
        let store = Repository::of(&[("server/src/store/arena.rs", text)]);
        assert_eq!(lifted_outside(&store, &["server/src/store/arena.rs"]), []);
        assert!(UNSAFE_FILES.iter().all(|path| path.starts_with("server/src/store/")));
        let safe = Repository::of(&[("server/src/store/arena.rs", "//! A.\n")]);
        assert_eq!(lifted_outside(&safe, &["server/src/store/arena.rs"]).len(), 1);
    }

    #[test]
    fn unsafe_code_without_a_reason_is_found() {
        let rule = unsafe_code_says_why;
        for bad in [
            "fn a() {\n    let b = 1;\n    unsafe { c() }\n}",
            "fn a() {\n    // SAFETY: of another one.\n    unsafe { c() };\n    unsafe { d() }\n}",
            "struct A;\n// Safe, surely.\nunsafe impl Send for A {}",
            "/// Docs.\n\nunsafe fn a() {}",
        ] {
            let found = lines(rule, "server/src/store/a.rs", bad);
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
        }
        for good in [
            "fn a() {\n    // SAFETY: invariant 1.\n    unsafe { c() }\n}",
            "fn a() {\n    // SAFETY: invariant 1,\n    // and 2.\n    let b =\n        unsafe { c() };\n}",
            "// SAFETY: invariant 3.\n#[cfg(unix)]\nunsafe impl Send for A {}",
            "/// Docs.\n///\n/// # Safety\n/// Hold to it.\n#[inline]\npub unsafe fn a() {}",
            "struct A { a: unsafe fn(u8) }",
            "// no unsafe { here }\nconst A: &str = \"unsafe {\";",
        ] {
            assert_eq!(lines(rule, "server/src/store/a.rs", good), [0; 0], "{good}");
        }
    }
}
