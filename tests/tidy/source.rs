//! Source files as the rules see them: code, comments and strings told apart, and where the tests begin.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Folders that hold no source of ours.
const SKIPPED_FOLDERS: &[&str] = &["target", "node_modules"];

/// All source of the repository.
pub(crate) struct Repository {
    /// Rust files, by path.
    pub(crate) files: Vec<Source>,
    /// `Cargo.toml` files: path and text.
    pub(crate) manifests: Vec<(String, String)>,
}

/// One Rust file. `text`, `code` and `comments` have the same length and the same line ends: what does not belong
/// is blank, so that a place in one is the same place in the others.
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// Code alone; strings keep their quotes.
    pub(crate) code: String,
    /// Comments alone, their slashes included.
    pub(crate) comments: String,
    /// Where the tests at its foot begin (its length when there are none, 0 when all of it is tests).
    pub(crate) tests_start: usize,
}

impl Repository {
    /// Reads everything under `root`.
    ///
    /// # Panics
    /// When it cannot be read.
    pub(crate) fn read(root: &Path) -> Repository {
        let mut found = Vec::new();
        walk(root, "", &mut found);
        found.sort();
        let texts: Vec<(&str, &str)> =
            found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        Repository::of(&texts)
    }

    /// A repository of these files: path and text.
    pub(crate) fn of(texts: &[(&str, &str)]) -> Repository {
        let (rust, manifests): (Vec<_>, Vec<_>) = texts.iter().partition(|(path, _)| path.ends_with(".rs"));
        let mut files: Vec<Source> = rust.into_iter().map(|(path, text)| Source::new(path, text)).collect();
        let tests: HashSet<String> = files.iter().flat_map(Source::test_modules).collect();
        for file in &mut files {
            let own = |path: &String| {
                file.path == format!("{path}.rs") || file.path.starts_with(&format!("{path}/"))
            };
            if tests.iter().any(own) {
                file.tests_start = 0;
            }
        }
        let owned = |(path, text): (&str, &str)| (path.to_owned(), text.to_owned());
        Repository { files, manifests: manifests.into_iter().map(owned).collect() }
    }

    /// Files of which no part ships: tests, benches, fuzz targets, and the crate that holds this.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().filter(|file| !file.is_test())
    }
}

fn walk(directory: &Path, prefix: &str, found: &mut Vec<(String, String)>) {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.unwrap_or_else(|error| panic!("cannot read {}: {error}", directory.display()));
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (path, shown) = (entry.path(), format!("{prefix}{name}"));
        if path.is_dir() {
            if !name.starts_with('.') && !SKIPPED_FOLDERS.contains(&name.as_str()) {
                walk(&path, &format!("{shown}/"), found);
            }
        } else if name.ends_with(".rs") || name == "Cargo.toml" {
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {shown}: {error}"));
            found.push((shown, text));
        }
    }
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let (code, comments) = split(text);
        let tests_start = tests_start(&code);
        Source { path: path.to_owned(), text: text.to_owned(), code, comments, tests_start }
    }

    /// Whether the file ships to no user.
    pub(crate) fn is_test(&self) -> bool {
        let path = format!("/{}", self.path);
        self.tests_start == 0
            || ["/tests/", "/benches/", "/fuzz/", "/examples/"].iter().any(|folder| path.contains(folder))
    }

    /// The code before the tests.
    pub(crate) fn shipped_code(&self) -> &str {
        &self.code[..self.tests_start]
    }

    /// Number of the line, from 1, on which byte `at` stands.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count()
    }

    /// Modules that only tests are compiled with: their paths without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let home = match name {
            "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
            _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
        };
        let declared = self.code.match_indices("#[cfg(test)]").filter_map(|(at, attribute)| {
            let item = after_attributes(&self.code[at + attribute.len()..]);
            let name = item.trim_start_matches("pub(crate) ").strip_prefix("mod ")?;
            let end = name.find([';', '{'])?;
            name[end..].starts_with(';').then(|| format!("{home}/{}", name[..end].trim()))
        });
        declared.collect()
    }
}

/// Where `#[cfg(test)] mod … {` stands first.
fn tests_start(code: &str) -> usize {
    let modules = code.match_indices("#[cfg(test)]").filter(|(at, attribute)| {
        let item = after_attributes(&code[at + attribute.len()..]);
        let end = item.find([';', '{']).unwrap_or(0);
        item.starts_with("mod ") && item[end..].starts_with('{')
    });
    modules.map(|(at, _)| at).next().unwrap_or(code.len())
}

/// What follows the attributes at the start of `code`.
pub(crate) fn after_attributes(code: &str) -> &str {
    let mut rest = code.trim_start();
    while let Some(open) = rest.strip_prefix('#').map(|rest| rest.trim_start_matches('!')) {
        let Some(inside) = open.strip_prefix('[') else { break };
        let mut depth = 1;
        let end = inside.find(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            depth == 0
        });
        rest = end.map_or("", |end| inside[end + 1..].trim_start());
    }
    rest
}

/// Places where `word` stands in `code` by itself: not within a longer name.
pub(crate) fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let in_name = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = code.as_bytes();
    let open_end = !in_name(word.as_bytes().last());
    let open_start = !in_name(word.as_bytes().first());
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        (open_start || !in_name(before)) && (open_end || !in_name(bytes.get(at + word.len())))
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Code,
    Comment,
    Text,
}

/// Code and comments of `text`, each with blanks for the rest.
fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let mut classes = Vec::with_capacity(bytes.len());
    while classes.len() < bytes.len() {
        let at = classes.len();
        let (class, len) = token(&text[at..], at.checked_sub(1).map(|before| bytes[before]));
        if class == Class::Text {
            // The quotes stay, so that a rule can find the string's ends.
            classes.push(Class::Code);
            classes.resize(at + len - 1, Class::Text);
            classes.push(Class::Code);
        } else {
            classes.resize(at + len, class);
        }
    }
    let keep = |class: Class| {
        let kept = bytes
            .iter()
            .zip(&classes)
            .map(|(&byte, &its)| if its == class || byte == b'\n' { byte } else { b' ' });
        String::from_utf8(kept.collect()).expect("tokens end where characters end")
    };
    (keep(Class::Code), keep(Class::Comment))
}

/// Class and length of what `rest` begins with; `before` is the byte in front of it.
fn token(rest: &str, before: Option<u8>) -> (Class, usize) {
    let bytes = rest.as_bytes();
    let in_name = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if rest.starts_with("//") {
        return (Class::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Class::Comment, block_comment(rest));
    }
    if bytes[0] == b'"' {
        return (Class::Text, quoted(bytes, b'"'));
    }
    if !in_name && let Some(len) = raw_string(rest) {
        return (Class::Text, len);
    }
    if bytes[0] == b'\'' {
        let character = rest[1..].chars().next().map_or(0, char::len_utf8);
        let escaped = bytes.get(1) == Some(&b'\\');
        if escaped || bytes.get(1 + character) == Some(&b'\'') {
            return (Class::Text, if escaped { quoted(bytes, b'\'') } else { character + 2 });
        }
    }
    (Class::Code, rest.chars().next().map_or(1, char::len_utf8))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.as_bytes()[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Length of `r"…"`, `br#"…"#` and their like.
fn raw_string(rest: &str) -> Option<usize> {
    let marked = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let hashes = marked.len() - marked.trim_start_matches('#').len();
    let inside = marked[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let inside_bytes = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(rest.len() - inside.len() + inside_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_told_from_code() {
        let text = "a /* b /* c */ d */ e // f\n\"g // \\\" h\" i 'j' '\\'' &'k str br#\"l\"m\"# n";
        let (code, comments) = split(text);
        assert_eq!(code.len(), text.len());
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&code), "a e \" \" i ' ' ' ' &'k str b # n");
        assert_eq!(words(&comments), "/* b /* c */ d */ // f");
    }

    #[test]
    fn tests_begin_at_their_module() {
        let text = "#[cfg(test)]\nmod away;\nfn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {}\n";
        let source = Source::new("server/src/store/mod.rs", text);
        assert_eq!(source.line_of(source.tests_start), 4);
        assert_eq!(source.test_modules(), ["server/src/store/away"]);
        let leaf = Source::new("server/src/store/table.rs", text);
        assert_eq!(leaf.test_modules(), ["server/src/store/table/away"]);
    }

    #[test]
    fn a_module_of_tests_is_all_tests() {
        let repository =
            Repository::of(&[("a/src/mod.rs", "#[cfg(test)]\nmod away;\n"), ("a/src/away.rs", "fn a() {}")]);
        let away: Vec<bool> = repository.files.iter().map(Source::is_test).collect();
        assert_eq!(away, [false, true]);
    }

    #[test]
    fn words_stand_by_themselves() {
        assert_eq!(places("mio::Poll amio::x mio::y", "mio::").collect::<Vec<_>>(), [0, 18]);
        assert_eq!(places("unsafe not_unsafe unsafely", "unsafe").collect::<Vec<_>>(), [0]);
        assert_eq!(places("a.unwrap() b.unwrap()", ".unwrap()").count(), 2);
    }
}
