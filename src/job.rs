//! What one run is asked to do: the resolved form of a command line.
//!
//! `cli` produces a [`Job`]; everything behind it reads only this. Nothing here parses, prints or touches a disk.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::plan::filter::Rule;
use crate::plan::owners::IdMap;

/// One resolved run.
#[derive(Debug, Clone)]
pub struct Job {
    /// What is copied, in the order given. Never empty.
    pub sources: Vec<Place>,
    /// Where it goes; `None` lists the sources instead (`--list-only`, or a single operand).
    pub dest: Option<Place>,
    /// The remote shell, tokenized (`-e`, `RSYNC_RSH`, or `ssh`); used only if a place is remote.
    pub shell: Vec<OsString>,
    pub options: Options,
}

/// One end's operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A path on this machine, as typed (a trailing slash is meaningful).
    Local(PathBuf),
    /// A path on the far end, as typed: raw bytes, empty for the login's home directory.
    Remote { login: Login, path: Vec<u8> },
}

/// `[user@]host` of an operand. The port comes from the remote shell's options.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Login {
    pub user: Option<String>,
    pub host: String,
}

impl Place {
    pub fn is_remote(&self) -> bool {
        matches!(self, Place::Remote { .. })
    }
}

/// How delivery is proven (`--verify`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// The best way that the far end allows, see `verify`.
    #[default]
    Auto,
    /// Every file is read back over SFTP.
    Readback,
    /// Files are "sent", not "verified".
    Off,
}

/// The names of `--files-from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesFrom {
    /// From a file here, or standard input.
    Names(Vec<Vec<u8>>),
    /// In a file at the far end.
    Remote { path: Vec<u8>, nul_separated: bool },
}

impl FilesFrom {
    /// The names in a file's content, as rsync reads them: by line, comments and blanks left out, or by NUL.
    pub fn split(content: &[u8], nul_separated: bool) -> Vec<Vec<u8>> {
        let ends = |byte: &u8| if nul_separated { *byte == 0 } else { matches!(byte, b'\n' | b'\r' | 0) };
        let names = content.split(ends).filter(|name| !name.is_empty());
        names.filter(|name| nul_separated || !matches!(name[0], b'#' | b';')).map(<[u8]>::to_vec).collect()
    }
}

/// `--backup`: where what is replaced or deleted is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// `--backup-dir`, relative to the destination's directory or absolute; beside the file if there is none.
    pub dir: Option<Vec<u8>>,
    pub suffix: Vec<u8>,
}

/// `--link-dest`, `--copy-dest` or `--compare-dest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    pub kind: BasisKind,
    /// Relative to the destination's directory, or absolute.
    pub dirs: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BasisKind {
    Link,
    Copy,
    Compare,
}

impl BasisKind {
    /// The option's name, without its dashes.
    pub const fn name(self) -> &'static str {
        match self {
            BasisKind::Link => "link-dest",
            BasisKind::Copy => "copy-dest",
            BasisKind::Compare => "compare-dest",
        }
    }
}

/// A checksum of rsync's, as `--checksum-choice` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// rsync's own choice, where both of its ends are as new as ours.
    #[default]
    Xxh128,
    Xxh3,
    Xxh64,
    Md5,
    Md4,
    Sha1,
    None,
}

impl Checksum {
    /// By rsync's name for it.
    pub fn named(name: &str) -> Option<Checksum> {
        Some(match name {
            "auto" | "xxh128" => Checksum::Xxh128,
            "xxh3" => Checksum::Xxh3,
            "xxh64" | "xxhash" => Checksum::Xxh64,
            "md5" => Checksum::Md5,
            "md4" => Checksum::Md4,
            "sha1" => Checksum::Sha1,
            "none" => Checksum::None,
            _ => return None,
        })
    }

    /// Its bytes; of none, what rsync leaves room for.
    pub const fn size(self) -> usize {
        match self {
            Checksum::Xxh128 | Checksum::Md5 | Checksum::Md4 => 16,
            Checksum::Xxh3 | Checksum::Xxh64 => 8,
            Checksum::Sha1 => 20,
            Checksum::None => 1,
        }
    }
}

/// `--delete` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delete {
    pub enabled: bool,
    /// `--delete-excluded`: excluded names are deleted too.
    pub excluded: bool,
    /// `--delete-after`: rules that directories bring are those that were transferred.
    pub after: bool,
    /// `--delete-before` or `--delete-after`: rsync deletes in a pass of its own, and says where it begins.
    pub apart: bool,
}

/// rsync's options, resolved. Field names are the long options' names.
#[derive(Debug, Clone, Default)]
pub struct Options {
    // what is copied
    pub recursive: bool,
    /// rsync would make its list of files piece by piece: only the heading tells.
    pub incremental: bool,
    pub dirs: bool,
    pub links: bool,
    pub copy_links: bool,
    pub copy_dirlinks: bool,
    pub copy_unsafe_links: bool,
    pub safe_links: bool,
    pub perms: bool,
    pub times: bool,
    pub group: bool,
    pub owner: bool,
    pub devices: bool,
    pub specials: bool,
    pub omit_dir_times: bool,
    pub one_file_system: bool,
    pub relative: bool,
    /// With `relative`: the directories on the way to an operand come with their attributes.
    pub implied_dirs: bool,
    /// `--files-from`: names below the one source, instead of all that is in it.
    pub files_from: Option<FilesFrom>,
    /// `--chmod`, unparsed clauses already validated by `cli`.
    pub chmod: Option<String>,
    // what is skipped
    pub update: bool,
    pub checksum: bool,
    pub ignore_times: bool,
    pub size_only: bool,
    pub ignore_existing: bool,
    pub existing: bool,
    pub max_size: Option<u64>,
    pub min_size: Option<u64>,
    /// Filter rules in the order given (`--exclude`, `--include`, `--exclude-from`, …).
    pub rules: Vec<Rule>,
    pub delete: Delete,
    pub max_delete: Option<u64>,
    // how it is written
    /// `-W` or `--no-whole-file`, if one of them was given.
    pub whole_file: Option<bool>,
    pub partial: bool,
    /// `--partial-dir`, relative: where an unfinished file is kept instead.
    pub partial_dir: Option<Vec<u8>>,
    /// `--temp-dir`, relative to the destination or absolute.
    pub temp_dir: Option<Vec<u8>>,
    pub append_verify: bool,
    /// Blocks of zeros become holes.
    pub sparse: bool,
    /// Files are on the destination's disk before they get their names.
    pub fsync: bool,
    /// A link to a directory at the destination is taken for the directory.
    pub keep_dirlinks: bool,
    pub delay_updates: bool,
    /// `--inplace`: a file is written under its own name; what is there meanwhile is neither old nor new.
    pub inplace: bool,
    pub backup: Option<Backup>,
    pub remove_source_files: bool,
    /// `--link-dest` and its kin.
    pub basis: Option<Basis>,
    /// `-H`.
    pub hard_links: bool,
    pub numeric_ids: bool,
    pub usermap: IdMap,
    pub groupmap: IdMap,
    pub executability: bool,
    pub omit_link_times: bool,
    /// Of what is neither a directory nor a link, the time of the last access too.
    pub atimes: bool,
    pub ignore_missing_args: bool,
    pub delete_missing_args: bool,
    pub ignore_errors: bool,
    pub force: bool,
    pub prune_empty_dirs: bool,
    /// Seconds by which two times may differ and still be the same.
    pub modify_window: u32,
    /// The run ends after this long (exit 30).
    pub stop_after: Option<Duration>,
    pub mkpath: bool,
    /// A directory that `--rsync-path="mkdir -p DIR && rsync"` asks to create at the far end.
    pub remote_mkdir: Vec<Vec<u8>>,
    pub dry_run: bool,
    pub compress: bool,
    /// Bytes per second over all files; `None` is unlimited.
    pub bwlimit: Option<u64>,
    /// No I/O for this long ends the run with exit 30 (`--timeout`).
    pub timeout: Option<Duration>,
    /// Connecting may take this long, else exit 35 (`--contimeout`).
    pub contimeout: Option<Duration>,
    // what is printed
    /// Count of `-v`.
    pub verbose: u8,
    pub quiet: bool,
    /// `--stderr=all`: nothing goes to standard output.
    pub all_to_stderr: bool,
    /// `-h` count + 1 as rsync counts: 0 plain digits, 1 separators (default), 2 powers of 1000, 3 powers of 1024.
    pub human_readable: u8,
    pub itemize: bool,
    /// `--out-format`: how an update is told, instead of the lines of `-v` and `-i`.
    pub out_format: Option<Vec<u8>>,
    pub log_file: Option<PathBuf>,
    /// rsync's own format where it is not given.
    pub log_file_format: Option<Vec<u8>>,
    /// A format shows checksums (`%C`).
    pub sums: bool,
    /// `--checksum-choice`: of what is sent, and with `-c`. Only what `%C` shows.
    pub checksum_choice: (Checksum, Checksum),
    /// `-ii`: what is unchanged is itemized too.
    pub itemize_unchanged: bool,
    pub progress: bool,
    pub stats: bool,
    pub list_only: bool,
    /// `-8`: bytes above 0x7f in names are printed as they are.
    pub eight_bit_output: bool,
    /// `-v`, `--info`, `--progress` and `--stats` in one: what is mentioned.
    pub info: Info,
    // our own
    pub verify: Verify,
    /// JSON lines of everything that happened (`--report FILE`).
    pub report: Option<PathBuf>,
    /// Counts in Prometheus' text format, renewed while the run goes on (`--metrics FILE`).
    pub metrics: Option<PathBuf>,
    /// SFTP channels at most; `None` lets the engine find out.
    pub channels: Option<usize>,
    /// TCP connections through the head node (`--connections`); 1 by default.
    pub connections: usize,
    /// One connection for all invocations on this host (on, but for `--no-share` and `HOPSYNC_SHARE=0`).
    pub share: bool,
    /// Only one that stands already and leads far. (No option: `share::own` decides.)
    pub share_if_far: bool,
    /// How long a shared connection outlives its last client (`--share-linger`).
    pub share_linger: Option<Duration>,
}

impl Options {
    /// The checksum that `%C` shows.
    pub fn sum(&self) -> Checksum {
        if self.checksum { self.checksum_choice.1 } else { self.checksum_choice.0 }
    }

    /// Whether links of the source may be gone through.
    pub fn follows(&self) -> bool {
        self.copy_links || self.copy_dirlinks || self.copy_unsafe_links
    }
}

/// What is mentioned, as rsync's `--info` names it; 0 is silence. Resolved from `-v`, `--stats`, `--progress` and `--info`,
/// so that nobody behind `cli` has to know how these combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// What `--backup` keeps.
    pub backup: u8,
    /// Deletions.
    pub del: u8,
    /// `sending incremental file list` and the like.
    pub flist: u8,
    pub misc: u8,
    /// 1: what is updated, 2: what is up to date too.
    pub name: u8,
    /// `skipping non-regular file`; on unless asked otherwise.
    pub nonreg: u8,
    /// 1: each file, 2: the whole run.
    pub progress: u8,
    /// Sources removed by `--remove-source-files`.
    pub remove: u8,
    /// What `-u`, `--existing` and the like leave out.
    pub skip: u8,
    /// 1: the last two lines, 2: the block of `--stats` too.
    pub stats: u8,
    /// Links that come as what they lead to by `--copy-unsafe-links`.
    pub symsafe: u8,
    pub debug: Debug,
}

/// What is mentioned of `--debug`'s items: the lines that `-vv` has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Debug {
    /// `deleting in`.
    pub del: bool,
    /// `total: matches=`.
    pub deltasum: bool,
    /// What the filters say of a path.
    pub filter: bool,
    /// `delta-transmission`.
    pub flist: bool,
}
