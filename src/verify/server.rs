//! `hopsync --hash-server`: the top rung of the ladder, run at the far end by the script in [`super::ladder`].
//!
//! NUL-separated names on standard input; for each, at once and in order, `BLAKE3  NAME` on standard output. A file that
//! cannot be read is complained about on standard error and has [`UNREADABLE`] for a hash.

use std::io::{self, BufRead, Read, Write};

use super::digest::{Algorithm, Hasher};
use super::ladder::UNREADABLE;

/// What `--hash-server=probe` prints: this protocol's name and version.
pub const PROBE: &str = "hash-server-2";

/// Serves until the input ends.
///
/// # Errors
/// Only of the streams themselves.
pub fn serve(
    mut input: impl BufRead,
    mut output: impl Write,
    mut complaints: impl Write,
    open: impl Fn(&[u8]) -> io::Result<Box<dyn Read>>,
) -> io::Result<()> {
    let mut name = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        name.clear();
        if input.read_until(0, &mut name)? == 0 {
            return Ok(());
        }
        if name.last() == Some(&0) {
            name.pop();
        }
        let hashed = open(&name).and_then(|mut file| {
            let mut hasher = Hasher::new(Algorithm::Blake3);
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hasher.finish()),
                    n => hasher.update(&buffer[..n]),
                }
            }
        });
        match hashed {
            Ok(digest) => {
                let text = digest.to_string();
                let hex = text.split_once(':').map_or(text.as_str(), |(_, hex)| hex);
                output.write_all(hex.as_bytes())?;
            }
            Err(error) => {
                writeln!(complaints, "hopsync: {}: {error}", String::from_utf8_lossy(&name))?;
                output.write_all(UNREADABLE)?;
            }
        }
        output.write_all(b"  ")?;
        output.write_all(&name)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::digest::Digest;
    use crate::verify::ladder::parse_line;

    #[test]
    fn each_name_is_answered_in_order_and_unreadable_ones_have_no_hash() {
        let open = |name: &[u8]| -> io::Result<Box<dyn Read>> {
            if name == b"bad" {
                Err(io::ErrorKind::NotFound.into())
            } else {
                Ok(Box::new(io::Cursor::new(name.to_vec())))
            }
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        serve(&b"one\0bad\0two\0"[..], &mut out, &mut err, open).unwrap();
        let lines: Vec<_> = out.split(|b| *b == b'\n').filter_map(|line| parse_line(Algorithm::Blake3, line)).collect();
        let expected = [&b"one"[..], b"bad", b"two"]
            .map(|name| ((name != b"bad").then(|| Digest::of(Algorithm::Blake3, name)), name));
        assert_eq!(lines, expected);
        assert!(String::from_utf8(err).unwrap().contains("bad"));
    }
}
