//! From what was typed to what it means: folds the options, in their order, into a [`Job`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::info::{self, Asked};
use super::options::{Raw, Typed};
use super::table::Meaning;
use super::{Command, UsageError, help, moment, operand, rsync_path, shell, size};
use crate::fault::errno_text;
use crate::job::{Backup, Basis, FilesFrom, Job, Options, Place, Verify};
use crate::output::format_has;
use crate::plan::chmod::Chmod;
use crate::plan::filter::{Action, Rule};
use crate::plan::owners::IdMap;

/// Directories of `--link-dest` and its kin at most (rsync: MAX_BASIS_DIRS).
const BASES: usize = 20;

/// What `--block-size` may be, in bytes (rsync: MAX_BLOCK_SIZE).
const BLOCK_MAX: u64 = 128 << 10;

/// What `--max-alloc` has to be, in bytes, unless it is 0 (rsync(1)).
const ALLOC_MIN: u64 = 1 << 20;

/// What is only needed while folding.
#[derive(Default)]
struct Fold {
    options: Options,
    info: Asked,
    rsh: Option<OsString>,
    rsync_path: Option<OsString>,
    family: Option<&'static str>,
    delete_when: Option<&'static str>,
    from0: bool,
    files_from: Option<OsString>,
    maps_users: bool,
    maps_groups: bool,
    backup: bool,
    backup_dir: Option<Vec<u8>>,
    suffix: Option<Vec<u8>>,
    relative: Option<bool>,
    /// `-r` itself, or only what `-a` implies.
    recursive: Recursive,
    itemize: u8,
    /// Count of `-F`.
    filter_files: u8,
    cvs_exclude: bool,
    share_stop: Option<OsString>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Recursive {
    #[default]
    No,
    ByArchive,
    Yes,
}

/// Folds `raw`. `env` gives `RSYNC_RSH`; `read` the content of a rule file.
pub fn resolve(
    raw: Raw,
    env: impl Fn(&str) -> Option<OsString>,
    read: impl Fn(&OsStr) -> io::Result<Vec<u8>>,
) -> Result<Command, UsageError> {
    let mut fold = Fold {
        // rsync's own default: digit separators.
        options: Options {
            human_readable: 1,
            connections: 1,
            implied_dirs: true,
            incremental: true,
            share: env("HOPSYNC_SHARE").is_none_or(|value| value != "0"),
            ..Options::default()
        },
        ..Fold::default()
    };
    for typed in &raw.options {
        match typed.meaning {
            Meaning::Help => return Ok(Command::Help(help::help())),
            Meaning::Version => {
                let asked = raw.options.iter().filter(|typed| matches!(typed.meaning, Meaning::Version)).count();
                return Ok(Command::Version(if asked > 1 { help::capabilities() } else { help::version() }));
            }
            Meaning::Info | Meaning::Debug => match info::help(text(typed)?, matches!(typed.meaning, Meaning::Debug)) {
                Some(text) => return Ok(Command::Help(text)),
                None => fold.take(typed)?,
            },
            Meaning::ExcludeFrom | Meaning::IncludeFrom => {
                let action =
                    if matches!(typed.meaning, Meaning::ExcludeFrom) { Action::Exclude } else { Action::Include };
                let content = read(&typed.value).map_err(|e| unreadable(action, &typed.value, &e))?;
                let rules = Rule::from_lines(&content, fold.from0, action).map_err(|e| wrong(typed, &e))?;
                fold.options.rules.extend(rules);
            }
            Meaning::Filter => {
                let rule = Rule::parse(typed.value.as_bytes()).map_err(|e| wrong(typed, &e))?;
                let rules = merged(rule, fold.from0, &env, &read, 0)?;
                fold.options.rules.extend(rules);
            }
            _ => fold.take(typed)?,
        }
    }
    if let Some(host) = &fold.share_stop {
        let login = operand::host(host)?;
        if !raw.operands.is_empty() {
            return Err(UsageError::syntax("--share-stop takes a host and copies nothing: leave out the paths"));
        }
        return Ok(Command::ShareStop { login, shell: fold.shell(env)? });
    }
    if raw.operands.is_empty() {
        return Err(UsageError::syntax(format!("no source and no destination given\n{}", help::usage())));
    }
    let (sources, dest) = operand::places(&raw.operands)?;
    fold.take_names(&sources, dest.as_ref(), &read)?;
    if fold.cvs_exclude {
        for rule in Rule::cvs_exclude() {
            fold.options.rules.extend(merged(rule, false, &env, &read, 0)?);
        }
    }
    fold.finish(sources, dest, env)
}

impl Fold {
    fn take(&mut self, typed: &Typed) -> Result<(), UsageError> {
        let o = &mut self.options;
        let on = !typed.negated;
        match typed.meaning {
            Meaning::On(switch) => *switch(o) = on,
            Meaning::WholeFile => o.whole_file = Some(on),
            Meaning::Ignored | Meaning::Help | Meaning::Version => {}
            Meaning::ExcludeFrom | Meaning::IncludeFrom => {}
            Meaning::Recursive => self.recursive = if on { Recursive::Yes } else { Recursive::No },
            Meaning::Basis(kind) => {
                let basis = o.basis.get_or_insert_with(|| Basis { kind, dirs: Vec::new() });
                if basis.kind != kind {
                    return Err(UsageError::syntax("You may not mix --compare-dest, --copy-dest, and --link-dest."));
                }
                if basis.dirs.len() == BASES {
                    return Err(UsageError::syntax(format!("at most {BASES} {} args may be specified", typed.name)));
                }
                basis.dirs.push(typed.value.as_bytes().to_vec());
            }
            Meaning::HardLinks => o.hard_links = on,
            Meaning::AppendVerify => o.append_verify = on,
            Meaning::Atimes if on && o.atimes => {
                return Err(UsageError::syntax(
                    "--atimes given twice means --open-noatime, which is not supported by hopsync: give it once",
                ));
            }
            Meaning::Atimes => o.atimes = on,
            Meaning::TempDir => {
                let dir: &[u8] = typed.value.as_bytes();
                o.temp_dir = (!dir.is_empty()).then(|| dir.to_vec());
            }
            Meaning::PartialDir => {
                let dir: &[u8] = typed.value.as_bytes();
                let parts: Vec<&[u8]> =
                    dir.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
                if parts.contains(&b"..".as_slice()) {
                    return Err(UsageError::syntax(
                        "--partial-dir: \"..\" is not supported by hopsync; name a directory beside each file, or all of its path",
                    ));
                }
                let root: &[u8] = if dir.starts_with(b"/") { b"/" } else { b"" };
                // As rsync has it, the directory itself is --partial.
                o.partial = true;
                o.partial_dir = Some([root, &parts.join(&b'/')].concat()).filter(|dir| !dir.is_empty());
            }
            Meaning::UserMap => {
                only_once(&o.usermap, "usermap")?;
                (o.usermap, self.maps_users) =
                    (IdMap::parse(typed.value.as_bytes()).map_err(|e| wrong(typed, &e))?, true);
            }
            Meaning::GroupMap => {
                only_once(&o.groupmap, "groupmap")?;
                (o.groupmap, self.maps_groups) =
                    (IdMap::parse(typed.value.as_bytes()).map_err(|e| wrong(typed, &e))?, true);
            }
            Meaning::Chown => {
                let value = typed.value.as_bytes();
                let colon = value.iter().position(|byte| *byte == b':');
                let (user, group) = (&value[..colon.unwrap_or(value.len())], colon.map(|at| &value[at + 1..]));
                if !user.is_empty() {
                    only_once(&o.usermap, "usermap")?;
                    (o.usermap, self.maps_users) = (IdMap::all_to(user).map_err(|e| wrong(typed, &e))?, true);
                }
                if let Some(group) = group.filter(|group| !group.is_empty()) {
                    only_once(&o.groupmap, "groupmap")?;
                    (o.groupmap, self.maps_groups) = (IdMap::all_to(group).map_err(|e| wrong(typed, &e))?, true);
                }
            }
            Meaning::Backup => self.backup = on,
            Meaning::BackupDir => self.backup_dir = Some(typed.value.as_bytes().to_vec()),
            Meaning::Suffix => self.suffix = Some(typed.value.as_bytes().to_vec()),
            Meaning::OutFormat => o.out_format = Some(typed.value.as_bytes().to_vec()),
            Meaning::LogFile => o.log_file = Some(PathBuf::from(&typed.value)),
            Meaning::LogFileFormat => o.log_file_format = Some(typed.value.as_bytes().to_vec()),
            Meaning::ModifyWindow => {
                let seconds = size::count(text(typed)?).and_then(|seconds| u32::try_from(seconds).ok());
                o.modify_window = seconds.ok_or_else(|| {
                    UsageError::syntax(format!(
                        "{}={}: give whole seconds; nanoseconds are not compared, SFTP does not carry them",
                        typed.name,
                        typed.value.display()
                    ))
                })?;
            }
            Meaning::StopAfter if !on => o.stop_after = None,
            Meaning::StopAfter => {
                let minutes = size::count(text(typed)?).filter(|minutes| (1..=u64::from(u32::MAX)).contains(minutes));
                let minutes = minutes.ok_or_else(|| {
                    UsageError::syntax(format!("invalid {} value: {}", typed.name, typed.value.display()))
                })?;
                o.stop_after = Some(Duration::from_secs(minutes * 60));
            }
            Meaning::StopAt => {
                let (value, now) = (text(typed)?, moment::now());
                o.stop_after = match moment::parse(value, now) {
                    None => return Err(UsageError::syntax(format!("invalid {} format: {value}", typed.name))),
                    Some(at) if at <= now => {
                        return Err(UsageError::syntax(format!("{} time is not in the future: {value}", typed.name)));
                    }
                    Some(at) => Some(Duration::from_secs(at.abs_diff(now))),
                };
            }
            Meaning::BlockSize => {
                let size = size::size(text(typed)?, b'b').ok_or_else(|| invalid(typed))?;
                if size > BLOCK_MAX {
                    let value = typed.value.display();
                    let text = format!("{}={value} is too large (max: {}K)", typed.name, BLOCK_MAX >> 10);
                    return Err(UsageError::syntax(text));
                }
            }
            Meaning::MaxAlloc => {
                let size = size::size(text(typed)?, b'b').ok_or_else(|| invalid(typed))?;
                if size > 0 && size < ALLOC_MIN {
                    let value = typed.value.display();
                    let text = format!("{}={value} is too small (min: 1M or 0 for unlimited)", typed.name);
                    return Err(UsageError::syntax(text));
                }
            }
            Meaning::Number => {
                let value = text(typed)?;
                let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
                let radix = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
                let number = radix.map_or_else(|| digits.parse::<u32>().ok(), |hex| u32::from_str_radix(hex, 16).ok());
                number.ok_or_else(|| not_a_number(typed))?;
            }
            Meaning::Iconv if !on => {}
            Meaning::Iconv => match text(typed)? {
                "-" => {}
                _ => {
                    return Err(UsageError {
                        text: "--iconv: names are bytes at both ends, and are not converted".to_owned(),
                        code: super::exit::Exit::Unsupported.code(),
                    });
                }
            },
            Meaning::Debug => info::debug(text(typed)?)?,
            Meaning::Relative => self.relative = Some(on),
            Meaning::FilesFrom => self.files_from = on.then(|| typed.value.clone()),
            Meaning::Archive => {
                if self.recursive == Recursive::No {
                    self.recursive = Recursive::ByArchive;
                }
                for switch in [&mut o.links, &mut o.perms, &mut o.times, &mut o.group, &mut o.owner] {
                    *switch = true;
                }
                (o.devices, o.specials) = (true, true);
            }
            Meaning::DevicesAndSpecials => (o.devices, o.specials) = (on, on),
            Meaning::Verbose => o.verbose = if on { o.verbose.saturating_add(1) } else { 0 },
            Meaning::HumanReadable => o.human_readable = if on { (o.human_readable + 1).min(3) } else { 0 },
            Meaning::Itemize => self.itemize = if on { self.itemize.saturating_add(1) } else { 0 },
            Meaning::PartialProgress => (o.partial, o.progress) = (true, true),
            Meaning::Info => self.info.take(text(typed)?)?,
            Meaning::DeleteWhen(when) => {
                if self.delete_when.is_some_and(|other| other != when) {
                    return Err(UsageError::syntax("You may not combine multiple --delete-WHEN options."));
                }
                self.delete_when = Some(when);
                o.delete.after |= when == "after";
                o.delete.enabled = true;
            }
            Meaning::DeleteExcluded => (o.delete.enabled, o.delete.excluded) = (true, true),
            Meaning::MaxDelete => {
                // Below zero is rsync's old way to say 0.
                let value = text(typed)?;
                let negative = value.strip_prefix('-').and_then(size::count).map(|_| 0);
                o.max_delete = Some(size::count(value).or(negative).ok_or_else(|| not_a_number(typed))?);
            }
            Meaning::MaxSize => o.max_size = Some(size::size(text(typed)?, b'b').ok_or_else(|| invalid(typed))?),
            Meaning::MinSize => o.min_size = Some(size::size(text(typed)?, b'b').ok_or_else(|| invalid(typed))?),
            Meaning::BwLimit if !on => o.bwlimit = None,
            Meaning::BwLimit => o.bwlimit = bwlimit(typed)?,
            Meaning::Timeout => o.timeout = if on { seconds(typed)? } else { None },
            Meaning::ConTimeout => o.contimeout = if on { seconds(typed)? } else { None },
            Meaning::Chmod => {
                let clauses = text(typed)?;
                Chmod::parse(clauses).map_err(UsageError::syntax)?;
                o.chmod = Some(match o.chmod.take() {
                    Some(before) => format!("{before},{clauses}"),
                    None => clauses.to_owned(),
                });
            }
            Meaning::Rsh => self.rsh = Some(typed.value.clone()),
            Meaning::RsyncPath => self.rsync_path = Some(typed.value.clone()),
            Meaning::Family(family) => self.family = Some(family),
            Meaning::Filter => {}
            Meaning::FilterFiles => {
                self.filter_files = self.filter_files.saturating_add(1);
                let rule: &[u8] = match self.filter_files {
                    1 => b": /.rsync-filter",
                    2 => b"- .rsync-filter",
                    _ => b"",
                };
                o.rules.push(Rule::parse(rule).map_err(|e| wrong(typed, &e))?);
            }
            Meaning::CvsExclude => self.cvs_exclude = true,
            Meaning::Exclude => o.rules.push(Rule::exclude(typed.value.as_bytes())),
            Meaning::Include => o.rules.push(Rule::include(typed.value.as_bytes())),
            Meaning::From0 => self.from0 = on,
            Meaning::CompressChoice => match text(typed)? {
                "none" => o.compress = false,
                "zstd" | "lz4" | "zlibx" | "zlib" | "auto" => o.compress = true,
                other => {
                    return Err(UsageError {
                        text: format!("unknown compress name: {other}"),
                        code: super::exit::Exit::Unsupported.code(),
                    });
                }
            },
            Meaning::ChecksumChoice => {
                const KNOWN: [&str; 9] = ["auto", "xxh128", "xxh3", "xxh64", "xxhash", "md5", "md4", "sha1", "none"];
                if let Some(other) = text(typed)?.split(',').find(|name| !KNOWN.contains(name)) {
                    return Err(UsageError {
                        text: format!("unknown checksum name: {other}"),
                        code: super::exit::Exit::Unsupported.code(),
                    });
                }
            }
            Meaning::CompressLevel => {
                let value = text(typed)?;
                let level: i32 = value.parse().map_err(|_| not_a_number(typed))?;
                o.compress = level != 0;
            }
            Meaning::OutBuf => match text(typed)?.bytes().next().map(|byte| byte.to_ascii_uppercase()) {
                Some(b'N' | b'L' | b'B' | b'U' | b'F') => {}
                _ => return Err(UsageError::syntax("Invalid --outbuf setting -- specify N, L, or B.")),
            },
            Meaning::ToStderr => o.all_to_stderr = on,
            Meaning::Stderr => match text(typed)? {
                mode if !mode.is_empty() && "all".starts_with(mode) => o.all_to_stderr = true,
                // Whose process writes to the same stream makes no difference where there is only one.
                mode if !mode.is_empty() && ("errors".starts_with(mode) || "client".starts_with(mode)) => {
                    o.all_to_stderr = false;
                }
                mode => {
                    let text = format!("--stderr mode \"{mode}\" is not one of errors, all, or client");
                    return Err(UsageError::syntax(text));
                }
            },
            Meaning::Verify => {
                o.verify = match text(typed)? {
                    "auto" => Verify::Auto,
                    "readback" => Verify::Readback,
                    "off" => Verify::Off,
                    other => {
                        return Err(UsageError::syntax(format!("--verify={other}: give auto, readback or off")));
                    }
                }
            }
            Meaning::Report => o.report = Some(PathBuf::from(&typed.value)),
            Meaning::Metrics => o.metrics = Some(PathBuf::from(&typed.value)),
            Meaning::Channels => o.channels = Some(at_least_one(typed)?),
            Meaning::ShareLinger => {
                o.share_linger = Some(seconds(typed)?.unwrap_or(Duration::ZERO));
            }
            Meaning::ShareStop => self.share_stop = Some(typed.value.clone()),
            Meaning::Connections => o.connections = at_least_one(typed)?,
        }
        Ok(())
    }

    /// The names of `--files-from`, if they are to be read here.
    fn take_names(
        &mut self,
        sources: &[Place],
        dest: Option<&Place>,
        read: impl Fn(&OsStr) -> io::Result<Vec<u8>>,
    ) -> Result<(), UsageError> {
        let Some(file) = &self.files_from else { return Ok(()) };
        if sources.len() != 1 {
            return Err(UsageError::syntax("--files-from takes one source directory, and names what is below it"));
        }
        self.options.files_from = Some(match operand::far_file(file) {
            Some((host, path)) => {
                let login = sources.first().into_iter().chain(dest).find_map(|place| match place {
                    Place::Remote { login, .. } => Some(login),
                    Place::Local(_) => None,
                });
                let Some(login) = login else {
                    return Err(UsageError::syntax("The --files-from hostname is not the transfer hostname"));
                };
                if !host.is_empty() && operand::host(host)? != *login {
                    return Err(UsageError::syntax("--files-from hostname is not the same as the transfer hostname"));
                }
                FilesFrom::Remote { path: path.to_vec(), nul_separated: self.from0 }
            }
            None => {
                let content = read(file).map_err(|e| UsageError {
                    text: format!("failed to open files-from file {}: {}", file.display(), errno_text(&e)),
                    code: super::exit::Exit::Syntax.code(),
                })?;
                FilesFrom::Names(FilesFrom::split(&content, self.from0))
            }
        });
        Ok(())
    }

    fn shell(self, env: impl Fn(&str) -> Option<OsString>) -> Result<Vec<OsString>, UsageError> {
        shell_of(self.rsh, self.family, env)
    }

    /// What can only be said once all options are known.
    fn finish(
        self,
        sources: Vec<Place>,
        dest: Option<Place>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Command, UsageError> {
        let mut options = self.options;
        let names_given = options.files_from.is_some();
        options.recursive = match self.recursive {
            Recursive::No => false,
            Recursive::ByArchive => !names_given,
            Recursive::Yes => true,
        };
        options.relative = self.relative.unwrap_or(names_given);
        if options.atimes && !options.times {
            return Err(UsageError::syntax(
                "--atimes without --times: SFTP sets both times or none; give both options",
            ));
        }
        options.dirs |= names_given;
        options.inplace |= options.append_verify;
        let whole =
            matches!(self.delete_when, Some("before" | "after")) || options.delay_updates || options.prune_empty_dirs;
        options.incremental &= options.recursive && !whole;
        options.backup = backup(self.backup, self.backup_dir, self.suffix, &mut options)?;
        if options.remove_source_files && options.verify == Verify::Off {
            return Err(UsageError::syntax(
                "--remove-source-files removes only what is proven to have arrived: leave out --verify=off",
            ));
        }
        // A map without the option that sets what it maps would do nothing.
        options.owner |= self.maps_users;
        options.group |= self.maps_groups;
        if options.inplace && (options.partial_dir.is_some() || options.delay_updates) {
            let other = if options.partial_dir.is_some() { "partial-dir" } else { "delay-updates" };
            let one = if options.append_verify { "append" } else { "inplace" };
            return Err(UsageError::syntax(format!("--{one} cannot be used with --{other}")));
        }
        if options.append_verify && options.whole_file == Some(true) {
            return Err(UsageError::syntax("--append cannot be used with --whole-file"));
        }
        // What waits beside the files is nobody's extraneous file.
        let partial_dir = options.partial_dir.clone().filter(|dir| !dir.starts_with(b"/"));
        let beside = [partial_dir, options.delay_updates.then(|| b".~tmp~".to_vec())];
        for dir in beside.into_iter().flatten() {
            let rule = [b"-p ", dir.as_slice(), b"/"].concat();
            options.rules.push(Rule::parse(&rule).map_err(UsageError::syntax)?);
        }
        options.partial |= options.partial_dir.is_some();
        if options.inplace && options.partial {
            // What is there is the partial file already.
            options.partial = false;
        }
        let formats = [("--out-format", &options.out_format), ("--log-file-format", &options.log_file_format)];
        for (option, format) in formats {
            if format.as_ref().is_some_and(|format| format_has(format, b'C')) {
                let text = format!(
                    "{option}: %C is not supported: it is the checksum of rsync's own transfer, which is not made here"
                );
                return Err(UsageError { text, code: 4 });
            }
        }
        options.itemize = self.itemize > 0;
        if let Some(format) = &options.out_format {
            // Then the format decides what an update looks like, and whether -i's columns are in it.
            options.itemize = format_has(format, b'i');
        }
        options.itemize_unchanged = options.itemize && (self.itemize > 1 || options.verbose > 1);
        options.info = self.info.resolve(&options);
        options.list_only |= dest.is_none();
        // A listing shows one level of a directory with a trailing slash (rsync: xfer_dirs is implied).
        options.dirs |= options.list_only && !options.recursive;
        if options.delete.enabled && !options.recursive && !options.dirs {
            return Err(UsageError::syntax("--delete does not work without --recursive (-r) or --dirs (-d)."));
        }
        options.progress = options.info.progress > 0;
        let remote = sources.iter().chain(&dest).any(Place::is_remote);
        if let (true, Some(command)) = (remote, &self.rsync_path) {
            options.remote_mkdir = rsync_path::directories(command.as_bytes())?;
        }
        let shell = shell_of(self.rsh, self.family, env)?;
        let dest = dest.filter(|_| !options.list_only);
        Ok(Command::Run(Box::new(Job { sources, dest, shell, options })))
    }
}

/// Files of rules name others no deeper than this.
const MERGED_DEPTH: usize = 16;

/// A rule, or in place of one that names a file (or CVS' own) those that it stands for.
fn merged(
    rule: Rule,
    nul_separated: bool,
    env: &impl Fn(&str) -> Option<OsString>,
    read: &impl Fn(&OsStr) -> io::Result<Vec<u8>>,
    depth: usize,
) -> Result<Vec<Rule>, UsageError> {
    if rule.is_cvs() {
        let home = env("HOME").map(|home| PathBuf::from(home).join(".cvsignore"));
        // Most have none.
        let mut words = home.and_then(|path| read(path.as_os_str()).ok()).unwrap_or_default();
        words.push(b' ');
        words.extend_from_slice(env("CVSIGNORE").unwrap_or_default().as_bytes());
        return Ok(Rule::cvs(&words));
    }
    let Some(file) = rule.file() else { return Ok(vec![rule]) };
    let file = OsStr::from_bytes(file);
    if depth == MERGED_DEPTH {
        let text = format!("files of filter rules name each other too deeply: {}", file.display());
        return Err(UsageError::syntax(text));
    }
    let content = read(file).map_err(|e| unreadable(Action::Exclude, file, &e))?;
    let mut rules = Vec::new();
    for inner in rule.merged(&content, nul_separated).map_err(UsageError::syntax)? {
        rules.extend(merged(inner, nul_separated, env, read, depth + 1)?);
    }
    Ok(rules)
}

fn only_once(map: &IdMap, name: &str) -> Result<(), UsageError> {
    match map.is_empty() {
        true => Ok(()),
        false => Err(UsageError::syntax(format!("You can only specify --{name} once (--chown counts)."))),
    }
}

/// `--backup` from its three options; the protection that it needs from `--delete` becomes a rule.
fn backup(
    on: bool,
    dir: Option<Vec<u8>>,
    suffix: Option<Vec<u8>>,
    options: &mut Options,
) -> Result<Option<Backup>, UsageError> {
    let suffix = suffix.unwrap_or_else(|| if dir.is_some() { Vec::new() } else { b"~".to_vec() });
    if suffix.contains(&b'/') {
        return Err(UsageError::syntax(format!(
            "--suffix cannot contain slashes: {}",
            String::from_utf8_lossy(&suffix)
        )));
    }
    // `.` in all its spellings.
    let is_dest =
        |dir: &[u8]| dir != b"/" && dir.split(|byte| *byte == b'/').all(|part| part.is_empty() || part == b".");
    if suffix.is_empty() {
        match &dir {
            None => return Err(UsageError::syntax("--suffix cannot be empty without a --backup-dir")),
            Some(dir) if is_dest(dir) => {
                return Err(UsageError::syntax(
                    "--suffix cannot be empty when --backup-dir is the same as the dest dir",
                ));
            }
            Some(_) => {}
        }
    }
    if !on && dir.is_none() {
        return Ok(None);
    }
    let dir = dir.filter(|dir| !is_dest(dir));
    // Backups change the times of the directories that they are put into (rsync: the same).
    options.omit_dir_times |= dir.is_none();
    // Backups beside the files are not to be deleted as extraneous by the next run.
    if dir.is_none() && options.delete.enabled && !options.delete.excluded {
        let rule = [b"P *", suffix.as_slice()].concat();
        options.rules.push(Rule::parse(&rule).map_err(UsageError::syntax)?);
    }
    Ok(Some(Backup { dir, suffix }))
}

/// The remote shell's words: `-e`, `RSYNC_RSH`, or ssh.
fn shell_of(
    rsh: Option<OsString>,
    family: Option<&'static str>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, UsageError> {
    let shell = rsh.or_else(|| env("RSYNC_RSH").filter(|shell| !shell.is_empty()));
    let mut shell = shell::words(&shell.unwrap_or_else(|| "ssh".into()))?;
    if let (Some(family), true) = (family, is_ssh(&shell[0])) {
        shell.insert(1, family.into());
    }
    Ok(shell)
}

fn is_ssh(program: &OsStr) -> bool {
    program.as_bytes().rsplit(|byte| *byte == b'/').next() == Some(b"ssh")
}

fn text(typed: &Typed) -> Result<&str, UsageError> {
    typed.value.to_str().ok_or_else(|| invalid(typed))
}

fn invalid(typed: &Typed) -> UsageError {
    UsageError::syntax(format!("{}={} is invalid", typed.name, typed.value.display()))
}

fn not_a_number(typed: &Typed) -> UsageError {
    UsageError::syntax(format!("{}={}: invalid numeric value", typed.name, typed.value.display()))
}

fn wrong(typed: &Typed, why: &str) -> UsageError {
    UsageError::syntax(format!("{}={}: {why}", typed.name, typed.value.display()))
}

fn unreadable(action: Action, name: &OsStr, error: &io::Error) -> UsageError {
    let which = if action == Action::Exclude { "exclude" } else { "include" };
    UsageError {
        text: format!("failed to open {which} file {}: {}", name.display(), errno_text(error)),
        code: super::exit::Exit::FileIo.code(),
    }
}

/// Whole seconds; 0 is no limit.
fn seconds(typed: &Typed) -> Result<Option<Duration>, UsageError> {
    let seconds = size::count(text(typed)?).filter(|seconds| *seconds <= i32::MAX as u64);
    let seconds = seconds.ok_or_else(|| not_a_number(typed))?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

/// Bytes per second; rounded to KiB as rsync does it (rsync(1), `--bwlimit`), 0 is no limit.
fn bwlimit(typed: &Typed) -> Result<Option<u64>, UsageError> {
    let rate = size::size(text(typed)?, b'K').ok_or_else(|| invalid(typed))?;
    match rate {
        0 => Ok(None),
        1..512 => Err(UsageError::syntax(format!(
            "{}={} is too small (min: 512 or 0 for unlimited)",
            typed.name,
            typed.value.display()
        ))),
        _ => Ok(Some(rate.saturating_add(512) / 1024 * 1024)),
    }
}

fn at_least_one(typed: &Typed) -> Result<usize, UsageError> {
    size::count(text(typed)?)
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| (1..=1024).contains(number))
        .ok_or_else(|| {
            UsageError::syntax(format!("{}={}: give a number from 1 to 1024", typed.name, typed.value.display()))
        })
}

#[cfg(test)]
mod tests;
