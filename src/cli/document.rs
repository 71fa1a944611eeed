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
In `--out-format` and `--log-file-format`, `%C` is refused (exit 4): it is the checksum that rsync makes of its own transfer (XXH128,
unless chosen otherwise), and what proves a file here is another one. `%c` is always 0: no block checksums are received.
";

#[test]
fn the_page_of_options_says_what_the_table_says() {
    let page = [HEAD.to_owned(), taken(), refused()].concat();
    assert!(FILE == page, "docs/options.md is not what the table says; it should be:\n{page}");
}
