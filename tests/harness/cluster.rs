//! A static cluster of daemons on this machine. Each binds a port that the system chooses, says which, and is
//! then told all members on its standard input; it lives as long as that stays open.

use crate::daemon::Daemon;

/// Daemons that know each other.
#[derive(Debug)]
pub struct Cluster {
    daemons: Vec<Daemon>,
    arguments: Vec<String>,
}

impl Cluster {
    /// Starts `nodes_count` daemons.
    ///
    /// # Panics
    /// When one does not get ready.
    #[must_use]
    #[track_caller]
    pub fn start(nodes_count: usize) -> Cluster {
        Cluster::start_with(nodes_count, &[])
    }

    /// Starts `nodes_count` daemons, each with `arguments` too.
    ///
    /// # Panics
    /// When one does not get ready.
    #[must_use]
    #[track_caller]
    pub fn start_with(nodes_count: usize, arguments: &[&str]) -> Cluster {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let daemons = (0..nodes_count).map(|_| member("127.0.0.1:0", &arguments)).collect();
        let mut cluster = Cluster { daemons, arguments };
        let members = cluster.members_line();
        for daemon in &mut cluster.daemons {
            daemon.write_stdin(members.as_bytes());
        }
        cluster
    }

    /// The list for `--servers`: all addresses, separated by commas.
    #[must_use]
    pub fn servers(&self) -> String {
        self.addresses().collect::<Vec<_>>().join(",")
    }

    /// `HOST:PORT` of each daemon, in the order of their start.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.daemons.iter().map(Daemon::address)
    }

    /// The daemons, in the order of their start.
    #[must_use]
    pub fn daemons(&self) -> &[Daemon] {
        &self.daemons
    }

    /// One daemon, to stop, signal or ask.
    ///
    /// # Panics
    /// When there is none of that number.
    pub fn daemon(&mut self, at: usize) -> &mut Daemon {
        &mut self.daemons[at]
    }

    /// Starts a daemon again, on the address that it had, after its end.
    ///
    /// # Panics
    /// When it still runs, or does not get ready.
    #[track_caller]
    pub fn restart(&mut self, at: usize) {
        assert!(!self.daemons[at].is_running(), "member {at} still runs: kill it first");
        let address = self.daemons[at].address().to_owned();
        let members = self.members_line();
        self.daemons[at] = member(&address, &self.arguments);
        self.daemons[at].write_stdin(members.as_bytes());
    }

    fn members_line(&self) -> String {
        self.servers() + "\n"
    }
}

#[track_caller]
fn member(listen: &str, arguments: &[String]) -> Daemon {
    let mut all = vec!["--listen", listen, "--members", "-"];
    all.extend(arguments.iter().map(String::as_str));
    Daemon::start(&all)
}
