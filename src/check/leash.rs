//! A program that does not outlive us. It has a process group of its own, which is killed whole: when it takes too long, when
//! nobody waits for it any more, and when this process dies, however that comes about.
//!
//! For the last, somebody must be left to do it. The kernel would (`PR_SET_PDEATHSIG`), but only on Linux, only to the
//! program itself and not to what that has started, and asking for it between fork and exec takes unsafe code. So a shell
//! holds the other end of a pipe of ours, and kills the group when the pipe ends.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// Is told the group by the first line. While we live there is no second one.
const WATCH: &str = r#"read -r group || exit 0; read -r _ || kill -s KILL -- "-$group""#;
/// How long the kernel may take to end what was killed.
const DYING: Duration = Duration::from_secs(5);

pub(super) struct Leash {
    child: Child,
    group: Option<Pid>,
    /// `None` where there is no shell: then a group outlives `kill -9` of this process.
    watcher: Option<Child>,
}

impl Leash {
    pub(super) async fn start(command: &mut Command) -> std::io::Result<Leash> {
        let watcher = watcher().ok();
        let child = spawn(command.process_group(0).kill_on_drop(true)).await?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut leash = Leash { child, group, watcher };
        if let (Some(group), Some(pipe)) = (group, leash.watcher.as_mut().and_then(|watcher| watcher.stdin.as_mut())) {
            // A shell that is gone already watches nothing.
            let _ = pipe.write_all(format!("{}\n", group.as_raw_nonzero()).as_bytes()).await;
        }
        Ok(leash)
    }

    pub(super) fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills it with all that it started, and waits until it is gone.
    pub(super) async fn kill(mut self) {
        self.kill_group();
        let _ = timeout(DYING, self.child.wait()).await;
    }

    fn kill_group(&self) {
        if let Some(group) = self.group {
            // Nobody is left of it, as a rule.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // Also where it has ended: what it started and left behind has no business here either.
        self.kill_group();
        if let Some(watcher) = &mut self.watcher {
            let _ = watcher.start_kill();
        }
    }
}

fn watcher() -> std::io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", WATCH])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in the terminal is for us: it must be there afterwards.
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
