//! A program that does not outlive us. It is in a process group that is killed whole: when it takes too long, when nobody
//! waits for it any more, and when this process dies, however that comes about.
//!
//! For the last, somebody must be left to do it. The kernel would (`PR_SET_PDEATHSIG`), but only on Linux, only to the
//! program itself and not to what that has started, and asking for it between fork and exec takes unsafe code. So a shell
//! leads the group, and holds the other end of a pipe of ours: when the pipe ends, it kills its group, itself included. It is
//! there before the program is, so that there is no moment without it; and since it is not waited for before the end, no other
//! group can have its number.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// Nothing is ever written to it.
const WATCH: &str = "read -r _; kill -s KILL 0";
/// How long the kernel may take to end what was killed.
const DYING: Duration = Duration::from_secs(5);

pub(super) struct Leash {
    child: Child,
    group: Group,
}

impl Leash {
    pub(super) async fn start(command: &mut Command) -> std::io::Result<Leash> {
        let (mut group, leader) = match watcher() {
            Ok(watcher) => {
                let id = pid(&watcher);
                (Group { id, _watcher: Some(watcher) }, id.map_or(0, |id| id.as_raw_nonzero().get()))
            }
            // There is no shell: then it leads its group itself, and outlives `kill -9` of this process.
            Err(_) => (Group { id: None, _watcher: None }, 0),
        };
        let child = spawn(command.process_group(leader).kill_on_drop(true)).await?;
        group.id = group.id.or_else(|| pid(&child));
        Ok(Leash { child, group })
    }

    pub(super) fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills it with all that it started, and waits until it is gone.
    pub(super) async fn kill(mut self) {
        self.group.kill();
        let _ = timeout(DYING, self.child.wait()).await;
    }
}

/// Killed when it is dropped: also where the program has ended, for what it started has no business here either.
struct Group {
    id: Option<Pid>,
    /// Its end of the pipe ends with it; whoever reaps orphans waits for it, later.
    _watcher: Option<Child>,
}

impl Group {
    fn kill(&self) {
        if let Some(id) = self.id {
            // Nobody but the watcher is left of it, as a rule.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn watcher() -> std::io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", WATCH])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in the terminal is for us: this one must be there afterwards.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// A program that somebody has just written may still be open for a moment.
async fn spawn(command: &mut Command) -> std::io::Result<Child> {
    for _ in 0..5 {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
    command.spawn()
}
