//! From what was typed to what it means: folds the options, in their order, into a [`Job`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::info::Asked;
use super::options::{Raw, Typed};
use super::table::Meaning;
use super::{Command, UsageError, help, operand, rsync_path, shell, size};
use crate::fault::errno_text;
use crate::job::{Job, Options, Place, Verify};
use crate::plan::chmod::Chmod;
use crate::plan::filter::{Action, Rule};

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
    itemize: u8,
    share_stop: Option<OsString>,
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
            share: env("HOPSYNC_SHARE").is_none_or(|value| value != "0"),
            ..Options::default()
        },
        ..Fold::default()
    };
    for typed in &raw.options {
        match typed.meaning {
            Meaning::Help => return Ok(Command::Help(help::help())),
            Meaning::Version => return Ok(Command::Version(help::version())),
            Meaning::ExcludeFrom | Meaning::IncludeFrom => {
                let action =
                    if matches!(typed.meaning, Meaning::ExcludeFrom) { Action::Exclude } else { Action::Include };
                let content = read(&typed.value).map_err(|e| unreadable(action, &typed.value, &e))?;
                let rules = Rule::from_lines(&content, fold.from0, action).map_err(|e| wrong(typed, &e))?;
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
    fold.finish(sources, dest, env)
}

impl Fold {
    fn take(&mut self, typed: &Typed) -> Result<(), UsageError> {
        let o = &mut self.options;
        let on = !typed.negated;
        match typed.meaning {
            Meaning::On(switch) => *switch(o) = on,
            Meaning::Ignored | Meaning::Help | Meaning::Version => {}
            Meaning::ExcludeFrom | Meaning::IncludeFrom => {}
            Meaning::Archive => {
                for switch in [&mut o.recursive, &mut o.links, &mut o.perms, &mut o.times, &mut o.group, &mut o.owner] {
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
            Meaning::Filter => o.rules.push(Rule::parse(typed.value.as_bytes()).map_err(|e| wrong(typed, &e))?),
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
            Meaning::CompressLevel => {
                let value = text(typed)?;
                let level: i32 = value.parse().map_err(|_| not_a_number(typed))?;
                o.compress = level != 0;
            }
            Meaning::OutBuf => match text(typed)?.bytes().next().map(|byte| byte.to_ascii_uppercase()) {
                Some(b'N' | b'L' | b'B' | b'U' | b'F') => {}
                _ => return Err(UsageError::syntax("Invalid --outbuf setting -- specify N, L, or B.")),
            },
            Meaning::Stderr => match text(typed)? {
                "errors" | "e" => {}
                _ => return Err(UsageError::syntax("--stderr: only \"errors\" is supported by hopsync")),
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
            Meaning::Channels => o.channels = Some(at_least_one(typed)?),
            Meaning::ShareLinger => {
                o.share_linger = Some(seconds(typed)?.unwrap_or(Duration::ZERO));
            }
            Meaning::ShareStop => self.share_stop = Some(typed.value.clone()),
            Meaning::Connections => o.connections = at_least_one(typed)?,
        }
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
        options.itemize = self.itemize > 0;
        options.itemize_unchanged = self.itemize > 1 || (options.itemize && options.verbose > 1);
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
