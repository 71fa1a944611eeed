//! What was typed: argv cut into options and operands, in their order, with nothing interpreted yet.
//!
//! clap does the cutting (bundles, `--opt=value`, `--`), from the rows of [`table`](super::table). rsync's options depend on
//! their order, so the result is one list, not a struct of fields.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::UsageError;
use super::refused;
use super::table::{Meaning, ROWS, Row};

/// One option as typed.
#[derive(Debug, Clone)]
pub struct Typed {
    pub meaning: Meaning,
    /// The long name with its dashes (`--max-size`), for messages.
    pub name: String,
    /// The `--no-` form.
    pub negated: bool,
    /// Empty for options without a value.
    pub value: OsString,
}

/// A command line, cut.
#[derive(Debug, Clone)]
pub struct Raw {
    /// In the order typed.
    pub options: Vec<Typed>,
    /// In the order typed.
    pub operands: Vec<OsString>,
}

const OPERANDS: &str = "operands";

/// What is taken and changes nothing.
const ANYWAY: &str = "anyway";

/// Cuts `args` (without the program's name).
///
/// # Errors
/// Exit 1 with rsync's sentence for an unknown option, a missing or a needless value.
pub fn cut(args: impl IntoIterator<Item = OsString>) -> Result<Raw, UsageError> {
    let matches = command().try_get_matches_from(args).map_err(|e| sentence(&e))?;
    let mut found: Vec<(usize, Typed)> = Vec::new();
    for row in ROWS {
        for (id, negated) in [(id(row), false), (no_id(row), true)] {
            // clap panics on an id that it was never told of.
            if negated && row.no.is_empty() {
                continue;
            }
            let (Some(places), Some(values)) = (matches.indices_of(&id), matches.get_raw(&id)) else { continue };
            for (place, value) in places.zip(values) {
                let name = if negated { format!("--no-{}", row.no[0]) } else { spelled(row) };
                found.push((place, Typed { meaning: row.meaning, name, negated, value: value.to_owned() }));
            }
        }
    }
    found.sort_by_key(|(place, _)| *place);
    let operands = matches.get_raw(OPERANDS).into_iter().flatten().map(OsString::from).collect();
    Ok(Raw { options: found.into_iter().map(|(_, typed)| typed).collect(), operands })
}

fn id(row: &Row) -> String {
    spelled(row)
}

fn no_id(row: &Row) -> String {
    format!("no:{}", spelled(row))
}

/// `--long`, or `-s` where there is no long form.
pub fn spelled(row: &Row) -> String {
    match row.short {
        Some(short) if row.long.is_empty() => format!("-{short}"),
        _ => format!("--{}", row.long),
    }
}

fn command() -> Command {
    let mut command = Command::new("hopsync")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(Arg::new(OPERANDS).num_args(0..).value_parser(ValueParser::os_string()).action(ArgAction::Append));
    if let Some((first, others)) = refused::ANYWAY.split_first() {
        let anyway = Arg::new(ANYWAY).long(*first).aliases(others).num_args(0).default_missing_value("");
        command = command.arg(anyway.action(ArgAction::Append).value_parser(ValueParser::os_string()));
    }
    for row in ROWS {
        let mut arg = Arg::new(id(row)).action(ArgAction::Append).value_parser(ValueParser::os_string());
        // A flag is an option whose value is always missing: only so does clap keep one index for each time it was given.
        arg = match row.value {
            Some(_) => arg.num_args(1).allow_hyphen_values(true),
            None => arg.num_args(0).default_missing_value(""),
        };
        if !row.long.is_empty() {
            arg = arg.long(row.long);
        }
        if let Some(short) = row.short {
            arg = arg.short(short);
        }
        command = command.arg(arg.aliases(row.aliases));
        if let Some((first, others)) = row.no.split_first() {
            let others: Vec<String> = others.iter().map(|name| format!("no-{name}")).collect();
            command = command.arg(
                Arg::new(no_id(row))
                    .long(format!("no-{first}"))
                    .aliases(others)
                    .num_args(0)
                    .default_missing_value("")
                    .action(ArgAction::Append)
                    .value_parser(ValueParser::os_string()),
            );
        }
    }
    command
}

/// rsync's sentence for clap's error.
fn sentence(error: &clap::Error) -> UsageError {
    let option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => {
            text.split([' ', '=']).next().unwrap_or_default().trim_matches('\'').to_owned()
        }
        _ => "an option".to_owned(),
    };
    if let (ErrorKind::UnknownArgument, Some(refused)) = (error.kind(), refused::find(&option)) {
        return UsageError { text: format!("{option}: {}", refused.why), code: refused.exit.code() };
    }
    let text = match error.kind() {
        ErrorKind::UnknownArgument => format!("{option}: unknown option"),
        ErrorKind::TooManyValues => format!("{option}: option does not take an argument"),
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            format!("{option}: missing argument")
        }
        _ => format!("{option}: not understood"),
    };
    UsageError::syntax(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    fn cut_words(words: &[&str]) -> Result<Raw, UsageError> {
        cut(words.iter().map(OsString::from))
    }

    fn names(raw: &Raw) -> Vec<String> {
        raw.options
            .iter()
            .map(|t| if t.value.is_empty() { t.name.clone() } else { format!("{}={}", t.name, t.value.display()) })
            .collect()
    }

    #[test]
    fn the_table_is_one_that_clap_accepts() {
        command().debug_assert();
    }

    #[test]
    fn bundles_values_and_operands_keep_their_order() {
        let raw =
            cut_words(&["-avzq", "-e", "ssh -J h", "a", "--no-r", "-rvv", "b:c", "--exclude", "-x", "--exclude=--"])
                .expect("is valid");
        assert_eq!(
            names(&raw),
            [
                "--archive",
                "--verbose",
                "--compress",
                "--quiet",
                "--rsh=ssh -J h",
                "--no-recursive",
                "--recursive",
                "--verbose",
                "--verbose",
                "--exclude=-x",
                "--exclude=--"
            ]
        );
        assert_eq!(raw.operands, ["a", "b:c"]);
    }

    #[test]
    fn a_value_may_follow_its_letter_in_a_bundle() {
        for words in [&["-ave", "ssh"][..], &["-avessh"], &["-ave=ssh"]] {
            assert_eq!(
                names(&cut_words(words).expect("is valid")),
                ["--archive", "--verbose", "--rsh=ssh"],
                "{words:?}"
            );
        }
        // As with rsync, the rest of a bundle is the value: "ze" here.
        assert_eq!(names(&cut_words(&["-zeze"]).expect("is valid")), ["--compress", "--rsh=ze"]);
    }

    #[test]
    fn a_value_is_taken_whatever_it_looks_like() {
        let raw = cut_words(&["--exclude", "--", "--rsh", "--archive", "x"]).expect("is valid");
        assert_eq!(names(&raw), ["--exclude=--", "--rsh=--archive"]);
        assert_eq!(raw.operands, ["x"]);
    }

    #[test]
    fn two_dashes_end_the_options() {
        let raw = cut_words(&["-a", "--", "-v", "--foo"]).expect("is valid");
        assert_eq!(names(&raw), ["--archive"]);
        assert_eq!(raw.operands, ["-v", "--foo"]);
    }

    #[test]
    fn values_and_operands_need_not_be_utf8() {
        let odd = OsString::from_vec(b"a\xff".to_vec());
        let raw = cut([OsString::from("--exclude"), odd.clone(), odd.clone()]).expect("is valid");
        assert_eq!(raw.options[0].value, odd);
        assert_eq!(raw.operands[0].as_bytes(), b"a\xff");
        assert!(cut([OsString::from_vec(b"-\xff".to_vec())]).is_err());
        assert!(cut([OsString::from_vec(b"--\xff".to_vec())]).is_err());
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let text = |words: &[&str]| cut_words(words).expect_err("is invalid").text;
        assert_eq!(text(&["--foo", "a"]), "--foo: unknown option");
        assert_eq!(text(&["--foo=bar", "a"]), "--foo: unknown option");
        assert_eq!(text(&["-aQ", "a"]), "-Q: unknown option");
        assert_eq!(text(&["--no-exclude", "a"]), "--no-exclude: unknown option");
        assert_eq!(text(&["--arch"]), "--arch: unknown option");
        assert_eq!(text(&["--recursive=3"]), "--recursive: option does not take an argument");
        assert_eq!(text(&["--exclude"]), "--exclude: missing argument");
        assert_eq!(text(&["-e"]), "--rsh: missing argument");
        assert_eq!(text(&["-aA"]), "-A: SFTP does not carry ACLs");
        assert_eq!(text(&["--xattrs"]), "--xattrs: SFTP does not carry extended attributes");
        assert!(cut_words(&["-a", "--no-A", "--no-xattrs", "--no-old-args"]).is_ok());
        assert_eq!(cut_words(&["-aA"]).expect_err("is refused").code, 4);
        assert_eq!(cut_words(&["--daemon"]).expect_err("is refused").code, 1);
        assert!(text(&["--server", "."]).contains("no rsync server"));
    }
}
