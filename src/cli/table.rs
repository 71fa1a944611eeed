//! The options: one row each, with its spellings, its help line and what it means.
//!
//! The rows and their order are those of rsync 3.5.0's `--help`; its own rows of hopsync stand at the end. What is not here is
//! refused by name, so that no option that changes data is ever taken silently.

use crate::job::{BasisKind, Options};

/// The switch of a plain option within the resolved options.
pub type Switch = fn(&mut Options) -> &mut bool;

/// What an option does. `resolve` interprets these in the order typed.
#[derive(Debug, Clone, Copy)]
pub enum Meaning {
    /// Turns the switch on; its `--no-` form turns it off.
    On(Switch),
    /// Nothing to do here: the outcome is the same with and without it.
    Ignored,
    Archive,
    /// `--devices --specials`.
    DevicesAndSpecials,
    Verbose,
    HumanReadable,
    Itemize,
    PartialProgress,
    WholeFile,
    Info,
    /// `--delete-WHEN`: deletion with a time that has to be the only one.
    DeleteWhen(&'static str),
    DeleteExcluded,
    MaxDelete,
    MaxSize,
    MinSize,
    BwLimit,
    Timeout,
    ConTimeout,
    Chmod,
    Rsh,
    RsyncPath,
    /// The address family handed to ssh: `-4` or `-6`.
    Family(&'static str),
    Filter,
    /// `-F`.
    FilterFiles,
    CvsExclude,
    Exclude,
    Include,
    ExcludeFrom,
    IncludeFrom,
    From0,
    FilesFrom,
    Basis(BasisKind),
    HardLinks,
    PartialDir,
    TempDir,
    Atimes,
    AppendVerify,
    UserMap,
    GroupMap,
    Chown,
    Backup,
    BackupDir,
    Suffix,
    OutFormat,
    LogFile,
    LogFileFormat,
    ModifyWindow,
    StopAfter,
    Relative,
    Dirs,
    Recursive,
    CompressChoice,
    ChecksumChoice,
    CompressLevel,
    OutBuf,
    Stderr,
    ToStderr,
    Debug,
    Iconv,
    StopAt,
    BlockSize,
    MaxAlloc,
    /// A number that changes nothing here.
    Number,
    Verify,
    Report,
    Metrics,
    Channels,
    Connections,
    ShareLinger,
    ShareStop,
    Version,
    Help,
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Without the dashes; empty if there is only a short form.
    pub long: &'static str,
    pub short: Option<char>,
    /// Further long spellings.
    pub aliases: &'static [&'static str],
    /// What may follow `--no-`, the negated forms that rsync has too.
    pub no: &'static [&'static str],
    /// The value's name in the help; `None` takes no value.
    pub value: Option<&'static str>,
    /// Empty: not shown.
    pub help: &'static str,
    pub meaning: Meaning,
}

const fn row(long: &'static str, short: Option<char>, help: &'static str, meaning: Meaning) -> Row {
    Row { long, short, aliases: &[], no: &[], value: None, help, meaning }
}

impl Row {
    const fn no(mut self, names: &'static [&'static str]) -> Row {
        self.no = names;
        self
    }
    const fn also(mut self, names: &'static [&'static str]) -> Row {
        self.aliases = names;
        self
    }
    const fn takes(mut self, value: &'static str) -> Row {
        self.value = Some(value);
        self
    }
}

use Meaning::{Ignored, On};

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("verbose", Some('v'), "increase verbosity", Meaning::Verbose).no(&["verbose", "v"]),
    row("info", None, "fine-grained informational verbosity", Meaning::Info).takes("FLAGS"),
    row("debug", None, "del, deltasum, filter and flist tell what -vv does; others nothing", Meaning::Debug).takes("FLAGS"),
    row("stderr", None, "change stderr output mode (default: errors)", Meaning::Stderr).takes("e|a|c"),
    row("msgs2stderr", None, "same as --stderr=all", Meaning::ToStderr).no(&["msgs2stderr"]),
    row("quiet", Some('q'), "suppress non-error messages", On(|o| &mut o.quiet)),
    row("motd", None, "accepted: daemons are not spoken to", Ignored).no(&["motd"]),
    row("checksum", Some('c'), "skip based on checksum, not mod-time & size", On(|o| &mut o.checksum)).no(&["checksum", "c"]),
    row("archive", Some('a'), "archive mode is -rlptgoD (no -A,-X,-U,-N,-H)", Meaning::Archive),
    row("recursive", Some('r'), "recurse into directories", Meaning::Recursive).no(&["recursive", "r"]),
    row("inc-recursive", None, "accepted: only the heading of -v tells it apart", On(|o| &mut o.incremental)).also(&["i-r"]).no(&["inc-recursive", "i-r"]),
    row("relative", Some('R'), "use relative path names", Meaning::Relative).no(&["relative", "R"]),
    row("implied-dirs", None, "send implied directories with --relative (default)", On(|o| &mut o.implied_dirs)).also(&["i-d"]).no(&["implied-dirs", "i-d"]),
    row("backup", Some('b'), "make backups (see --suffix & --backup-dir)", Meaning::Backup).no(&["backup"]),
    row("backup-dir", None, "make backups into hierarchy based in DIR", Meaning::BackupDir).takes("DIR"),
    row("suffix", None, "backup suffix (default ~ w/o --backup-dir)", Meaning::Suffix).takes("SUFFIX"),
    row("update", Some('u'), "skip files that are newer on the receiver", On(|o| &mut o.update)),
    row("inplace", None, "update destination files in-place", On(|o| &mut o.inplace)).no(&["inplace"]),
    row("append", None, "append data onto shorter files; as --append-verify", Meaning::AppendVerify).no(&["append"]),
    row("append-verify", None, "append data onto shorter files; what was there is verified", Meaning::AppendVerify),
    row("dirs", Some('d'), "transfer directories without recursing", Meaning::Dirs).also(&["old-dirs", "old-d"]).no(&["dirs", "d"]),
    row("mkpath", None, "create destination's missing path components", On(|o| &mut o.mkpath)).no(&["mkpath"]),
    row("links", Some('l'), "copy symlinks as symlinks", On(|o| &mut o.links)).no(&["links", "l"]),
    row("copy-links", Some('L'), "transform symlink into referent file/directory", On(|o| &mut o.copy_links)),
    row("copy-unsafe-links", None, "only \"unsafe\" symlinks are transformed", On(|o| &mut o.copy_unsafe_links)),
    row("safe-links", None, "ignore symlinks that point outside the tree", On(|o| &mut o.safe_links)),
    row("copy-dirlinks", Some('k'), "transform symlink to dir into referent dir", On(|o| &mut o.copy_dirlinks)),
    row("keep-dirlinks", Some('K'), "treat symlinked directory on receiver as directory", On(|o| &mut o.keep_dirlinks)),
    row("hard-links", Some('H'), "preserve hard links (a far source needs GNU find)", Meaning::HardLinks).no(&["hard-links", "H"]),
    row("perms", Some('p'), "preserve permissions", On(|o| &mut o.perms)).no(&["perms", "p"]),
    row("executability", Some('E'), "preserve executability", On(|o| &mut o.executability)),
    row("chmod", None, "affect file and/or directory permissions", Meaning::Chmod).takes("CHMOD"),
    row("owner", Some('o'), "preserve owner (super-user only)", On(|o| &mut o.owner)).no(&["owner", "o"]),
    row("group", Some('g'), "preserve group", On(|o| &mut o.group)).no(&["group", "g"]),
    row("devices", None, "preserve device files (super-user only)", On(|o| &mut o.devices)).no(&["devices"]),
    row("specials", None, "preserve special files", On(|o| &mut o.specials)).no(&["specials"]),
    row("", Some('D'), "same as --devices --specials", Meaning::DevicesAndSpecials).no(&["D"]),
    row("times", Some('t'), "preserve modification times", On(|o| &mut o.times)).no(&["times", "t"]),
    row("atimes", Some('U'), "preserve access (use) times; with --times", Meaning::Atimes).no(&["atimes", "U"]),
    row("omit-dir-times", Some('O'), "omit directories from --times", On(|o| &mut o.omit_dir_times)).no(&["omit-dir-times", "O"]),
    row("omit-link-times", Some('J'), "omit symlinks from --times", On(|o| &mut o.omit_link_times)).no(&["omit-link-times", "J"]),
    row("super", None, "accepted: what may be set is found out at the destination", Ignored).no(&["super"]),
    row("sparse", Some('S'), "turn sequences of nulls into sparse blocks", On(|o| &mut o.sparse)).no(&["sparse", "S"]),
    row("dry-run", Some('n'), "perform a trial run with no changes made", On(|o| &mut o.dry_run)),
    row("whole-file", Some('W'), "send files whole; --no-whole-file: only what differs, wherever it lies", Meaning::WholeFile).no(&["whole-file", "W"]),
    row("checksum-choice", None, "what %C shows; BLAKE3 or SHA-256 proves a file, whatever is chosen", Meaning::ChecksumChoice).also(&["cc"]).takes("STR"),
    row("one-file-system", Some('x'), "don't cross filesystem boundaries", On(|o| &mut o.one_file_system)).no(&["one-file-system", "x"]),
    row("block-size", Some('B'), "accepted: blocks have 17, 51 or 255 KiB, by the file's size", Meaning::BlockSize).takes("SIZE"),
    row("rsh", Some('e'), "specify the remote shell to use", Meaning::Rsh).takes("COMMAND"),
    row("rsync-path", None, "only \"mkdir -p DIR && rsync\" has an effect", Meaning::RsyncPath).takes("PROGRAM"),
    row("existing", None, "skip creating new files on receiver", On(|o| &mut o.existing)).also(&["ignore-non-existing"]),
    row("ignore-existing", None, "skip updating files that exist on receiver", On(|o| &mut o.ignore_existing)),
    row("remove-source-files", None, "sender removes verified files (non-dir)", On(|o| &mut o.remove_source_files)).also(&["remove-sent-files"]),
    row("del", None, "an alias for --delete-during", Meaning::DeleteWhen("during")),
    row("delete", None, "delete extraneous files from dest directories", On(|o| &mut o.delete.enabled)),
    row("delete-before", None, "as --delete: deletions come last, whatever the WHEN", Meaning::DeleteWhen("before")),
    row("delete-during", None, "as --delete", Meaning::DeleteWhen("during")),
    row("delete-delay", None, "as --delete", Meaning::DeleteWhen("delay")),
    row("delete-after", None, "as --delete", Meaning::DeleteWhen("after")),
    row("delete-excluded", None, "also delete excluded files from dest directories", Meaning::DeleteExcluded),
    row("ignore-missing-args", None, "ignore missing source args without error", On(|o| &mut o.ignore_missing_args)),
    row("delete-missing-args", None, "delete missing source args from destination", On(|o| &mut o.delete_missing_args)),
    row("ignore-errors", None, "delete even if there are I/O errors", On(|o| &mut o.ignore_errors)).no(&["ignore-errors"]),
    row("force", None, "force deletion of dirs even if not empty", On(|o| &mut o.force)).no(&["force"]),
    row("max-delete", None, "don't delete more than NUM files", Meaning::MaxDelete).takes("NUM"),
    row("max-size", None, "don't transfer any file larger than SIZE", Meaning::MaxSize).takes("SIZE"),
    row("min-size", None, "don't transfer any file smaller than SIZE", Meaning::MinSize).takes("SIZE"),
    row("max-alloc", None, "accepted: memory is bounded by other means", Meaning::MaxAlloc).takes("SIZE"),
    row("partial", None, "keep partially transferred files", On(|o| &mut o.partial)).no(&["partial"]),
    row("partial-dir", None, "put a partially transferred file into DIR", Meaning::PartialDir).takes("DIR"),
    row("delay-updates", None, "put all updated files into place at end", On(|o| &mut o.delay_updates)).no(&["delay-updates"]),
    row("prune-empty-dirs", Some('m'), "prune empty directory chains from the transfer", On(|o| &mut o.prune_empty_dirs)).no(&["prune-empty-dirs", "m"]),
    row("numeric-ids", None, "don't map uid/gid values by user/group name", On(|o| &mut o.numeric_ids)).no(&["numeric-ids"]),
    row("usermap", None, "custom username mapping", Meaning::UserMap).takes("STRING"),
    row("groupmap", None, "custom groupname mapping", Meaning::GroupMap).takes("STRING"),
    row("chown", None, "simple username/groupname mapping", Meaning::Chown).takes("USER:GROUP"),
    row("timeout", None, "set I/O timeout in seconds", Meaning::Timeout).takes("SECONDS").no(&["timeout"]),
    row("contimeout", None, "set connection timeout in seconds", Meaning::ConTimeout).takes("SECONDS").no(&["contimeout"]),
    row("ignore-times", Some('I'), "don't skip files that match size and time", On(|o| &mut o.ignore_times)),
    row("size-only", None, "skip files that match in size", On(|o| &mut o.size_only)),
    row("modify-window", Some('@'), "set the accuracy for mod-time comparisons", Meaning::ModifyWindow).takes("NUM"),
    row("temp-dir", Some('T'), "create temporary files in directory DIR", Meaning::TempDir).takes("DIR"),
    row("fuzzy", Some('y'), "accepted: only a file of the same name lends its bytes", Ignored).no(&["fuzzy", "y"]),
    row("compare-dest", None, "also compare destination files relative to DIR", Meaning::Basis(BasisKind::Compare)).takes("DIR"),
    row("copy-dest", None, "... and include copies of unchanged files", Meaning::Basis(BasisKind::Copy)).takes("DIR"),
    row("link-dest", None, "hardlink to files in DIR when unchanged", Meaning::Basis(BasisKind::Link)).takes("DIR"),
    row("compress", Some('z'), "compress file data during the transfer where the connection leads far", On(|o| &mut o.compress)).no(&["compress", "z"]),
    row("compress-choice", None, "any but \"none\" is as -z", Meaning::CompressChoice).also(&["zc"]).takes("STR"),
    row("compress-level", None, "any but 0 is as -z", Meaning::CompressLevel).also(&["zl"]).takes("NUM"),
    row("compress-threads", None, "accepted: compression is the SSH connection's", Meaning::Number).also(&["zt"]).takes("NUM"),
    row("skip-compress", None, "accepted: compression is the SSH connection's", Ignored).takes("LIST"),
    row("cvs-exclude", Some('C'), "auto-ignore files the same way CVS does", Meaning::CvsExclude),
    row("filter", Some('f'), "add a file-filtering RULE", Meaning::Filter).takes("RULE"),
    row("", Some('F'), "same as --filter='dir-merge /.rsync-filter'; repeated: --filter='- .rsync-filter'", Meaning::FilterFiles),
    row("exclude", None, "exclude files matching PATTERN", Meaning::Exclude).takes("PATTERN"),
    row("exclude-from", None, "read exclude patterns from FILE", Meaning::ExcludeFrom).takes("FILE"),
    row("include", None, "don't exclude files matching PATTERN", Meaning::Include).takes("PATTERN"),
    row("include-from", None, "read include patterns from FILE", Meaning::IncludeFrom).takes("FILE"),
    row("files-from", None, "read list of source-file names from FILE", Meaning::FilesFrom).takes("FILE").no(&["files-from"]),
    row("from0", Some('0'), "all *-from files that follow are delimited by 0s", Meaning::From0).no(&["from0"]),
    row("secluded-args", Some('s'), "remote names are literal (always so)", Ignored).also(&["protect-args"]).no(&["secluded-args", "protect-args", "s"]),
    row("trust-sender", None, "accepted: names are looked at all the same", Ignored),
    row("blocking-io", None, "accepted: the outcome is the same", Ignored).no(&["blocking-io"]),
    row("outbuf", None, "accepted: a terminal gets lines, all else blocks", Meaning::OutBuf).takes("N|L|B"),
    row("stats", None, "give some file-transfer stats", On(|o| &mut o.stats)),
    row("8-bit-output", Some('8'), "leave high-bit chars unescaped in output", On(|o| &mut o.eight_bit_output)).no(&["8-bit-output", "8"]),
    row("human-readable", Some('h'), "output numbers in a human-readable format", Meaning::HumanReadable).no(&["human-readable", "h"]),
    row("progress", None, "show progress during transfer", On(|o| &mut o.progress)).no(&["progress"]),
    row("", Some('P'), "same as --partial --progress", Meaning::PartialProgress),
    row("itemize-changes", Some('i'), "output a change-summary for all updates", Meaning::Itemize).no(&["itemize-changes", "i"]),
    row("out-format", None, "output updates using the specified FORMAT", Meaning::OutFormat).also(&["log-format"]).takes("FORMAT"),
    row("log-file", None, "log what we're doing to the specified FILE", Meaning::LogFile).takes("FILE"),
    row("log-file-format", None, "log updates using the specified FMT", Meaning::LogFileFormat).takes("FMT"),
    row("list-only", None, "list the files instead of copying them", On(|o| &mut o.list_only)),
    row("bwlimit", None, "limit bandwidth (KiB per second, or with a suffix)", Meaning::BwLimit).takes("RATE").no(&["bwlimit"]),
    row("stop-after", None, "stop after MINS minutes have elapsed", Meaning::StopAfter).also(&["time-limit"]).takes("MINS").no(&["stop-after", "time-limit"]),
    row("stop-at", None, "stop at the specified point in time", Meaning::StopAt).takes("y-m-dTh:m"),
    row("fsync", None, "fsync every written file", On(|o| &mut o.fsync)),
    row("iconv", None, "only \"-\": names are bytes, and are not converted", Meaning::Iconv).takes("CONVERT_SPEC").no(&["iconv"]),
    row("checksum-seed", None, "accepted: no hash here has a seed", Meaning::Number).takes("NUM"),
    row("ipv4", Some('4'), "prefer IPv4", Meaning::Family("-4")),
    row("ipv6", Some('6'), "prefer IPv6", Meaning::Family("-6")),
    row("version", Some('V'), "print the version and exit", Meaning::Version),
    row("help", None, "show this help (* -h is help only on its own)", Meaning::Help),
    row("verify", None, "prove delivery: auto, readback or off", Meaning::Verify).takes("HOW"),
    row("report", None, "write all that happened to FILE, as JSON lines", Meaning::Report).takes("FILE"),
    row("metrics", None, "keep FILE renewed with counts for Prometheus", Meaning::Metrics).takes("FILE"),
    row("channels", None, "open NUM SFTP channels at most", Meaning::Channels).takes("NUM"),
    row("share", None, "one connection for all hopsyncs on this host (default; off: --no-share, HOPSYNC_SHARE=0)", On(|o| &mut o.share)).no(&["share"]),
    row("share-linger", None, "keep a shared connection this long after its last user", Meaning::ShareLinger).takes("SECONDS"),
    row("share-stop", None, "end the shared connection to HOST (-e gives the route)", Meaning::ShareStop).takes("HOST"),
    row("connections", None, "open NUM connections to the first host (default 1)", Meaning::Connections).takes("NUM"),
];
