//! What `hopsync-lab` prints. Nothing else in the lab writes to the standard streams.

use std::io::{self, Write};

/// A line of results, to standard output. A closed output is no reason to stop: what matters is the exit code.
pub fn line(text: impl std::fmt::Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// What is being done, to standard error.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Columns aligned to their widest cell; the first row is the head. The first column is text, the others numbers.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (c, cell) in row.iter().enumerate() {
            let width = widths[c];
            text.push_str(&if c == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") });
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_table_aligns_names_left_and_numbers_right() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(super::table(&[row("way", "files"), row("push", "9")]), "way   files\npush      9\n");
    }
}
