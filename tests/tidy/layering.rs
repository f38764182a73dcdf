//! Which part may use which.

use crate::finding::Finding;
use crate::source::{Repository, Source, places};

/// Words that a part of the source may not use.
struct Ban {
    /// Paths begin with one of these.
    under: &'static [&'static str],
    /// But with none of these.
    except: &'static [&'static str],
    words: &'static [&'static str],
    /// What to do.
    instead: &'static str,
}

const SOCKETS: Ban = Ban {
    under: &[""],
    except: &["server/src/net/", "client/src/connection.rs", "client/src/connection/", "client/src/bench/"],
    words: &["mio::", "TcpStream", "TcpListener"],
    instead: "sockets stay in server/src/net, client/src/connection and client/src/bench: hand over bytes or a SocketAddr",
};

const LAYERS: &[Ban] = &[
    Ban {
        under: &["server/src/store/"],
        except: &[],
        words: &[
            "net::",
            "cluster::",
            "dispatch::",
            "crate::net",
            "crate::cluster",
            "crate::dispatch",
            "mio",
        ],
        instead: "the store knows nothing of sockets, requests or the cluster: pass in what it needs",
    },
    Ban {
        under: &["server/src/replication/", "server/src/cluster/"],
        except: &["server/src/cluster/driver"],
        words: &["crate::net", "super::net", "mio", "Instant::now", "SystemTime"],
        instead: "a state machine neither sends nor reads a clock: take `now` and events as arguments",
    },
    Ban {
        under: &["protocol/src/"],
        except: &[],
        words: &["std::net", "std::thread", "std::time", "dht_server", "dht_client"],
        instead: "the protocol is pure: no sockets, no threads, no clock, and no other crate of ours",
    },
    Ban {
        under: &["client/src/"],
        except: &["client/src/test_cluster"],
        words: &["dht_server"],
        instead: "the client knows only dht_protocol (its feature test-cluster apart)",
    },
    Ban {
        under: &["server/src/"],
        except: &[],
        words: &["dht_client"],
        instead: "the server never uses the client",
    },
];

const SLOW_MAPS: Ban = Ban {
    under: &[
        "server/src/store/",
        "server/src/dispatch/",
        "server/src/net/",
        "server/src/replication/",
        "protocol/",
    ],
    except: &[],
    words: &["HashMap"],
    instead: "std's hash map is too slow and too large here: use the table, a sorted list or a slab",
};

const PRINTS: Ban = Ban {
    under: &[""],
    except: &[
        "client/src/bin/",
        "client/src/cli/",
        "client/src/bench/",
        "server/src/launcher",
        "server/src/start",
    ],
    words: &["println!", "eprintln!", "print!", "eprint!"],
    instead: "only programs speak to people: return the text, or log it",
};

impl Ban {
    fn findings(&self, repository: &Repository) -> Vec<Finding> {
        let concerns = |file: &&Source| {
            let begins = |with: &[&str]| with.iter().any(|start| file.path.starts_with(start));
            begins(self.under) && !begins(self.except)
        };
        repository.shipped().filter(concerns).flat_map(|file| self.findings_in(file)).collect()
    }

    fn findings_in(&self, file: &Source) -> Vec<Finding> {
        let code = file.shipped_code();
        let used = self.words.iter().flat_map(|word| places(code, word).map(move |at| (at, *word)));
        let mut found: Vec<(usize, &str)> = used.map(|(at, word)| (file.line_of(at), word)).collect();
        found.sort_unstable();
        found.dedup_by_key(|(line, _)| *line);
        let finding =
            |(line, word)| Finding::new(&file.path, line, format!("`{word}` here: {}", self.instead));
        found.into_iter().map(finding).collect()
    }
}

/// The table never sees a socket, the codec never sees a thread.
pub(crate) fn only_net_touches_sockets(repository: &Repository) -> Vec<Finding> {
    SOCKETS.findings(repository)
}

/// Layers, in the source and in the manifests.
pub(crate) fn parts_use_only_what_they_may(repository: &Repository) -> Vec<Finding> {
    let mut findings: Vec<Finding> = LAYERS.iter().flat_map(|ban| ban.findings(repository)).collect();
    for (path, text) in &repository.manifests {
        let mut shipped = true;
        for (at, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                shipped = !line.contains("dev-dependencies");
            }
            findings.extend(
                refused_dependency(path, line)
                    .filter(|_| shipped)
                    .map(|message| Finding::new(path, at + 1, message)),
            );
        }
    }
    findings
}

fn refused_dependency(path: &str, line: &str) -> Option<&'static str> {
    let names = |name| line.strip_prefix(name).is_some_and(|rest: &str| rest.starts_with([' ', '.', '=']));
    match path {
        "client/Cargo.toml" if names("dht-server") && !line.contains("optional = true") => {
            Some("the client uses the server only for its feature test-cluster: make this `optional = true`")
        }
        "server/Cargo.toml" if names("dht-client") => Some("the server never uses the client: drop this"),
        "protocol/Cargo.toml" if names("dht-client") || names("dht-server") => {
            Some("the protocol uses no other crate of ours: drop this")
        }
        _ => None,
    }
}

/// The hot path has its own tables.
pub(crate) fn no_slow_hash_maps(repository: &Repository) -> Vec<Finding> {
    SLOW_MAPS.findings(repository)
}

/// Libraries do not print.
pub(crate) fn only_programs_print(repository: &Repository) -> Vec<Finding> {
    let mut findings = PRINTS.findings(repository);
    // Every `main.rs` is a program.
    findings.retain(|finding| !finding.to_string().contains("/main.rs:"));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    #[test]
    fn a_socket_outside_net_is_found() {
        let text = "//! No TcpStream in words.\nuse mio::Poll;\nuse std::net::{SocketAddr, TcpListener};\n\
                    const A: &str = \"mio::\";\n";
        assert_eq!(lines(only_net_touches_sockets, "server/src/store/table.rs", text), [2, 3]);
        assert_eq!(lines(only_net_touches_sockets, "client/src/pool.rs", text), [2, 3]);
        for allowed in [
            "server/src/net/worker.rs",
            "client/src/connection.rs",
            "client/src/connection/read.rs",
            "client/src/bench/run.rs",
            "tests/suite/doors.rs",
        ] {
            assert_eq!(lines(only_net_touches_sockets, allowed, text), [0; 0], "{allowed}");
        }
        let tested = format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
        assert_eq!(lines(only_net_touches_sockets, "client/src/pool.rs", &tested), [0; 0]);
    }

    #[test]
    fn a_use_across_layers_is_found() {
        let rule = parts_use_only_what_they_may;
        for (path, line) in [
            ("server/src/store/table.rs", "use crate::net::Worker;"),
            ("server/src/store/table.rs", "use crate::{cluster::Map, limits};"),
            ("server/src/store/table.rs", "use crate::dispatch;"),
            ("server/src/store/table.rs", "fn poll(poll: mio::Poll) {}"),
            ("server/src/replication/log.rs", "use crate::net::PeerLink;"),
            ("server/src/cluster/membership.rs", "fn now() { Instant::now(); }"),
            ("server/src/cluster/membership.rs", "use std::time::SystemTime;"),
            ("protocol/src/map.rs", "use std::net::SocketAddr;"),
            ("protocol/src/map.rs", "use std::time::Duration;"),
            ("protocol/src/map.rs", "use std::thread;"),
            ("client/src/pool.rs", "use dht_server::store;"),
            ("server/src/config.rs", "use dht_client::Client;"),
        ] {
            assert_eq!(lines(rule, path, &format!("//! A.\n{line}\n")), [2], "{path}: {line}");
        }
        for (path, line) in [
            ("server/src/cluster/driver.rs", "fn now() { Instant::now(); }"),
            ("server/src/cluster/membership.rs", "use std::net::SocketAddr; use std::time::Instant;"),
            ("server/src/net/worker.rs", "use crate::store::Table;"),
            ("server/src/store/table.rs", "use crate::limits; fn subnet() {}"),
            ("client/src/test_cluster.rs", "use dht_server::Daemon;"),
        ] {
            assert_eq!(lines(rule, path, line), [0; 0], "{path}: {line}");
        }
    }

    #[test]
    fn a_dependency_across_layers_is_found() {
        let rule = parts_use_only_what_they_may;
        let text = |line: &str| format!("[dependencies]\n{line}\n[dev-dependencies]\n{line}\n");
        assert_eq!(lines(rule, "client/Cargo.toml", &text("dht-server.workspace = true")), [2]);
        assert_eq!(lines(rule, "server/Cargo.toml", &text("dht-client = { path = \"../client\" }")), [2]);
        assert_eq!(lines(rule, "protocol/Cargo.toml", &text("dht-server.workspace = true")), [2]);
        let optional = "dht-server = { workspace = true, optional = true }";
        assert_eq!(lines(rule, "client/Cargo.toml", &text(optional)), [0; 0]);
        assert_eq!(lines(rule, "tests/Cargo.toml", &text("dht-server.workspace = true")), [0; 0]);
    }

    #[test]
    fn a_hash_map_on_the_hot_path_is_found() {
        let text = "//! A HashMap in words.\nuse std::collections::{BTreeMap, HashMap};\n";
        for path in [
            "server/src/store/a.rs",
            "server/src/dispatch/a.rs",
            "server/src/net/a.rs",
            "server/src/replication/a.rs",
            "protocol/src/a.rs",
        ] {
            assert_eq!(lines(no_slow_hash_maps, path, text), [2], "{path}");
        }
        assert_eq!(lines(no_slow_hash_maps, "client/src/router.rs", text), [0; 0]);
    }

    #[test]
    fn printing_in_a_library_is_found() {
        let text = "//! A.\nfn a() {\n    println!(\"a\");\n    eprint!(\"a\");\n    log::info!(\"a\");\n}\n";
        assert_eq!(lines(only_programs_print, "client/src/pool.rs", text), [3, 4]);
        for allowed in [
            "server/src/main.rs",
            "client/src/bin/dht.rs",
            "client/src/cli/get.rs",
            "client/src/bench/run.rs",
            "server/src/launcher.rs",
            "server/src/start/node.rs",
            "tests/harness/a.rs",
        ] {
            assert_eq!(lines(only_programs_print, allowed, text), [0; 0], "{allowed}");
        }
    }
}
