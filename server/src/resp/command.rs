//! The commands: each with its name, how many words it takes, and where its keys stand. Names are read in any case.

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) verb: Verb,
    /// In small letters.
    pub(crate) name: &'static str,
    /// Words with the name; negative: at least so many.
    pub(crate) arity: i64,
    /// As `COMMAND` tells them.
    pub(crate) flags: &'static [&'static str],
    /// First key, last key (negative: from the end), step; zeros: it has none.
    pub(crate) keys: (i64, i64, i64),
}

/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 8;

const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "denyoom"];
const REMOVE: &[&str] = &["write"];
const CONNECTION: &[&str] = &["noscript", "loading", "stale", "fast"];
const ALL_KEYS: &[&str] = &["readonly"];
const ONE: (i64, i64, i64) = (1, 1, 1);
const EVERY: (i64, i64, i64) = (1, -1, 1);
const NONE: (i64, i64, i64) = (0, 0, 0);

macro_rules! commands {
    ($($verb:ident $name:literal $arity:literal $flags:ident $keys:expr;)*) => {
        /// What a command is to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Verb { $($verb,)* }

        /// Every command, in the order of [`Verb`].
        pub(crate) const COMMANDS: &[Spec] = &[
            $(Spec { verb: Verb::$verb, name: $name, arity: $arity, flags: $flags, keys: $keys },)*
        ];

        const FOLDED: [[u8; NAME_BYTES_MAX]; COMMANDS.len()] = [$(fold($name.as_bytes()),)*];
    };
}

commands! {
    Get "get" 2 READ ONE;
    Set "set" -3 WRITE ONE;
    Append "append" 3 WRITE ONE;
    Auth "auth" -2 CONNECTION NONE;
    Client "client" -2 CONNECTION NONE;
    Command "command" -1 CONNECTION NONE;
    Config "config" -2 CONNECTION NONE;
    DbSize "dbsize" 1 ALL_KEYS NONE;
    Decr "decr" 2 WRITE ONE;
    DecrBy "decrby" 3 WRITE ONE;
    Del "del" -2 REMOVE EVERY;
    Echo "echo" 2 CONNECTION NONE;
    Exists "exists" -2 READ EVERY;
    FlushDb "flushdb" -1 REMOVE NONE;
    GetDel "getdel" 2 REMOVE ONE;
    GetSet "getset" 3 WRITE ONE;
    Hello "hello" -1 CONNECTION NONE;
    Incr "incr" 2 WRITE ONE;
    IncrBy "incrby" 3 WRITE ONE;
    Info "info" -1 CONNECTION NONE;
    Mget "mget" -2 READ EVERY;
    Mset "mset" -3 WRITE (1, -1, 2);
    Ping "ping" -1 CONNECTION NONE;
    Quit "quit" -1 CONNECTION NONE;
    Reset "reset" 1 CONNECTION NONE;
    Scan "scan" -2 ALL_KEYS NONE;
    Select "select" 2 CONNECTION NONE;
    SetNx "setnx" 3 WRITE ONE;
    Strlen "strlen" 2 READ ONE;
    Type "type" 2 READ ONE;
    Unlink "unlink" -2 REMOVE EVERY;
}

/// How many commands there are.
pub const VERBS_COUNT: usize = COMMANDS.len();

/// Their names, in the order of [`Verb`].
pub(crate) fn verb_names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|spec| spec.name)
}

impl Verb {
    /// The verb of that name.
    #[inline]
    pub(crate) fn named(name: &[u8]) -> Option<Verb> {
        if name.len() > NAME_BYTES_MAX || !name.iter().all(u8::is_ascii_alphabetic) {
            return None;
        }
        let folded = fold(name);
        let at = FOLDED.iter().position(|known| *known == folded)?;
        Some(COMMANDS[at].verb)
    }

    /// Whether it has exactly one key, its first word.
    #[inline]
    pub(crate) fn has_one_key(self) -> bool {
        self.spec().keys == ONE
    }

    /// Whether it changes what is stored.
    #[inline]
    pub(crate) fn writes(self) -> bool {
        self.spec().flags.contains(&"write")
    }

    pub(crate) fn spec(self) -> &'static Spec {
        &COMMANDS[self as usize]
    }

    /// Whether a command of so many words, the name among them, can be this one.
    #[inline]
    pub(crate) fn takes(self, words: usize) -> bool {
        match self.spec().arity {
            exact @ 0.. => words as i64 == exact,
            least => words as i64 >= -least,
        }
    }
}

/// A name of letters in capitals, filled up with zeros.
const fn fold(name: &[u8]) -> [u8; NAME_BYTES_MAX] {
    let mut folded = [0; NAME_BYTES_MAX];
    let mut at = 0;
    while at < name.len() {
        folded[at] = name[at].to_ascii_uppercase();
        at += 1;
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        for spec in COMMANDS {
            assert_eq!(Verb::named(spec.name.as_bytes()), Some(spec.verb));
            assert_eq!(Verb::named(spec.name.to_uppercase().as_bytes()), Some(spec.verb));
            assert_eq!(spec.verb.spec().name, spec.name, "the table is in the order of the verbs");
        }
        for name in ["", "ge", "gett", "get ", "incrbyfloat", "g\0t"] {
            assert_eq!(Verb::named(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn words_are_counted() {
        assert!(Verb::Get.takes(2) && !Verb::Get.takes(1) && !Verb::Get.takes(3));
        assert!(Verb::Del.takes(2) && Verb::Del.takes(9) && !Verb::Del.takes(1));
    }
}
