//! What is mentioned: how `-v`, `--info`, `--progress` and `--stats` combine.
//!
//! rsync gives each item a level, set by the verbosity and by the other options unless `--info` named it (options.c: user
//! priority beats default priority).

use super::UsageError;
use crate::job::{Debug, Info, Options};

/// rsync's items; the ones without a level of ours have nothing to mention here.
const ITEMS: [&str; 13] = [
    "backup", "copy", "del", "flist", "misc", "mount", "name", "nonreg", "progress", "remove", "skip", "stats",
    "symsafe",
];

/// What they mention, in the same order.
const WORDS: [&str; 13] = [
    "What --backup keeps",
    "Nothing here: copies of --copy-dest are told as names",
    "Deletions",
    "The heading of the list of files",
    "Nothing here",
    "Nothing here: what -x leaves out",
    "Names: 1 of what is updated, 2 of what is up to date too",
    "Non-regular files that are left out (on unless 0)",
    "Progress: 1 of each file, 2 of the whole run",
    "Sources that --remove-source-files removes",
    "Files that options leave out",
    "The end of a run: 1 its last lines, 2 the block of --stats",
    "Links whose referents --copy-unsafe-links copies",
];

fn level<'a>(info: &'a mut Info, item: &str) -> Option<&'a mut u8> {
    Some(match item {
        "backup" => &mut info.backup,
        "del" => &mut info.del,
        "flist" => &mut info.flist,
        "misc" => &mut info.misc,
        "name" => &mut info.name,
        "nonreg" => &mut info.nonreg,
        "progress" => &mut info.progress,
        "remove" => &mut info.remove,
        "skip" => &mut info.skip,
        "stats" => &mut info.stats,
        "symsafe" => &mut info.symsafe,
        _ => return None,
    })
}

fn told<'a>(debug: &'a mut Debug, item: &str) -> Option<&'a mut bool> {
    Some(match item {
        "del" => &mut debug.del,
        "deltasum" => &mut debug.deltasum,
        "filter" => &mut debug.filter,
        "flist" => &mut debug.flist,
        _ => return None,
    })
}

/// rsync's items of `--debug`; of the ones that are not in [`struct@Debug`] nothing is told.
const DEBUG: [&str; 24] = [
    "acl", "backup", "bind", "chdir", "connect", "cmd", "del", "deltasum", "dup", "exit", "filter", "flist", "fuzzy",
    "genr", "hash", "hlink", "iconv", "io", "nstr", "own", "proto", "recv", "send", "time",
];

/// What `--info=help` or `--debug=help` answers, if a value asks for it.
pub fn help(flags: &str, debug: bool) -> Option<String> {
    flags.split(',').find(|word| word.eq_ignore_ascii_case("help"))?;
    if debug {
        let text = "\
Use ITEM or ITEM1 for what -vv tells, ITEM0 for silence.

DEL        Where a pass of deletions begins
DELTASUM   How much of files was found at the destination, at the end
FILTER     What the filter rules say of a name
FLIST      Whether files may be made of what the destination has of them
ALL        All of them
NONE       None of them
HELP       This text

rsync's other items are taken, and nothing is told of them: HOPSYNC_LOG=debug tells of our inside.
";
        return Some(text.to_owned());
    }
    let mut text = String::from("Use ITEM or ITEM1 for the first level, ITEM2 for the second; ITEM0 is silence.\n\n");
    for (item, what) in ITEMS.iter().zip(WORDS) {
        text += &format!("{:<10} {what}\n", item.to_ascii_uppercase());
    }
    text += "\nALL        All of them (as in all2)\nNONE       None of them\nHELP       This text\n";
    Some(text)
}

/// The words of `--info` and `--debug`, in order: item and level.
#[derive(Debug, Default, Clone)]
pub struct Asked {
    info: Vec<(&'static str, u8)>,
    debug: Vec<(&'static str, u8)>,
}

/// The words of one value: comma-separated items, each with an optional level (1 if absent); `all` and `none` too.
fn take(
    flags: &str,
    items: &'static [&'static str],
    option: &str,
    into: &mut Vec<(&'static str, u8)>,
) -> Result<(), UsageError> {
    for word in flags.split(',').filter(|word| !word.is_empty()) {
        let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let level: u8 = match &word[stem.len()..] {
            "" => 1,
            digits => digits.parse().unwrap_or(u8::MAX),
        };
        let stem = stem.to_ascii_lowercase();
        match stem.as_str() {
            "all" => into.extend(items.iter().map(|item| (*item, level))),
            "none" => into.extend(items.iter().map(|item| (*item, 0))),
            _ => match items.iter().find(|item| **item == stem) {
                Some(item) => into.push((item, level)),
                None => return Err(UsageError::syntax(format!("Unknown --{option} item: \"{word}\""))),
            },
        }
    }
    Ok(())
}

impl Asked {
    /// Takes one value of `--info`.
    pub fn take(&mut self, flags: &str) -> Result<(), UsageError> {
        take(flags, &ITEMS, "info", &mut self.info)
    }

    /// Takes one value of `--debug`.
    pub fn take_debug(&mut self, flags: &str) -> Result<(), UsageError> {
        take(flags, &DEBUG, "debug", &mut self.debug)
    }

    /// The levels that result.
    pub fn resolve(&self, options: &Options) -> Info {
        let mut info = Info { nonreg: 1, ..Info::default() };
        if options.verbose >= 1 {
            info = Info { del: 1, flist: 1, misc: 1, name: 1, stats: 1, symsafe: 1, ..info };
        }
        if options.verbose >= 2 {
            let debug = Debug { del: true, deltasum: true, filter: true, flist: true };
            info = Info { backup: 1, misc: 2, name: 2, remove: 1, skip: 1, debug, ..info };
        }
        if options.stats {
            info.stats = if options.verbose > 1 { 3 } else { 2 };
        }
        if options.progress {
            info.progress = 1;
            info.flist = info.flist.max(2);
            info.name = info.name.max(1);
        }
        for (item, asked) in &self.info {
            if let Some(level) = level(&mut info, item) {
                *level = *asked;
            }
        }
        for (item, asked) in &self.debug {
            if let Some(told) = told(&mut info.debug, item) {
                *told = *asked > 0;
            }
        }
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(flags: &str, options: Options) -> Info {
        let mut asked = Asked::default();
        asked.take(flags).expect("is valid");
        asked.resolve(&options)
    }

    #[test]
    fn verbosity_sets_the_defaults_and_info_overrides_them() {
        assert_eq!(of("", Options::default()), Info { nonreg: 1, ..Info::default() });
        let verbose = of("name0,progress2", Options { verbose: 1, ..Options::default() });
        assert_eq!((verbose.name, verbose.progress, verbose.stats, verbose.flist), (0, 2, 1, 1));
        let none = of("none", Options { verbose: 3, stats: true, ..Options::default() });
        assert_eq!(none, Info { debug: none.debug, ..Info::default() });
        assert_eq!(of("all2,STATS0", Options::default()).stats, 0);
    }

    #[test]
    fn progress_names_the_files_and_stats_is_level_2() {
        let info = of("", Options { progress: true, stats: true, ..Options::default() });
        assert_eq!((info.name, info.progress, info.flist, info.stats), (1, 1, 2, 2));
        assert_eq!(of("progress2", Options { progress: true, ..Options::default() }).progress, 2);
    }

    #[test]
    fn help_is_a_text_and_debugs_items_are_known() {
        assert!(help("name,HELP", false).is_some_and(|text| text.contains("\nSYMSAFE ")));
        assert!(help("name", false).is_none() && help("help", true).is_some());
        assert!(Asked::default().take_debug("all4,none,FILTER2").is_ok());
        let error = Asked::default().take_debug("foo").expect_err("is unknown");
        assert_eq!(error.text, "Unknown --debug item: \"foo\"");
    }

    #[test]
    fn debugs_items_are_what_vv_tells() {
        let of = |flags: &str, verbose| {
            let mut asked = Asked::default();
            asked.take_debug(flags).expect("is valid");
            asked.resolve(&Options { verbose, ..Options::default() }).debug
        };
        let all = Debug { del: true, deltasum: true, filter: true, flist: true };
        assert_eq!((of("", 1), of("", 2), of("none", 3), of("all", 0)), (Debug::default(), all, Debug::default(), all));
        assert_eq!(of("filter2,hlink", 0), Debug { filter: true, ..Debug::default() });
        assert_eq!(of("del0", 2), Debug { del: false, ..all });
    }

    #[test]
    fn an_unknown_item_is_named() {
        let error = Asked::default().take("name,foo").expect_err("is unknown");
        assert_eq!(error.text, "Unknown --info item: \"foo\"");
    }
}
