//! Sizes and beginnings.

use crate::finding::Finding;
use crate::source::{Repository, Source, after_attributes, places};

/// Longest file, lines, its tests not counted.
const FILE_LINES_MAX: usize = 500;
/// Longest function, lines, from `fn` to its brace.
const FUNCTION_LINES_MAX: usize = 70;

/// One file, one concept.
pub(crate) fn files_are_short(repository: &Repository) -> Vec<Finding> {
    let too_long = repository.files.iter().filter_map(|file| {
        let lines = file.shipped_code().lines().count();
        let message = format!(
            "{lines} lines before the tests, {FILE_LINES_MAX} are the most: split the file by concept"
        );
        (lines > FILE_LINES_MAX).then(|| Finding::new(&file.path, lines, message))
    });
    too_long.collect()
}

/// A function fits on a screen.
pub(crate) fn functions_are_short(repository: &Repository) -> Vec<Finding> {
    repository.files.iter().flat_map(long_functions).collect()
}

fn long_functions(file: &Source) -> Vec<Finding> {
    let code = file.shipped_code();
    let long = places(code, "fn").filter_map(|at| {
        let name = code[at + 2..].strip_prefix(' ')?;
        let name = &name[..name.find(|c: char| !c.is_alphanumeric() && c != '_')?];
        let end = at + body_end(&code[at..])?;
        let lines = file.line_of(end) - file.line_of(at) + 1;
        let message = format!(
            "`{name}` has {lines} lines, {FUNCTION_LINES_MAX} are the most: give its steps names of their own"
        );
        (!name.is_empty() && lines > FUNCTION_LINES_MAX)
            .then(|| Finding::new(&file.path, file.line_of(at), message))
    });
    long.collect()
}

/// Where the function that `code` begins with ends; `None` when it has no body.
fn body_end(code: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 && brackets == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// `mod.rs` and `lib.rs` are tables of contents.
pub(crate) fn folder_files_hold_no_logic(repository: &Repository) -> Vec<Finding> {
    let is_folder_file = |file: &&Source| file.path.ends_with("/mod.rs") || file.path.ends_with("/lib.rs");
    repository.files.iter().filter(is_folder_file).filter_map(first_logic).collect()
}

fn first_logic(file: &Source) -> Option<Finding> {
    let code = file.shipped_code();
    let mut rest = after_attributes(code);
    while !rest.is_empty() {
        let end = rest.find(';').map_or(rest.len(), |end| end + 1);
        if !is_table_of_contents(&rest[..end]) {
            let line = file.line_of(code.len() - rest.len());
            let message =
                "only docs, attributes, `mod` and `use` stand here: move this to a file named for what it is";
            return Some(Finding::new(&file.path, line, message));
        }
        rest = after_attributes(&rest[end..]);
    }
    None
}

fn is_table_of_contents(item: &str) -> bool {
    let public = item.strip_prefix("pub").map(|rest| match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')').map_or("", |(_, rest)| rest),
        None => rest,
    });
    let bare = public.unwrap_or(item).trim_start();
    bare.starts_with("use ")
        || bare.starts_with("extern crate ")
        || (bare.starts_with("mod ") && !bare.contains('{'))
}

/// A file says what it is about before anything else.
pub(crate) fn files_begin_with_docs(repository: &Repository) -> Vec<Finding> {
    let silent = repository.files.iter().filter(|file| !file.text.starts_with("//!"));
    let message = "begin the file with `//!`: what it owns, and what it must never do";
    silent.map(|file| Finding::new(&file.path, 1, message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    #[test]
    fn a_long_file_is_found_its_tests_not_counted() {
        let long = "const A: u8 = 0;\n".repeat(501);
        assert_eq!(lines(files_are_short, "a/src/b.rs", &long), [501]);
        let tested = format!("{}#[cfg(test)]\nmod tests {{\n{long}}}\n", "\n".repeat(500));
        assert_eq!(lines(files_are_short, "a/src/b.rs", &tested), [0; 0]);
    }

    #[test]
    fn a_long_function_is_found() {
        let function =
            |body_lines| format!("\nfn long(a: [u8; 3]) {{\n{}}}\n", "    \"}\"; // }\n".repeat(body_lines));
        assert_eq!(lines(functions_are_short, "a/src/b.rs", &function(69)), [2]);
        assert_eq!(lines(functions_are_short, "a/src/b.rs", &function(68)), [0; 0]);
        let declared = format!("trait A {{ fn a();\n{} }}", "\n".repeat(100));
        assert_eq!(lines(functions_are_short, "a/src/b.rs", &declared), [0; 0]);
        let pointer = format!("struct A {{ a: fn(u8), {} }}", "\n".repeat(100));
        assert_eq!(lines(functions_are_short, "a/src/b.rs", &pointer), [0; 0]);
    }

    #[test]
    fn logic_in_a_folder_file_is_found() {
        let good = "//! Docs.\n#![forbid(unsafe_code)]\n\n#[cfg(unix)]\npub(crate) mod a;\nmod b;\npub use a::{B, C};\nuse b::D;\n";
        assert_eq!(lines(folder_files_hold_no_logic, "a/src/lib.rs", good), [0; 0]);
        for bad in ["const A: u8 = 1;\n", "fn a() {}\n", "mod c { fn d() {} }\n", "pub struct E;\n"] {
            let text = format!("{good}\n{bad}");
            assert_eq!(lines(folder_files_hold_no_logic, "a/src/b/mod.rs", &text), [10], "{bad}");
            assert_eq!(lines(folder_files_hold_no_logic, "a/src/b/c.rs", &text), [0; 0]);
        }
    }

    #[test]
    fn a_file_without_docs_is_found() {
        assert_eq!(lines(files_begin_with_docs, "a/src/b.rs", "use c;\n//! late\n"), [1]);
        assert_eq!(lines(files_begin_with_docs, "a/src/b.rs", "//! What b is.\n"), [0; 0]);
    }
}
