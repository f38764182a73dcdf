//! The list of end-to-end tests: what each is called, which tools from outside it needs, and what becomes of it
//! where one is missing.

use std::collections::HashSet;
use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use libtest_mimic::{Completion, Failed, Trial};

/// Set to `1`, it makes a test fail whose tool is missing (for machines that have them all).
pub(crate) const REQUIRE_TOOLS: &str = "DHT_REQUIRE_TOOLS";

/// One test.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    name: &'static str,
    needs: &'static [&'static str],
    is_heavy: bool,
    run: fn(),
}

/// Held while a heavy test runs.
static HEAVY: Mutex<()> = Mutex::new(());

/// Which programs of other projects are there.
pub(crate) struct Tools {
    directories: Vec<PathBuf>,
    required: bool,
}

impl Case {
    /// A test that needs nothing but our own programs. It fails by a panic.
    pub(crate) const fn new(name: &'static str, run: fn()) -> Case {
        Case { name, needs: &[], is_heavy: false, run }
    }

    /// What it is called.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// With tools that must be on the `PATH`.
    pub(crate) const fn needs(mut self, tools: &'static [&'static str]) -> Case {
        self.needs = tools;
        self
    }

    /// Takes much of the machine (descriptors, memory, processors): no other such test runs at the same time.
    pub(crate) const fn heavy(mut self) -> Case {
        self.is_heavy = true;
        self
    }
}

impl Tools {
    /// What the `PATH` holds, and whether missing ones are a failure.
    pub(crate) fn of_this_machine() -> Tools {
        let path = env::var_os("PATH").unwrap_or_default();
        Tools {
            directories: env::split_paths(&path).collect(),
            required: env::var_os(REQUIRE_TOOLS).is_some_and(|value| value == "1"),
        }
    }

    fn has(&self, tool: &str) -> bool {
        self.directories.iter().any(|directory| directory.join(tool).is_file())
    }
}

/// The tests as the runner takes them.
///
/// # Panics
/// When two have the same name.
pub(crate) fn trials(cases: &[Case], tools: &Tools) -> Vec<Trial> {
    if let Some(name) = double(cases) {
        panic!("two tests are called {name}: rename one");
    }
    cases.iter().map(|&case| trial(case, tools)).collect()
}

fn double(cases: &[Case]) -> Option<&'static str> {
    let mut seen = HashSet::new();
    cases.iter().map(|case| case.name).find(|&name| !seen.insert(name))
}

fn trial(case: Case, tools: &Tools) -> Trial {
    let (name, run) = (case.name, case.run);
    match fate(&case, tools) {
        // The runner catches a panic and shows its message with the test's name.
        Fate::Run => Trial::test(name, move || {
            // One that failed leaves nothing behind that matters to the next.
            let _turn = case.is_heavy.then(|| HEAVY.lock().unwrap_or_else(PoisonError::into_inner));
            run();
            Ok(())
        }),
        Fate::Ignore(reason) => {
            let kind = reason.clone();
            Trial::ignorable_test(name, || Ok(Completion::ignored_with(reason))).with_kind(kind)
        }
        Fate::Fail(reason) => Trial::test(name, || Err(Failed::from(reason))),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Run,
    Ignore(String),
    Fail(String),
}

fn fate(case: &Case, tools: &Tools) -> Fate {
    let missing: Vec<&str> = case.needs.iter().copied().filter(|tool| !tools.has(tool)).collect();
    match (missing.is_empty(), tools.required) {
        (true, _) => Fate::Run,
        (false, false) => Fate::Ignore(format!("no {} here", missing.join(", no "))),
        (false, true) => {
            Fate::Fail(format!("{REQUIRE_TOOLS}=1 and no {} here: install it", missing.join(", no ")))
        }
    }
}

/// The registry's own tests.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("registry::a_missing_tool_is_named_and_its_test_ignored", missing_tools_are_ignored),
        Case::new("registry::a_missing_tool_is_a_failure_where_all_are_required", missing_tools_fail),
        Case::new("registry::two_tests_cannot_have_one_name", two_tests_cannot_have_one_name),
    ]
}

const NEEDY: Case = Case::new("needy", || ()).needs(&["sh", "dht-no-such-tool"]);

fn missing_tools_are_ignored() {
    let tools = Tools { required: false, ..Tools::of_this_machine() };
    assert_eq!(fate(&NEEDY, &tools), Fate::Ignore("no dht-no-such-tool here".to_owned()));
    assert_eq!(fate(&Case::new("modest", || ()).needs(&["sh"]), &tools), Fate::Run);
}

fn missing_tools_fail() {
    let tools = Tools { required: true, ..Tools::of_this_machine() };
    assert!(matches!(fate(&NEEDY, &tools), Fate::Fail(reason) if reason.contains("dht-no-such-tool")));
    assert_eq!(fate(&Case::new("modest", || ()), &tools), Fate::Run);
}

fn two_tests_cannot_have_one_name() {
    let other = Case::new("other", || ());
    assert_eq!(double(&[NEEDY, other, NEEDY]), Some("needy"));
    assert_eq!(double(&[NEEDY, other]), None);
}
