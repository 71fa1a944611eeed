//! Options that remove, overwrite or go on from something: nothing is lost and nothing is told that is not so, whatever the
//! far end does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hopsync::lab::bed::{Bed, Embedded, SshdPair, TARGET};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use hopsync::lab::server::{Commands, Extensions};
use hopsync::lab::trees::{Aspects, list, random_file};

use crate::harness::*;

// SSH_FXP_OPEN, SSH_FXP_WRITE and SSH_FX_PERMISSION_DENIED (draft-ietf-secsh-filexfer-02 §3, §7).
const OPEN: u8 = 3;
const WRITE: u8 = 6;
const PERMISSION_DENIED: u32 = 3;

fn target(rules: impl IntoIterator<Item = (Nth, Trouble)>) -> Result<Embedded, Box<dyn std::error::Error>> {
    Ok(Embedded::target(|config| config.faults = Faults::new(rules))?)
}

/// A file of three megabytes: larger than one request, so that it moves in pieces.
fn large(bed: &dyn Bed) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let path = bed.client().dir().join("large");
    random_file(&path, 3 << 20, b"large")?;
    Ok(path)
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[test]
fn a_source_whose_copy_is_damaged_is_not_removed() -> Tried {
    let bed = target([(Nth::Always, Trouble::CorruptFile)])?;
    let near = bed.client().dir().join("near");
    fs::create_dir(&near)?;
    random_file(&near.join("file"), 50_000, b"file")?;
    let ran = go(&bed, ["-a", "--remove-source-files", &slash(&near), &bed.operand("there")])?.exits(23)?;
    assert!(is_there(&near.join("file")) && !is_there(&bed.far().join("there/file")), "{}", ran.said());
    Ok(())
}

#[test]
fn a_source_that_only_looks_like_what_is_there_is_sent_before_it_is_removed() -> Tried {
    let bed = Embedded::start()?;
    let near = bed.client().dir().join("near");
    let there = bed.far().join("there");
    for (dir, content) in [(&near, "AAAA"), (&there, "BBBB")] {
        fs::create_dir(dir)?;
        fs::write(dir.join("file"), content)?;
        hopsync::lab::trees::set_mtime(&dir.join("file"), 1_000_000)?;
    }
    let ran = go(&bed, ["-a", "--remove-source-files", &slash(&near), &bed.operand("there")])?.well()?;
    assert_eq!(fs::read_to_string(there.join("file"))?, "AAAA", "{}", ran.said());
    assert!(!is_there(&near.join("file")));
    Ok(())
}

#[test]
fn nothing_is_removed_unproven_or_before_it_is_in_its_place() -> Tried {
    let bed = Embedded::start()?;
    let near = bed.client().dir().join("file");
    fs::write(&near, "content")?;
    go(&bed, ["-a", "--remove-source-files", "--verify=off", "file", &bed.operand("")])?.exits(1)?;
    assert!(is_there(&near));
    let delayed = ["-a", "--remove-source-files", "--delay-updates", "file"];
    let damaging = target([(Nth::Always, Trouble::CorruptFile)])?;
    let other = damaging.client().dir().join("file");
    fs::write(&other, "content")?;
    let ran = go(&damaging, [&delayed[..], &[&damaging.operand("")]].concat())?.exits(23)?;
    assert!(is_there(&other) && !is_there(&damaging.far().join("file")), "{}", ran.said());
    let ran = go(&bed, [&delayed[..], &[&bed.operand("")]].concat())?.well()?;
    assert!(!is_there(&near) && is_there(&bed.far().join("file")), "{}", ran.said());
    Ok(())
}

#[test]
fn a_file_written_in_place_keeps_its_inode_and_is_proven() -> Tried {
    let bed = target([(Nth::Only(1), Trouble::CorruptFile)])?;
    let near = large(&bed)?;
    let there = bed.far().join("large");
    random_file(&there, 4 << 20, b"older and longer")?;
    let inode = fs::metadata(&there)?.ino();
    let ran = go(&bed, ["-a", "--inplace", "large", &bed.operand("")])?.well()?;
    same(&near, &there, ALL)?;
    assert_eq!(fs::metadata(&there)?.ino(), inode);
    assert_eq!(ran.report.drops(), 1, "the damaged try is told: {}", ran.said());
    Ok(())
}

#[test]
fn what_a_partial_directory_keeps_is_gone_on_from_and_proven() -> Tried {
    for (right, drops, whole_path) in [(true, 0, false), (false, 1, false), (true, 0, true)] {
        let bed = Embedded::start()?;
        let near = large(&bed)?;
        let content = fs::read(&near)?;
        let parts = bed.far().join(".parts");
        fs::create_dir(&parts)?;
        let kept = if right { content[..2 << 20].to_vec() } else { vec![0; 2 << 20] };
        fs::write(parts.join("large"), kept)?;
        let dir = if whole_path { parts.display().to_string() } else { ".parts".to_owned() };
        let ran = go(&bed, ["-a", &format!("--partial-dir={dir}"), "large", &bed.operand("")])?.well()?;
        same(&near, &bed.far().join("large"), ALL)?;
        assert_eq!(ran.report.drops(), drops, "{}", ran.said());
        if right {
            assert!(ran.report.count("moved-bytes") < 2 << 20, "{}", ran.said());
        }
        assert!(is_there(&parts) == whole_path, "an empty partial directory goes, unless it was made by somebody");
        assert!(!is_there(&parts.join("large")));
    }
    Ok(())
}

#[test]
fn a_partial_directory_above_gives_and_loses_only_what_is_unfinished() -> Tried {
    for unfinished in [true, false] {
        let bed = Embedded::start()?;
        let near = large(&bed)?;
        let (into, kept) = (bed.far().join("into"), bed.far().join("kept/large"));
        fs::create_dir(&into)?;
        fs::create_dir(bed.far().join("kept"))?;
        fs::write(&kept, &fs::read(&near)?[..2 << 20])?;
        hopsync::lab::trees::set_mtime(&kept, if unfinished { 0 } else { 1_000_000 })?;
        let ran = go(&bed, ["-a", "--partial-dir=../kept", "large", &bed.operand("into/")])?.well()?;
        same(&near, &into.join("large"), ALL)?;
        assert_eq!(ran.report.count("moved-bytes") < 2 << 20, unfinished, "{}", ran.said());
        assert_eq!(is_there(&kept), !unfinished, "somebody else's file stays");
    }
    // What cannot be finished is kept there, but not over somebody else's file.
    for other in [false, true] {
        let failing = Trouble::Answer { request: WRITE, status: PERMISSION_DENIED, text: "" };
        let bed = target([(Nth::From(6), failing)])?;
        large(&bed)?;
        let kept = bed.far().join("kept/large");
        fs::create_dir(bed.far().join("into"))?;
        if other {
            fs::create_dir(bed.far().join("kept"))?;
            fs::write(&kept, "other")?;
        }
        let ran = go(&bed, ["-a", "--partial-dir=../kept", "large", &bed.operand("into/")])?.exits(23)?;
        let found = fs::read(&kept).map_err(|_| ran.said())?;
        assert_eq!(found == b"other", other, "{}", ran.said());
        assert!(temps(&bed.far().join("into"))?.is_empty(), "{}", ran.said());
    }
    Ok(())
}

#[test]
fn a_file_that_cannot_be_finished_is_kept_in_its_partial_directory() -> Tried {
    for whole_path in [false, true] {
        let failing = Trouble::Answer { request: WRITE, status: PERMISSION_DENIED, text: "" };
        let bed = target([(Nth::From(6), failing)])?;
        let near = large(&bed)?;
        let parts = bed.far().join(".parts");
        let dir = if whole_path { parts.display().to_string() } else { ".parts".to_owned() };
        let ran = go(&bed, ["-a", &format!("--partial-dir={dir}"), "large", &bed.operand("")])?.exits(23)?;
        let kept = fs::metadata(parts.join("large")).map_err(|_| ran.said())?;
        assert!(kept.len() > 0 && kept.len() <= fs::metadata(&near)?.len());
        assert!(!is_there(&bed.far().join("large")) && temps(bed.far())?.is_empty());
    }
    Ok(())
}

#[test]
fn appending_to_what_is_no_beginning_ends_in_the_whole_file() -> Tried {
    for (right, drops) in [(true, 0), (false, 1)] {
        let bed = Embedded::start()?;
        let near = large(&bed)?;
        let content = fs::read(&near)?;
        let kept = if right { content[..2 << 20].to_vec() } else { vec![0; 2 << 20] };
        fs::write(bed.far().join("large"), kept)?;
        let ran = go(&bed, ["-a", "--append-verify", "large", &bed.operand("")])?.well()?;
        same(&near, &bed.far().join("large"), ALL)?;
        assert_eq!(ran.report.drops(), drops, "{}", ran.said());
    }
    Ok(())
}

#[test]
fn what_an_interrupted_run_left_waiting_is_not_taken_for_proven() -> Tried {
    let bed = Embedded::start()?;
    let near = bed.client().dir().join("near");
    fs::create_dir(&near)?;
    fs::write(near.join("file"), "content")?;
    let waiting = bed.far().join("there/.~tmp~");
    fs::create_dir_all(&waiting)?;
    fs::write(waiting.join("stranger"), "half of some")?;
    go(&bed, ["-a", "--delay-updates", &slash(&near), &bed.operand("there")])?.well()?;
    same(&near, &bed.far().join("there"), ALL)
}

#[test]
fn a_backup_holds_what_was_replaced_even_if_the_new_one_is_damaged() -> Tried {
    let bed = target([(Nth::Always, Trouble::CorruptFile)])?;
    fs::write(bed.client().dir().join("file"), "the newer one")?;
    fs::write(bed.far().join("file"), "the old one")?;
    let ran = go(&bed, ["-ab", "file", &bed.operand("")])?.exits(23)?;
    assert_eq!(fs::read_to_string(bed.far().join("file"))?, "the old one", "{}", ran.said());
    assert!(ran.report.trouble(TARGET, "hash", "mismatch").is_some());
    Ok(())
}

#[test]
fn hard_links_of_a_far_source_are_found_or_refused_but_never_guessed() -> Tried {
    let bed = SshdPair::start()?;
    let far = bed.far().join("tree");
    fs::create_dir_all(far.join("sub dir"))?;
    for (name, content) in [("one", "1"), ("two", "2"), ("alone", "2")] {
        fs::write(far.join(name), content)?;
    }
    fs::hard_link(far.join("one"), far.join("sub dir/one\nagain"))?;
    fs::hard_link(far.join("one"), far.join("third"))?;
    fs::hard_link(far.join("two"), far.join("sub dir/-two"))?;
    // A name outside of what is pulled.
    fs::hard_link(far.join("alone"), bed.far().join("elsewhere"))?;
    let inode = |path: &str| fs::metadata(bed.client().dir().join(path)).map(|meta| (meta.ino(), meta.nlink()));
    for (operand, here) in [("tree/", "here/"), ("tree", "into/tree/"), (&*far.display().to_string(), "absolute/tree/")]
    {
        let dest = here.strip_suffix("tree/").unwrap_or(here);
        go(&bed, ["-aH", &bed.operand(operand), dest])?.well()?;
        let (one, two, alone) =
            (inode(&format!("{here}one"))?, inode(&format!("{here}two"))?, inode(&format!("{here}alone"))?);
        assert_eq!((one.1, two.1, alone.1), (3, 2, 1));
        assert_eq!(inode(&format!("{here}sub dir/one\nagain"))?, one);
        assert_eq!(inode(&format!("{here}third"))?, one);
        assert_eq!(inode(&format!("{here}sub dir/-two"))?, two);
        let again = go(&bed, ["-aHi", &bed.operand(operand), dest])?.well()?;
        assert_eq!(again.output.out(), "", "{}", again.said());
    }
    // A far end without a shell.
    let bed = Embedded::target(|config| config.commands = Commands::SftpOnly)?;
    fs::write(bed.far().join("file"), "content")?;
    let ran = go(&bed, ["-aH", &bed.operand("file"), "here"])?.exits(4)?;
    assert!(ran.output.err().contains("--hard-links: a far source needs a shell and GNU find"), "{}", ran.said());
    Ok(())
}

/// What `--copy-dest` has is not sent, where the server can copy, or who hashes; and what only looks like it is.
#[test]
fn what_a_copy_dest_has_is_copied_there_and_proven() -> Tried {
    for (copy_data, commands) in [(true, Commands::Shell), (false, Commands::Shell), (false, Commands::SftpOnly)] {
        let copied = copy_data || commands == Commands::Shell;
        let bed = Embedded::target(|config| {
            config.extensions = Extensions { copy_data, ..Extensions::default() };
            config.commands = commands;
        })?;
        let near = bed.client().dir().join("near");
        fs::create_dir(&near)?;
        for (name, size) in [("small", 5_000), ("large", 3 << 20), ("false friend", 70_000)] {
            random_file(&near.join(name), size, name.as_bytes())?;
        }
        go(&bed, ["-a", &slash(&near), &bed.operand("base")])?.well()?;
        let friend = bed.far().join("base/false friend");
        let was = fs::metadata(&friend)?;
        fs::write(&friend, vec![b'x'; 70_000])?;
        fs::File::options().write(true).open(&friend)?.set_modified(was.modified()?)?;
        let ran = go(&bed, ["-a", "--copy-dest=../base", &slash(&near), &bed.operand("there")])?.well()?;
        same(&near, &bed.far().join("there"), Aspects::CONTENT)?;
        assert_eq!(ran.report.count("verified"), 3, "{}", ran.said());
        let moved = if copied { 70_000 } else { 75_000 + (3 << 20) };
        assert_eq!(ran.report.count("moved-bytes"), moved, "{}", ran.said());
        assert_ne!(
            fs::metadata(bed.far().join("there/large"))?.ino(),
            fs::metadata(bed.far().join("base/large"))?.ino()
        );
    }
    Ok(())
}

#[test]
fn fsync_is_asked_for_and_never_told_of_a_server_that_cannot() -> Tried {
    for (fsync, code) in [(true, 0), (false, 4)] {
        let bed = Embedded::target(|config| config.extensions = Extensions { fsync, ..Extensions::default() })?;
        let file = large(&bed)?;
        let ran = go(&bed, ["-a", "--fsync", &file.display().to_string(), &bed.operand("there")])?.exits(code)?;
        assert_eq!(is_there(&bed.far().join("there")), fsync, "{}", ran.said());
        assert_eq!(ran.output.err().contains("fsync@openssh.com"), !fsync, "{}", ran.said());
    }
    Ok(())
}

#[test]
fn holes_are_made_at_the_far_end_too() -> Tried {
    let bed = Embedded::start()?;
    let near = bed.client().dir().join("near");
    let mut content = vec![0u8; 3 << 20];
    content[1 << 20] = 1;
    fs::write(&near, &content)?;
    let ran = go(&bed, ["-aS", &near.display().to_string(), &bed.operand("there")])?.well()?;
    let there = bed.far().join("there");
    assert_eq!(fs::read(&there)?, content, "{}", ran.said());
    assert!(fs::metadata(&there)?.blocks() * 512 < 1 << 20, "{} blocks", fs::metadata(&there)?.blocks());
    Ok(())
}

#[test]
fn where_a_directorys_rules_are_wrong_nothing_is_sent_or_deleted() -> Tried {
    let bed = Embedded::start()?;
    let near = bed.client().dir().join("near");
    let there = bed.far().join("there");
    for (dir, names) in [(&near, ["sub/new", ".rules"]), (&there, ["sub/extra", "kept"])] {
        for name in names {
            fs::create_dir_all(dir.join("sub"))?;
            fs::write(dir.join(name), "nonsense\n")?;
        }
    }
    let ran = go(&bed, ["-a", "--delete", "-f", ": .rules", &slash(&near), &bed.operand("there")])?.exits(1)?;
    assert!(ran.output.err().contains("Unknown filter rule: nonsense"), "{}", ran.said());
    assert!(is_there(&there.join("sub/extra")) && is_there(&there.join("kept")), "{}", ran.said());
    assert!(!is_there(&there.join("sub/new")), "{}", ran.said());
    Ok(())
}

#[test]
fn what_was_put_behind_a_link_is_not_deleted_where_the_link_leads() -> Tried {
    use std::os::unix::fs::symlink;
    let bed = Embedded::start()?;
    let near = bed.client().dir().join("near");
    let there = bed.far().join("there");
    fs::create_dir_all(near.join("dir"))?;
    fs::write(near.join("dir/new"), "new")?;
    fs::create_dir_all(near.join("out"))?;
    fs::write(near.join("out/new"), "new")?;
    fs::create_dir_all(there.join("real"))?;
    fs::create_dir_all(bed.far().join("elsewhere"))?;
    fs::write(bed.far().join("elsewhere/old"), "old")?;
    symlink("real", there.join("dir"))?;
    symlink("../elsewhere", there.join("out"))?;
    let ran = go(&bed, ["-aK", "--delete", &slash(&near), &bed.operand("there")])?.exits(23)?;
    assert_eq!(fs::read_to_string(there.join("real/new"))?, "new", "{}", ran.said());
    // Out of the destination nothing is put and nothing deleted, and the link stays.
    assert!(is_there(&there.join("out")) && is_there(&bed.far().join("elsewhere/old")), "{}", ran.said());
    assert!(!is_there(&bed.far().join("elsewhere/new")), "{}", ran.said());
    Ok(())
}

#[test]
fn a_further_name_is_told_of_only_once_it_is_there() -> Tried {
    let names = |bed: &dyn Bed| -> Result<PathBuf, Box<dyn std::error::Error>> {
        let near = bed.client().dir().join("near");
        fs::create_dir(&near)?;
        fs::write(near.join("a"), "content")?;
        fs::hard_link(near.join("a"), near.join("b"))?;
        fs::hard_link(near.join("a"), near.join("c"))?;
        Ok(near)
    };
    // The far end makes no links.
    let bed = Embedded::target(|config| config.extensions = Extensions { hardlink: false, ..Extensions::default() })?;
    let near = names(&bed)?;
    let ran = go(&bed, ["-aHv", &slash(&near), &bed.operand("there")])?.exits(4)?;
    assert!(ran.output.out().contains("\na\n") && !ran.output.out().contains("=>"), "{}", ran.said());
    // The first name does not come.
    let bed = target([(Nth::Always, Trouble::CorruptFile)])?;
    let near = names(&bed)?;
    let ran = go(&bed, ["-aHv", &slash(&near), &bed.operand("there")])?.exits(23)?;
    assert!(!ran.output.out().contains("=>"), "{}", ran.said());
    assert_eq!(ran.report.count("failed"), 3, "{}", ran.said());
    // What is in the way stays: a dry run says what the run does.
    for (stays, told) in [("b", "a\nc => a\n"), ("a", "")] {
        let bed = Embedded::target(|_| ())?;
        let near = names(&bed)?;
        fs::create_dir_all(bed.far().join("there").join(stays))?;
        fs::write(bed.far().join("there").join(stays).join("in"), "")?;
        for options in [["-aHvn", "-O"], ["-aHvn", "--delete"], ["-aHv", "-O"], ["-aHv", "--delete"]] {
            let _ = fs::remove_file(bed.far().join("there/c"));
            let protect = "--filter=P in";
            let ran = go(&bed, [options[0], options[1], protect, &slash(&near), &bed.operand("there")])?.exits(23)?;
            let out = ran.output.out();
            let lines = out.lines().filter(|line| *line == "a" || line.contains("=>"));
            let lines: String = lines.map(|line| format!("{line}\n")).collect();
            let _ = fs::remove_file(bed.far().join("there/a"));
            assert_eq!(lines, told, "{options:?} {}", ran.said());
        }
    }
    Ok(())
}

#[test]
fn a_file_that_is_the_same_stays_so_when_the_checksum_for_its_line_cannot_be_had() -> Tried {
    // Hashes are made by a command: opened is the source only for its line.
    let bed = target([(Nth::Always, Trouble::Answer { request: OPEN, status: PERMISSION_DENIED, text: "" })])?;
    let near = bed.client().dir().join("near");
    fs::create_dir(&near)?;
    for dir in [near.as_path(), bed.far()] {
        fs::write(dir.join("file"), "the same")?;
        hopsync::lab::trees::set_mtime(&dir.join("file"), 1_000_000)?;
    }
    let args = ["-acii", "--out-format=%i %C %n", &bed.operand("file"), "near/"];
    let ran = go(&bed, args)?.exits(23)?;
    assert_eq!((ran.report.count("unchanged"), ran.report.count("failed")), (1, 0), "{}", ran.said());
    assert_eq!(ran.report.count("other-failures"), 1, "{}", ran.said());
    assert!(ran.output.out().contains("file"), "{}", ran.said());
    Ok(())
}

#[test]
fn a_backup_is_of_what_was_there_before_the_first_try() -> Tried {
    // Tries that fail in the middle, at the proof, and once the new file is in its place but nobody has heard of it.
    let cut = (7..=30).map(|requests| Trouble::CloseChannel { requests });
    for trouble in cut.chain([Trouble::CorruptFile, Trouble::WrongHash { containing: "sha256sum" }]) {
        for options in [&["-ab"][..], &["-ab", "--inplace"], &["-ab", "--partial"]] {
            let bed = target([(Nth::Only(1), trouble.clone())])?;
            let near = large(&bed)?;
            fs::write(bed.far().join("large"), "the old one")?;
            let dest = bed.operand("");
            let args = options.iter().copied().chain(["--channels=1", "large", dest.as_str()]);
            let case = format!("{trouble:?} {options:?}");
            let ran = go(&bed, args)?.well().map_err(|e| format!("{case}: {e}"))?;
            same(&near, &bed.far().join("large"), ALL)?;
            // The copy that --inplace makes first is no file that is proven.
            let damaged = options.contains(&"--inplace") && trouble == Trouble::CorruptFile;
            let kept = fs::read(bed.far().join("large~")).map_err(|e| format!("{case}: {e} {}", ran.said()))?;
            assert!(damaged || kept == b"the old one", "{case}: {} bytes, {}", kept.len(), ran.said());
        }
    }
    Ok(())
}

#[test]
fn what_gives_way_to_an_unfinished_file_is_kept_too() -> Tried {
    let failing = Trouble::Answer { request: WRITE, status: PERMISSION_DENIED, text: "" };
    let bed = target([(Nth::From(6), failing)])?;
    let near = large(&bed)?;
    fs::write(bed.far().join("large"), "the old one")?;
    let ran = go(&bed, ["-ab", "--partial", "large", &bed.operand("")])?.exits(23)?;
    let unfinished = fs::read(bed.far().join("large"))?;
    assert!(unfinished.len() > 1 << 20 && unfinished.len() as u64 <= fs::metadata(&near)?.len(), "{}", ran.said());
    assert_eq!(fs::read_to_string(bed.far().join("large~"))?, "the old one", "{}", ran.said());
    Ok(())
}

#[test]
fn an_unfinished_file_takes_no_name_before_the_end() -> Tried {
    let failing = Trouble::Answer { request: WRITE, status: PERMISSION_DENIED, text: "" };
    let bed = target([(Nth::From(6), failing)])?;
    large(&bed)?;
    fs::write(bed.far().join("large"), "the old one")?;
    let ran = go(&bed, ["-a", "--partial", "--delay-updates", "large", &bed.operand("")])?.exits(23)?;
    assert_eq!(fs::read(bed.far().join("large"))?, b"the old one", "{}", ran.said());
    assert_eq!(fs::read_dir(bed.far())?.count(), 1, "{}", ran.said());
    Ok(())
}

/// Files are delivered in any order, and the backup of one may have the name of another.
#[test]
fn no_backup_takes_the_place_of_what_this_run_delivers_or_leaves() -> Tried {
    for (first, second) in [(3 << 20, 10), (10, 3 << 20), (10, 10)] {
        for options in [&["-ab"][..], &["-ab", "--inplace"], &["-ab", "--delay-updates"], &["-ab", "--delete"]] {
            let bed = Embedded::start()?;
            let (near, there) = (bed.client().dir().join("near"), bed.far().join("there"));
            for dir in [&near, &there] {
                fs::create_dir(dir)?;
            }
            for (name, size) in [("both", first), ("both~", second), ("one", first), ("chain", first)] {
                random_file(&near.join(name), size, name.as_bytes())?;
                random_file(&there.join(name), size + 1, b"old")?;
            }
            // These are there as they should be.
            for name in ["one~", "gone~", "chain~", "chain~~"] {
                random_file(&near.join(name), 100, name.as_bytes())?;
                fs::copy(near.join(name), there.join(name))?;
                hopsync::lab::trees::set_mtime(&near.join(name), 1_000_000)?;
                hopsync::lab::trees::set_mtime(&there.join(name), 1_000_000)?;
            }
            fs::write(there.join("gone"), "goes")?;
            let ends = [slash(&near), bed.operand("there")];
            let ran = go(&bed, options.iter().map(|arg| (*arg).to_owned()).chain(ends))?.well()?;
            for name in ["both", "both~", "one", "one~", "gone~", "chain", "chain~", "chain~~"] {
                assert!(fs::read(there.join(name))? == fs::read(near.join(name))?, "{options:?} {name} {}", ran.said());
            }
            // And what was there is there.
            let kept = [("both~~", first), ("both~~~", second), ("one~~", first), ("chain~~~", first)];
            for (kept, size) in kept.map(|(kept, size)| (kept, size + 1)) {
                assert_eq!(fs::metadata(there.join(kept))?.len(), size, "{options:?} {kept}");
            }
            if options.contains(&"--delete") {
                assert_eq!(fs::read_to_string(there.join("gone~~"))?, "goes");
            }
        }
    }
    Ok(())
}

/// The same where it is not known beforehand that anything will be kept.
#[test]
fn no_backup_of_another_name_or_of_what_is_missing_takes_the_place_of_what_stays() -> Tried {
    let bed = Embedded::start()?;
    let (near, there) = (bed.client().dir().join("near"), bed.far().join("there"));
    fs::create_dir(&near)?;
    for name in ["a", "b~", "gone", "gone~"] {
        fs::write(near.join(name), format!("content of {name}"))?;
    }
    fs::hard_link(near.join("a"), near.join("b"))?;
    let ends = [slash(&near), bed.operand("there")];
    // The second time, nobody can tell that the names are of one file at the far end already, and they are linked again.
    for options in ["-aH", "-aHb"] {
        go(&bed, [options.to_owned()].into_iter().chain(ends.clone()))?.well()?;
        assert_eq!(fs::read_to_string(there.join("b~"))?, "content of b~", "{options}");
    }
    fs::remove_file(near.join("gone"))?;
    let list = bed.client().dir().join("names");
    fs::write(&list, "gone\ngone~\n")?;
    let options = ["-ab".to_owned(), "--delete-missing-args".to_owned(), format!("--files-from={}", list.display())];
    let ran = go(&bed, options.into_iter().chain(ends))?.well()?;
    assert!(!is_there(&there.join("gone")), "{}", ran.said());
    assert_eq!(fs::read_to_string(there.join("gone~"))?, "content of gone~");
    assert_eq!(fs::read_to_string(there.join("gone~~"))?, "content of gone");
    Ok(())
}

/// As rsync, which deletes before: an older backup that goes leaves its name to the new one.
#[test]
fn a_backup_of_this_run_is_not_deleted_as_an_older_one_would_be() -> Tried {
    let bed = Embedded::start()?;
    let (near, there) = (bed.client().dir().join("near"), bed.far().join("there"));
    for (dir, names) in [(&near, &["f"][..]), (&there, &["f", "f~", "g~"])] {
        fs::create_dir(dir)?;
        for name in names {
            fs::write(dir.join(name), format!("{name} in {}", dir.display()))?;
        }
    }
    let old = fs::read_to_string(there.join("f"))?;
    let ends = [slash(&near), bed.operand("there")];
    let options = ["-ab", "--delete", "--delete-excluded"].map(ToOwned::to_owned);
    let ran = go(&bed, options.into_iter().chain(ends))?.well()?;
    assert_eq!(fs::read(there.join("f"))?, fs::read(near.join("f"))?);
    assert_eq!(fs::read_to_string(there.join("f~"))?, old, "{}", ran.said());
    assert!(!is_there(&there.join("g~")), "{}", ran.said());
    Ok(())
}

/// The same of a directory for backups that both ends have.
#[test]
fn no_backup_takes_the_place_of_what_is_delivered_into_the_directory_for_backups() -> Tried {
    // One that the walk comes to before what is replaced, and one behind it.
    for (far, kept) in [(true, ".old"), (true, "zold"), (false, ".old"), (false, "zold")] {
        let bed = Embedded::start()?;
        let (near, there) = (bed.client().dir().join("near"), bed.far().join("there"));
        let (from, to) = if far { (&near, &there) } else { (&there, &near) };
        for (dir, content) in [(from, "new"), (to, "an old one")] {
            fs::create_dir_all(dir.join(kept).join("d"))?;
            fs::create_dir_all(dir.join("d"))?;
            for number in 0..20 {
                fs::write(dir.join(format!("d/{number}")), content)?;
                // Some are new at the destination.
                if dir == from || number % 2 == 0 {
                    fs::write(dir.join(format!("{kept}/d/{number}")), format!("kept {content}"))?;
                }
            }
        }
        let ends = if far {
            [slash(&near), bed.operand("there")]
        } else {
            [format!("{}/", bed.operand("there")), near.display().to_string()]
        };
        let options = ["-ab".to_owned(), format!("--backup-dir={kept}")];
        let ran = go(&bed, options.into_iter().chain(ends))?.well()?;
        for number in 0..20 {
            let read = |path: String| fs::read_to_string(to.join(path));
            assert_eq!(read(format!("d/{number}"))?, "new", "{}", ran.said());
            assert_eq!(read(format!("{kept}/d/{number}"))?, "kept new", "{}", ran.said());
        }
        // And what was there is there.
        let olds = list(to)?.into_keys().filter(|path| fs::read(to.join(path)).is_ok_and(|data| data == b"an old one"));
        assert_eq!(olds.count(), 20, "{far} {kept}");
    }
    Ok(())
}

/// As rsync, which reads the destination's rules only where it deletes by them.
#[test]
fn rules_at_the_destination_are_read_only_where_something_is_deleted() -> Tried {
    let bed = Embedded::start()?;
    let (near, there) = (bed.client().dir().join("near"), bed.far().join("there"));
    for dir in [&near, &there] {
        fs::create_dir_all(dir.join("d"))?;
    }
    fs::write(near.join("d/file"), "new")?;
    fs::write(there.join("d/.rules"), "no rule at all\n")?;
    let ends = [slash(&near), bed.operand("there")];
    let run = |options: &[&str]| go(&bed, options.iter().map(|arg| (*arg).to_owned()).chain(ends.clone()));
    run(&["-a", "--filter=dir-merge .rules"])?.well()?;
    assert_eq!(fs::read(there.join("d/file"))?, b"new");
    fs::write(there.join("d/extra"), "")?;
    let ran = run(&["-a", "--delete", "--filter=dir-merge .rules"])?;
    assert!(ran.output.code != 0 && is_there(&there.join("d/extra")), "{}", ran.said());
    Ok(())
}
