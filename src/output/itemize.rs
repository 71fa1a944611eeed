//! Which updates are listed, and the `YXcstpoguax` string of `-i`.
//!
//! The rules are those of rsync's generator (`itemize`) and log (`%i`, `maybe_log_item`), compared by running it.

use crate::entry::{Kind, Meta};
use crate::job::Options;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Its data is sent.
    Transfer,
    /// It is made here: a directory, a link, a device.
    Create,
    /// At most its attributes are set.
    Attributes,
}

/// One file in the list of what is updated.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Relative to the transfer's root, without a trailing slash; `.` for the root itself.
    pub path: &'a [u8],
    /// As it will be: the source's, after `--chmod`.
    pub new: &'a Meta,
    /// As the destination has it; `None` if it has none of this kind (a file in the way of a directory is none).
    pub old: Option<&'a Meta>,
    /// A symlink's target.
    pub target: Option<&'a [u8]>,
    pub update: Update,
    /// The content is known to differ by more than size and time: a link's target, or a hash under `-c`.
    pub content_differs: bool,
    /// From this machine to the far end.
    pub push: bool,
    /// The receiver will set the owner (`-o` and root there), or the group (`-g` and a member there).
    pub sets_owner: bool,
    pub sets_group: bool,
    /// The directory that its source is in as the user named it, and its path there.
    pub source: (&'a [u8], &'a [u8]),
    /// From the far end to this machine.
    pub receives: bool,
    /// `-H`: the name of the file that it is another name of.
    /// Empty where it is not to be named.
    pub hard_link: Option<&'a [u8]>,
    /// `old` is found in a directory of `--link-dest` or its kin, with the same data.
    pub matched: bool,
    /// `%C`: the file's checksum, where it is known and shown.
    pub sum: Option<&'a [u8]>,
}

/// An item whose line is printed later.
pub struct Kept {
    path: Vec<u8>,
    new: Meta,
    old: Option<Meta>,
    target: Option<Vec<u8>>,
    source: (Vec<u8>, Vec<u8>),
    hard_link: Option<Vec<u8>>,
    sum: Option<Vec<u8>>,
    rest: Item<'static>,
}

/// Stands for what a [`Kept`] owns itself.
const NOTHING: Meta = Meta {
    kind: Kind::File,
    size: 0,
    mtime: 0,
    mtime_nsec: 0,
    atime: 0,
    mode: 0,
    uid: 0,
    gid: 0,
    dev: 0,
    ino: 0,
    links: 0,
};

impl Kept {
    pub fn new(item: &Item<'_>) -> Kept {
        Kept {
            path: item.path.to_vec(),
            new: item.new.clone(),
            old: item.old.cloned(),
            target: item.target.map(<[u8]>::to_vec),
            source: (item.source.0.to_vec(), item.source.1.to_vec()),
            hard_link: item.hard_link.map(<[u8]>::to_vec),
            sum: item.sum.map(<[u8]>::to_vec),
            rest: Item {
                path: b"",
                new: &NOTHING,
                old: None,
                target: None,
                source: (b"", b""),
                hard_link: None,
                sum: None,
                ..*item
            },
        }
    }

    pub fn item(&self) -> Item<'_> {
        Item {
            path: &self.path,
            new: &self.new,
            old: self.old.as_ref(),
            target: self.target.as_deref(),
            source: (&self.source.0, &self.source.1),
            hard_link: self.hard_link.as_deref(),
            sum: self.sum.as_deref(),
            ..self.rest
        }
    }
}

impl Item<'_> {
    /// `%f`: with the way to it at a source on this machine.
    pub fn long_name(&self) -> Vec<u8> {
        if self.receives {
            return self.path.to_vec();
        }
        let (root, path) = self.source;
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let whole = if root.is_empty() { path.to_vec() } else { [root, b"/", path].concat() };
        whole.into_iter().skip_while(|byte| *byte == b'/').collect()
    }

    fn keeps_time(&self, options: &Options) -> bool {
        options.times
            && !(self.new.is_dir() && options.omit_dir_times)
            && !(self.new.kind == Kind::Symlink && options.omit_link_times)
    }

    fn size_differs(&self) -> bool {
        self.new.is_file() && self.old.is_some_and(|old| old.size != self.new.size)
    }

    fn time_differs(&self, options: &Options) -> bool {
        match self.old {
            Some(old) if self.keeps_time(options) => {
                old.mtime.abs_diff(self.new.mtime) > u64::from(options.modify_window)
            }
            // Of what a basis has with other attributes, rsync tells the time too, which is not kept either.
            Some(_) if self.matched && self.hard_link.is_none() && self.update == Update::Create => {
                self.perms_differ(options) || self.owner_differs() || self.group_differs()
            }
            Some(_) => self.update != Update::Attributes && !self.matched,
            None => false,
        }
    }

    fn atime_differs(&self, options: &Options) -> bool {
        let carried = options.atimes && !matches!(self.new.kind, Kind::Dir | Kind::Symlink);
        carried && self.old.is_some_and(|old| old.atime.abs_diff(self.new.atime) > u64::from(options.modify_window))
    }

    fn perms_differ(&self, options: &Options) -> bool {
        let differ = self.old.is_some_and(|old| (old.mode ^ self.new.mode) & 0o7777 != 0);
        (options.perms || options.executability) && differ && self.new.kind != Kind::Symlink
    }

    fn owner_differs(&self) -> bool {
        self.sets_owner && self.old.is_some_and(|old| old.uid != self.new.uid)
    }

    fn group_differs(&self) -> bool {
        self.sets_group && self.old.is_some_and(|old| old.gid != self.new.gid)
    }

    /// Whether anything at all is changed.
    pub fn is_significant(&self, options: &Options) -> bool {
        self.update == Update::Transfer
            || self.hard_link.is_some_and(|first| !first.is_empty())
            || self.old.is_none()
            || self.content_differs
            || self.size_differs()
            || self.time_differs(options)
            || self.atime_differs(options)
            || self.perms_differ(options)
            || self.owner_differs()
            || self.group_differs()
    }

    /// Whether its name is printed, given what is asked for. Up-to-date names of `-vv` are another line.
    pub fn is_listed(&self, options: &Options) -> bool {
        let significant = self.is_significant(options);
        if options.itemize {
            return significant || options.itemize_unchanged;
        }
        // Without -i, rsync does not mention files of which only attributes change.
        (options.info.name >= 1 || options.out_format.is_some())
            && significant
            && (self.update != Update::Attributes || self.new.is_dir())
    }

    /// Whether it is told to the log file, whose format has `%i` or not.
    pub fn is_logged(&self, options: &Options, itemize: bool) -> bool {
        let significant = self.is_significant(options);
        significant && (itemize || self.update != Update::Attributes || self.new.is_dir())
    }

    /// The eleven characters of `%i`.
    pub fn string(&self, options: &Options) -> String {
        let update = match self.update {
            _ if self.hard_link.is_some() => 'h',
            Update::Create => 'c',
            Update::Attributes => '.',
            Update::Transfer if self.push => '<',
            Update::Transfer => '>',
        };
        let kind = match self.new.kind {
            Kind::File => 'f',
            Kind::Dir => 'd',
            Kind::Symlink => 'L',
            Kind::Device => 'D',
            Kind::Special => 'S',
        };
        let rest = if self.old.is_none() {
            "+++++++++".to_owned()
        } else {
            let flag = |on: bool, letter: char| if on { letter } else { '.' };
            let rest: String = [
                flag(self.content_differs, 'c'),
                flag(self.size_differs(), 's'),
                flag(self.time_differs(options), if options.times { 't' } else { 'T' }),
                flag(self.perms_differ(options), 'p'),
                flag(self.owner_differs(), 'o'),
                flag(self.group_differs(), 'g'),
                flag(self.atime_differs(options), 'u'),
                '.',
                '.',
            ]
            .into_iter()
            .collect();
            if self.update != Update::Transfer && rest.bytes().all(|byte| byte == b'.') { " ".repeat(9) } else { rest }
        };
        format!("{update}{kind}{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Info;

    fn meta(kind: Kind, mode: u32) -> Meta {
        Meta { kind, size: 6, mtime: 100, mtime_nsec: 0, atime: 0, mode, uid: 1, gid: 1, dev: 0, ino: 0, links: 1 }
    }

    fn item<'a>(new: &'a Meta, old: Option<&'a Meta>, update: Update) -> Item<'a> {
        Item {
            path: b"a",
            new,
            old,
            target: None,
            update,
            content_differs: false,
            push: false,
            sets_owner: false,
            sets_group: false,
            source: (b"", b"a"),
            receives: false,
            hard_link: None,
            matched: false,
            sum: None,
        }
    }

    fn archive() -> Options {
        Options {
            recursive: true,
            links: true,
            perms: true,
            times: true,
            group: true,
            owner: true,
            ..Options::default()
        }
    }

    #[test]
    fn what_is_new_has_pluses() {
        let (file, dir, link) = (meta(Kind::File, 0o644), meta(Kind::Dir, 0o755), meta(Kind::Symlink, 0o777));
        let o = archive();
        assert_eq!(item(&file, None, Update::Transfer).string(&o), ">f+++++++++");
        assert_eq!(Item { push: true, ..item(&file, None, Update::Transfer) }.string(&o), "<f+++++++++");
        assert_eq!(item(&dir, None, Update::Create).string(&o), "cd+++++++++");
        assert_eq!(item(&link, None, Update::Create).string(&o), "cL+++++++++");
        assert_eq!(item(&meta(Kind::Special, 0), None, Update::Create).string(&o), "cS+++++++++");
        assert_eq!(item(&meta(Kind::Device, 0), None, Update::Create).string(&o), "cD+++++++++");
    }

    #[test]
    fn what_changes_is_marked() {
        let new = meta(Kind::File, 0o644);
        let old = Meta { size: 5, mtime: 99, mode: 0o600, uid: 2, gid: 2, ..new.clone() };
        let o = archive();
        let changed = item(&new, Some(&old), Update::Transfer);
        assert_eq!(changed.string(&o), ">f.stp.....");
        assert_eq!(Item { sets_owner: true, sets_group: true, ..changed }.string(&o), ">f.stpog...");
        assert_eq!(changed.string(&Options { times: false, perms: false, ..archive() }), ">f.sT......");
        let touched = Meta { mtime: 99, ..new.clone() };
        assert_eq!(item(&new, Some(&touched), Update::Transfer).string(&o), ">f..t......");
        let by_hash = Item { content_differs: true, ..item(&new, Some(&new), Update::Transfer) };
        assert_eq!(by_hash.string(&o), ">fc........");
    }

    #[test]
    fn attributes_alone_start_with_a_dot_and_nothing_at_all_is_blank() {
        let new = meta(Kind::File, 0o644);
        let old = Meta { mode: 0o600, ..new.clone() };
        let o = archive();
        assert_eq!(item(&new, Some(&old), Update::Attributes).string(&o), ".f...p.....");
        assert_eq!(item(&new, Some(&new), Update::Attributes).string(&o), ".f         ");
        let dir = meta(Kind::Dir, 0o755);
        let old_dir = Meta { mtime: 1, size: 9, ..dir.clone() };
        assert_eq!(item(&dir, Some(&old_dir), Update::Attributes).string(&o), ".d..t......");
        let without = Options { omit_dir_times: true, ..archive() };
        assert_eq!(item(&dir, Some(&old_dir), Update::Attributes).string(&without), ".d         ");
    }

    #[test]
    fn a_links_new_target_is_a_change_made_here() {
        let new = meta(Kind::Symlink, 0o777);
        let old = Meta { mtime: 1, ..new.clone() };
        let link = Item { content_differs: true, ..item(&new, Some(&old), Update::Create) };
        assert_eq!(link.string(&archive()), "cLc.t......");
        assert_eq!(link.string(&Options { times: false, ..archive() }), "cLc.T......");
    }

    #[test]
    fn names_are_listed_by_v_and_more_of_them_by_i() {
        let verbose = Options { info: Info { name: 1, ..Info::default() }, ..archive() };
        let itemize = Options { itemize: true, ..archive() };
        let all = Options { itemize_unchanged: true, ..itemize.clone() };
        let listed =
            |item: &Item| [archive(), verbose.clone(), itemize.clone(), all.clone()].map(|o| item.is_listed(&o));
        let file = meta(Kind::File, 0o644);
        let moded = Meta { mode: 0o600, ..file.clone() };
        let dir = meta(Kind::Dir, 0o755);
        let touched = Meta { mtime: 1, ..dir.clone() };
        assert_eq!(listed(&item(&file, None, Update::Transfer)), [false, true, true, true]);
        assert_eq!(listed(&item(&file, Some(&moded), Update::Attributes)), [false, false, true, true]);
        assert_eq!(listed(&item(&dir, Some(&touched), Update::Attributes)), [false, true, true, true]);
        assert_eq!(listed(&item(&dir, Some(&dir), Update::Attributes)), [false, false, false, true]);
    }
}
