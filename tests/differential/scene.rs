//! The input of a case: a directory with `src`, `dst` and what else its options name.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

type Tried<T> = Result<T, Box<dyn Error>>;

/// Times well before any run.
const BASE: i64 = 1_000_000_000;

/// Which input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scene {
    /// Differences of every kind that a quick check can see, an extra tree, and lists of names.
    Plain,
    /// Files with several names, at both ends.
    HardLinks,
    /// Devices, FIFOs, sockets' stand-ins.
    Special,
    /// Owners and groups other than our own.
    Owners,
    /// Files of filter rules, at both ends and above them.
    Rules,
    /// Directories that their owner, who is not root, may not read, enter or write.
    Locked,
    /// A source whose links lead to directories elsewhere.
    Linked,
    /// Files with holes, and links to directories at the destination.
    Holes,
    /// Whole trees, made of lines of `make`.
    Made(Vec<Thing>),
}

/// One thing of a made scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    File { path: String, content: String, mode: u32, time: i64 },
    Dir { path: String, mode: u32, time: i64 },
    Link { path: String, target: String, time: i64 },
    Hard { path: String, of: String },
}

impl Scene {
    /// Whether root has to run it as somebody else: nothing is locked for root.
    pub fn is_for_others(&self) -> bool {
        *self == Scene::Locked
    }

    /// Makes it below `at`.
    pub fn make(&self, at: &Path) -> Tried<()> {
        fs::create_dir_all(at)?;
        match self {
            Scene::Plain => plain(at),
            Scene::HardLinks => hard_links(at),
            Scene::Special => special(at),
            Scene::Owners => owners(at),
            Scene::Rules => rules(at),
            Scene::Holes => holes(at),
            Scene::Linked => linked(at),
            Scene::Locked => locked(at),
            Scene::Made(things) => made(at, things),
        }?;
        Ok(())
    }
}

/// Sets a time with nanoseconds that whole seconds lose.
fn date(path: &Path, seconds: i64) -> Tried<()> {
    let at = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: at, last_modification: at };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn file(at: &Path, name: &str, content: &str, time: i64, mode: u32) -> Tried<()> {
    let path = at.join(name);
    fs::create_dir_all(path.parent().unwrap_or(at))?;
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    date(&path, BASE + time)
}

/// Dates every directory and link below `at`, so that both copies are the same whenever they are made.
fn settle(at: &Path, deep: bool) -> Tried<()> {
    for entry in fs::read_dir(at)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            settle(&path, true)?;
        } else if kind.is_symlink() {
            date(&path, BASE + 77)?;
        }
    }
    if deep { date(at, BASE + 500) } else { Ok(()) }
}

fn plain(at: &Path) -> Tried<()> {
    for (name, content, time, mode) in [
        ("src/same", "same", 1000, 0o644),
        ("dst/same", "same", 1000, 0o644),
        ("src/touched", "same", 2000, 0o644),
        ("dst/touched", "same", 1000, 0o644),
        ("src/mode", "same", 1000, 0o750),
        ("dst/mode", "same", 1000, 0o644),
        ("src/grown", "longer now", 2000, 0o644),
        ("dst/grown", "short", 1000, 0o600),
        ("src/shrunk", "short", 2000, 0o644),
        ("dst/shrunk", "longer before", 1000, 0o600),
        ("src/older", "older here", 1000, 0o644),
        ("dst/older", "newer there", 5000, 0o644),
        ("src/silent", "AAAA", 1000, 0o644),
        ("dst/silent", "BBBB", 1000, 0o644),
        ("src/new", "new", 1000, 0o600),
        ("src/empty file", "", 1000, 0o644),
        ("src/sub/deep/new", "new", 1000, 0o664),
        ("src/sub/a.log", "log", 1000, 0o644),
        ("src/sub/more", "more", 1000, 0o644),
        ("dst/sub/more", "less", 900, 0o644),
        ("src/sub-b/x", "x", 1000, 0o644),
        ("src/b.log", "log", 1000, 0o644),
        ("src/run.sh", "#!/bin/sh", 1000, 0o755),
        ("dst/extra", "extra", 1000, 0o644),
        ("dst/extra.log", "extra", 1000, 0o644),
        ("dst/old~", "a backup", 1000, 0o644),
        ("dst/old/deep/extra", "extra", 1000, 0o644),
        ("dst/old/keep.log", "extra", 1000, 0o644),
        ("dst/sub/extra", "extra", 1000, 0o644),
        ("src/file or dir", "file here", 1000, 0o644),
        ("src/link or file", "file here", 1000, 0o644),
        ("dst/becomes link", "file there", 1000, 0o644),
        ("dst/becomes dir", "file there", 1000, 0o644),
        ("src/becomes dir/in it", "in", 1000, 0o644),
        ("one", "one", 1000, 0o644),
        ("two words", "two", 1000, 0o640),
        // What --link-dest and its kin look into: same, same but for its mode, and different.
        ("ref/same", "same", 1000, 0o644),
        ("ref/touched", "same", 2000, 0o644),
        ("ref/mode", "same", 1000, 0o644),
        ("ref/new", "new", 1000, 0o600),
        ("ref/grown", "other", 1500, 0o644),
        ("ref/run.sh", "#!/bin/sh", 1000, 0o644),
        ("ref/sub/deep/new", "new", 1000, 0o664),
        ("ref2/b.log", "log", 1000, 0o644),
        ("ref2/new", "new", 1000, 0o644),
        ("src2/more", "more here", 1200, 0o644),
        ("src2/same", "another same", 1200, 0o644),
        ("src2/sub/second", "second", 1200, 0o644),
        ("src2/extra", "extra", 1000, 0o644),
        ("list", "new\nsub/deep/new\n# no comment\n;neither\n\nsame\n", 1000, 0o644),
        ("list dirs", "sub\nsub-b/\nnew\n", 1000, 0o644),
        ("list odd", "./new\nsub/../same\n/sub//deep\nmissing\n../src/grown\n", 1000, 0o644),
        ("list0", "new\0sub/a.log\0two\nlines\0", 1000, 0o644),
        ("listcr", "new\r\nsame\r\n", 1000, 0o644),
    ] {
        file(at, name, content, time, mode)?;
    }
    fs::create_dir(at.join("dst/file or dir"))?;
    fs::create_dir_all(at.join("src/empty/inner"))?;
    fs::create_dir_all(at.join("src/hollow"))?;
    symlink("same", at.join("src/link"))?;
    symlink("other", at.join("dst/link"))?;
    symlink("same", at.join("ref/link"))?;
    symlink("target", at.join("src/becomes link"))?;
    symlink("elsewhere", at.join("dst/link or file"))?;
    symlink("sub", at.join("src/dirlink"))?;
    symlink("nowhere", at.join("src/dangling"))?;
    symlink("circle", at.join("src/circle"))?;
    symlink("/etc/hostname", at.join("src/absolute"))?;
    symlink("../one", at.join("src/outside"))?;
    fs::set_permissions(at.join("src/sub"), fs::Permissions::from_mode(0o750))?;
    settle(at, false)?;
    date(&at.join("dst"), BASE + 300)?;
    date(&at.join("dst/sub"), BASE + 300)
}

fn hard_links(at: &Path) -> Tried<()> {
    for (name, content) in [
        ("src/a", "one of three"),
        ("src/sub/x", "one of two"),
        ("src/single", "single"),
        ("src/done1", "done"),
        ("dst/done1", "done"),
        ("src/apart1", "apart"),
        ("dst/apart1", "apart"),
        ("dst/apart2", "apart"),
        ("src/half1", "half"),
        ("dst/half1", "half"),
        ("dst/together1", "together"),
        ("src/together1", "together"),
        ("src/together2", "together"),
    ] {
        file(at, name, content, 1000, 0o644)?;
    }
    for (of, name) in [
        ("src/a", "src/b"),
        ("src/a", "src/sub/c"),
        ("src/sub/x", "src/sub/y"),
        ("src/done1", "src/done2"),
        ("dst/done1", "dst/done2"),
        ("src/apart1", "src/apart2"),
        ("src/half1", "src/half2"),
        ("dst/together1", "dst/together2"),
    ] {
        fs::hard_link(at.join(of), at.join(name))?;
    }
    settle(at, false)?;
    date(&at.join("dst"), BASE + 300)
}

fn special(at: &Path) -> Tried<()> {
    for (name, content) in [("src/file", "file"), ("dst/was file", "file"), ("src/sub/in", "in")] {
        file(at, name, content, 1000, 0o644)?;
    }
    let node = |name: &str, kind: FileType, mode: u32, device: u64| -> Tried<()> {
        let path = at.join(name);
        rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(mode), device)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        date(&path, BASE + 1000)
    };
    node("src/fifo", FileType::Fifo, 0o640, 0)?;
    node("dst/fifo", FileType::Fifo, 0o600, 0)?;
    node("src/was file", FileType::Fifo, 0o600, 0)?;
    node("src/new fifo", FileType::Fifo, 0o600, 0)?;
    node("src/socket", FileType::Socket, 0o600, 0)?;
    settle(at, false)?;
    date(&at.join("dst"), BASE + 300)
}

fn owners(at: &Path) -> Tried<()> {
    let root = rustix::process::geteuid().is_root();
    for (name, content, mode, owner) in [
        ("src/ours", "ours", 0o644, (0, 0)),
        ("src/daemon", "theirs", 0o644, (1, 1)),
        ("src/nobody", "theirs", 0o600, (65534, 65534)),
        ("src/unnamed", "theirs", 0o644, (54321, 54322)),
        ("src/setuid", "theirs", 0o4755, (1, 2)),
        ("dst/ours", "ours", 0o644, (1, 1)),
        ("dst/daemon", "theirs", 0o644, (0, 1)),
        ("src/dir/in", "in", 0o644, (3, 3)),
    ] {
        file(at, name, content, 1000, 0o644)?;
        let path = at.join(name);
        if root {
            chown(&path, Some(owner.0), Some(owner.1))?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    symlink("ours", at.join("src/link"))?;
    if root {
        chown(at.join("src/dir"), Some(2), Some(3))?;
        std::os::unix::fs::lchown(at.join("src/link"), Some(1), Some(1))?;
    }
    settle(at, false)?;
    date(&at.join("dst"), BASE + 300)
}

fn rules(at: &Path) -> Tried<()> {
    for (name, content) in [
        (".rsync-filter", "- above\n- /src/anchored\n"),
        ("rules", "- *.o\n. more\n# no rule\n+ /sub/x.tmp\n"),
        ("more", "+ sub/y.tmp\n- *.tmp\n"),
        ("words", "*.o  x.tmp\n#hash"),
        ("src/.rules", "- *.o\n- /top\n; no rule\n- sub/named\nP kept\n"),
        ("src/sub/.rules", "+ keep.o\n- /here\n- *.tmp\nH hidden\n"),
        ("src/sub/deep/.rules", "!\n- x\n"),
        ("src/list", "*.o\nsub/named\n"),
        ("src/sub/list", "x* y*\n"),
        ("src/.rsync-filter", "- *.bak\n: .more\n"),
        ("src/sub/.rsync-filter", "- inner\n"),
        ("src/sub/.more", "- /top\n"),
        ("src/.cvsignore", "one two\nthree"),
        ("src/sub/.cvsignore", "! here\n"),
        ("src/a.o", "1"),
        ("src/top", "1"),
        ("src/above", "1"),
        ("src/anchored", "1"),
        ("src/x.bak", "1"),
        ("src/one", "1"),
        ("src/core", "1"),
        ("src/.git/config", "1"),
        ("src/plain", "1"),
        ("src/x.tmp", "1"),
        ("src/hidden", "1"),
        ("src/sub/top", "1"),
        ("src/sub/one", "1"),
        ("src/sub/named", "1"),
        ("src/sub/keep.o", "1"),
        ("src/sub/b.o", "1"),
        ("src/sub/here", "1"),
        ("src/sub/x.tmp", "1"),
        ("src/sub/y.tmp", "1"),
        ("src/sub/inner", "1"),
        ("src/sub/hidden", "1"),
        ("src/sub/plain~", "1"),
        ("src/sub/deep/x", "1"),
        ("src/sub/deep/c.o", "1"),
        ("src/sub/deep/here", "1"),
        ("src/sub/deep/inner", "1"),
        ("src/only/o.o", "1"),
        ("dst/.rules", "P gone*\n- *.o\n"),
        ("dst/gone1", "1"),
        ("dst/old.o", "1"),
        ("dst/kept", "1"),
        ("dst/x.bak", "1"),
        ("dst/y.bak", "1"),
        ("dst/core", "1"),
        ("dst/one", "1"),
        ("dst/above", "1"),
        ("dst/sub/.rules", "- /stay\n"),
        ("dst/sub/.rsync-filter", "- stay\n"),
        ("dst/sub/stay", "1"),
        ("dst/sub/lost", "1"),
        ("dst/sub/lost.o", "1"),
        ("dst/sub/gone2", "1"),
        ("dst/extra/.rules", "- in\n"),
        ("dst/extra/in", "1"),
        ("dst/extra/out", "1"),
        ("dst/extra/deep/in", "1"),
        ("dst/lost/x.o", "1"),
    ] {
        file(at, name, content, 1000, 0o644)?;
    }
    settle(at, false)?;
    date(&at.join("dst"), BASE + 300)
}

fn holes(at: &Path) -> Tried<()> {
    let block = |byte: u8| -> String { std::iter::repeat_n(byte as char, 64 << 10).collect() };
    let (zeros, data) = (block(0), block(b'x'));
    for (name, content) in [
        ("src/all zeros", zeros.repeat(4)),
        ("src/hole at the end", [data.as_str(), &zeros].concat()),
        ("src/hole first", [zeros.as_str(), &data, "end"].concat()),
        ("src/holes", [data.as_str(), &zeros, &data, &zeros, &zeros, "x"].concat()),
        ("src/large", [zeros.repeat(8).as_str(), &data, &zeros.repeat(7)].concat()),
        ("src/small", "\0\0\0".to_owned()),
        ("dst/holes", data.repeat(2)),
        ("src/dir/new", "new".to_owned()),
        ("src/dir/more/new", "new".to_owned()),
        ("src/other/new", "new".to_owned()),
        ("src/dangling/new", "new".to_owned()),
        ("src/out/new", "new".to_owned()),
        ("src/deep/down/new", "new".to_owned()),
        ("dst/real/old", "old".to_owned()),
        ("dst/real/more/old", "old".to_owned()),
        ("dst/real too/old", "old".to_owned()),
        ("elsewhere/old", "old".to_owned()),
    ] {
        file(at, name, &content, 1000, 0o644)?;
    }
    fs::create_dir(at.join("dst/deep"))?;
    symlink("real", at.join("dst/dir"))?;
    symlink("../real too", at.join("dst/deep/down"))?;
    symlink("../elsewhere", at.join("dst/out"))?;
    symlink("nowhere", at.join("dst/dangling"))?;
    symlink("holes", at.join("dst/other"))?;
    settle(at, false)?;
    date(&at.join("dst"), BASE + 300)
}

fn linked(at: &Path) -> Tried<()> {
    for (name, content) in [
        ("src/f", "f"),
        ("src/dir/new", "new"),
        ("elsewhere/old", "old"),
        ("elsewhere/sub/old", "old"),
        ("around/top", "top"),
    ] {
        file(at, name, content, 1000, 0o644)?;
    }
    for (target, name) in [
        ("../elsewhere", "src/there"),
        ("../around", "src/up"),
        ("../elsewhere", "around/again"),
        ("../f", "src/dir/file"),
        ("old", "elsewhere/link"),
    ] {
        symlink(target, at.join(name))?;
    }
    settle(at, true)
}

/// Who runs what is not for root, where there is one to choose (nobody).
pub const OTHER: u32 = 65534;

fn locked(at: &Path) -> Tried<()> {
    for (name, content) in [
        ("src/f", "f"),
        ("src/closed/in", "in"),
        ("src/blind/in", "in"),
        ("src/listed/in", "in"),
        ("src/open/in", "in"),
        ("src/shut/dir/deep/in", "in"),
        ("src/shut/file", "file"),
        ("src/shut/old", "new here"),
        ("src/shut/was dir", "new here"),
        ("dst/extra", "extra"),
        ("dst/shut/old", "old"),
        ("dst/shut/was dir/in", "in"),
        ("dst/open/listed/stays", "stays"),
        ("dst/theirs/shut/old", "old"),
        ("dst/theirs/shut/was dir/in", "in"),
        ("dst/lower/gone/in", "in"),
        ("dst/lower/gone/deep/in", "in"),
        ("list", "in\n"),
    ] {
        file(at, name, content, 1000, 0o644)?;
    }
    symlink("file", at.join("src/shut/link"))?;
    fs::create_dir(at.join("src/shut/empty"))?;
    rustix::fs::mknodat(CWD, at.join("src/shut/fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    date(&at.join("src/shut/fifo"), BASE + 1000)?;
    settle(at, false)?;
    date(&at.join("dst"), BASE + 300)?;
    let root = rustix::process::geteuid().is_root();
    if root {
        give_away(at)?;
    }
    if root {
        // Of these, the one who runs it cannot change the mode.
        for name in ["dst/theirs", "dst/theirs/shut", "dst/theirs/shut/was dir"] {
            chown(at.join(name), Some(0), Some(0))?;
        }
    }
    for (name, mode) in [
        ("dst", 0o711),
        ("dst/shut", 0o555),
        ("dst/lower/gone/deep", 0o555),
        ("dst/lower/gone", 0o555),
        ("src/closed", 0),
        ("src/blind", 0o100),
        ("src/listed", 0o400),
    ] {
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn give_away(at: &Path) -> Tried<()> {
    std::os::unix::fs::lchown(at, Some(OTHER), Some(OTHER))?;
    if fs::symlink_metadata(at)?.is_dir() {
        for entry in fs::read_dir(at)? {
            give_away(&entry?.path())?;
        }
    }
    Ok(())
}

fn made(at: &Path, things: &[Thing]) -> Tried<()> {
    for dir in ["src", "dst"] {
        fs::create_dir_all(at.join(dir))?;
    }
    for thing in things {
        match thing {
            Thing::File { path, content, mode, time } => file(at, path, content, *time, *mode)?,
            Thing::Dir { path, .. } => fs::create_dir_all(at.join(path))?,
            Thing::Link { path, target, .. } => symlink(target, at.join(path))?,
            Thing::Hard { path, of } => fs::hard_link(at.join(of), at.join(path))?,
        }
    }
    settle(at, false)?;
    for thing in things.iter().rev() {
        match thing {
            Thing::Dir { path, mode, time } => {
                fs::set_permissions(at.join(path), fs::Permissions::from_mode(*mode))?;
                date(&at.join(path), BASE + time)?;
            }
            Thing::Link { path, time, .. } => date(&at.join(path), BASE + time)?,
            _ => {}
        }
    }
    date(&at.join("dst"), BASE + 300)
}
