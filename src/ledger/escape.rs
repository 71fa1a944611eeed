//! Makes bytes from a server or a disk safe to show on a terminal.
//!
//! The notation is rsync's for odd names: `\#ooo`, three octal digits for each byte.

use std::fmt::Write;

/// Escapes what a terminal might obey or misread: C0 and C1 control characters, DEL, bytes that are not UTF-8, line and
/// paragraph separators, and the marks that reorder text (bidirectional controls). A literal `\#` before three digits is
/// escaped too, so that two different inputs never look the same.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let text = chunk.valid();
        for (at, c) in text.char_indices() {
            let ambiguous = c == '\\' && looks_escaped(&text.as_bytes()[at + 1..]);
            if ambiguous || is_unsafe(c) {
                octal(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                out.push(c);
            }
        }
        octal(&mut out, chunk.invalid());
    }
    out
}

/// [`escape`], cut to `limit` bytes of input at most; what is missing is told as `…`.
pub fn escape_cut(bytes: &[u8], limit: usize) -> String {
    if bytes.len() <= limit {
        return escape(bytes);
    }
    let mut text = escape(&bytes[..floor_boundary(bytes, limit)]);
    text.push('…');
    text
}

/// The text's longest prefix of at most `limit` bytes that ends at a character.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit { text } else { &text[..floor_boundary(text.as_bytes(), limit)] }
}

/// The last index ≤ `limit` that is not inside a UTF-8 sequence.
fn floor_boundary(bytes: &[u8], limit: usize) -> usize {
    (limit.saturating_sub(3)..=limit).rev().find(|&i| bytes.get(i).is_none_or(|b| b & 0xC0 != 0x80)).unwrap_or(limit)
}

fn looks_escaped(rest: &[u8]) -> bool {
    matches!(rest, [b'#', a, b, c, ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()))
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn octal(out: &mut String, bytes: &[u8]) {
    for b in bytes {
        // Writing into a String cannot fail.
        let _ = write!(out, "\\#{b:03o}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(escape("Grüße, 世界 \\ # \\#".as_bytes()), "Grüße, 世界 \\ # \\#");
    }

    #[test]
    fn whatever_a_terminal_might_obey_is_escaped() {
        assert_eq!(escape(b"a\x1b[2Jb\n\x7f"), "a\\#033[2Jb\\#012\\#177");
        assert_eq!(escape("\u{9b}31m".as_bytes()), "\\#302\\#23331m");
        assert_eq!(escape(b"\x9b31m\xff"), "\\#23331m\\#377");
        assert_eq!(escape("\u{202e}txt".as_bytes()), "\\#342\\#200\\#256txt");
    }

    #[test]
    fn an_escape_typed_by_somebody_does_not_pass_for_ours() {
        assert_eq!(escape(b"\\#033"), "\\#134#033");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(escape_cut("ééé".as_bytes(), 3), "é…");
        assert_eq!(cut("ééé", 3), "é");
        assert_eq!(cut("abc", 3), "abc");
    }
}
