//! What is mentioned: how `-v`, `--info`, `--progress` and `--stats` combine.
//!
//! rsync gives each item a level, set by the verbosity and by the other options unless `--info` named it (options.c: user
//! priority beats default priority).

use super::UsageError;
use crate::job::{Info, Options};

/// rsync's items; the ones without a level of ours have nothing to mention here.
const ITEMS: [&str; 13] = [
    "backup", "copy", "del", "flist", "misc", "mount", "name", "nonreg", "progress", "remove", "skip", "stats",
    "symsafe",
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

/// The `--info` words, in order: item and level.
#[derive(Debug, Default, Clone)]
pub struct Asked(Vec<(&'static str, u8)>);

impl Asked {
    /// Takes one `--info` value: comma-separated items, each with an optional level (1 if absent); `all` and `none` too.
    pub fn take(&mut self, flags: &str) -> Result<(), UsageError> {
        for word in flags.split(',').filter(|word| !word.is_empty()) {
            let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
            let level: u8 = match &word[stem.len()..] {
                "" => 1,
                digits => digits.parse().unwrap_or(u8::MAX),
            };
            let stem = stem.to_ascii_lowercase();
            match stem.as_str() {
                "all" => self.0.extend(ITEMS.map(|item| (item, level))),
                "none" => self.0.extend(ITEMS.map(|item| (item, 0))),
                "help" => {
                    return Err(UsageError::syntax(format!("--info items: {}, all, none", ITEMS.join(", "))));
                }
                _ => match ITEMS.iter().find(|item| **item == stem) {
                    Some(item) => self.0.push((item, level)),
                    None => return Err(UsageError::syntax(format!("Unknown --info item: \"{word}\""))),
                },
            }
        }
        Ok(())
    }

    /// The levels that result.
    pub fn resolve(&self, options: &Options) -> Info {
        let mut info = Info { nonreg: 1, ..Info::default() };
        if options.verbose >= 1 {
            info = Info { del: 1, flist: 1, misc: 1, name: 1, stats: 1, symsafe: 1, ..info };
        }
        if options.verbose >= 2 {
            info = Info { backup: 1, misc: 2, name: 2, remove: 1, skip: 1, ..info };
        }
        if options.stats {
            info.stats = if options.verbose > 1 { 3 } else { 2 };
        }
        if options.progress {
            info.progress = 1;
            info.flist = info.flist.max(2);
            info.name = info.name.max(1);
        }
        for (item, asked) in &self.0 {
            if let Some(level) = level(&mut info, item) {
                *level = *asked;
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
        assert_eq!(of("none", Options { verbose: 3, stats: true, ..Options::default() }), Info::default());
        assert_eq!(of("all2,STATS0", Options::default()).stats, 0);
    }

    #[test]
    fn progress_names_the_files_and_stats_is_level_2() {
        let info = of("", Options { progress: true, stats: true, ..Options::default() });
        assert_eq!((info.name, info.progress, info.flist, info.stats), (1, 1, 2, 2));
        assert_eq!(of("progress2", Options { progress: true, ..Options::default() }).progress, 2);
    }

    #[test]
    fn an_unknown_item_is_named() {
        let error = Asked::default().take("name,foo").expect_err("is unknown");
        assert_eq!(error.text, "Unknown --info item: \"foo\"");
    }
}
