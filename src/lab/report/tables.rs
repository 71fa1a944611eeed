//! The document's tables as text: Markdown for people, CSV for programs.

use super::document::{Block, Document, Table};
use super::units::count;

/// Headings, sentences and tables, without the figures.
pub fn markdown(document: &Document) -> String {
    let mut out = format!("# {}\n\n", plain(&document.headline));
    for text in document.lede.iter().chain(&document.doubts) {
        out += &format!("{}\n\n", plain(text));
    }
    let facts: Vec<String> = document.facts.iter().map(|fact| plain(fact)).collect();
    out += &format!("{}\n", facts.join(" · "));
    for section in &document.sections {
        out += &format!("\n## {}\n\n", plain(&section.heading));
        for text in &section.text {
            out += &format!("{}\n\n", plain(text));
        }
        for block in &section.blocks {
            match block {
                Block::Sum { whole, parts } => {
                    let term = |(name, n): &(String, u64)| format!("{} {}", count(*n), plain(name));
                    let parts: Vec<String> = parts.iter().map(term).collect();
                    out += &format!("{} = {}\n\n", term(whole), parts.join(" + "));
                }
                Block::Numbers(numbers) => {
                    for (name, value, of) in numbers {
                        let of = if of.is_empty() { String::new() } else { format!(" ({})", plain(of)) };
                        out += &format!("- {}: {}{of}\n", plain(name), plain(value));
                    }
                    out.push('\n');
                }
                Block::Figure(figure) => {
                    if let Some(table) = &figure.table {
                        out += &format!("{}\n", rows(table));
                    }
                }
                Block::Table(table) => out += &format!("{}\n", rows(table)),
                Block::Quotes(quotes) => {
                    for (who, text) in quotes {
                        out += &format!("- {}: {}\n", plain(who), plain(text));
                    }
                }
            }
        }
    }
    out.trim_end().to_owned() + "\n"
}

/// Text that Markdown takes for text, whoever wrote it: on one line, and nothing of it is markup.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '&' | '#' | '~' | '!' => out.extend(['\\', c]),
            '\u{a0}' => out.push(' '),
            // A scheme's colon: no address becomes a link.
            ':' if out.ends_with("http") || out.ends_with("https") => out.push_str("\\:"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn rows(table: &Table) -> String {
    let head: Vec<String> = table.columns.iter().map(|(name, _)| plain(name)).collect();
    let mut cells = vec![head];
    cells.extend(table.rows.iter().map(|row| row.iter().map(|value| plain(&value.shown())).collect::<Vec<_>>()));
    let widths: Vec<usize> = (0..table.columns.len())
        .map(|column| {
            cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
        })
        .collect();
    let mut out = String::new();
    for (index, row) in cells.iter().enumerate() {
        let padded: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match table.is_numeric(column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            })
            .collect();
        out += &format!("| {} |\n", padded.join(" | "));
        if index == 0 {
            let rule = |(column, width): (usize, &usize)| match table.is_numeric(column) {
                true => "-".repeat(width - 1) + ":",
                false => "-".repeat(*width),
            };
            let rules: Vec<String> = widths.iter().enumerate().map(rule).collect();
            out += &format!("| {} |\n", rules.join(" | "));
        }
    }
    out
}

/// One table, RFC 4180. Numbers are plain, in the unit that the column's name tells.
pub fn csv(table: &Table) -> String {
    let name = |(name, unit): &(String, &str)| if unit.is_empty() { name.clone() } else { format!("{name} ({unit})") };
    let head: Vec<String> = table.columns.iter().map(|column| field(&name(column))).collect();
    let mut out = head.join(",") + "\r\n";
    for row in &table.rows {
        let fields: Vec<String> = row.iter().map(|value| field(&value.raw())).collect();
        out += &(fields.join(",") + "\r\n");
    }
    out
}

/// Quoted where it must be. A text that a spreadsheet would take for a formula is kept from being one.
fn field(text: &str) -> String {
    let text = text.replace('\u{a0}', " ");
    let number = text.parse::<f64>().is_ok();
    let guard = if !number && text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if guard.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
        return text;
    }
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::report::document::Value;
    use proptest::prelude::*;

    fn table(text: &str) -> Table {
        let mut table = Table::new("t", "", &[("what", ""), ("time", "s"), ("files", "")]);
        table.rows = vec![
            vec![Value::text(text), Value::Seconds(1.5), Value::Count(1200)],
            vec![Value::text("b"), Value::None, Value::Count(0)],
        ];
        table
    }

    #[test]
    fn markdown_aligns_numbers() {
        let expected = "\
| what |   time | files |
| ---- | -----: | ----: |
| a\\|b | 1.50 s | 1,200 |
| b    |      – |     0 |
";
        assert_eq!(rows(&table("a|b")), expected);
    }

    #[test]
    fn csv_has_plain_numbers_and_quotes_what_it_must() {
        let expected = "what,time (s),files\r\n\"a, \"\"b\"\"\",1.500000,1200\r\nb,,0\r\n";
        assert_eq!(csv(&table("a, \"b\"")), expected);
    }

    proptest! {
        #[test]
        fn a_table_has_its_rows_and_columns_whatever_is_in_it(text in any::<String>()) {
            let markdown = rows(&table(&text));
            prop_assert_eq!(markdown.lines().count(), 4);
            let bars = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
            prop_assert!(markdown.lines().all(|line| bars(line) == 4), "{}", markdown);
            prop_assert!(!plain(&text).replace("\\<", "").contains('<'));
            let formula = field(&text);
            prop_assert!(!formula.starts_with(['=', '@']), "{}", formula);
        }
    }
}
