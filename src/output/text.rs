//! Escaping: what comes from a disk or a server must not be able to drive the terminal.

use std::ffi::OsString;

/// How names are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Charset {
    /// Bytes above 0x7f are escaped.
    #[default]
    Ascii,
    /// Well-formed UTF-8 is kept.
    Utf8,
    /// `-8`: bytes above 0x7f are kept.
    EightBit,
}

impl Charset {
    /// The locale's: UTF-8 if the first of `LC_ALL`, `LC_CTYPE` and `LANG` that is set says so (POSIX XBD 8.2).
    pub fn of_locale(env: impl Fn(&str) -> Option<OsString>) -> Charset {
        let value = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| env(name).filter(|v| !v.is_empty()));
        let value = value.map(|v| v.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if value.contains("utf-8") || value.contains("utf8") { Charset::Utf8 } else { Charset::Ascii }
    }
}

/// A name as rsync prints it: control characters (but the tab) and what the locale cannot show become `\#ooo`, and so does a
/// backslash that could be mistaken for such an escape (rsync(1), `--8-bit-output`). C1 controls are escaped in every charset
/// that would show them as characters.
pub fn escape_name(name: &[u8], charset: Charset) -> Vec<u8> {
    let mut printed = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        let looks_escaped =
            byte == b'\\' && after.len() > 3 && after[0] == b'#' && after[1..4].iter().all(u8::is_ascii_digit);
        let kept = match byte {
            b'\t' => 1,
            0..0x20 | 0x7f => 0,
            b'\\' if looks_escaped => 0,
            0x80.. => match charset {
                Charset::Ascii => 0,
                Charset::EightBit => 1,
                Charset::Utf8 => character(rest),
            },
            _ => 1,
        };
        match kept {
            0 => {
                octal(byte, &mut printed);
                rest = after;
            }
            length => {
                printed.extend_from_slice(&rest[..length]);
                rest = &rest[length..];
            }
        }
    }
    printed
}

/// Text that a server or a library wrote: as [`escape_name`], but tabs are escaped too, and so is what reorders a line
/// (Unicode's bidirectional controls).
pub fn escape_text(text: &str) -> String {
    let mut printed = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) {
            let mut bytes = Vec::new();
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| octal(byte, &mut bytes));
            printed.extend(bytes.into_iter().map(char::from));
        } else {
            printed.push(c);
        }
    }
    printed
}

fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn octal(byte: u8, printed: &mut Vec<u8>) {
    printed.extend_from_slice(format!("\\#{byte:03o}").as_bytes());
}

/// The length of the printable character that `bytes` starts with; 0 if it is malformed or a control.
fn character(bytes: &[u8]) -> usize {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().filter(|c| !is_control(*c)).map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascii(name: &[u8]) -> String {
        String::from_utf8(escape_name(name, Charset::Ascii)).expect("is ASCII")
    }

    #[test]
    fn controls_and_lookalikes_are_escaped_as_rsync_does() {
        assert_eq!(ascii(b"nl\nx\x01\\#012 \xff"), "nl\\#012x\\#001\\#134#012 \\#377");
        assert_eq!(ascii(b"e\tt\\#12 \\#123 \\x"), "e\tt\\#12 \\#134#123 \\x");
        assert_eq!(ascii(b"\x1b[2J\x7f"), "\\#033[2J\\#177");
        assert_eq!(ascii("ü".as_bytes()), "\\#303\\#274");
        assert_eq!(ascii(b"plain name"), "plain name");
    }

    #[test]
    fn utf8_is_kept_where_the_locale_shows_it() {
        let utf8 = |name: &[u8]| escape_name(name, Charset::Utf8);
        assert_eq!(utf8("aüß€😀".as_bytes()), "aüß€😀".as_bytes());
        assert_eq!(utf8(b"\xc3"), b"\\#303");
        assert_eq!(utf8(b"\xc3\xbc\xff\xc3\xbc"), b"\xc3\xbc\\#377\xc3\xbc");
        assert_eq!(utf8("\u{85}".as_bytes()), b"\\#302\\#205");
        assert_eq!(escape_name(b"\xff\n", Charset::EightBit), b"\xff\\#012");
    }

    #[test]
    fn the_charset_is_that_of_the_first_variable_set() {
        let of = |all: &str, lang: &str| {
            Charset::of_locale(|name| match name {
                "LC_ALL" => Some(all.into()),
                "LANG" => Some(lang.into()),
                _ => None,
            })
        };
        assert_eq!(of("", "de_DE.UTF-8"), Charset::Utf8);
        assert_eq!(of("C", "de_DE.UTF-8"), Charset::Ascii);
        assert_eq!(of("C.utf8", ""), Charset::Utf8);
        assert_eq!(of("", ""), Charset::Ascii);
    }

    #[test]
    fn server_text_cannot_drive_the_terminal() {
        assert_eq!(
            escape_text("Not allowed\r\n\x1b]0;x\x07 \u{9b}1m \u{202e}"),
            "Not allowed\\#015\\#012\\#033]0;x\\#007 \\#302\\#2331m \\#342\\#200\\#256"
        );
        assert_eq!(escape_text("ünï"), "ünï");
    }

    proptest::proptest! {
        #[test]
        fn no_control_ever_passes(name in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            for charset in [Charset::Ascii, Charset::Utf8] {
                let printed = escape_name(&name, charset);
                let text = String::from_utf8(printed).expect("is UTF-8");
                assert!(text.chars().all(|c| c == '\t' || !is_control(c)));
            }
        }
    }
}
