//! What one option, as typed, does to those that are folded.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::options::Typed;
use super::resolve::{Fold, Recursive};
use super::table::Meaning;
use super::{UsageError, moment, size};
use crate::job::{Basis, Checksum, Verify};
use crate::plan::chmod::Chmod;
use crate::plan::filter::Rule;
use crate::plan::names::collapse;
use crate::plan::owners::IdMap;

/// Directories of `--link-dest` and its kin at most (rsync: MAX_BASIS_DIRS).
const BASES: usize = 20;

/// What `--block-size` may be, in bytes (rsync: MAX_BLOCK_SIZE).
const BLOCK_MAX: u64 = 128 << 10;

/// What `--max-alloc` has to be, in bytes, unless it is 0 (rsync(1)).
const ALLOC_MIN: u64 = 1 << 20;

impl Fold {
    pub fn take(&mut self, typed: &Typed) -> Result<(), UsageError> {
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
                // As rsync has it, the directory itself is --partial.
                o.partial = true;
                o.partial_dir = Some(collapse(typed.value.as_bytes())).filter(|dir| !dir.is_empty());
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
            Meaning::Debug => self.info.take_debug(text(typed)?)?,
            Meaning::Relative => self.relative = Some(on),
            Meaning::Dirs => (self.dirs, o.dirs) = (Some(on), on),
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
                o.delete.apart |= matches!(when, "before" | "after");
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
                let value = text(typed)?;
                let named = |name: &str| {
                    Checksum::named(name).ok_or_else(|| UsageError {
                        text: format!("unknown checksum name: {name}"),
                        code: super::exit::Exit::Unsupported.code(),
                    })
                };
                let (sent, compared) = value.split_once(',').unwrap_or((value, value));
                o.checksum_choice = (named(sent)?, named(compared)?);
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
}

fn only_once(map: &IdMap, name: &str) -> Result<(), UsageError> {
    match map.is_empty() {
        true => Ok(()),
        false => Err(UsageError::syntax(format!("You can only specify --{name} once (--chown counts)."))),
    }
}

pub fn text(typed: &Typed) -> Result<&str, UsageError> {
    typed.value.to_str().ok_or_else(|| invalid(typed))
}

fn invalid(typed: &Typed) -> UsageError {
    UsageError::syntax(format!("{}={} is invalid", typed.name, typed.value.display()))
}

fn not_a_number(typed: &Typed) -> UsageError {
    UsageError::syntax(format!("{}={}: invalid numeric value", typed.name, typed.value.display()))
}

pub fn wrong(typed: &Typed, why: &str) -> UsageError {
    UsageError::syntax(format!("{}={}: {why}", typed.name, typed.value.display()))
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
