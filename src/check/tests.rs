use std::os::unix::fs::PermissionsExt as _;

use tokio::sync::mpsc;

use super::*;
use crate::model::{Alias, DesiredConfigMap, DesiredEntry, Key};
use crate::prow::ConfigFiles;

/// A shell script in place of the program.
fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("checkconfig");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// Refuses the broken file, then does what `then` says; `$1` is `--config-path=…`.
fn honest(then: &str) -> String {
    format!(
        "config=${{1#--config-path=}}\n\
         if read -r line < \"$config\" && [ \"$line\" = 'presets: [' ]; then\n\
         echo '{{\"error\":\"yaml: line 1\",\"level\":\"fatal\",\"msg\":\"Validation failed\"}}' >&2; exit 1; fi\n{then}"
    )
}

fn maps(key: &str) -> Vec<DesiredConfigMap> {
    let map = |name: &str, key: &str, text: &str| DesiredConfigMap {
        cluster: Alias::service(),
        key: Key::new("prow", name),
        entries: [(
            key.to_owned(),
            DesiredEntry { path: format!("x/{key}"), bytes: text.as_bytes().to_vec(), gzip: false },
        )]
        .into(),
    };
    vec![map("config", "config.yaml", "a: b\n"), map("job-config", key, "periodics:\n- name: ci-a\n")]
}

async fn check(path: &Path, maps: &[DesiredConfigMap]) -> Result<Checked, Failure> {
    let checker = Checker::open_within(path, None, Duration::from_secs(2)).await?;
    let layout = Layout::of_desired(maps, &ConfigFiles::by_name()).unwrap();
    checker.check(&layout, Timestamp::UNIX_EPOCH).await
}

fn nothing_is_left(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().all(|entry| entry.unwrap().file_name() == "checkconfig")
}

#[tokio::test]
async fn what_it_says_is_told_in_prows_words_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = "echo \"{\\\"error\\\":\\\"error loading prow config: error unmarshalling ${2#--job-config-path=}/a.yaml: x\\\",\
                  \\\"level\\\":\\\"fatal\\\",\\\"msg\\\":\\\"Validation failed\\\"}\" >&2; exit 1";
    let checked = check(&script(dir.path(), &honest(refuse)), &maps("a.yaml")).await.unwrap();
    let objection = checked.refused.unwrap();
    assert_eq!(objection.message, "error unmarshalling /etc/job-config/a.yaml: x");
    assert_eq!(
        (objection.config_map, objection.config_key.as_deref()),
        (Some(Key::new("prow", "job-config")), Some("a.yaml"))
    );
}

#[tokio::test]
async fn it_sees_nothing_but_the_files() {
    let dir = tempfile::tempdir().unwrap();
    // `env` of a shell that was given nothing: its own PWD, SHLVL and _.
    let look = "PATH=/usr/bin:/bin; n=$(env | grep -c -v -E '^(PATH|PWD|SHLVL|_|OLDPWD)='); [ \"$n\" = 0 ] || exit 3\n\
                [ \"$(stat -c %a .)\" = 700 ] || exit 4\n[ -f config/config.yaml ] && [ -f job-config/a.yaml ] || exit 5\n\
                [ -z \"$(cat)\" ] || exit 6";
    let checked = check(&script(dir.path(), &honest(look)), &maps("a.yaml")).await.unwrap();
    assert_eq!(checked.refused, None);
    assert!(nothing_is_left(dir.path()));
}

#[tokio::test]
async fn what_is_no_checkconfig_gives_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let failure = async |path: &Path| check(path, &maps("a.yaml")).await.unwrap_err();
    let missing = failure(&dir.path().join("none")).await;
    assert_eq!((missing.kind, missing.hint.is_some()), (FailureKind::Usage, true));
    assert!(failure(dir.path()).await.summary.contains("is no program"));
    assert!(failure(&script(dir.path(), "exit 0")).await.summary.contains("is no checkconfig"));
    let killed = failure(&script(dir.path(), "kill -9 $$")).await;
    assert!(killed.causes[0].contains("signal"), "{killed:?}");
    let killed_later = failure(&script(dir.path(), &honest("kill -9 $$"))).await;
    assert!(killed_later.causes[0].contains("signal"), "{killed_later:?}");
    assert!(failure(&script(dir.path(), &honest("exit 1"))).await.summary.contains("without a verdict"));

    let path = script(dir.path(), "exit 0");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let forbidden = failure(&path).await;
    assert!(forbidden.hint.as_deref().unwrap().contains("chmod"), "{forbidden:?}");
    std::fs::write(&path, b"\x7fELF\x02\x01\x01\x00garbage of another machine").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let foreign = failure(&path).await;
    assert!(foreign.hint.as_deref().unwrap().contains("of this machine"), "{foreign:?}");
}

#[tokio::test]
async fn one_that_hangs_is_killed_with_what_it_printed_unread() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("checkconfig.lived");
    let hang = honest(&format!("exec 2>/dev/null; exec /bin/sleep 600; touch {}", mark.display()));
    let failure = check(&script(dir.path(), &hang), &maps("a.yaml")).await.unwrap_err();
    assert!(failure.summary.contains("no answer within 2 s"), "{failure:?}");
    assert!(!mark.exists());
    let floods = honest("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx >&2; done");
    let failure = check(&script(dir.path(), &floods), &maps("a.yaml")).await.unwrap_err();
    assert!(failure.summary.contains("no answer within"), "{failure:?}");
}

#[tokio::test]
async fn a_version_without_our_flag_is_asked_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let old = format!(
        "for arg; do case $arg in --warnings*) echo 'flag provided but not defined: -warnings' >&2; exit 2;; esac; done\n{}",
        honest("exit 0")
    );
    assert_eq!(check(&script(dir.path(), &old), &maps("a.yaml")).await.unwrap().refused, None);
}

#[tokio::test]
async fn no_key_leads_out_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), &honest("exit 0"));
    for key in ["../a.yaml", "b/../../../a.yaml", "/a.yaml", "a\0.yaml"] {
        let failure = check(&path, &maps(key)).await.unwrap_err();
        assert!(failure.summary.contains("cannot be laid out"), "{key:?}: {failure:?}");
    }
}

#[test]
fn its_place_tells_its_version() {
    let of = |path: &str| version_of(Path::new(path));
    assert_eq!(
        of("/c/prow-breakglass/checkconfig/v20240619-cfb8754e0/checkconfig").as_deref(),
        Some("v20240619-cfb8754e0")
    );
    assert_eq!(of("/v20190118-b3f0d0d11/v20240619-cfb8754e0/bin/checkconfig").as_deref(), Some("v20240619-cfb8754e0"));
    assert_eq!(of("/usr/local/bin/checkconfig"), None);
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("checkconfig/latest");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("checkconfig"), "").unwrap();
    assert!(cached(cache.path(), "latest").is_some());
    for tag in ["", "v1", "..", "../checkconfig/latest", "/"] {
        assert_eq!(cached(cache.path(), tag), None, "{tag}");
    }
}

/// Tells when somebody holds the other end of the pipe, and when nobody does any more. The dead hold nothing, reaped or not.
fn holders(fifo: PathBuf) -> (mpsc::UnboundedReceiver<&'static str>, std::thread::JoinHandle<()>) {
    let (sender, told) = mpsc::unbounded_channel();
    let reading = std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(fifo).unwrap();
        std::io::Read::read_exact(&mut pipe, &mut [0]).unwrap();
        sender.send("held").unwrap();
        std::io::Read::read_to_end(&mut pipe, &mut Vec::new()).unwrap();
        sender.send("free").unwrap();
    });
    (told, reading)
}

#[tokio::test]
async fn what_it_has_started_dies_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("held");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let soon = Duration::from_secs(30);
    // It takes too long; it has ended and left something behind; nobody waits for it any more.
    for (then, cut_short) in [("wait", false), ("exit 0", false), ("wait", true)] {
        // In the folder that it is run in: a new one each time.
        let starts = format!(
            "(echo; : > begun; exec /bin/sleep 600) > {} 2>/dev/null &\nwhile ! [ -e begun ]; do :; done\n{then}",
            fifo.display()
        );
        let path = script(dir.path(), &honest(&starts));
        let (mut told, reading) = holders(fifo.clone());
        let asked = tokio::spawn(async move { check(&path, &maps("a.yaml")).await });
        assert_eq!(timeout(soon, told.recv()).await.unwrap(), Some("held"), "{then}");
        if cut_short {
            asked.abort();
            assert!(asked.await.unwrap_err().is_cancelled());
        } else {
            let outcome = asked.await.unwrap();
            assert_eq!(outcome.is_ok(), then == "exit 0", "{outcome:?}");
        }
        assert_eq!(timeout(soon, told.recv()).await.unwrap(), Some("free"), "{then}");
        reading.join().unwrap();
    }
}
