//! docs/options.md is the option table in words: what is taken, and what is refused and why.

use super::refused::{ANYWAY, REFUSED};
use super::table::{Meaning, ROWS};

const FILE: &str = include_str!("../../docs/options.md");

const HEAD: &str = "\
# Options

What hopsync takes of rsync 3.5.0's options, and what it refuses and why. An option that is not honoured is refused by
name, never ignored. A test holds this page against the option table in `src/cli`; `tests/differential` holds what the
options do against rsync itself, and `tests/differential/known.txt` has the differences that are known.

## Taken
";

fn taken() -> String {
    let mut text = String::from("\n| option | what it does |\n|---|---|\n");
    for row in ROWS {
        let value = row.value.map(|value| format!("={value}")).unwrap_or_default();
        let mut names: Vec<String> = Vec::new();
        if !row.long.is_empty() {
            names.push(format!("`--{}{value}`", row.long));
        }
        names.extend(row.short.map(|short| format!("`-{short}`")));
        names.extend(row.aliases.iter().map(|alias| format!("`--{alias}`")));
        names.extend(row.no.first().map(|no| format!("`--no-{no}`")));
        let what = match (row.help, row.meaning) {
            ("", Meaning::Ignored) => "accepted: the outcome is the same with and without it",
            ("", _) => "as rsync",
            (help, _) => help,
        };
        text +=
            &format!("| {} | {what} |\n", names.join(", ")).replace("N|L|B", "N\\|L\\|B").replace("e|a|c", "e\\|a\\|c");
    }
    text
}

fn refused() -> String {
    let mut text = String::from("\n## Refused\n\n| option | why | exit |\n|---|---|---|\n");
    for refused in REFUSED {
        let long = (!refused.long.is_empty()).then(|| format!("`--{}`", refused.long));
        let short = refused.short.map(|short| format!("`-{short}`"));
        let names: Vec<String> = long.into_iter().chain(short).collect();
        text += &format!("| {} | {} | {} |\n", names.join(", "), refused.why, refused.exit.code());
    }
    let anyway: Vec<String> = ANYWAY.iter().map(|name| format!("`--{name}`")).collect();
    text += &format!("\nTaken, as they ask for what is so anyway: {}.\n", anyway.join(", "));
    text += FORMATS;
    text
}

const FORMATS: &str = "
In `--out-format` and `--log-file-format`, `%C` is the checksum that rsync shows: XXH128, or what `--checksum-choice` names
(`xxh128`, `xxh3`, `xxh64`, `md5`, `md4`, `sha1`). It is made of the data as it is read, only where a format asks for it, and
proves nothing here; so a file's line comes when the file has arrived. With `-c`, and where nothing is sent, the source is read for
it, from the far end too. `%c` is 16 for a file that is sent and 0 for one that is received, as rsync's is where no blocks are
compared; `%b` is the file's own bytes.

`--contimeout` bounds how long connecting may take, over SSH too (exit 35); rsync takes it for its daemons only, and ends with 1
otherwise. `--stats` with `-vv` has no figures on memory: they are those of rsync's own processes.

With `--info=flist2` (and `--progress`), where rsync makes its whole list first (`-d`, `--no-i-r`, `-m`, ...), it tells how many
files that has before it names any. That number is not known here by then, and the heading ends with `done`.

Of `--debug`, and so of `-vv`, there are the lines of `del`, `deltasum`, `filter` and `flist` that rsync has at the first level.
It is not told which names several operands bring (`dup`), nor what is run to connect (`cmd`); of `-vvv` there is no more than of
`-vv`.

With `-L`, `-k` or `--copy-unsafe-links`, `--remove-source-files` removes what was delivered at the end of the run, because
another name may lead to the same file; and nothing that a link on the way leads to out of the directory that it lies in.

With `--delay-updates`, `--partial` keeps nothing, because no file takes its name before the end; `--partial-dir` keeps what is
unfinished in its directory. What `--partial` puts under a name that something else had is kept by `--backup`, as what it replaces.

A backup never takes the name of something that this run delivers, or has found as it should be: it goes under the next name (`f~~`
where both `f` and `f~` come). rsync leaves the old `f` as `f~` there if `f~` itself needed nothing.
";

#[test]
fn the_page_of_options_says_what_the_table_says() {
    let page = [HEAD.to_owned(), taken(), refused()].concat();
    assert!(FILE == page, "docs/options.md is not what the table says; it should be:\n{page}");
}
