//! The hashing script, run for real by this machine's shell, awk and hashers.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hopsync::entry::{Entry, Kind};
use hopsync::sftp::Attrs;
use hopsync::tree::remote::link::{CommandConnector, Connector};
use hopsync::verify::Digest;
use hopsync::verify::below::ENTRIES;
use hopsync::verify::blocks::{Asked, SPAN, Sum};
use hopsync::verify::gmac::{BLOCK, Key};
use hopsync::verify::ladder::{self, Rung};
use hopsync::verify::parts::{ASKED, Of, PART};
use hopsync::verify::remote::{self, Committed, Content, NoHash, RemoteHasher};

/// A "remote" shell that runs its command here: what a wrapper given to `-e` may do.
fn here() -> CommandConnector {
    let shell = ["sh", "-c", "shift; exec sh -c \"$*\"", "here"].map(Into::into).to_vec();
    CommandConnector { shell, user: None, host: "far".to_owned() }
}

/// The script on a machine that has none but this hasher.
fn with_only(rung: Rung) -> String {
    let mut script = ladder::script().to_owned();
    for (other, found, missing) in [
        (Rung::Own, "if has hopsync ", "if false "),
        (Rung::B3sum, "if has b3sum;", "if false;"),
        (Rung::Gmac(Key::own()), "/usr/bin/python3 python3;", ";"),
        (Rung::Openssl, "if has openssl;", "if false;"),
        (Rung::Sha256sum, "if has sha256sum;", "if false;"),
    ] {
        assert!(script.contains(found));
        // One Python is two rungs: the lower one where its OpenSSL cannot be had.
        match (rung, other) {
            (Rung::Python, Rung::Gmac(_)) => script = script.replace("EVP_aes_128_gcm", "EVP_of_another_library"),
            _ if other != rung => script = script.replace(found, missing),
            _ => {}
        }
    }
    script
}

/// Files that get their attributes and their names from who hashes them, and files that do not.
async fn commits(hasher: &RemoteHasher, dir: &Path) {
    std::fs::create_dir(dir).unwrap();
    std::fs::create_dir(dir.join("in the way")).unwrap();
    std::fs::write(dir.join("old"), "old").unwrap();
    let algorithm = hasher.rung.algorithm();
    let attrs = Attrs { permissions: Some(0o2751), times: Some((1_000_000_007, 1_000_000_009)), ..Attrs::default() };
    let (small, large) = (b"small".to_vec(), vec![7; 4 * BLOCK + 1]);
    for (name, data, attrs) in [("new", &small, attrs), ("old", &large, attrs), ("as it is", &small, Attrs::default())]
    {
        let temp = dir.join(".temp");
        std::fs::write(&temp, data).unwrap();
        std::fs::set_permissions(&temp, Permissions::from_mode(0o600)).unwrap();
        let (at, wanted) = (temp.to_str().unwrap().as_bytes(), Digest::of(algorithm, data));
        let asked =
            |wanted, name: &'static str| async move { hasher.commit(at, 1, &wanted, &attrs, name.as_bytes()).await };
        if !hasher.rung.tells_parts() {
            assert_eq!(asked(wanted, name).await, Err(NoHash::Skipped));
            assert!(temp.exists());
            continue;
        }
        assert_eq!(asked(Digest::of(algorithm, b"other"), name).await, Ok(Committed::Left(wanted)));
        assert_eq!(asked(wanted, "in the way").await, Ok(Committed::Left(wanted)));
        assert!(temp.exists() && dir.join(name).exists() == (name == "old"));
        assert_eq!(asked(wanted, name).await, Ok(Committed::Done(wanted)));
        let found = std::fs::metadata(dir.join(name)).unwrap();
        assert_eq!(&std::fs::read(dir.join(name)).unwrap(), data);
        match attrs.times {
            Some((_, mtime)) => assert_eq!((found.mode() & 0o7777, found.mtime()), (0o2751, i64::from(mtime))),
            None => assert!(found.mode() & 0o7777 == 0o600 && found.mtime() > 1_700_000_000),
        }
        assert_eq!(asked(wanted, name).await, Err(NoHash::Skipped), "the temp is gone");
    }
}

const LONG: Duration = Duration::from_secs(60);

/// What small files hold, up to the largest that is told, in which anything may stand.
async fn contents(hasher: &RemoteHasher, path: &Path) {
    let at = path.to_str().unwrap().as_bytes();
    let line = format!("{}  {}\n\0", "0".repeat(64), path.display());
    for (size, told) in [(0, true), (1, true), (40_000, true), (BLOCK - 1, true), (BLOCK, true), (BLOCK + 1, false)] {
        let data: Vec<u8> = line.bytes().cycle().take(size).collect();
        std::fs::write(path, &data).unwrap();
        // What is asked for is what was small when it was listed.
        let (first, second) = tokio::join!(hasher.content(at, 1, LONG), hasher.content(at, 1, LONG));
        assert_eq!(first, second);
        if !hasher.rung.tells_parts() || !told {
            assert_eq!(first, Err(NoHash::Skipped), "{size}");
            continue;
        }
        let (digest, mtime) = (Digest::of(hasher.rung.algorithm(), &data), std::fs::metadata(path).unwrap().mtime());
        assert_eq!(first, Ok(Content { data: data.into(), digest, size: size as u64, mtime }), "{size}");
    }
    assert_eq!(hasher.content(&[at, b" is not there"].concat(), 1, LONG).await, Err(NoHash::Skipped));
    assert_eq!(
        hasher.content(path.parent().unwrap().to_str().unwrap().as_bytes(), 1, LONG).await,
        Err(NoHash::Skipped)
    );
}

/// What a directory holds: of every kind, with names and times as they may be.
async fn listings(hasher: &RemoteHasher, dir: &Path) {
    let odd = OsStr::from_bytes(b"two\nlines \xff");
    std::fs::create_dir_all(dir.join("empty")).unwrap();
    std::fs::write(dir.join(odd), "odd").unwrap();
    std::fs::write(dir.join("old"), vec![7; 70_000]).unwrap();
    for (name, seconds) in [(OsStr::new("old"), -1), (odd, 5_000_000_000)] {
        let times = [(0, 0), (seconds, 500_000_000)].map(|(tv_sec, tv_nsec)| rustix::fs::Timespec { tv_sec, tv_nsec });
        let times = rustix::fs::Timestamps { last_access: times[0], last_modification: times[1] };
        rustix::fs::utimensat(rustix::fs::CWD, dir.join(name), &times, rustix::fs::AtFlags::empty()).unwrap();
    }
    std::fs::set_permissions(dir.join("old"), Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::symlink("no such thing", dir.join("link")).unwrap();
    std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    let list = |path: &Path| {
        let path = path.to_str().unwrap().as_bytes().to_vec();
        async move { hasher.list(&path, LONG).await }
    };
    if !hasher.rung.tells_parts() {
        return assert_eq!(list(dir).await, Err(NoHash::Skipped));
    }
    let mut told = list(dir).await.unwrap();
    told.sort_by(|one, other| one.name.cmp(&other.name));
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(told.iter().map(|entry| OsStr::from_bytes(&entry.name)).collect::<Vec<_>>(), names);
    for Entry { name, meta, target } in told {
        let path = dir.join(OsStr::from_bytes(&name));
        let found = std::fs::symlink_metadata(&path).unwrap();
        let is = |mode: u32| found.mode() & 0o170_000 == mode;
        let kind = match meta.kind {
            Kind::File => is(0o100_000),
            Kind::Dir => is(0o040_000),
            Kind::Symlink => is(0o120_000),
            _ => is(0o140_000),
        };
        assert!(kind, "{}", path.display());
        // As SFTP tells it: whole seconds, in 32 bits.
        let seconds = |seconds: i64| i64::from(seconds as u32);
        assert_eq!((meta.mtime, meta.mtime_nsec, meta.atime), (seconds(found.mtime()), 0, seconds(found.atime())));
        assert_eq!((meta.mode, meta.size), (found.mode() & 0o7777, found.len()));
        assert_eq!((meta.uid, meta.gid), (found.uid(), found.gid()));
        let leads = std::fs::read_link(&path).ok().map(|target| target.into_os_string().into_encoded_bytes());
        assert_eq!(target, leads);
    }
    assert_eq!(list(&dir.join("empty")).await, Ok(Vec::new()));
    // What is no directory, or is a large one, is for SFTP.
    for path in ["old", "link", "gone"] {
        assert_eq!(list(&dir.join(path)).await, Err(NoHash::Skipped), "{path}");
    }
    let large = dir.join("large");
    std::fs::create_dir(&large).unwrap();
    (0..2000).for_each(|n| std::fs::write(large.join(format!("a name of some length {n}")), "").unwrap());
    assert_eq!(list(&large).await, Err(NoHash::Skipped));
}

/// Bytes of one file for another one, and what cannot be done of it.
async fn copies(hasher: &RemoteHasher, dir: &Path) {
    let (old, new) = (dir.join("copied from"), dir.join("copied to"));
    let data: Vec<u8> = (0..700_000).map(|n| (n % 251) as u8).collect();
    std::fs::write(&old, &data).unwrap();
    std::fs::write(&new, vec![b'x'; 10]).unwrap();
    let copy = |old: &Path, new: &Path, run| {
        let [old, new] = [old, new].map(|path| path.to_str().unwrap().as_bytes().to_vec());
        async move { hasher.copy(&old, &new, run).await?.await }
    };
    if !hasher.rung.tells_parts() {
        return assert_eq!(copy(&old, &new, (0, 0, 1)).await, Err(NoHash::Skipped));
    }
    let (one, other) = tokio::join!(copy(&old, &new, (5, 3, 650_000)), copy(&old, &new, (0, 650_003, 7)));
    assert_eq!((one, other), (Ok(()), Ok(())));
    let expected = [b"xxx", &data[5..650_005], &data[..7]].concat();
    assert!(std::fs::read(&new).unwrap() == expected);
    // More than there is, and files that are not there: none is made.
    assert_eq!(copy(&old, &new, (699_999, 0, 2)).await, Err(NoHash::Skipped));
    let gone = dir.join("not there");
    assert_eq!(copy(&gone, &new, (0, 0, 1)).await, Err(NoHash::Skipped));
    assert_eq!(copy(&old, &gone, (0, 0, 1)).await, Err(NoHash::Skipped));
    assert!(!gone.exists());
    let link = dir.join("link to what was copied");
    std::os::unix::fs::symlink(&new, &link).unwrap();
    let before = std::fs::read(&new).unwrap();
    assert_eq!(copy(&old, &link, (7, 0, 100)).await, Err(NoHash::Skipped));
    assert!(std::fs::read(&new).unwrap() == before, "it leads elsewhere");
    std::fs::remove_file(&link).unwrap();
    assert_eq!(copy(&dir.join("two\nlines"), &new, (0, 0, 1)).await, Err(NoHash::Skipped));
}

/// Whatever the login shell is, of those that are here; Debian's csh, which takes the shortest words, is (`tests/needs`).
#[tokio::test]
async fn every_login_shell_runs_the_script() {
    let mut ran = Vec::new();
    for shell in ["sh", "bash", "bsd-csh", "tcsh", "fish", "zsh", "mksh", "busybox sh"] {
        let program = shell.split(' ').next().unwrap_or(shell);
        let is_here = |dir: &str| Path::new(dir).join(program).exists();
        if !["/bin", "/usr/bin"].into_iter().any(is_here) {
            continue;
        }
        let login = ["sh", "-c", &format!("shift; exec {shell} -c \"$*\""), "here"].map(Into::into).to_vec();
        let link = CommandConnector { shell: login, user: None, host: "far".to_owned() }.connect().await.unwrap();
        let wire = link.exec(ladder::script().as_bytes()).await.unwrap();
        let far = remote::start(wire, "far".into()).await.unwrap_or_else(|fault| panic!("{shell}: {fault}"));
        assert_eq!(far.far.uid, Some(rustix::process::getuid().as_raw()), "{shell}");
        let hasher = far.hasher.unwrap_or_else(|| panic!("{shell}: no hasher"));
        assert!(hasher.digest(b"/etc/passwd", 1).await.is_ok(), "{shell}");
        ran.push(shell);
    }
    assert!(ran.contains(&"sh") && ran.contains(&"bsd-csh"), "{ran:?}");
}

/// The processes below one.
fn below(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<u32> =
        children.flat_map(|pids| pids.split_whitespace().flat_map(str::parse).collect::<Vec<_>>()).collect();
    children.into_iter().flat_map(|child| std::iter::once(child).chain(below(child))).collect()
}

/// What it was asked and has not read must not be done by another one, which nobody listens to.
#[tokio::test]
async fn no_other_hasher_takes_the_place_of_one_that_was_killed() {
    for rung in [Rung::Gmac(Key::own()), Rung::Python] {
        let script = with_only(rung).replace("if false; then become openssl", "if has openssl; then become openssl");
        // Another test may have started one, too.
        let script = script.replace("\"$H\"; x=", "\"$H\" of-this-test; x=");
        assert!(script.contains("of-this-test"));
        let link = here().connect().await.unwrap();
        let wire = link.exec(script.as_bytes()).await.unwrap();
        let hasher = remote::start(wire, "far".into()).await.unwrap().hasher.unwrap();
        let is_it = |pid: &u32| {
            let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            program.to_string_lossy().contains("/python") && arguments.contains("of-this-test")
        };
        let started = below(std::process::id()).into_iter().filter(is_it);
        let pids: Vec<_> = started.filter_map(|pid| rustix::process::Pid::from_raw(pid as i32)).collect();
        assert_eq!(pids.len(), 1, "{rung:?}");
        rustix::process::kill_process(pids[0], rustix::process::Signal::KILL).unwrap();
        // Whether it is the exit that is seen first, or the pipe that nobody reads.
        let told = hasher.digest(b"/etc/passwd", 1).await;
        assert!(matches!(told, Err(NoHash::Gone(_))), "{told:?}");
    }
}

#[tokio::test]
async fn thousands_of_files_asked_for_at_once_are_hashed_by_each_of_the_scripts_hashers() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..3000)
        .map(|n| {
            let path = dir.path().join(format!("a rather long name with spaces, as people give them, number {n}"));
            std::fs::write(&path, n.to_string()).unwrap();
            path
        })
        .collect();
    // Directories, and what is not told of: one of too many entries, one whose name would be two lines, a link.
    let tree = dir.path().join("tree");
    for below in ["a/b c/d", "large", "two\nlines"] {
        std::fs::create_dir_all(tree.join(below)).unwrap();
    }
    (0..=ENTRIES).for_each(|n| std::fs::write(tree.join(format!("large/{n}")), "").unwrap());
    std::os::unix::fs::symlink("a", tree.join("link")).unwrap();
    // The one that is tested, before any that is installed.
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_hopsync"));
    let ours = format!("PATH='{}':$PATH; export PATH", program.parent().unwrap().display());
    for rung in [Rung::Own, Rung::Gmac(Key::own()), Rung::Python, Rung::Openssl, Rung::Sha256sum] {
        let link = here().connect().await.unwrap();
        let wire = link.exec(format!("{ours}; {}", with_only(rung)).as_bytes()).await.unwrap();
        let found = remote::start(wire, "far".into()).await.unwrap();
        assert_eq!(found.far.hasher, Some(rung));
        let hasher = Arc::new(found.hasher.expect("this machine has it"));
        let asks = files.iter().enumerate().map(|(n, path)| {
            let (hasher, path) = (hasher.clone(), path.to_str().unwrap().to_owned());
            async move {
                let answer = tokio::time::timeout(Duration::from_secs(60), hasher.digest(path.as_bytes(), 4)).await;
                let digest = answer.expect("an answer in time").unwrap();
                assert_eq!(digest, Digest::of(hasher.rung.algorithm(), n.to_string().as_bytes()));
            }
        });
        futures::future::join_all(asks).await;
        // At and around the borders of what is hashed in blocks, and read at once.
        for size in [0, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1, 3 * BLOCK, 3 * BLOCK + 1, 7_000_003] {
            let large = dir.path().join("large");
            let data: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            std::fs::write(&large, &data).unwrap();
            let expected = Digest::of(rung.algorithm(), &data);
            assert_eq!(hasher.digest(large.to_str().unwrap().as_bytes(), size as u64).await, Ok(expected));
        }
        let parts = |path: std::path::PathBuf, first| {
            let hasher = hasher.clone();
            async move { hasher.parts(path.to_str().unwrap().as_bytes(), first).await?.await }
        };
        let (large, odd) = (dir.path().join("large"), dir.path().join("b7 not a question"));
        std::fs::write(&odd, "odd").unwrap();
        let whole = hasher.digest(odd.to_str().unwrap().as_bytes(), 3).await;
        assert_eq!(whole, Ok(Digest::of(rung.algorithm(), b"odd")));
        if !rung.tells_parts() {
            assert_eq!(parts(large, Of::Parts(0)).await, Err(NoHash::Skipped));
        } else {
            // At and around the borders of parts, of what one answer tells, and of what is read at once.
            let (part, block) = (PART as usize, BLOCK);
            for size in [0, 1, block, block + 1, 3 * block, part - 1, part, part + 1, 2 * part + block, 66 * part + 5] {
                let data: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
                std::fs::write(&large, &data).unwrap();
                let of = |part: &[u8]| Digest::of(rung.algorithm(), part);
                let expected: Vec<Digest> = data.chunks(part).map(of).collect();
                for first in [0, 1, ASKED] {
                    let from = expected.iter().skip(first as usize).take(ASKED as usize);
                    assert_eq!(
                        parts(large.clone(), Of::Parts(first)).await,
                        Ok(from.copied().collect()),
                        "{rung:?}, {size}"
                    );
                }
            }
            assert_eq!(parts(dir.path().join("is not there"), Of::Parts(0)).await, Ok(Vec::new()));
            // The sums of blocks, of every length.
            for size in [0, 1, 17 << 10, (17 << 10) + 1, 255 << 10, (255 << 10) + 5, SPAN as usize + 70_000] {
                let data: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
                std::fs::write(&large, &data).unwrap();
                for length in [17 << 10, 51 << 10, 255 << 10] {
                    let of = |block: &[u8]| Sum::of(rung.algorithm(), block);
                    let expected: Vec<Sum> = data.chunks(length).map(of).collect();
                    for (at, weak) in [(0, true), (255 << 10, false), (SPAN, true)] {
                        let asked = Asked { length: length as u64, at, weak };
                        let told = parts(large.clone(), Of::Blocks(asked)).await.unwrap();
                        let told: Vec<Sum> = told.iter().map(Sum::told).collect();
                        let from = expected.iter().skip(at as usize / length).take(SPAN as usize / length);
                        let from = from.map(|sum| Sum { weak: if weak { sum.weak } else { 0 }, ..*sum });
                        assert_eq!(told, from.collect::<Vec<_>>(), "{rung:?}, {size}, {asked:?}");
                    }
                }
            }
            let nothing = Of::Blocks(Asked { length: 17 << 10, at: 0, weak: true });
            assert_eq!(parts(dir.path().join("is not there"), nothing).await, Ok(Vec::new()));
        }
        copies(&hasher, dir.path()).await;
        contents(&hasher, &dir.path().join("small")).await;
        listings(&hasher, &dir.path().join(format!("listed {}", rung.name()))).await;
        let below = |path: std::path::PathBuf| {
            let hasher = hasher.clone();
            async move {
                let told = hasher.below(path.to_str().unwrap().as_bytes()).await;
                told.map(|mut told| {
                    told.sort();
                    told
                })
            }
        };
        match rung.tells_parts() {
            true => {
                assert_eq!(
                    below(tree.clone()).await,
                    Ok(["a", "a/b c", "a/b c/d"].map(|p| p.as_bytes().to_vec()).into())
                );
                assert_eq!(below(tree.join("is not there")).await, Ok(Vec::new()));
                // Another file system may lie at a server that does not answer.
                assert!(std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" /dev/pts "));
                let devices = below("/dev".into()).await.unwrap();
                assert!(!devices.iter().any(|path| path == b"pts"), "{rung:?}");
            }
            false => assert_eq!(below(tree.clone()).await, Err(NoHash::Skipped)),
        }
        commits(&hasher, &dir.path().join(format!("committed {}", rung.name()))).await;
        let gone = dir.path().join("is not there");
        assert_eq!(hasher.digest(gone.to_str().unwrap().as_bytes(), 1).await, Err(NoHash::Skipped));
        link.close().await;
    }
}
