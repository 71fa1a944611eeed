//! What one entry needs: rsync's quick check, the rules that skip, the attributes that differ.
//!
//! The metadata on both sides must already be in the destination's terms: uid and gid mapped, and of a regular file, a
//! directory or a link itself (not of what a link points to, unless the run copies those).

use crate::entry::{Kind, Meta};
use crate::job::Options;
use crate::plan::chmod::Chmod;

/// What the decisions of a run depend on besides the entries.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    pub opts: &'a Options,
    /// Parsed `opts.chmod`.
    pub chmod: Chmod,
    /// Bits that new files do not get without `-p`: the umask of this process (the far end's cannot be asked for).
    pub umask: u32,
    /// With `-o`: whether the destination's user may give files away (root). Else rsync skips owners silently.
    pub may_chown: bool,
    /// With `-g`: whether groups can be set at the destination.
    pub may_chgrp: bool,
    /// Whether a link's own time and owner can be set at the destination (over SFTP only with `lsetstat@openssh.com`).
    pub may_set_links: bool,
    /// The destination is reached over SFTP v3, whose times are u32 seconds.
    pub dest_is_sftp: bool,
}

impl<'a> Context<'a> {
    /// A local destination, where owners cannot be set and all else can.
    ///
    /// # Errors
    /// The sentence of [`Chmod::parse`].
    pub fn new(opts: &'a Options, umask: u32) -> Result<Context<'a>, String> {
        let chmod = opts.chmod.as_deref().map(Chmod::parse).transpose()?.unwrap_or_default();
        Ok(Context { opts, chmod, umask, may_chown: false, may_chgrp: true, may_set_links: true, dest_is_sftp: false })
    }

    /// The time (seconds since the epoch) that the destination shows after `mtime` was set, and whether that is `mtime`.
    pub fn shown_mtime(&self, mtime: i64) -> (i64, bool) {
        let shown = if self.dest_is_sftp { sftp_mtime(mtime) } else { mtime };
        (shown, shown == mtime)
    }

    /// The twelve permission bits that an entry has to end with. `old` is what exists, of whatever kind.
    pub fn target_mode(&self, new: &Meta, old: Option<&Meta>) -> u32 {
        if new.kind == Kind::Symlink {
            return new.mode;
        }
        let edited = self.chmod.apply(new.mode, new.is_dir(), self.umask);
        match old {
            _ if self.opts.perms => edited,
            Some(old) if self.opts.executability && new.is_file() && old.is_file() => match edited & 0o111 {
                0 => old.mode & !0o111,
                _ if old.mode & 0o111 == 0 => old.mode | (old.mode & 0o444) >> 2,
                _ => old.mode,
            },
            Some(old) if old.kind == new.kind => old.mode,
            _ => edited & 0o777 & !self.umask,
        }
    }

    /// The source's entry as it will be: what is printed is compared with this.
    pub fn shown(&self, new: &Meta, old: Option<&Meta>) -> Meta {
        Meta { mode: self.target_mode(new, old), ..new.clone() }
    }

    /// Whether the options ask for an entry's time to be set.
    pub fn sets_time(&self, new: &Meta) -> bool {
        match new.kind {
            Kind::Dir => self.opts.times && !self.opts.omit_dir_times,
            Kind::Symlink => self.opts.times && !self.opts.omit_link_times,
            _ => self.opts.times,
        }
    }

    /// Whether `--atimes` asks for the time of its last access to be set.
    pub fn sets_atime(&self, new: &Meta) -> bool {
        self.opts.atimes && !matches!(new.kind, Kind::Dir | Kind::Symlink)
    }

    /// Whether two times are the same as far as `--modify-window` says.
    fn same_time(&self, one: i64, other: i64) -> bool {
        one.abs_diff(other) <= u64::from(self.opts.modify_window)
    }

    fn differs(&self, new: &Meta, old: &Meta) -> Differs {
        let link = new.kind == Kind::Symlink;
        let settable = !link || self.may_set_links;
        let sets_time = settable && self.sets_time(new);
        Differs {
            content: false,
            size: new.is_file() && new.size != old.size,
            time: sets_time && !self.same_time(self.shown_mtime(new.mtime).0, old.mtime),
            atime: self.sets_atime(new) && !self.same_time(self.shown_mtime(new.atime).0, old.atime),
            mode: !link && self.target_mode(new, Some(old)) != old.mode,
            owner: settable && self.opts.owner && self.may_chown && new.uid != old.uid,
            group: settable && self.opts.group && self.may_chgrp && new.gid != old.gid,
        }
    }
}

/// The u32 seconds by which SFTP v3 carries a time (draft-ietf-secsh-filexfer-02 §5): times before 1970 and from 2106 on are
/// cut to the nearest that it can carry, not wrapped, so that what is shown is as near as can be.
pub fn sftp_mtime(mtime: i64) -> i64 {
    mtime.clamp(0, i64::from(u32::MAX))
}

/// What differs between the source's entry and the destination's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Differs {
    /// Data known to differ by hash, or the target of a link.
    pub content: bool,
    pub size: bool,
    /// The time is to be set and shows another second.
    pub time: bool,
    /// Likewise the last access.
    pub atime: bool,
    pub mode: bool,
    pub owner: bool,
    pub group: bool,
}

impl Differs {
    pub fn any(self) -> bool {
        self != Differs::default()
    }
}

/// What has to be removed before an entry of another kind can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MakeWay {
    /// No directory: unlinked, or replaced by the rename.
    Unlink,
    /// A directory, only if it is empty. Else: `cannot delete non-empty directory: NAME`, then `could not make way for new
    /// KIND: NAME`, and the entry has failed (exit 23).
    EmptyDir,
    /// A directory with its contents, because of `--delete`. What the filters protect stays, and then it is as `EmptyDir`.
    Tree,
}

/// Why an entry is left alone although it may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `--ignore-existing`.
    Exists,
    /// `--existing`. Of a directory: with all that is in it.
    NotExisting,
    /// `--update`, and the destination's file is newer.
    Newer,
    /// Over `--max-size`.
    TooBig,
    /// Under `--min-size`.
    TooSmall,
    /// `--append-verify`, and the destination's file is as long or longer.
    NotShorter,
    /// A link, device, FIFO or socket without `-l`, `-D`.
    NonRegular,
    /// A directory without `-r` or `-d`.
    Directory,
}

impl Reason {
    /// rsync's line about it (NonRegular and Directory are printed always, the others with `-vv`), name left as it is:
    /// whoever prints it escapes it.
    pub fn line(self, name: &str, is_dir: bool) -> String {
        match self {
            Reason::Exists => format!("{name} exists"),
            Reason::NotExisting => {
                format!("not creating new {} \"{name}\"", if is_dir { "directory" } else { "file" })
            }
            Reason::Newer => format!("{name} is newer"),
            Reason::TooBig => format!("{name} is over max-size"),
            Reason::TooSmall => format!("{name} is under min-size"),
            Reason::NotShorter => format!("{name} is not shorter"),
            Reason::NonRegular => format!("skipping non-regular file \"{name}\""),
            Reason::Directory => format!("skipping directory {name}"),
        }
    }
}

/// What is to be done with one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is there: make it.
    Create,
    /// Something of another kind is there: remove that, then make it.
    Replace(MakeWay),
    /// Its data, or a link's target, differs or may differ: send it, then set its attributes.
    Update(Differs),
    /// The sizes are equal and only the contents can tell: hash both, then ask [`Decision::after_hash`].
    NeedHash(Differs),
    /// The data is the same; these attributes are not.
    Attributes(Differs),
    Unchanged,
    Skip(Reason),
}

impl Decision {
    /// The decision once both ends are hashed. Others than `NeedHash` stay as they are.
    pub fn after_hash(self, same: bool) -> Decision {
        match self {
            Decision::NeedHash(differs) if same => settled(differs),
            Decision::NeedHash(differs) => Decision::Update(Differs { content: true, ..differs }),
            other => other,
        }
    }

    /// Whether the entry's data (or link, or directory) has to be made or sent.
    pub fn transfers(self) -> bool {
        matches!(self, Decision::Create | Decision::Replace(_) | Decision::Update(_))
    }
}

fn settled(differs: Differs) -> Decision {
    if differs.any() { Decision::Attributes(differs) } else { Decision::Unchanged }
}

/// Decides what an entry needs. `old` is what the destination has under its name (a link itself, not what it points to);
/// `same_target` says of two links whether they point to the same, and is not asked for anything else.
///
/// A time that SFTP cannot carry never counts as equal by itself: where the far end shows what that time is cut to, the
/// contents are compared, so that nothing is wrongly "unchanged" and nothing is sent again in each run.
pub fn decide(ctx: &Context<'_>, new: &Meta, old: Option<&Meta>, same_target: Option<bool>) -> Decision {
    let opts = ctx.opts;
    if let Some(reason) = skipped(ctx, new, old) {
        return Decision::Skip(reason);
    }
    let Some(old) = old else { return Decision::Create };
    if old.kind != new.kind {
        return Decision::Replace(match old.kind {
            Kind::Dir if opts.delete.enabled || opts.force => MakeWay::Tree,
            Kind::Dir => MakeWay::EmptyDir,
            _ => MakeWay::Unlink,
        });
    }
    let differs = ctx.differs(new, old);
    match new.kind {
        Kind::Dir | Kind::Device | Kind::Special => settled(differs),
        Kind::Symlink if same_target == Some(true) => settled(differs),
        Kind::Symlink => Decision::Update(Differs { content: true, ..differs }),
        Kind::File => {
            let (shown, exact) = ctx.shown_mtime(new.mtime);
            let decision = match () {
                // Other sizes are other contents, which is what `-c` asks about.
                () if new.size != old.size => Decision::Update(Differs { content: opts.checksum, ..differs }),
                () if opts.checksum => Decision::NeedHash(differs),
                () if opts.size_only => settled(differs),
                () if opts.ignore_times || !ctx.same_time(shown, old.mtime) => Decision::Update(differs),
                () if !exact => Decision::NeedHash(differs),
                () => settled(differs),
            };
            match decision {
                // What cannot be appended to is left alone.
                Decision::Update(_) if opts.append_verify && old.size >= new.size => Decision::Skip(Reason::NotShorter),
                decision => decision,
            }
        }
    }
}

/// The rules that leave an entry alone, in the order in which rsync asks them.
fn skipped(ctx: &Context<'_>, new: &Meta, old: Option<&Meta>) -> Option<Reason> {
    let opts = ctx.opts;
    if new.is_dir() && !opts.recursive && !opts.dirs {
        return Some(Reason::Directory);
    }
    match old {
        None if opts.existing => return Some(Reason::NotExisting),
        Some(old) if opts.ignore_existing && !(new.is_dir() && old.is_dir()) => return Some(Reason::Exists),
        _ => {}
    }
    match new.kind {
        Kind::Symlink if !opts.links => Some(Reason::NonRegular),
        Kind::Device if !opts.devices => Some(Reason::NonRegular),
        Kind::Special if !opts.specials => Some(Reason::NonRegular),
        Kind::File if opts.max_size.is_some_and(|max| new.size > max) => Some(Reason::TooBig),
        Kind::File if opts.min_size.is_some_and(|min| new.size < min) => Some(Reason::TooSmall),
        Kind::File => {
            let newer = |old: &Meta| {
                old.is_file() && old.mtime > ctx.shown_mtime(new.mtime).0.saturating_add(i64::from(opts.modify_window))
            };
            (opts.update && old.is_some_and(newer)).then_some(Reason::Newer)
        }
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests;
