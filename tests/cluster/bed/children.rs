//! Programs that the bed starts: none of them outlives it.
//!
//! Every child asks the kernel to be killed when the thread that started it dies (`PR_SET_PDEATHSIG`), so also
//! `kill -9` of the bed leaves nothing behind. The bed's runtime has one thread, the main one, therefore "the
//! thread dies" means "the bed dies". Children get a process group of their own: Ctrl-C in the terminal reaches
//! the bed alone, which then ends them in order.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

/// Makes the command's process die with the bed, and keeps the terminal's signals from it.
pub fn tie_to_bed(command: &mut Command) -> &mut Command {
    die_with_bed(command).process_group(0)
}

/// Makes the command's process die with the bed.
pub fn die_with_bed(command: &mut Command) -> &mut Command {
    let bed = std::process::id();
    #[expect(
        unsafe_code,
        reason = "the death signal has to be set between fork and exec; prctl and getppid are async-signal-safe"
    )]
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The bed may have died before the line above took effect.
            let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
            if parent != Some(bed.cast_signed()) {
                return Err(std::io::Error::other("the bed is gone"));
            }
            Ok(())
        });
    }
    command.kill_on_drop(true)
}

/// A long-running program of the control plane, its output in a file.
pub struct Daemon {
    pub name: &'static str,
    child: Child,
    log: std::path::PathBuf,
}

impl Daemon {
    /// Starts `program`; what it prints is appended to `NAME.log` in `logs`.
    pub fn start(name: &'static str, program: &Path, args: &[String], logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let out =
            File::options().create(true).append(true).open(&log).with_context(|| format!("open {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", logs)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let child = tie_to_bed(&mut command).spawn().with_context(|| format!("start {}", program.display()))?;
        Ok(Self { name, child, log })
    }

    /// An error with the end of the log if the program has ended.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n");
        bail!("{} ended with {status}:\n{tail}", self.name)
    }

    /// Sends a signal; an ended program is no error.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id() {
            send(pid, signal);
        }
    }

    /// Kills the program and waits until it is gone.
    pub async fn kill(&mut self) {
        // Only an already ended child makes this fail.
        let _ = self.child.kill().await;
    }
}

/// Sends a signal to a process that the bed started and has not yet waited for.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may just have ended by itself.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether nobody listens on this port now.
pub fn port_is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("0.0.0.0", port)).is_ok()
}

/// A port on which nobody listens. It lies below the kernel's ephemeral range, so that no outgoing connection
/// takes it before its server does; the process id spreads beds that start at the same time.
pub fn free_port() -> Result<u16> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 12_000;
    const SPAN: u32 = 20_000;
    for _ in 0..SPAN {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (std::process::id().wrapping_mul(61) + step) % SPAN;
        let port = u16::try_from(FIRST + offset).context("the range of ports")?;
        if port_is_free(port) {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + SPAN)
}
