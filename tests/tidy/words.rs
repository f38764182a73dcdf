//! Notes to oneself, and ways to panic.

use crate::finding::Finding;
use crate::source::{Repository, Source, places};

/// Fewest words that state an invariant.
const REASON_WORDS_MIN: usize = 3;

/// A note that may stay says who will see to it, and when. One that may not stay is not written.
pub(crate) fn notes_name_owner_and_trigger(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &repository.files {
        let comments = &file.comments;
        for at in places(comments, "FIXME") {
            findings.push(Finding::new(&file.path, file.line_of(at), "do it now, or leave it out"));
        }
        for at in places(comments, "TODO").filter(|&at| !has_owner_and_trigger(&comments[at..])) {
            let message = "name who will do it and what it waits for: `TODO(owner): … when …`";
            findings.push(Finding::new(&file.path, file.line_of(at), message));
        }
    }
    findings
}

fn has_owner_and_trigger(note: &str) -> bool {
    // The note goes on over the comment's next lines.
    let lines =
        note.lines().enumerate().take_while(|(at, line)| *at == 0 || line.trim_start().starts_with("//"));
    let text = lines.map(|(_, line)| line.trim_start_matches([' ', '/', '!'])).collect::<Vec<_>>().join(" ");
    let after_owner = text.strip_prefix("TODO(").and_then(|rest| rest.split_once("):"));
    after_owner.is_some_and(|(owner, what)| !owner.trim().is_empty() && what.contains(" when "))
}

/// Nothing unfinished, nothing left over from a search for a fault.
pub(crate) fn no_placeholder_macros(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &repository.files {
        for word in ["todo!", "unimplemented!", "dbg!"] {
            findings.extend(places(&file.code, word).map(|at| {
                Finding::new(&file.path, file.line_of(at), format!("`{word}` cannot stay: finish it"))
            }));
        }
    }
    findings
}

/// Whoever panics says which invariant was broken.
pub(crate) fn panics_state_their_invariant(repository: &Repository) -> Vec<Finding> {
    repository.shipped().flat_map(silent_panics).collect()
}

fn silent_panics(file: &Source) -> Vec<Finding> {
    let code = file.shipped_code();
    let unwraps = places(code, ".unwrap()")
        .map(|at| (at, "handle the error, or state in `.expect(…)` why there is none"));
    let expects =
        places(code, ".expect(").filter(|&at| !states_a_reason(file, at + ".expect(".len())).map(|at| {
            (at, "state the invariant in three words or more, so that whoever reads the panic knows it")
        });
    let mut found: Vec<(usize, &str)> = unwraps.chain(expects).collect();
    found.sort_unstable();
    found.into_iter().map(|(at, message)| Finding::new(&file.path, file.line_of(at), message)).collect()
}

/// Whether the string that is the argument at `at` says something; any other argument is taken to.
fn states_a_reason(file: &Source, at: usize) -> bool {
    let code = &file.code[at..];
    let Some(open) = code.find(|c: char| !c.is_whitespace()).filter(|&open| code[open..].starts_with('"'))
    else {
        return true;
    };
    // Strings are blank in the code, so the next quote ends this one.
    let close = code[open + 1..].find('"').map_or(code.len(), |close| open + 1 + close);
    file.text[at + open + 1..at + close].split_whitespace().count() >= REASON_WORDS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    #[test]
    fn a_note_without_owner_or_trigger_is_found() {
        let rule = notes_name_owner_and_trigger;
        for bad in [
            "// TODO",
            "// TODO: soon",
            "/// TODO(ann): soon",
            "// TODO(): do when done",
            "fn a() {} // TODO(ann):\n// soon\nfn when() {}",
            "/* FIXME */",
            "// FIXME(ann): do when done",
        ] {
            assert_eq!(lines(rule, "a/src/b.rs", bad), [1], "{bad}");
        }
        for good in [
            "// TODO(ann): shrink when maps grow",
            "// TODO(ann): shrink\n//   it when maps grow",
            "const A: &str = \"TODO FIXME\";",
            "// the TODOS of others",
        ] {
            assert_eq!(lines(rule, "a/src/b.rs", good), [0; 0], "{good}");
        }
    }

    #[test]
    fn a_placeholder_is_found() {
        for bad in ["fn a() { todo!() }", "fn a() { unimplemented!(\"b\") }", "fn a() { dbg!(1); }"] {
            assert_eq!(lines(no_placeholder_macros, "tests/suite/a.rs", bad), [1], "{bad}");
        }
        assert_eq!(lines(no_placeholder_macros, "a/src/b.rs", "// todo!() in words\nmy_dbg!(1);"), [0; 0]);
    }

    #[test]
    fn a_panic_without_a_reason_is_found() {
        let rule = panics_state_their_invariant;
        let text = "fn a() {\n    b.unwrap();\n    c.expect(\"c\");\n    d.expect(\n        \"two words\",\n    );\n}\n";
        assert_eq!(lines(rule, "a/src/b.rs", text), [2, 3, 4]);
        let good = "fn a() {\n    b.unwrap_or(0);\n    c.expect(\"invariant 2: sorted\");\n    d.expect(why);\n    \
                    // e.unwrap()\n    \".unwrap()\";\n}\n";
        assert_eq!(lines(rule, "a/src/b.rs", good), [0; 0]);
        assert_eq!(lines(rule, "tests/suite/b.rs", text), [0; 0]);
        assert_eq!(lines(rule, "a/src/b.rs", &format!("#[cfg(test)]\nmod tests {{\n{text}}}")), [0; 0]);
    }
}
