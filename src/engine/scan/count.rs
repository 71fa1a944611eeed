//! What is in a directory that is left alone: it is not transferred, but counts as found, as rsync's sender does it.

use super::*;
use crate::engine::early::place;

impl Scan<'_> {
    /// Notes a directory that is left alone as one whose contents are to be counted.
    pub(super) fn only_count(&mut self, place: Place) {
        if !place.contents.is_empty() || !place.given.is_empty() {
            self.waiting.push(Next::Contents(Box::new(Waiting {
                origins: place.contents,
                given: place.given,
                dest_path: place.dest_path,
                shown: place.shown,
                protect: place.protect,
                exists: false,
                directory: Directory::there(),
                dev: 0,
                only_counted: true,
                listings: self.ahead.take(),
            })));
        }
    }

    /// Counts what is in a directory that is left alone.
    pub(super) fn count(
        &mut self,
        shown_dir: &[u8],
        mut entries: Vec<Entry>,
        mut nodes: HashMap<Vec<u8>, Node>,
        first: Option<&Origin>,
        hide: &Filter,
        (dest_dir, protect): (&[u8], &Arc<Filter>),
    ) {
        let options = &self.run.job.options;
        entries.retain(|entry| {
            let path = below(shown_dir, &entry.name);
            self.run.judge(hide, &path, entry.meta.is_dir(), Side::Sender);
            safe_name(&entry.name).is_ok() && !hide.excludes(&path, entry.meta.is_dir(), Side::Sender)
        });
        let first_new = self.waiting.len();
        for entry in entries {
            self.run.tally().stats.found(&entry.meta);
            let node = nodes.remove(&entry.name).or_else(|| first.map(|first| brought::found(first, entry.clone())));
            let (Some(node), true) = (node, entry.meta.is_dir()) else { continue };
            let shown = below(shown_dir, &entry.name);
            let contents = if options.recursive { node.contents } else { Vec::new() };
            let mut place = Place::of(node.origin, shown, contents);
            place.given = node.children;
            // It is asked for as whoever listed the one above did ahead of its turn.
            (place.dest_path, place.protect) = (below(dest_dir, &entry.name), protect.clone());
            self.only_count(place);
        }
        // In the order in which directories are listed ahead; the next one is last.
        self.waiting[first_new..].sort_by_cached_key(|next| match next {
            Next::Contents(waiting) => std::cmp::Reverse(place(&waiting.dest_path)),
            Next::Entry(_) => std::cmp::Reverse(Vec::new()),
        });
    }
}

impl Place {
    /// Somewhere at the source, of which the destination has nothing.
    fn of(origin: Origin, shown: Vec<u8>, contents: Vec<Origin>) -> Place {
        Place {
            origin,
            contents,
            first: None,
            basis: None,
            given: Nodes::new(),
            silent: false,
            dest_path: Vec::new(),
            shown,
            protect: Arc::default(),
            directory: Directory::there(),
            made: false,
            later: false,
            planned: None,
            in_way: None,
        }
    }
}
