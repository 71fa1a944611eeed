//! From what was typed to what it means: folds the options, in their order, into a [`Job`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use super::fold::{text, wrong};
use super::info::{self, Asked};
use super::merge::{merged, unreadable};
use super::options::Raw;
use super::table::Meaning;
use super::{Command, UsageError, help, operand, rsync_path, shell};
use crate::fault::errno_text;
use crate::job::{Backup, Checksum, FilesFrom, Job, Options, Place, Verify};
use crate::output::format_has;
use crate::plan::filter::{Action, Rule};

/// What is only needed while folding.
#[derive(Default)]
pub struct Fold {
    pub options: Options,
    pub info: Asked,
    pub rsh: Option<OsString>,
    pub rsync_path: Option<OsString>,
    pub family: Option<&'static str>,
    pub delete_when: Option<&'static str>,
    pub from0: bool,
    pub files_from: Option<OsString>,
    pub maps_users: bool,
    pub maps_groups: bool,
    pub backup: bool,
    pub backup_dir: Option<Vec<u8>>,
    pub suffix: Option<Vec<u8>>,
    pub relative: Option<bool>,
    pub dirs: Option<bool>,
    /// `-r` itself, or only what `-a` implies.
    pub recursive: Recursive,
    pub itemize: u8,
    /// Count of `-F`.
    pub filter_files: u8,
    pub cvs_exclude: bool,
    pub share_stop: Option<OsString>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub enum Recursive {
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
    /// The names of `--files-from`, if they are to be read here.
    fn take_names(
        &mut self,
        sources: &[Place],
        dest: Option<&Place>,
        read: impl Fn(&OsStr) -> io::Result<Vec<u8>>,
    ) -> Result<(), UsageError> {
        let Some(file) = &self.files_from else { return Ok(()) };
        if sources.len() != 1 || dest.is_none() {
            let text = "--files-from takes one source directory, names what is below it, and needs a destination";
            return Err(UsageError::syntax(text));
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
        options.dirs |= names_given && self.dirs.is_none();
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
        if options.inplace || (options.delay_updates && options.partial_dir.is_none()) {
            // What is there is the partial file already; and nothing takes its name before the end.
            options.partial = false;
        }
        if options.checksum && options.checksum_choice.1 == Checksum::None {
            let text = "Invalid checksum-choice for --checksum: none".to_owned();
            return Err(UsageError { text, code: super::exit::Exit::Unsupported.code() });
        }
        let logged = options.log_file_format.as_ref().filter(|_| options.log_file.is_some());
        options.sums = options.out_format.iter().chain(logged).any(|format| format_has(format, b'C'));
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

#[cfg(test)]
mod tests;
