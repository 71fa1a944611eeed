//! The decisions, held against what rsync 3.5.0 was seen to do.

use super::*;
use proptest::prelude::*;

pub(in crate::plan) fn meta(kind: Kind, size: u64, mtime: i64) -> Meta {
    Meta { kind, size, mtime, mtime_nsec: 0, atime: 0, mode: 0o644, uid: 1, gid: 1, dev: 0, ino: 0, links: 1 }
}

pub(in crate::plan) fn file(size: u64, mtime: i64) -> Meta {
    meta(Kind::File, size, mtime)
}

pub(in crate::plan) fn dir() -> Meta {
    Meta { mode: 0o755, ..meta(Kind::Dir, 4096, 5) }
}

/// `-a` without owners.
pub(in crate::plan) fn archive() -> Options {
    Options {
        recursive: true,
        links: true,
        perms: true,
        times: true,
        group: true,
        owner: true,
        devices: true,
        specials: true,
        ..Options::default()
    }
}

fn run(opts: &Options, new: &Meta, old: &Meta) -> Decision {
    decide(&context(opts), new, Some(old), None)
}

fn context(opts: &Options) -> Context<'_> {
    Context::new(opts, 0o022).expect("valid --chmod")
}

#[test]
fn size_and_whole_seconds_make_the_quick_check() {
    let opts = Options { recursive: true, times: true, ..Options::default() };
    let later = Meta { mtime_nsec: 7, ..file(3, 5) };
    assert_eq!(run(&opts, &later, &file(3, 5)), Decision::Unchanged);
    assert_eq!(run(&opts, &file(3, 5), &file(4, 5)), Decision::Update(Differs { size: true, ..Differs::default() }));
    assert_eq!(run(&opts, &file(3, 5), &file(3, 6)), Decision::Update(Differs { time: true, ..Differs::default() }));
    assert_eq!(decide(&context(&opts), &file(3, 5), None, None), Decision::Create);
}

#[test]
fn without_t_a_time_that_differs_sends_again_but_is_nothing_to_set() {
    let opts = Options::default();
    assert_eq!(run(&opts, &file(3, 5), &file(3, 6)), Decision::Update(Differs::default()));
    let size_only = Options { size_only: true, ..Options::default() };
    assert_eq!(run(&size_only, &file(3, 5), &file(3, 6)), Decision::Unchanged);
    let and_times = Options { times: true, ..size_only };
    assert_eq!(
        run(&and_times, &file(3, 5), &file(3, 6)),
        Decision::Attributes(Differs { time: true, ..Differs::default() })
    );
}

#[test]
fn checksums_are_asked_for_only_where_sizes_match_and_before_other_options() {
    let opts = Options { checksum: true, ignore_times: true, size_only: true, times: true, ..Options::default() };
    let time = Differs { time: true, ..Differs::default() };
    assert_eq!(run(&opts, &file(3, 5), &file(3, 6)), Decision::NeedHash(time));
    assert_eq!(Decision::NeedHash(time).after_hash(true), Decision::Attributes(time));
    assert_eq!(Decision::NeedHash(Differs::default()).after_hash(true), Decision::Unchanged);
    assert_eq!(Decision::NeedHash(time).after_hash(false), Decision::Update(Differs { content: true, ..time }));
    assert!(matches!(run(&opts, &file(3, 5), &file(4, 5)), Decision::Update(_)));
}

#[test]
fn ignore_times_sends_what_is_equal() {
    let opts = Options { ignore_times: true, ..archive() };
    assert_eq!(run(&opts, &file(3, 5), &file(3, 5)), Decision::Update(Differs::default()));
    assert_eq!(run(&opts, &dir(), &dir()), Decision::Unchanged);
}

#[test]
fn update_spares_newer_files_only() {
    let opts = Options { update: true, ..archive() };
    let new = file(3, 5);
    assert_eq!(run(&opts, &new, &file(4, 6)), Decision::Skip(Reason::Newer));
    assert!(matches!(run(&opts, &new, &file(4, 5)), Decision::Update(_)));
    assert_eq!(run(&opts, &new, &meta(Kind::Symlink, 1, 9)), Decision::Replace(MakeWay::Unlink));
    assert_eq!(run(&opts, &new, &meta(Kind::Dir, 1, 9)), Decision::Replace(MakeWay::EmptyDir));
    let link = |mtime| meta(Kind::Symlink, 1, mtime);
    assert!(matches!(decide(&context(&opts), &link(5), Some(&link(9)), Some(false)), Decision::Update(_)));
}

#[test]
fn existing_and_ignore_existing() {
    let existing = Options { existing: true, ..archive() };
    assert_eq!(decide(&context(&existing), &dir(), None, None), Decision::Skip(Reason::NotExisting));
    assert_eq!(run(&existing, &meta(Kind::Symlink, 1, 1), &file(1, 1)), Decision::Replace(MakeWay::Unlink));
    let ignore = Options { ignore_existing: true, ..archive() };
    assert_eq!(run(&ignore, &file(1, 1), &meta(Kind::Symlink, 1, 1)), Decision::Skip(Reason::Exists));
    assert_eq!(run(&ignore, &dir(), &file(1, 1)), Decision::Skip(Reason::Exists));
    assert_eq!(run(&ignore, &dir(), &dir()), Decision::Unchanged);
}

#[test]
fn sizes_limit_files_only() {
    let opts = Options { max_size: Some(10), min_size: Some(5), ..archive() };
    let skip = |size| decide(&context(&opts), &file(size, 1), None, None);
    assert_eq!((skip(4), skip(11)), (Decision::Skip(Reason::TooSmall), Decision::Skip(Reason::TooBig)));
    assert_eq!((skip(5), skip(10)), (Decision::Create, Decision::Create));
    assert_eq!(decide(&context(&opts), &dir(), None, None), Decision::Create);
}

#[test]
fn what_is_not_asked_for_is_skipped_with_rsyncs_line() {
    let opts = Options { recursive: true, ..Options::default() };
    for kind in [Kind::Symlink, Kind::Device, Kind::Special] {
        assert_eq!(decide(&context(&opts), &meta(kind, 0, 1), None, None), Decision::Skip(Reason::NonRegular));
        assert_eq!(decide(&context(&archive()), &meta(kind, 0, 1), None, None), Decision::Create);
    }
    let none = Options::default();
    assert_eq!(decide(&context(&none), &dir(), None, None), Decision::Skip(Reason::Directory));
    assert_eq!(Reason::NonRegular.line("x", false), "skipping non-regular file \"x\"");
    assert_eq!(Reason::NotExisting.line("x", true), "not creating new directory \"x\"");
}

#[test]
fn a_directory_in_the_way_goes_with_its_contents_only_under_delete() {
    assert_eq!(run(&archive(), &file(1, 1), &dir()), Decision::Replace(MakeWay::EmptyDir));
    let mut opts = archive();
    opts.delete.enabled = true;
    assert_eq!(run(&opts, &file(1, 1), &dir()), Decision::Replace(MakeWay::Tree));
    assert_eq!(run(&archive(), &dir(), &file(1, 1)), Decision::Replace(MakeWay::Unlink));
}

#[test]
fn modes_without_p_are_the_sources_less_the_umask_for_what_is_new() {
    let opts = Options::default();
    let ctx = context(&opts);
    let new = Meta { mode: 0o6777, ..file(1, 1) };
    assert_eq!(ctx.target_mode(&new, None), 0o755);
    assert_eq!(ctx.target_mode(&new, Some(&Meta { mode: 0o4600, ..file(1, 1) })), 0o4600);
    assert_eq!(ctx.target_mode(&new, Some(&meta(Kind::Symlink, 1, 1))), 0o755, "another kind is no existing file");
    let chmod = Options { chmod: Some("F600".into()), ..Options::default() };
    assert_eq!(context(&chmod).target_mode(&new, None), 0o600);
    assert_eq!(run(&chmod, &file(1, 1), &file(1, 1)), Decision::Unchanged, "an existing file keeps its mode");
    let perms = Options { perms: true, ..chmod };
    assert_eq!(
        run(&perms, &file(1, 1), &file(1, 1)),
        Decision::Attributes(Differs { mode: true, ..Differs::default() })
    );
}

#[test]
fn owners_and_groups_count_only_where_they_can_be_set() {
    let opts = archive();
    let old = Meta { uid: 2, gid: 2, ..file(1, 1) };
    assert_eq!(run(&opts, &file(1, 1), &old), Decision::Attributes(Differs { group: true, ..Differs::default() }));
    let root = Context { may_chown: true, may_chgrp: false, ..context(&opts) };
    let owner = Differs { owner: true, ..Differs::default() };
    assert_eq!(decide(&root, &file(1, 1), Some(&old), None), Decision::Attributes(owner));
    assert_eq!(run(&Options { times: true, ..Options::default() }, &file(1, 1), &old), Decision::Unchanged);
}

#[test]
fn directory_times_are_left_with_omit_dir_times() {
    let old = Meta { mtime: 9, ..dir() };
    assert_eq!(run(&archive(), &dir(), &old), Decision::Attributes(Differs { time: true, ..Differs::default() }));
    assert_eq!(run(&Options { omit_dir_times: true, ..archive() }, &dir(), &old), Decision::Unchanged);
}

#[test]
fn a_time_that_sftp_cannot_carry_is_never_unchanged_nor_sent_for_ever() {
    let opts = archive();
    let ctx = Context { dest_is_sftp: true, ..context(&opts) };
    for mtime in [-1, i64::MIN, 1 << 32, i64::MAX] {
        let (shown, exact) = ctx.shown_mtime(mtime);
        assert!(!exact && (0..1 << 32).contains(&shown));
        assert_eq!(decide(&ctx, &file(3, mtime), Some(&file(3, shown)), None), Decision::NeedHash(Differs::default()));
        assert!(matches!(decide(&ctx, &file(3, mtime), Some(&file(3, 77)), None), Decision::Update(_)));
        let dir = |mtime| Meta { mtime, ..dir() };
        assert_eq!(decide(&ctx, &dir(mtime), Some(&dir(shown)), None), Decision::Unchanged);
    }
    let local = context(&opts);
    assert_eq!(decide(&local, &file(3, -1), Some(&file(3, -1)), None), Decision::Unchanged);
    assert_eq!(ctx.shown_mtime(4_294_967_295), (4_294_967_295, true));
}

prop_compose! {
    fn any_meta()(kind in prop::sample::select(vec![Kind::File, Kind::Dir, Kind::Symlink, Kind::Device, Kind::Special]),
                  size in 0u64..3, mtime in prop_oneof![0i64..3, Just(-1), Just(1 << 32)], mode in 0u32..0o10000,
                  uid in 0u32..2, gid in 0u32..2) -> Meta {
        Meta { kind, size, mtime, mtime_nsec: 0, atime: 0, mode, uid, gid, dev: 0, ino: 0, links: 1 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn what_was_made_needs_nothing_in_the_next_run(
        new in any_meta(), old in prop::option::of(any_meta()),
        perms: bool, owner: bool, delete: bool, dest_is_sftp: bool, chmod in prop::option::of(Just("Du+x,g=u,F-w")),
    ) {
        let mut opts = Options { perms, owner, chmod: chmod.map(str::to_owned), ..archive() };
        opts.delete.enabled = delete;
        let ctx = Context { may_chown: owner, dest_is_sftp, ..context(&opts) };
        let first = decide(&ctx, &new, old.as_ref(), Some(false)).after_hash(false);
        let made = Meta {
            mtime: ctx.shown_mtime(new.mtime).0,
            mode: ctx.target_mode(&new, old.as_ref()),
            uid: if owner { new.uid } else { 9 },
            ..new.clone()
        };
        prop_assert!(!matches!(first, Decision::Skip(_) | Decision::NeedHash(_)));
        prop_assert_eq!(decide(&ctx, &new, Some(&made), Some(true)).after_hash(true), Decision::Unchanged);
    }

    #[test]
    fn equal_sizes_are_never_unchanged_if_the_seconds_differ(new in any_meta(), mtime in -3i64..3) {
        let opts = archive();
        let (new, old) = (Meta { kind: Kind::File, ..new.clone() }, Meta { kind: Kind::File, mtime, ..new });
        prop_assume!(new.mtime != mtime);
        for dest_is_sftp in [false, true] {
            let ctx = Context { dest_is_sftp, ..context(&opts) };
            let decision = decide(&ctx, &new, Some(&old), None);
            prop_assert!(matches!(decision, Decision::Update(_) | Decision::NeedHash(_)), "{:?}", decision);
        }
    }
}
