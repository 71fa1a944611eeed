//! `--out-format` and `--log-file-format`: rsyncd.conf(5), "log format".

use crate::entry::Meta;
use crate::job::{Checksum, Options};

use super::itemize::{Item, Update};
use super::listing;

/// What is told in a format: an update, or a deletion.
pub enum Told<'a> {
    Item(&'a Item<'a>),
    Deleted { path: &'a [u8], is_dir: bool },
}

/// Whether a format has this escape.
pub fn has(format: &[u8], escape: u8) -> bool {
    let mut bytes = format.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            continue;
        }
        let letter = bytes.by_ref().find(|byte| !matches!(byte, b'-' | b'\'' | b'0'..=b'9'));
        if letter == Some(&escape) {
            return true;
        }
    }
    false
}

/// A line, without its end. Names are as they are; `seconds` is now.
pub fn line(format: &[u8], told: &Told<'_>, options: &Options, seconds: i64) -> Vec<u8> {
    let mut line = Vec::new();
    let mut rest = format;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            line.push(byte);
            continue;
        }
        let width = rest.iter().take_while(|byte| matches!(byte, b'-' | b'\'' | b'0'..=b'9')).count();
        let (width, from) = rest.split_at(width);
        let Some((&letter, after)) = from.split_first() else {
            line.push(b'%');
            line.extend_from_slice(width);
            break;
        };
        match escape(letter, told, options, seconds) {
            Some(text) => {
                // rsync leaves the blanks in a checksum's place as they are.
                let blank = letter == b'C' && text.iter().all(|byte| *byte == b' ');
                pad(&text, if blank { b"" } else { width }, &mut line);
                rest = after;
            }
            None => line.push(b'%'),
        }
    }
    line
}

/// One escape's text; `None` for what is none, or stands for something that only a daemon knows.
fn escape(letter: u8, told: &Told<'_>, options: &Options, seconds: i64) -> Option<Vec<u8>> {
    let new: Option<&Meta> = match told {
        Told::Item(item) => Some(item.new),
        Told::Deleted { .. } => None,
    };
    let (path, is_dir) = match told {
        Told::Item(item) => (item.path, item.new.is_dir()),
        Told::Deleted { path, is_dir } => (*path, *is_dir),
    };
    let number = |number: Option<u64>| number.unwrap_or(0).to_string().into_bytes();
    Some(match letter {
        b'%' => b"%".to_vec(),
        b'n' => [path, if is_dir { b"/" } else { b"" }].concat(),
        b'f' => match told {
            Told::Item(item) => item.long_name(),
            Told::Deleted { .. } => path.to_vec(),
        },
        b'i' => match told {
            Told::Item(item) => item.string(options).into_bytes(),
            Told::Deleted { .. } => b"*deleting  ".to_vec(),
        },
        b'o' => match told {
            Told::Item(item) if item.receives => b"recv".to_vec(),
            Told::Item(_) => b"send".to_vec(),
            Told::Deleted { .. } => b"del.".to_vec(),
        },
        b'L' => match told {
            Told::Item(Item { hard_link: Some(first), .. }) if !first.is_empty() => [b" => ", *first].concat(),
            Told::Item(Item { target: Some(target), .. }) => [b" -> ", *target].concat(),
            _ => Vec::new(),
        },
        b'l' => number(new.map(|new| new.size)),
        // What the data of the file itself takes on the wire; what is around it belongs to all files.
        b'b' => match told {
            Told::Item(item) if item.update == Update::Transfer => number(Some(item.new.size)),
            _ => number(None),
        },
        // What rsync's receiver says of the blocks that it has, before those: here it has none.
        b'c' => match told {
            Told::Item(item) if item.update == Update::Transfer && !item.receives && !options.dry_run => {
                number(Some(16))
            }
            _ => number(None),
        },
        b'C' => match told {
            _ if options.sum() == Checksum::None => b"  ".to_vec(),
            Told::Item(item) if item.new.is_file() && (options.checksum || item.update == Update::Transfer) => {
                let none = vec![0; options.sum().size()];
                let sum = item.sum.unwrap_or(&none);
                sum.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
            }
            _ => vec![b' '; 2 * options.sum().size()],
        },
        b'U' => number(new.map(|new| u64::from(new.uid))),
        b'G' => number(new.map(|new| u64::from(new.gid))),
        b'M' => listing::local_time(new.map_or(0, |new| new.mtime)).replace(' ', "-").into_bytes(),
        b'B' => new.map(|new| listing::permissions(new).into_bytes().split_off(1)).unwrap_or_default(),
        b'p' => std::process::id().to_string().into_bytes(),
        b't' => listing::local_time(seconds).into_bytes(),
        b'm' => Vec::new(),
        _ => return None,
    })
}

/// `%10n`, `%-10n`; the apostrophes in `%'l` are numbers' level of `-h`.
fn pad(text: &[u8], width: &[u8], line: &mut Vec<u8>) {
    let left = width.contains(&b'-');
    let digits: Vec<u8> = width.iter().copied().filter(u8::is_ascii_digit).collect();
    // A width beyond any terminal is taken for a slip.
    let wanted = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0).min(4096);
    let level = width.iter().filter(|byte| **byte == b'\'').count().min(3) as u8;
    let separated = match std::str::from_utf8(text) {
        Ok(number) if level > 0 => {
            number.parse().map_or_else(|_| text.to_vec(), |n| super::number::human(n, level).into_bytes())
        }
        _ => text.to_vec(),
    };
    let blanks = vec![b' '; usize::saturating_sub(wanted, separated.len())];
    if left {
        line.extend(separated);
        line.extend(blanks);
    } else {
        line.extend(blanks);
        line.extend(separated);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(format: &str) -> String {
        let told = Told::Deleted { path: b"a/b", is_dir: true };
        String::from_utf8_lossy(&line(format.as_bytes(), &told, &Options::default(), 0)).into_owned()
    }

    #[test]
    fn escapes_have_widths_and_what_is_none_stays() {
        assert_eq!(deleted("%o %i|%n"), "del. *deleting  |a/b/");
        assert_eq!(deleted("[%6n][%-6n][%2n]"), "[  a/b/][a/b/  ][a/b/]");
        assert_eq!(deleted("%% %z %5 %"), "% %z %5 %");
        assert_eq!(deleted("%99999999999999999999l"), "0");
    }

    #[test]
    fn an_escape_is_found_whatever_its_width() {
        assert!(has(b"%i", b'i') && has(b"a%-10i", b'i') && has(b"%%%i", b'i'));
        assert!(!has(b"%%i", b'i') && !has(b"i%n", b'i') && !has(b"%", b'i'));
    }
}
