//! The house rules, held against the source of this repository. A finding names file and line and says what to
//! do. Each rule is tested on a snippet that breaks it: a rule that cannot fail is a wish.
//!
//! ```text
//! source.rs     a file with its strings and comments told apart from its code
//! finding.rs    what a rule says
//! shape.rs      sizes of files and functions, what folder files hold, how files begin
//! layering.rs   which part may use which
//! unsafety.rs   where unsafe code may stand, and what must stand above it
//! words.rs      notes to oneself, and ways to panic
//! ```

mod finding;
mod layering;
mod shape;
mod source;
mod unsafety;
mod words;

use finding::Finding;
use source::Repository;

/// A rule: looks at everything, says what is wrong.
type Rule = fn(&Repository) -> Vec<Finding>;

const RULES: &[(&str, Rule)] = &[
    ("files end after 500 lines", shape::files_are_short),
    ("functions end after 70 lines", shape::functions_are_short),
    ("mod.rs and lib.rs hold no logic", shape::folder_files_hold_no_logic),
    ("files begin with what they are about", shape::files_begin_with_docs),
    ("only net touches sockets", layering::only_net_touches_sockets),
    ("who may use whom", layering::parts_use_only_what_they_may),
    ("no slow hash map on the hot path", layering::no_slow_hash_maps),
    ("only programs print", layering::only_programs_print),
    ("crates rule unsafe code out", unsafety::crates_rule_unsafe_out),
    ("unsafe code stands in listed files only", unsafety::only_listed_files_are_unsafe),
    ("unsafe code says why it is sound", unsafety::unsafe_code_says_why),
    ("notes name owner and trigger", words::notes_name_owner_and_trigger),
    ("no placeholder macros", words::no_placeholder_macros),
    ("panics state their invariant", words::panics_state_their_invariant),
];

#[test]
fn the_repository_keeps_the_house_rules() {
    let repository = Repository::read(dht_tests::binaries::repository());
    assert!(repository.files.len() > 20, "the walk finds the source");
    let mut text = String::new();
    for (name, rule) in RULES {
        let findings = rule(&repository);
        if !findings.is_empty() {
            text += &format!("\n{name}:\n");
            text.extend(findings.iter().map(|finding| format!("  {finding}\n")));
        }
    }
    assert!(text.is_empty(), "{text}");
}
