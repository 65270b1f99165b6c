//! A child process that cannot outlive the test.
//!
//! [`start`] finds free ports, starts the program and waits until it answers. Dropping a [`Process`] kills it at once;
//! [`Process::stop`] asks politely first. For the case that nobody drops it (the test process was killed, or the
//! value sits in a static) a guard runs beside the program; see [`GUARD`].

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::{binary, certs, wait};

/// Why a process could not be started.
#[derive(thiserror::Error)]
pub enum Error {
    /// The program is not installed.
    #[error(transparent)]
    Missing(#[from] binary::Missing),
    /// A folder, a file or a port for the process could not be had.
    #[error("could not prepare {program}")]
    Prepare {
        /// The program's name.
        program: &'static str,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The operating system refused to start it.
    #[error("could not start {program}")]
    Spawn {
        /// The program's name.
        program: &'static str,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// It ended before it was ready, most often because a port was taken.
    #[error("{program} ended ({status}) before it was ready; end of its log:\n{log}")]
    Ended {
        /// The program's name.
        program: &'static str,
        /// Its exit status.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// It runs but does not answer.
    #[error("{program} was not ready after {limit:?}; end of its log:\n{log}")]
    NotReady {
        /// The program's name.
        program: &'static str,
        /// How long we waited.
        limit: Duration,
        /// The last lines of its log.
        log: String,
    },
}

/// Runs the program in place of the shell, beside a reader of the pipe that only the test process holds open.
///
/// When the test process is gone, however it went, the reader gets end-of-file, kills the program and removes its
/// folder. (`PR_SET_PDEATHSIG` would not do: it fires when the *thread* ends that started the child, and tests and
/// runtimes end threads all the time.) The process id cannot have been reused by then, because the reader is a member
/// of the process group of that number.
const GUARD: &str =
    r#"exec 3<&0; { read -r _ <&3; kill -KILL "$$"; rm -rf "$0"; } & exec "$@" </dev/null 3<&-"#;

/// How long a component may take to answer. Long, because CI has two cores and everything starts at once.
const READY: Duration = Duration::from_secs(90);

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// How often a start is tried again because another process took the port in between.
const ATTEMPTS: usize = 4;

/// What to start: the program, and its arguments once its ports and its folder are known.
#[derive(Debug)]
pub struct Launch<A> {
    /// The program's name; [`binary::find`] finds it.
    pub program: &'static str,
    /// How many ports it listens on.
    pub ports: usize,
    /// Its arguments.
    pub args: A,
}

/// A running program in a process group and a temporary folder of its own.
#[derive(Debug)]
pub struct Process {
    program: &'static str,
    child: Child,
    ports: Vec<u16>,
    // Declared last: the folder goes when the process is gone.
    dir: TempDir,
}

/// Starts a program and waits until `ready` says so; tries other ports when it ended before that.
pub async fn start<A>(
    launch: Launch<A>,
    mut ready: impl AsyncFnMut(&Process) -> bool,
) -> Result<Process, Error>
where
    A: Fn(&Path, &[u16]) -> std::io::Result<Vec<String>>,
{
    // The probes speak HTTP through clients that want this even where no TLS is used.
    certs::use_ring();
    let mut attempt = 1;
    loop {
        let mut process = Process::spawn(&launch)?;
        match process.await_ready(&mut ready).await {
            Ok(()) => return Ok(process),
            Err(Error::Ended { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Ports of the loopback interface that nobody listens on at this moment, all different.
pub fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    // All are held before the first is let go, else the system may hand out one twice.
    let held = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<Vec<_>, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

// === impl Error ===

impl std::fmt::Debug for Error {
    /// For people too: this is what `unwrap` prints in a test, and a log on one line is not readable.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")?;
        std::error::Error::source(self).map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

// === impl Process ===

impl Process {
    fn spawn<A>(launch: &Launch<A>) -> Result<Self, Error>
    where
        A: Fn(&Path, &[u16]) -> std::io::Result<Vec<String>>,
    {
        let program = launch.program;
        let prepare = |source| Error::Prepare { program, source };
        let path = binary::find(program)?;
        let dir = tempfile::Builder::new().prefix("linkerd-mcp-rig-").tempdir().map_err(prepare)?;
        let ports = free_ports(launch.ports).map_err(prepare)?;
        let args = (launch.args)(dir.path(), &ports).map_err(prepare)?;
        let log = std::fs::File::create(dir.path().join("log")).map_err(prepare)?;
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(GUARD)
            .arg(dir.path())
            .arg(path)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(prepare)?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Spawn { program, source })?;
        Ok(Self { program, child, ports, dir })
    }

    async fn await_ready(&mut self, ready: &mut impl AsyncFnMut(&Process) -> bool) -> Result<(), Error> {
        let program = self.program;
        let ended = wait::until("it is ready", READY, async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Some(status));
            }
            ready(self).await.then_some(None)
        })
        .await;
        match ended {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::Ended { program, status, log: self.log_tail() }),
            Err(_) => Err(Error::NotReady { program, limit: READY, log: self.log_tail() }),
        }
    }

    /// The process id of the program itself.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The n-th of the ports that were asked for.
    pub fn port(&self, n: usize) -> u16 {
        self.ports[n]
    }

    /// The folder of this process, gone together with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Everything it wrote to stdout and stderr.
    pub fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Halts the process without ending it, as a machine that swaps or a paused container would.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks the program to end, waits, and kills it only if it does not. Gives how it ended if it did by itself.
    pub async fn stop(mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        wait::until("it ended", GRACE, async || self.child.try_wait().transpose()).await.ok()?.ok()
    }

    /// Ends it at once, as `kill -9` or a lost node does.
    pub fn kill(self) {
        drop(self);
    }

    fn signal(&self, signal: Signal) {
        // An error means that it has ended already, which is nothing to complain about here.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group holds the guard as well. SIGKILL and no grace: the data goes with the folder.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
