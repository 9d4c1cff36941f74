//! How much memory a program took at most.

use std::io::Read as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Runs a program to its end; gives what it said, and the most memory (MiB) that it held at once.
///
/// The kernel keeps the most itself; what is read here every 2 ms misses only what came in the last of them.
pub fn run(command: &mut Command) -> (Output, u64) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start it");
    let [stdout, stderr] = [reader(child.stdout.take()), reader(child.stderr.take())];
    let (status, most) = watch(&mut child);
    let [stdout, stderr] = [stdout, stderr].map(|reader| reader.join().expect("a reader"));
    (Output { status, stdout, stderr }, most / 1024)
}

/// Its end, and the most memory in KiB.
fn watch(child: &mut Child) -> (std::process::ExitStatus, u64) {
    let path = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
        most = most.max(kib.unwrap_or(0));
        if let Some(status) = child.try_wait().expect("its end") {
            assert!(most > 0, "its memory was never seen");
            return (status, most);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn reader(from: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    let mut from = from.expect("it is piped");
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("what it says");
        all
    })
}

/// Gzip that inflates to about a gigabyte, in less than a ConfigMap may hold.
pub fn bomb() -> Vec<u8> {
    let zeros = vec![b'\n'; 32 * 1024 * 1024];
    let mut part = Vec::new();
    flate2::read::GzEncoder::new(zeros.as_slice(), flate2::Compression::best()).read_to_end(&mut part).expect("gzip");
    part.repeat(30)
}
