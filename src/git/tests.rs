use super::testing::TestRepository;
use super::*;

async fn open(repository: &TestRepository) -> Repository {
    Repository::open(repository.path()).await.unwrap()
}

#[tokio::test]
async fn what_cannot_be_opened_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Repository::open(&folder.path().join("none")).await.unwrap_err();
    assert!(missing.summary.contains("no configuration repository at"), "{missing:?}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let file = Repository::open(&folder.path().join("file")).await.unwrap_err();
    assert!(file.summary.contains("is not a folder"), "{file:?}");
    let empty = TestRepository::new();
    let empty = Repository::open(empty.path()).await.unwrap_err();
    assert!(empty.summary.contains("has no commits"), "{empty:?}");
    for failure in [missing, file, empty] {
        assert_eq!(failure.kind.exit_code(), 2);
        assert!(failure.hint.unwrap().contains("--repo"));
    }
}

#[tokio::test]
async fn resolves_revisions_and_nothing_else() {
    let mut repository = TestRepository::new();
    let first = repository.commit("first\u{1b}[2J", &[("a", Some("1"))]);
    repository.git(&["tag", "-a", "v1", "-m", "x"]);
    repository.commit("second", &[("a", Some("2"))]);
    let git = open(&repository).await;
    let revision = git.resolve("v1").await.unwrap();
    assert_eq!((revision.id.as_str(), revision.author.as_str()), (first.as_str(), "A. Uthor"));
    assert_eq!(revision.committed.as_second(), 1_548_000_060);
    assert!(!revision.subject.contains('\u{1b}'));
    assert_eq!(git.resolve(&first[..8]).await.unwrap(), revision);
    for bad in ["", "--help", "-n1", "none", "HEAD:a", "HEAD..v1", "a\nb", "--output=x"] {
        let failure = git.resolve(bad).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage, "{bad}");
        assert!(failure.hint.unwrap().contains("git fetch"));
    }
}

#[tokio::test]
async fn the_upstream_counts_before_head() {
    let mut origin = TestRepository::new();
    origin.commit("first", &[("a", Some("1"))]);
    let clone = TestRepository::new();
    clone.git(&["remote", "add", "origin", origin.path().to_str().unwrap()]);
    clone.git(&["fetch", "-q"]);
    clone.git(&["checkout", "-q", "-B", "main", "origin/main"]);
    let git = open(&clone).await;
    assert!(git.fetched().await.is_some());
    let second = origin.commit("second", &[("a", Some("2"))]);
    let (name, before) = git.upstream().await.unwrap();
    assert_eq!((name.as_str(), before.subject.as_str()), ("origin/main", "first"), "nothing is fetched unasked");
    clone.git(&["fetch", "-q"]);
    assert_eq!(git.upstream().await.unwrap().1.id, second);
    let git = open(&origin).await;
    assert_eq!(git.upstream().await.unwrap().0, "HEAD");
    assert_eq!(git.fetched().await, None);
}

#[tokio::test]
async fn trees_and_blobs() {
    let mut repository = TestRepository::new();
    repository.commit("one", &[("a/b.yaml", Some("one\n")), ("ü -x", Some(""))]);
    std::os::unix::fs::symlink("a/b.yaml", repository.path().join("link")).unwrap();
    repository.git(&["add", "-A"]);
    // A name that is not UTF-8 and one with a newline, without a file system that may refuse them.
    let id = repository.git(&["rev-parse", "HEAD:a/b.yaml"]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{id},new\nline")]);
    repository.commit_index("two");
    let git = open(&repository).await;
    let tree = git.tree(&git.resolve("HEAD").await.unwrap()).await.unwrap();
    let names: Vec<_> = tree.entries.iter().map(|entry| (entry.path.as_str(), entry.kind)).collect();
    assert_eq!(
        names,
        [
            ("a/b.yaml", EntryKind::File),
            ("link", EntryKind::Symlink),
            ("new\nline", EntryKind::File),
            ("ü -x", EntryKind::File)
        ]
    );
    let ids: Vec<String> = tree.entries.iter().map(|entry| entry.id.clone()).collect();
    let blobs = git.blobs(&ids).await.unwrap();
    assert_eq!(blobs, [b"one\n".to_vec(), b"a/b.yaml".to_vec(), b"one\n".to_vec(), b"".to_vec()]);
    let failure = git.blobs(&["0123456789012345678901234567890123456789".to_owned()]).await.unwrap_err();
    assert!(failure.summary.contains("is not in the repository"), "{failure:?}");
    assert_eq!(git.blobs(&[]).await.unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn names_that_are_not_utf8_are_told_apart() {
    let tree = parse::tree(b"100644 blob aa\ta\xff\x00100644 blob bb\tb\x00garbage\x00");
    let [(raw, entry)] = tree.hostile.as_slice() else { panic!("{tree:?}") };
    assert_eq!((raw.as_slice(), entry.path.as_str(), entry.id.as_str()), (&b"a\xff"[..], "a\u{fffd}", "aa"));
    assert_eq!(tree.entries.len(), 1);
}

#[tokio::test]
async fn the_history_follows_first_parents_and_tells_both_sides() {
    let mut repository = TestRepository::new();
    repository.commit("one", &[("a", Some("1")), ("other", Some("x"))]);
    repository.git(&["checkout", "-q", "-b", "topic"]);
    repository.commit("on a branch", &[("a", Some("2")), (":weird [x]*", Some("y"))]);
    repository.git(&["checkout", "-q", "main"]);
    repository.commit("elsewhere", &[("other", Some("z"))]);
    repository.git(&["merge", "-q", "--no-ff", "-m", "merged", "topic"]);
    repository.commit("gone", &[("a", None)]);
    let git = open(&repository).await;
    let head = git.resolve("HEAD").await.unwrap();
    let all = git.log(&head, &[], 10).await.unwrap();
    let subjects: Vec<_> = all.iter().map(|commit| commit.revision.subject.as_str()).collect();
    assert_eq!(subjects, ["gone", "merged", "elsewhere", "one"]);
    let paths: Vec<_> = all[1].changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, [":weird [x]*", "a"]);
    let of_a = git.log(&head, &["a".to_owned()], 10).await.unwrap();
    let shape: Vec<_> = of_a
        .iter()
        .map(|commit| (commit.changes.len(), commit.changes[0].before.is_some(), commit.changes[0].after.is_some()))
        .collect();
    assert_eq!(shape, [(1, true, false), (1, true, true), (1, false, true)]);
    assert_eq!(of_a[0].changes[0].before, of_a[1].changes[0].after);
    assert_eq!(git.log(&head, &[":weird [x]*".to_owned()], 10).await.unwrap().len(), 1);
    assert_eq!(git.log(&head, &["a".to_owned()], 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn bare_shallow_and_extra_work_trees() {
    let mut repository = TestRepository::new();
    repository.commit("one", &[("sub/a", Some("1"))]);
    repository.commit("two", &[("sub/a", Some("2"))]);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let url = format!("file://{}", repository.path().display());
    repository.git(&["clone", "-q", "--bare", &url, at("bare").to_str().unwrap()]);
    repository.git(&["clone", "-q", "--depth=1", &url, at("shallow").to_str().unwrap()]);
    repository.git(&["worktree", "add", "-q", "--detach", at("extra").to_str().unwrap()]);
    for (name, commits) in [("bare", 2), ("shallow", 1), ("extra", 2), ("extra/sub", 2)] {
        let git = Repository::open(&at(name)).await.unwrap();
        let (_, head) = git.upstream().await.unwrap();
        assert_eq!(head.subject, "two", "{name}");
        let log = git.log(&head, &["sub/a".to_owned()], 10).await.unwrap();
        assert_eq!(log.len(), commits, "{name}");
        assert_eq!(git.tree(&head).await.unwrap().entries[0].path, "sub/a", "{name}");
    }
    let bare = Repository::open(&at("bare")).await.unwrap();
    assert!(bare.worktree().await.unwrap_err().summary.contains("is bare"));
}

#[tokio::test]
async fn the_work_tree_is_read_but_not_left() {
    let mut repository = TestRepository::new();
    repository.commit("one", &[("a", Some("1")), ("gone", Some("")), (".gitignore", Some("ignored\n"))]);
    for (name, text) in [("a", "2"), ("new", "n"), ("ignored", "i")] {
        std::fs::write(repository.path().join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("/etc/hostname", repository.path().join("out")).unwrap();
    std::os::unix::fs::symlink("a", repository.path().join("in")).unwrap();
    let git = open(&repository).await;
    std::fs::remove_file(repository.path().join("gone")).unwrap();
    let work = git.worktree().await.unwrap();
    assert_eq!(told_of_files(&work).await, [".gitignore=ignored\n", "a=2", "in -> a", "new=n", "out -> /etc/hostname"]);
    let (_, revision) = work.upstream().await.unwrap();
    assert_eq!((revision.id.as_str(), revision.short()), ("worktree", "worktree"));
    assert!(revision.subject.ends_with(" one"), "{revision:?}");
}

async fn told_of_files(git: &Repository) -> Vec<String> {
    let (_, revision) = git.upstream().await.unwrap();
    let mut entries = git.tree(&revision).await.unwrap().entries;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
    let told = entries.iter().zip(git.blobs(&ids).await.unwrap()).map(|(entry, blob)| {
        let sign = if entry.kind == EntryKind::Symlink { " -> " } else { "=" };
        format!("{}{sign}{}", entry.path, String::from_utf8_lossy(&blob))
    });
    told.collect()
}

#[tokio::test]
async fn a_folder_that_is_no_repository_is_read_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("a/.git")).unwrap();
    for (name, text) in [("a/b.yaml", "1"), ("a/.git/config", "x"), (".hidden", "2")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
    let git = Repository::open(folder.path()).await.unwrap();
    assert_eq!(told_of_files(&git).await, [".hidden=2", "a/b.yaml=1", "link -> a"]);
    let revision = git.resolve("HEAD").await.unwrap();
    assert_eq!(
        (git.upstream().await.unwrap(), git.parent(&revision).await.unwrap()),
        (("folder".to_owned(), revision.clone()), None)
    );
    assert!(revision.committed.as_second() > 1_700_000_000);
    let failure = git.resolve("main").await.unwrap_err();
    assert!(failure.summary.contains("is no git repository"), "{failure:?}");
    std::fs::remove_dir_all(folder.path().join("a")).unwrap();
    let ids = ["file:a/b.yaml".to_owned()];
    assert!(git.blobs(&ids).await.unwrap_err().summary.contains("cannot be read"));
}

#[tokio::test]
async fn what_is_too_large_is_left_where_it_is() {
    let mut repository = TestRepository::new();
    let large = std::fs::File::create(repository.path().join("large")).unwrap();
    large.set_len(LARGEST_BLOB + 1).unwrap();
    repository.commit("large", &[("small", Some("s"))]);
    let git = open(&repository).await;
    for git in [git.clone(), git.worktree().await.unwrap()] {
        let (_, head) = git.upstream().await.unwrap();
        let ids: Vec<String> = git.tree(&head).await.unwrap().entries.into_iter().map(|entry| entry.id).collect();
        let mut blobs = Vec::new();
        git.each_blob(&ids, &mut |n, blob| blobs.push((n, blob))).await.unwrap();
        assert_eq!(blobs, [(0, Blob::TooLarge(LARGEST_BLOB + 1)), (1, Blob::Whole(b"s".to_vec()))]);
        assert!(git.blobs(&ids).await.unwrap_err().summary.contains("no configuration"));
    }
}

#[tokio::test]
async fn the_origin_tells_organisation_and_repository() {
    let mut repository = TestRepository::new();
    repository.commit_index("first");
    for (address, name) in [
        ("git@github.com:org/repo.git", Some("org/repo")),
        ("https://github.com/org/repo", Some("org/repo")),
        ("ssh://git@github.com:22/org/repo.git/", Some("org/repo")),
        ("https://host/group/sub/repo.git", Some("sub/repo")),
        ("/srv/git/repo.git", None),
        ("https://host", None),
    ] {
        repository.git(&["config", "remote.origin.url", address]);
        assert_eq!(open(&repository).await.origin().await.as_deref(), name, "{address}");
    }
}

/// What each kind of repository tells of one history, without hashes.
async fn told(git: &Repository) -> Vec<String> {
    let mut told = Vec::new();
    let head = git.resolve("HEAD").await.unwrap();
    assert_eq!(git.resolve(&head.id[..10]).await.unwrap(), head);
    let paths: [&[&str]; 4] = [&[], &["a"], &["a/"], &["a/b.yaml", "c"]];
    for paths in paths {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        for limit in [1, 50] {
            for commit in git.log(&head, &paths, limit).await.unwrap() {
                let parent = git.parent(&commit.revision).await.unwrap().map(|parent| parent.subject);
                told.push(format!("{} {parent:?} {}", commit.revision.subject, commit.revision.committed));
                for change in commit.changes {
                    let (before, after) = (change.before.is_some(), change.after.is_some());
                    told.push(format!("  {} {before} {after}", change.path));
                }
                let tree = git.tree(&commit.revision).await.unwrap();
                let ids: Vec<String> = tree.entries.iter().map(|entry| entry.id.clone()).collect();
                let blobs = git.blobs(&ids).await.unwrap();
                for (entry, blob) in tree.entries.iter().zip(blobs) {
                    told.push(format!("  {} {:?} {}", entry.path, entry.kind, String::from_utf8(blob).unwrap()));
                }
            }
        }
    }
    for back in ["HEAD^", "HEAD~2", "HEAD~0", "main", "HEAD~9", "nothing", ""] {
        told.push(format!("{back} {:?}", git.resolve(back).await.map(|revision| revision.subject).ok()));
    }
    told
}

#[tokio::test]
async fn a_history_in_memory_tells_what_git_tells() {
    type Files = &'static [(&'static str, Option<&'static str>)];
    let commits: [(&str, Files); 5] = [
        ("one", &[("a/b.yaml", Some("1")), ("c", Some("2"))]),
        ("two", &[("ab", Some("3"))]),
        ("three", &[("a/b.yaml", Some("4")), ("a/x/y", Some(""))]),
        ("four", &[("c", None), ("a.yaml", Some("1"))]),
        ("five", &[("a/x/y", Some("more"))]),
    ];
    let mut disk = TestRepository::new();
    let memory = History::new("a drill", "main");
    for (n, (subject, files)) in (1..).zip(commits) {
        disk.commit(subject, files);
        let committed = Timestamp::from_second(1_548_000_000 + n * 60).unwrap();
        let files = files.iter().map(|(path, text)| (*path, text.map(str::as_bytes))).collect();
        memory.commit(&NewCommit { author: "A. Uthor", subject, committed, files });
    }
    assert_eq!(memory.file("a/x/y").as_deref(), Some(&b"more"[..]));
    let (disk, memory) = (open(&disk).await, Repository::from(memory));
    assert_eq!(told(&memory).await, told(&disk).await);
    assert_eq!(memory.upstream().await.unwrap().0, "origin/main");
    for failure in [memory.worktree().await.unwrap_err(), memory.resolve("--help").await.unwrap_err()] {
        assert_eq!(failure.kind, FailureKind::Usage);
    }
}
