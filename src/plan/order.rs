//! The order in which entries are handled, and so printed.
//!
//! Measured with rsync 3.5.0 (`-av`, with and without `-n` and incremental recursion: the same): within a directory come
//! first all that are no directories, ordered by their bytes, then the directories, each followed at once by its contents.
//! Directories compare as if a `/` stood behind their names: `foo-bar/`, `foo.d/`, `foo/`, `foo0/` (`-` and `.` sort before
//! `/`, digits and letters after it). Bytes are unsigned and there is no locale. The same holds across several sources: what
//! they bring to the top is ordered as one directory, and of entries with the same name the first source's wins.

use std::cmp::Ordering;

use crate::entry::Entry;

/// Orders entries of one directory as rsync does.
pub fn compare(a: &Entry, b: &Entry) -> Ordering {
    compare_names((&a.name, a.meta.is_dir()), (&b.name, b.meta.is_dir()))
}

/// As [`compare`], on names with whether they are directories.
pub fn compare_names((a, a_is_dir): (&[u8], bool), (b, b_is_dir): (&[u8], bool)) -> Ordering {
    match (a_is_dir, b_is_dir) {
        (false, true) => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, false) => a.cmp(b),
        (true, true) => a.iter().chain(b"/").cmp(b.iter().chain(b"/")),
    }
}

/// Sorts entries of one directory in rsync's order. Stable: of equal names the first stays first.
pub fn sort(entries: &mut [Entry]) {
    entries.sort_by(compare);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::quick_check::tests::{dir, file};

    #[test]
    fn files_come_before_directories_and_directories_compare_with_their_slash() {
        let printed = "! .dot Z aa foo- foo.c foo.txt foo0 fooz zz \u{ff} B/ a/ b.d/ b/ foo-bar/ foo.d/ foo/ foo0/ z/";
        let mut entries: Vec<Entry> = printed
            .split(' ')
            .rev()
            .map(|name| match name.strip_suffix('/') {
                Some(name) => Entry { name: name.into(), meta: dir(), target: None },
                None => Entry { name: name.into(), meta: file(1, 1), target: None },
            })
            .collect();
        sort(&mut entries);
        let slash = |entry: &Entry| if entry.meta.is_dir() { "/" } else { "" };
        let names: Vec<_> =
            entries.iter().map(|entry| format!("{}{}", String::from_utf8_lossy(&entry.name), slash(entry))).collect();
        assert_eq!(names.join(" "), printed);
    }
}
