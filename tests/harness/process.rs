//! A child process under test. Whatever it prints is kept, so that a failure can show it, and it never outlives
//! the test: it is killed when dropped.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::wait::{PATIENCE, wait_for};

/// Most bytes kept of one stream; what comes after is read and dropped.
pub const CAPTURE_BYTES_MAX: usize = 64 << 20;

/// Most bytes of one stream that a report shows, from its end.
const REPORT_BYTES_MAX: usize = 16 << 10;

/// How long the streams of a process that has ended may take to end as well (a grandchild may hold them open).
const STREAM_END: Duration = Duration::from_secs(2);

/// A running or ended child.
#[derive(Debug)]
pub struct Process {
    /// Command and directory, for reports.
    title: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Capture,
    stderr: Capture,
    ended: Option<ExitStatus>,
}

/// What a thread has read of one stream so far.
#[derive(Clone, Debug)]
struct Capture(Arc<Mutex<Captured>>);

#[derive(Debug, Default)]
struct Captured {
    bytes: Vec<u8>,
    ended: bool,
}

impl Process {
    /// Starts `command` with all three streams piped and no `DHT_…` variable inherited.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Process {
        let title = title(command);
        for (name, _) in std::env::vars_os() {
            let ours = name.to_string_lossy().starts_with("DHT_");
            if ours && !command.get_envs().any(|(set, _)| set == name) {
                command.env_remove(&name);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start: {error}\n{title}"),
        };
        Process {
            title,
            stdin: child.stdin.take(),
            stdout: Capture::of(child.stdout.take().expect("standard output is piped")),
            stderr: Capture::of(child.stderr.take().expect("standard error is piped")),
            child,
            ended: None,
        }
    }

    /// Id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All of standard output so far, bytes that are no UTF-8 replaced.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout_bytes()).into_owned()
    }

    /// All of standard output so far.
    #[must_use]
    pub fn stdout_bytes(&self) -> Vec<u8> {
        self.stdout.with(|captured| captured.bytes.clone())
    }

    /// All of standard error so far, bytes that are no UTF-8 replaced.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.with(|captured| String::from_utf8_lossy(&captured.bytes).into_owned())
    }

    /// Waits for a complete line of standard output of which `pick` makes something.
    ///
    /// # Panics
    /// When none comes within `deadline`, or the process ends before.
    #[track_caller]
    pub fn wait_for_line<T>(
        &mut self,
        deadline: Duration,
        what: &str,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let mut looked_bytes = 0;
        let found = wait_for(deadline, || {
            // Ended before looking: what is read now is all there is.
            let ended = self.stdout.with(|captured| captured.ended);
            let picked = self.stdout.with(|captured| {
                let new = &captured.bytes[looked_bytes..];
                let complete = new.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
                looked_bytes += complete;
                String::from_utf8_lossy(&new[..complete]).lines().find_map(&mut pick)
            });
            if picked.is_none() && ended { Some(None) } else { picked.map(Some) }
        });
        match found {
            Some(Some(picked)) => picked,
            Some(None) => {
                let _ = self.exit_within(STREAM_END);
                panic!("ended before {what} came\n{}", self.report())
            }
            None => panic!("waited {deadline:?} in vain for {what}\n{}", self.report()),
        }
    }

    /// Writes to standard input and leaves it open.
    ///
    /// # Panics
    /// When the process no longer reads.
    #[track_caller]
    pub fn write_stdin(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is still open");
        if let Err(error) = stdin.write_all(bytes).and_then(|()| stdin.flush()) {
            panic!("cannot write to standard input: {error}\n{}", self.report());
        }
    }

    /// Writes to standard input from a thread of its own, then closes it. A process that does not read to the end
    /// is in its right.
    pub fn feed_stdin(&mut self, bytes: Vec<u8>) {
        if let Some(mut stdin) = self.stdin.take() {
            thread::spawn(move || {
                let _ = stdin.write_all(&bytes);
            });
        }
    }

    /// Closes standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal by its name without `SIG`: `TERM`, `INT`, `STOP`, `CONT`, `KILL`.
    ///
    /// # Panics
    /// When it cannot be sent.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        // A child that was waited for has given up its id, which may be another's by now.
        assert!(self.ended.is_none(), "SIG{name} to a process that has ended\n{}", self.report());
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot send SIG{name}\n{}", self.report());
    }

    /// Stops the process, as Ctrl-Z does, and waits until none of its threads runs any more. `signal("CONT")` lets it
    /// go on.
    ///
    /// # Panics
    /// When it cannot be stopped.
    #[track_caller]
    pub fn pause(&self) {
        self.signal("STOP");
        let stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
            // The state comes behind the name, which stands in brackets and may hold any.
            stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
        };
        let tasks = format!("/proc/{}/task", self.id());
        let all_stopped = || std::fs::read_dir(&tasks).is_ok_and(|tasks| tasks.into_iter().all(stopped));
        assert!(
            wait_for(PATIENCE, || all_stopped().then_some(())).is_some(),
            "it does not stop\n{}",
            self.report()
        );
    }

    /// Kills the process and waits for its end. Nothing happens when it has ended already.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.exit_within(PATIENCE);
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.exit_within(Duration::ZERO).is_none()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not come within `deadline`.
    #[track_caller]
    pub fn wait_for_exit(&mut self, deadline: Duration) -> ExitStatus {
        match self.exit_within(deadline) {
            Some(status) => status,
            None => panic!("still running after {deadline:?}\n{}", self.report()),
        }
    }

    fn exit_within(&mut self, deadline: Duration) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = wait_for(deadline, || self.child.try_wait().ok().flatten());
            if self.ended.is_some() {
                wait_for(STREAM_END, || {
                    let ended = |capture: &Capture| capture.with(|captured| captured.ended);
                    (ended(&self.stdout) && ended(&self.stderr)).then_some(())
                });
            }
        }
        self.ended
    }

    /// Command, directory, how it ended, and the end of both streams.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.title.clone();
        match self.ended {
            Some(status) => write!(text, "\n  ended: {status}"),
            None => write!(text, "\n  process {}, running", self.id()),
        }
        .expect("writing to a string cannot fail");
        for (name, capture) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            text.push_str(&capture.with(|captured| section(name, &captured.bytes)));
        }
        text
    }
}

impl Drop for Process {
    /// Kills the process; in a test that failed, shows what it had to say.
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.exit_within(Duration::ZERO);
            let report = self.report();
            #[expect(clippy::print_stderr, reason = "the test's own report, captured as that is")]
            {
                eprint!("---- a process of the failed test:\n{report}\n");
            }
        }
        self.kill();
    }
}

impl Capture {
    /// Reads `stream` to its end in a thread.
    fn of(mut stream: impl Read + Send + 'static) -> Capture {
        let capture = Capture(Arc::default());
        let writer = capture.clone();
        thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            loop {
                match stream.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(read_bytes) => writer.with(|captured| {
                        let room = CAPTURE_BYTES_MAX - captured.bytes.len();
                        captured.bytes.extend_from_slice(&chunk[..read_bytes.min(room)]);
                    }),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            writer.with(|captured| captured.ended = true);
        });
        capture
    }

    fn with<T>(&self, look: impl FnOnce(&mut Captured) -> T) -> T {
        // Captured bytes are whole after every step, even that of a thread that panicked.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn title(command: &Command) -> String {
    let mut text = format!("  command: {}", command.get_program().display());
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
        match !argument.is_empty() && argument.chars().all(plain) {
            true => write!(text, " {argument}"),
            false => write!(text, " {argument:?}"),
        }
        .expect("writing to a string cannot fail");
    }
    let directory = match command.get_current_dir() {
        Some(directory) => directory.to_owned(),
        None => std::env::current_dir().unwrap_or_default(),
    };
    write!(text, "\n  directory: {}", directory.display()).expect("writing to a string cannot fail");
    text
}

fn section(name: &str, bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return format!("\n  {name}: nothing");
    }
    let skipped_bytes = bytes.len().saturating_sub(REPORT_BYTES_MAX);
    let mut text = format!("\n  {name}:");
    if skipped_bytes > 0 {
        write!(text, " (after {skipped_bytes} bytes)").expect("writing to a string cannot fail");
    }
    for line in String::from_utf8_lossy(&bytes[skipped_bytes..]).lines() {
        write!(text, "\n    {line}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::spawn(Command::new("sh").args(["-c", script]).current_dir("/"))
    }

    #[test]
    fn a_line_is_waited_for_and_everything_is_kept() {
        let mut process = shell("echo first; echo aside >&2; printf sec; sleep 0.05; echo ond; cat; exit 3");
        let line = process
            .wait_for_line(PATIENCE, "the second line", |line| line.strip_prefix("sec").map(str::to_owned));
        assert_eq!(line, "ond");
        process.write_stdin(b"and more\n");
        assert!(process.is_running());
        process.close_stdin();
        assert_eq!(process.wait_for_exit(PATIENCE).code(), Some(3));
        assert_eq!(process.stdout(), "first\nsecond\nand more\n");
        assert_eq!(process.stderr(), "aside\n");
        let report = process.report();
        for part in
            ["command: sh -c \"echo first", "directory: /\n", "exit status: 3", "    second", "    aside"]
        {
            assert!(report.contains(part), "{part:?} is missing in:\n{report}");
        }
    }

    #[test]
    #[should_panic(expected = "ended before a line that never comes came\n  command: sh")]
    fn an_early_end_is_not_waited_out() {
        shell("echo something else")
            .wait_for_line(PATIENCE, "a line that never comes", |line| line.contains("never").then_some(()));
    }

    #[test]
    #[should_panic(expected = "still running after 10ms")]
    fn a_late_end_is_reported() {
        shell("cat").wait_for_exit(Duration::from_millis(10));
    }

    #[test]
    fn a_signal_arrives() {
        let mut process = shell("trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        process.wait_for_line(PATIENCE, "the trap", |line| (line == "ready").then_some(()));
        process.signal("TERM");
        assert_eq!(process.wait_for_exit(PATIENCE).code(), Some(7));
        assert!(process.stdout().ends_with("told\n"));
    }

    #[test]
    fn a_paused_process_goes_on_when_told() {
        let mut process = shell("echo ready; while read line; do echo got $line; done");
        process.wait_for_line(PATIENCE, "the loop", |line| (line == "ready").then_some(()));
        process.pause();
        process.write_stdin(b"it\n");
        assert_eq!(process.stdout(), "ready\n");
        process.signal("CONT");
        process.wait_for_line(PATIENCE, "the answer", |line| (line == "got it").then_some(()));
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = shell("cat");
        let id = process.id();
        drop(process);
        let alive = Command::new("kill").args(["-0", &id.to_string()]).stderr(Stdio::null()).status();
        assert!(!alive.unwrap().success());
    }

    #[test]
    fn long_streams_are_shown_from_their_end() {
        let shown = section("stdout", &[vec![b'x'; REPORT_BYTES_MAX], b"\nlast".to_vec()].concat());
        assert!(shown.contains("(after 5 bytes)") && shown.ends_with("\n    last"));
    }
}
