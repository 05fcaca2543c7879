//! A child process that cannot outlive the tests: it ends with them, whether they drop it, panic or are killed.
//!
//! A small shell runs between the test and the process. It reads a pipe whose other end only the test holds; when that
//! end is closed, for whatever reason, the shell kills the process it started, whose ID cannot have been reused,
//! because it is the shell's own child.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Starts its arguments, prints the process ID, ends the process when the pipe closes, and exits with its status.
const WARDEN: &str = r#"
exec 3<&0 4>&2 2>/dev/null
"$@" </dev/null >&4 2>&4 3<&- 4>&- &
child=$!
echo "$child"
exec >&- 4>&-
( read -r _ <&3; kill -KILL "$child" ) &
watch=$!
exec 3<&-
wait "$child"
code=$?
kill -KILL "$watch"
exit "$code"
"#;

/// Removes a directory once the test is gone; processes that still write into it are killed at the same time.
const JANITOR: &str = r#"
exec >/dev/null 2>&1
read -r _
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" && exit 0; sleep 0.2; done
"#;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Where the standard output and error of a process go.
pub enum Output<'a> {
    /// At the end of this file.
    File(&'a Path),
    /// Into memory, line by line.
    Lines,
}

/// A running process that ends with this value.
pub struct Supervised {
    name: String,
    pid: u32,
    warden: Child,
    /// Closing it ends the process.
    leash: Option<ChildStdin>,
    lines: Arc<Lines>,
    ended: Option<Ended>,
}

impl Supervised {
    /// Starts a command. Its standard input is empty and it has a process group of its own, out of reach of Ctrl-C.
    ///
    /// # Errors
    /// When the shell cannot be started; a command that cannot be run ends with code 126 or 127.
    pub fn start(name: &str, command: &Command, output: Output<'_>) -> io::Result<Supervised> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", WARDEN, "warden"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        match output {
            Output::File(file) => shell.stderr(File::options().create(true).append(true).open(file)?),
            Output::Lines => shell.stderr(Stdio::piped()),
        };
        let mut warden = shell.spawn()?;
        let leash = warden.stdin.take();
        let mut pid = String::new();
        if let Some(stdout) = warden.stdout.take() {
            BufReader::new(stdout).read_line(&mut pid)?;
        }
        let lines = Arc::new(Lines::default());
        if let Some(stderr) = warden.stderr.take() {
            let lines = lines.clone();
            std::thread::spawn(move || lines.collect(stderr));
        }
        let pid =
            pid.trim().parse().map_err(|_| io::Error::other(format!("{name}: the shell gave {pid:?}")))?;
        Ok(Supervised { name: name.to_owned(), pid, warden, leash, lines, ended: None })
    }

    /// What the process is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process itself.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has written, with [`Output::Lines`].
    pub fn lines(&self) -> Arc<Lines> {
        self.lines.clone()
    }

    /// Sends a signal, by its name without `SIG`.
    pub fn signal(&mut self, signal: &str) {
        if self.try_wait().is_none() {
            let kill = format!("kill -s {signal} {} 2>/dev/null", self.pid);
            let _ = Command::new("/bin/sh").args(["-c", &kill]).status();
        }
    }

    /// How it ended, if it did.
    pub fn try_wait(&mut self) -> Option<Ended> {
        if self.ended.is_none()
            && let Ok(Some(status)) = self.warden.try_wait()
        {
            self.ended = Some(ended(status));
        }
        self.ended
    }

    /// Ends it with SIGKILL, stopped or not, and waits until it is gone.
    pub fn kill(&mut self) -> Ended {
        self.leash = None;
        if self.ended.is_none() {
            self.ended = self.warden.wait().ok().map(ended);
        }
        self.ended.unwrap_or(Ended::Signal(9))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Removes a folder if the tests end without having removed it.
pub struct Janitor {
    shell: Child,
}

impl Janitor {
    /// Watches over a folder.
    ///
    /// # Errors
    /// When the shell cannot be started.
    pub fn of(folder: &Path) -> io::Result<Janitor> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", JANITOR, "janitor"]).arg(folder).stdin(Stdio::piped()).process_group(0);
        Ok(Janitor { shell: shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn()? })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.shell.stdin = None;
        let _ = self.shell.wait();
    }
}

/// A shell reports a signal as an exit code above 128.
fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) if code > 128 => Ended::Signal(code - 128),
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or(9)),
    }
}

/// Lines a process has written.
#[derive(Default)]
pub struct Lines {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// How many lines there are so far.
    pub fn count(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lines.len()
    }

    /// Waits for a line from the `from`th on; `None` when there is none in time, or no more can come.
    pub fn wait(&self, from: usize, within: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let find = |state: &State| state.lines.iter().skip(from).find(|line| wanted(line)).cloned();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .more
            .wait_timeout_while(state, within, |state| !state.closed && find(state).is_none())
            .unwrap_or_else(PoisonError::into_inner);
        find(&state)
    }

    fn collect(&self, from: impl Read) {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            self.state.lock().unwrap_or_else(PoisonError::into_inner).lines.push(text);
            self.more.notify_all();
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.more.notify_all();
    }
}
