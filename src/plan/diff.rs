//! What one directory needs: a step for each entry of the source, and what `--delete` removes.

use std::collections::HashMap;

use crate::entry::Entry;
use crate::plan::filter::{Filter, Side};
use crate::plan::names::{BadName, join, safe_name};
use crate::plan::order;
use crate::plan::quick_check::{Context, Decision, decide};

/// One entry of the source, what the destination has under its name, and what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub entry: Entry,
    pub old: Option<Entry>,
    pub decision: Decision,
}

/// What is wrong with a listing. The entry in question is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Name(#[from] BadName),
    #[error("a name that was listed before")]
    Duplicate,
}

/// An entry of a listing that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which end listed it.
    pub side: Side,
    pub name: Vec<u8>,
    pub problem: Problem,
}

/// What one directory needs. All in the order in which rsync handles and prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirPlan {
    pub steps: Vec<Step>,
    /// What the destination has and the source has not, the filters' protected names aside; last name first, before the
    /// steps. In a directory among them, what [`Filter::protects_within_deletion`] says stays, and so does the directory.
    pub delete: Vec<Entry>,
    /// The number of source entries that the filters hide.
    pub hidden: usize,
    pub refused: Vec<Refused>,
}

/// The rules at both ends, as they are in one directory.
#[derive(Debug, Clone, Copy)]
pub struct Filters<'a> {
    /// The source's.
    pub hide: &'a Filter,
    /// The destination's.
    pub protect: &'a Filter,
}

impl<'a> Filters<'a> {
    /// Where both ends have the same.
    pub fn both(filter: &'a Filter) -> Filters<'a> {
        Filters { hide: filter, protect: filter }
    }
}

/// Compares the listings of one directory.
///
/// `dir` is its path relative to the transfer's root (empty for the root itself), which the filters see. `dest` is `None`
/// where the destination has no such directory. Neither list needs to be sorted; of names listed twice the first counts.
/// `may_delete` is false where either listing had an error, or where the directory was not sent whole: then nothing is
/// deleted, whatever the options say.
pub fn diff_dir(
    dir: &[u8],
    source: Vec<Entry>,
    dest: Option<Vec<Entry>>,
    ctx: &Context<'_>,
    filters: Filters<'_>,
    may_delete: bool,
) -> DirPlan {
    let mut plan = DirPlan::default();
    let mut source = usable(source, Side::Sender, &mut plan.refused);
    let dest = usable(dest.unwrap_or_default(), Side::Receiver, &mut plan.refused);
    let refused = plan.refused.iter().any(|refused| matches!(refused.problem, Problem::Name(_)));

    let listed = source.len();
    source.retain(|entry| !filters.hide.excludes(&join(dir, &entry.name), entry.meta.is_dir(), Side::Sender));
    plan.hidden = listed - source.len();

    let mut old: HashMap<Vec<u8>, Entry> = dest.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
    for entry in source {
        let old = old.remove(&entry.name);
        let same_target = old.as_ref().map(|old| entry.target.is_some() && entry.target == old.target);
        let decision = decide(ctx, &entry.meta, old.as_ref().map(|old| &old.meta), same_target);
        plan.steps.push(Step { entry, old, decision });
    }

    // A listing with names that cannot be is not to be believed: what it lacks may well exist.
    if ctx.opts.delete.enabled && may_delete && !refused {
        plan.delete = old.into_values().collect();
        let protects =
            |entry: &Entry| filters.protect.excludes(&join(dir, &entry.name), entry.meta.is_dir(), Side::Receiver);
        plan.delete.retain(|entry| !protects(entry));
        plan.delete.sort_by(|a, b| order::compare(b, a));
    }
    plan
}

/// The entries whose names can be used, each name once, in rsync's order.
fn usable(entries: Vec<Entry>, side: Side, refused: &mut Vec<Refused>) -> Vec<Entry> {
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    let mut usable = Vec::with_capacity(entries.len());
    for entry in entries {
        let problem = match safe_name(&entry.name) {
            Err(bad) => Problem::Name(bad),
            Ok(()) if !seen.insert(entry.name.clone()) => Problem::Duplicate,
            Ok(()) => {
                usable.push(entry);
                continue;
            }
        };
        refused.push(Refused { side, name: entry.name, problem });
    }
    order::sort(&mut usable);
    usable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Kind, Meta};
    use crate::job::Options;
    use crate::plan::filter::Rule;
    use crate::plan::quick_check::tests::{archive, dir, file, meta};
    use crate::plan::quick_check::{Differs, Reason};
    use proptest::prelude::*;

    fn entry(name: &str, meta: Meta) -> Entry {
        Entry { name: name.into(), meta, target: None }
    }

    fn deleting() -> Options {
        let mut opts = archive();
        opts.delete.enabled = true;
        opts
    }

    fn plan(opts: &Options, rules: &[&str], source: Vec<Entry>, dest: Vec<Entry>) -> DirPlan {
        let rules: Vec<Rule> = rules.iter().map(|rule| Rule::parse(rule.as_bytes()).expect("a valid rule")).collect();
        let filter = Filter::new(&rules).delete_excluded(opts.delete.excluded);
        diff_dir(
            b"d",
            source,
            Some(dest),
            &Context::new(opts, 0o022).expect("no --chmod"),
            Filters::both(&filter),
            true,
        )
    }

    fn names(entries: &[Entry]) -> String {
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_entry_gets_one_step_in_rsyncs_order() {
        let source = vec![
            entry("sub", dir()),
            entry("b", file(1, 1)),
            entry("a", file(1, 1)),
            entry("p", meta(Kind::Special, 0, 1)),
        ];
        let dest = vec![entry("b", file(2, 1)), entry("sub", dir())];
        let opts = Options { specials: false, ..archive() };
        let steps = plan(&opts, &[], source, dest).steps;
        let decisions: Vec<_> = steps.iter().map(|step| (step.entry.name.as_slice(), step.decision)).collect();
        let size = Differs { size: true, ..Differs::default() };
        let expected: [(&[u8], _); 4] = [
            (b"a", Decision::Create),
            (b"b", Decision::Update(size)),
            (b"p", Decision::Skip(Reason::NonRegular)),
            (b"sub", Decision::Unchanged),
        ];
        assert_eq!(decisions, expected);
    }

    #[test]
    fn links_are_compared_by_their_targets() {
        let link = |target: &str| Entry { target: Some(target.into()), ..entry("l", meta(Kind::Symlink, 1, 1)) };
        let decision = |new, old| plan(&archive(), &[], vec![new], vec![old]).steps[0].decision;
        assert_eq!(decision(link("x"), link("x")), Decision::Unchanged);
        assert!(matches!(decision(link("x"), link("y")), Decision::Update(Differs { content: true, .. })));
        let unread = || Entry { target: None, ..link("x") };
        assert!(
            matches!(decision(unread(), unread()), Decision::Update(_)),
            "targets that are not known are not equal"
        );
    }

    #[test]
    fn extraneous_names_go_last_name_first_and_protected_ones_stay() {
        let dest = || {
            ["1", "z", ".t", "keep.o", "a"]
                .map(|name| entry(name, file(1, 1)))
                .into_iter()
                .chain(["foo", "foo-", "q"].map(|name| entry(name, dir())))
                .collect::<Vec<_>>()
        };
        let source = || vec![entry("a", file(1, 1)), entry("keep.o", file(1, 1))];
        let plan_ = plan(&deleting(), &["- *.o"], source(), dest());
        assert_eq!((names(&plan_.delete).as_str(), plan_.hidden), ("q foo foo- z 1 .t", 1));
        assert_eq!(names(&plan(&deleting(), &["P z", "- /d/q/"], source(), dest()).delete), "foo foo- 1 .t");
        assert_eq!(names(&plan(&archive(), &[], source(), dest()).delete), "");
        let mut excluded = deleting();
        excluded.delete.excluded = true;
        assert_eq!(names(&plan(&excluded, &["- *.o", "P [1z]"], source(), dest()).delete), "q foo foo- keep.o .t");
    }

    #[test]
    fn nothing_that_the_source_has_is_deleted_whatever_is_skipped() {
        let opts = Options { max_size: Some(1), existing: true, specials: false, ..deleting() };
        let source = vec![entry("big", file(9, 1)), entry("p", meta(Kind::Special, 0, 1))];
        assert_eq!(plan(&opts, &[], source.clone(), source).delete, vec![]);
    }

    #[test]
    fn a_listing_error_disables_deletion() {
        let opts = deleting();
        let ctx = Context::new(&opts, 0).expect("no --chmod");
        let dest = || Some(vec![entry("x", file(1, 1))]);
        let delete =
            |source, may| diff_dir(b"", source, dest(), &ctx, Filters::both(&Filter::default()), may).delete.len();
        assert_eq!(
            (delete(vec![], true), delete(vec![], false), delete(vec![entry("../x", file(1, 1))], true)),
            (1, 0, 0)
        );
    }

    #[test]
    fn hostile_names_and_duplicates_are_refused_and_told() {
        let source = ["a", "../x", "a", "", "b\0", ".."].map(|name| entry(name, file(1, 1))).to_vec();
        let plan = plan(&archive(), &[], source, vec![]);
        assert_eq!(plan.steps.len(), 1);
        let problems: Vec<_> = plan.refused.iter().map(|refused| refused.problem).collect();
        use Problem::{Duplicate, Name};
        let expected = [Name(BadName::Slash), Duplicate, Name(BadName::Empty), Name(BadName::Nul), Name(BadName::Dots)];
        assert_eq!(problems, expected);
    }

    prop_compose! {
        fn any_entry()(name in prop::sample::select(vec!["a", "b", "c.o", "d", "", "x/y", ".."]), is_dir: bool,
                       size in 0u64..2, mtime in 0i64..2) -> Entry {
            entry(name, if is_dir { dir() } else { file(size, mtime) })
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_source_entry_is_a_step_or_hidden_or_refused_and_none_is_deleted(
            source in prop::collection::vec(any_entry(), 0..8), dest in prop::collection::vec(any_entry(), 0..8), excluded: bool,
        ) {
            let mut opts = deleting();
            opts.delete.excluded = excluded;
            let plan = plan(&opts, &["- *.o"], source.clone(), dest);
            let refused = plan.refused.iter().filter(|refused| refused.side == Side::Sender).count();
            prop_assert_eq!(plan.steps.len() + plan.hidden + refused, source.len());
            for step in &plan.steps {
                prop_assert!(plan.delete.iter().all(|gone| gone.name != step.entry.name));
                prop_assert!(step.old.as_ref().is_none_or(|old| old.name == step.entry.name));
            }
            prop_assert!(plan.steps.is_sorted_by(|a, b| order::compare(&a.entry, &b.entry).is_lt()));
        }
    }
}
