//! The remote shell's command line (`-e`, `RSYNC_RSH`), cut into words as rsync cuts it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::UsageError;

/// Cuts `command` at spaces. Both quotes quote, and within a quote the same quote doubled stands for itself; there is no
/// backslash and no expansion (rsync(1), `--rsh`).
///
/// # Errors
/// Exit 1 for a quote that does not end, and for a command without any word.
pub fn words(command: &OsStr) -> Result<Vec<OsString>, UsageError> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote: Option<u8> = None;
    let mut bytes = command.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match quote {
            Some(q) if byte == q => {
                if bytes.next_if_eq(&q).is_some() {
                    word.get_or_insert_default().push(q);
                } else {
                    quote = None;
                }
            }
            None if byte == b'\'' || byte == b'"' => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            None if byte == b' ' => words.extend(word.take().map(OsString::from_vec)),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    if let Some(q) = quote {
        return Err(UsageError::syntax(format!("Missing trailing-{} in remote-shell command.", char::from(q))));
    }
    words.extend(word.map(OsString::from_vec));
    if words.first().is_none_or(|program| program.is_empty()) {
        return Err(UsageError::syntax(
            "The remote shell (-e, --rsh or RSYNC_RSH) is empty; give a command, such as ssh",
        ));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<String> {
        words(OsStr::new(text)).expect("is balanced").into_iter().map(|w| w.into_string().expect("is UTF-8")).collect()
    }

    #[test]
    fn spaces_separate_and_runs_of_them_count_once() {
        assert_eq!(cut("  ssh  -J head -o A=b "), ["ssh", "-J", "head", "-o", "A=b"]);
        assert_eq!(cut("ssh\t-p"), ["ssh\t-p"]);
    }

    #[test]
    fn both_quotes_quote_and_the_other_quote_is_literal() {
        assert_eq!(cut("ssh -o 'ProxyCommand=nc \"x\" y' \"it's\""), ["ssh", "-o", "ProxyCommand=nc \"x\" y", "it's"]);
        assert_eq!(cut("a'b c'd ''"), ["ab cd", ""]);
    }

    #[test]
    fn a_doubled_quote_inside_is_one_and_a_backslash_is_itself() {
        assert_eq!(cut("x 'a''b' \"c\"\"d\" e\\ f"), ["x", "a'b", "c\"d", "e\\", "f"]);
    }

    #[test]
    fn an_unbalanced_quote_is_a_usage_error() {
        let error = words(OsStr::new("ssh \"foo")).expect_err("is unbalanced");
        assert_eq!((error.code, error.text.as_str()), (1, "Missing trailing-\" in remote-shell command."));
        assert!(words(OsStr::new("ssh 'a''")).is_err());
    }

    #[test]
    fn an_empty_command_is_refused() {
        for text in ["", "  ", "''"] {
            assert_eq!(words(OsStr::new(text)).expect_err("is empty").code, 1);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_cut_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = words(OsStr::from_bytes(&bytes));
        }
    }
}
