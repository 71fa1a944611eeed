//! Command lines and what they mean.

use super::*;
use crate::cli::parse_with;
use std::path::Path;
use std::time::Duration;

fn run_in(words: &[&str], rsh: Option<&str>) -> Result<Command, UsageError> {
    parse_with(
        words.iter().map(OsString::from),
        |name| (name == "RSYNC_RSH").then(|| rsh.map(OsString::from)).flatten(),
        |name| match name.to_str() {
            Some("rules") => Ok(b"a\nb\n".to_vec()),
            Some("rules0") => Ok(b"a\0b\nc\0".to_vec()),
            _ => Err(io::Error::from_raw_os_error(2)),
        },
    )
}

fn job(words: &[&str]) -> Job {
    match run_in(words, None) {
        Ok(Command::Run(job)) => *job,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn error(words: &[&str]) -> (u8, String) {
    let error = run_in(words, None).expect_err("is refused");
    (error.code, error.text)
}

fn options(words: &[&str]) -> Options {
    job(&[words, &["src", "dst"]].concat()).options
}

#[test]
fn the_workflows_pull_works_word_for_word() {
    let job = job(&[
        "-avzq",
        "-e",
        "ssh -J head -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        "usercontainer:/data/in.txt",
        "in.txt",
    ]);
    let o = &job.options;
    assert!(o.recursive && o.links && o.perms && o.times && o.group && o.owner && o.devices && o.specials);
    assert!(o.compress && o.quiet && !o.checksum && !o.list_only);
    assert_eq!((o.verbose, o.human_readable, o.connections), (1, 1, 1));
    assert_eq!(
        job.shell,
        ["ssh", "-J", "head", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    );
    assert!(matches!(&job.sources[..], [Place::Remote { login, path }]
        if login.host == "usercontainer" && login.user.is_none() && path == b"/data/in.txt"));
    assert_eq!(job.dest, Some(Place::Local("in.txt".into())));
}

#[test]
fn the_workflows_push_creates_its_directory() {
    let job = job(&["-avzq", "-e", "ssh -F f", "--rsync-path=mkdir -p /out/x && rsync", "a", "uc:/out/x/a"]);
    assert_eq!(job.options.remote_mkdir, [b"/out/x".to_vec()]);
    assert_eq!(error(&["--rsync-path=sudo rsync", "a", "h:b"]).0, 4);
    // Between local places it never ran.
    assert!(options(&["--rsync-path=sudo rsync"]).remote_mkdir.is_empty());
}

#[test]
fn options_count_in_the_order_given() {
    assert!(options(&["--no-r", "-a"]).recursive);
    assert!(!options(&["-a", "--no-r"]).recursive);
    let o = options(&["-a", "--no-D", "--specials", "--no-o", "--no-group"]);
    assert!(!o.devices && o.specials && !o.owner && !o.group && o.perms);
    assert_eq!(options(&["-vv", "--no-v", "-v"]).verbose, 1);
    assert_eq!(options(&["-hh"]).human_readable, 3);
    assert_eq!(options(&["-hhhh"]).human_readable, 3);
    assert_eq!(options(&["--no-h", "-h"]).human_readable, 1);
    assert_eq!(options(&["--no-h"]).human_readable, 0);
    assert!(!options(&["-z", "--zc=none"]).compress);
    assert!(options(&["--zl=3"]).compress && !options(&["-z", "--zl", "0"]).compress);
    assert_eq!(options(&["--timeout=5", "--no-timeout"]).timeout, None);
}

#[test]
fn dash_p_and_info_turn_progress_on() {
    let o = options(&["-P"]);
    assert!(o.partial && o.progress);
    assert_eq!((o.info.progress, o.info.name), (1, 1));
    let whole = options(&["--info=progress2"]);
    assert!(whole.progress && whole.info.progress == 2);
    assert!(!options(&["-P", "--info=progress0"]).progress);
    assert!(options(&["--info=progress"]).progress);
    assert!(!options(&["-P", "--no-progress"]).progress);
}

#[test]
fn itemizing_twice_shows_what_is_unchanged() {
    let of = |words: &[&str]| {
        let o = options(words);
        (o.itemize, o.itemize_unchanged)
    };
    assert_eq!(of(&["-i"]), (true, false));
    assert_eq!(of(&["-ii"]), (true, true));
    assert_eq!(of(&["-ivv"]), (true, true));
    assert_eq!(of(&["-ii", "--no-i"]), (false, false));
}

#[test]
fn filters_keep_their_order_whatever_their_kind() {
    let o =
        options(&["--include=x", "-f", "- y", "--exclude-from=rules", "--exclude", "z", "-0", "--include-from=rules0"]);
    assert_eq!(
        o.rules,
        [
            Rule::include(b"x"),
            Rule::exclude(b"y"),
            Rule::exclude(b"a").of_file(),
            Rule::exclude(b"b").of_file(),
            Rule::exclude(b"z"),
            Rule::include(b"a").of_file(),
            Rule::include(b"b\nc").of_file(),
        ]
    );
    assert_eq!(
        error(&["--exclude-from=nofile", "a", "b"]),
        (11, "failed to open exclude file nofile: No such file or directory (2)".into())
    );
    assert_eq!(error(&["-f", "nonsense", "a", "b"]).0, 1);
}

#[test]
fn deletion_needs_recursion_and_one_time() {
    assert_eq!(
        error(&["--delete", "src", "dst"]),
        (1, "--delete does not work without --recursive (-r) or --dirs (-d).".into())
    );
    assert!(options(&["-d", "--delete"]).delete.enabled);
    let o = options(&["-r", "--delete-excluded"]);
    assert!(o.delete.enabled && o.delete.excluded);
    for when in ["--del", "--delete-before", "--delete-during", "--delete-delay", "--delete-after"] {
        assert!(options(&["-r", when]).delete.enabled, "{when}");
    }
    assert!(options(&["-r", "--del", "--delete-during", "--delete"]).delete.enabled);
    assert_eq!(
        error(&["-r", "--delete-before", "--delete-after", "a", "b"]).1,
        "You may not combine multiple --delete-WHEN options."
    );
    assert_eq!(options(&["--max-delete=3"]).max_delete, Some(3));
    assert_eq!(options(&["--max-delete=-1"]).max_delete, Some(0));
}

#[test]
fn numbers_are_checked_in_rsyncs_words() {
    let o = options(&["--max-size=1.5k", "--min-size", "10", "--bwlimit=1.5m", "--timeout=0", "--contimeout=7"]);
    assert_eq!((o.max_size, o.min_size, o.bwlimit), (Some(1536), Some(10), Some(1536 * 1024)));
    assert_eq!((o.timeout, o.contimeout), (None, Some(Duration::from_secs(7))));
    assert_eq!(options(&["--bwlimit=0"]).bwlimit, None);
    assert_eq!(options(&["--bwlimit=100"]).bwlimit, Some(100 * 1024));
    assert_eq!(options(&["--bwlimit=1.5m", "--no-bwlimit"]).bwlimit, None);
    assert_eq!(error(&["--bwlimit=x", "a", "b"]).1, "--bwlimit=x is invalid");
    assert_eq!(error(&["--bwlimit=0.1", "a", "b"]).1, "--bwlimit=0.1 is too small (min: 512 or 0 for unlimited)");
    assert_eq!(error(&["--max-size=x", "a", "b"]).1, "--max-size=x is invalid");
    assert_eq!(error(&["--timeout=x", "a", "b"]).1, "--timeout=x: invalid numeric value");
    assert_eq!(error(&["--max-delete=3x", "a", "b"]).1, "--max-delete=3x: invalid numeric value");
    assert_eq!(error(&["--chmod=zz", "a", "b"]).1, "Invalid argument passed to --chmod (zz)");
    assert_eq!(options(&["--chmod=u+x", "--chmod", "go-w"]).chmod.as_deref(), Some("u+x,go-w"));
    assert_eq!(error(&["--zc=foo", "a", "b"]), (4, "unknown compress name: foo".into()));
}

#[test]
fn the_shell_comes_from_e_then_rsync_rsh_then_is_ssh() {
    let shell = |words: &[&str], rsh| match run_in(words, rsh) {
        Ok(Command::Run(job)) => job.shell,
        other => panic!("{other:?}"),
    };
    assert_eq!(shell(&["h:a", "b"], None), ["ssh"]);
    assert_eq!(shell(&["h:a", "b"], Some("ssh -p 2")), ["ssh", "-p", "2"]);
    assert_eq!(shell(&["h:a", "b"], Some("")), ["ssh"]);
    assert_eq!(shell(&["-e", "x y", "h:a", "b"], Some("ssh -p 2")), ["x", "y"]);
    assert_eq!(shell(&["-e", "x", "--rsh=/bin/ssh -q", "-4", "h:a", "b"], None), ["/bin/ssh", "-4", "-q"]);
    assert_eq!(shell(&["-6", "-e", "other", "h:a", "b"], None), ["other"]);
}

#[test]
fn a_single_operand_or_list_only_is_a_listing() {
    let one = job(&["h:dir/"]);
    assert!(one.options.list_only && one.options.dirs && one.dest.is_none());
    assert!(!job(&["-r", "dir/"]).options.dirs);
    let two = job(&["--list-only", "dir/", "dst"]);
    assert!(two.options.list_only && two.dest.is_none());
    assert_eq!(two.sources, [Place::Local("dir/".into())]);
}

#[test]
fn our_own_options_are_checked() {
    let o =
        options(&["--verify=readback", "--report=r.jsonl", "--metrics=m.prom", "--channels", "4", "--connections=2"]);
    assert_eq!((o.verify, o.channels, o.connections), (Verify::Readback, Some(4), 2));
    assert_eq!(o.report.as_deref(), Some(Path::new("r.jsonl")));
    assert_eq!(o.metrics.as_deref(), Some(Path::new("m.prom")));
    assert_eq!(options(&[]).verify, Verify::Auto);
    assert_eq!(error(&["--verify=maybe", "a", "b"]).1, "--verify=maybe: give auto, readback or off");
    assert_eq!(error(&["--channels=0", "a", "b"]).1, "--channels=0: give a number from 1 to 1024");
}

#[test]
fn help_is_h_alone_and_anywhere_else_human_readable() {
    assert!(matches!(run_in(&["-h"], None), Ok(Command::Help(text)) if text.contains("Usage: hopsync")));
    assert!(matches!(run_in(&["--help", "--version"], None), Ok(Command::Help(_))));
    assert!(matches!(run_in(&["-V"], None), Ok(Command::Version(text)) if text.starts_with("hopsync  version")));
    assert_eq!(options(&["-h"]).human_readable, 2);
    let (code, text) = error(&[]);
    assert!(code == 1 && text.contains("Usage: hopsync"));
    assert_eq!(error(&["-a"]).0, 1);
}

#[test]
fn what_changes_no_outcome_is_taken() {
    for word in
        ["-W", "--no-W", "-s", "--no-s", "--blocking-io", "--no-i-r", "--outbuf=L", "--no-motd", "--stderr=errors"]
    {
        options(&[word]);
    }
    assert_eq!(error(&["--outbuf=x", "a", "b"]).0, 1);
    assert_eq!(error(&["--stderr=some", "a", "b"]).0, 1);
    for words in [["--block-size=128K"], ["--checksum-seed=-0x1f"], ["--max-alloc=0"], ["--iconv=-"], ["--debug=all"]] {
        options(&[words[0]]);
    }
    for (words, said) in [
        (["-B200000"], "too large"),
        (["--checksum-seed=x"], "invalid numeric value"),
        (["--max-alloc=10"], "too small"),
        (["--compress-threads=x"], "invalid numeric value"),
        (["--stop-at=99:99"], "invalid --stop-at format: 99:99"),
        (["--stop-at=2001-01-01"], "not in the future"),
    ] {
        let (code, text) = error(&[words[0], "a", "b"]);
        assert!(code == 1 && text.contains(said), "{words:?}: {code} {text}");
    }
    assert!(options(&["--stop-at=23:59"]).stop_after.is_some_and(|after| after.as_secs() <= 25 * 3600));
    assert!(!options(&["--append", "--no-append"]).inplace);
}

#[test]
fn checksums_are_made_only_where_a_format_shows_them() {
    use crate::job::Checksum;
    for (words, sums) in [
        (&["--out-format=%n %32C"][..], true),
        (&["--out-format=%%C %c"], false),
        (&["--log-file-format=%C"], false),
        (&["--log-file-format=%C", "--log-file=log"], true),
    ] {
        let words: Vec<&str> = ["-a"].iter().chain(words).chain(&["a", "b"]).copied().collect();
        assert_eq!(options(&words).sums, sums, "{words:?}");
    }
    let chosen = options(&["-c", "--cc=md5,sha1", "a", "b"]);
    assert_eq!((chosen.sum(), chosen.checksum_choice.0), (Checksum::Sha1, Checksum::Md5));
    assert_eq!(options(&["a", "b"]).sum(), Checksum::Xxh128);
    assert_eq!(error(&["-c", "--cc=none", "a", "b"]).0, 4);
}
