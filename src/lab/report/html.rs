//! The document as one page of HTML that needs nothing else: no script, no font, no picture from anywhere. Its policy tells
//! the browser so too.

use std::fmt::Write;

use super::document::{Block, Document, Figure, Section, Table, Value};
use super::svg::{self, escape};
use super::units::count;

const PAGE: &str = include_str!("page.css");

/// The page.
pub fn page(document: &Document) -> String {
    let mut out = String::new();
    let title = escape(&document.headline);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}</title>\n<style>\n{}{PAGE}</style>\n</head>\n<body>\n<main>\n<header>\n<p class=\"kind\">hopsync report</p>\n\
         <h1>{title}</h1>\n",
        svg::STYLE
    );
    for text in &document.lede {
        let _ = writeln!(out, "<p class=\"lede\">{}</p>", escape(text));
    }
    let facts: Vec<String> = document.facts.iter().map(|fact| format!("<li>{}</li>", escape(fact))).collect();
    let _ = writeln!(out, "<ul class=\"facts\">{}</ul>", facts.join("\n"));
    for doubt in &document.doubts {
        let _ = writeln!(out, "<p class=\"doubt\"><strong>Note:</strong> {}</p>", escape(doubt));
    }
    out += "</header>\n";
    for part in &document.sections {
        section(&mut out, part);
    }
    out + "<footer><p>How to read this page: docs/reading.md. Every number in a figure stands in a table, too.</p></footer>\n\
           </main>\n</body>\n</html>\n"
}

fn section(out: &mut String, section: &Section) {
    let heading = escape(&section.heading);
    if section.folded {
        let _ = writeln!(out, "<section>\n<details class=\"part\"><summary><h2>{heading}</h2></summary>");
    } else {
        let _ = writeln!(out, "<section>\n<h2>{heading}</h2>");
    }
    for text in &section.text {
        let _ = writeln!(out, "<p>{}</p>", escape(text));
    }
    for block in &section.blocks {
        self::block(out, block, &section.heading);
    }
    *out += if section.folded { "</details>\n</section>\n" } else { "</section>\n" };
}

fn block(out: &mut String, block: &Block, heading: &str) {
    match block {
        Block::Sum { whole, parts } => {
            let term = |(name, n): &(String, u64)| {
                let none = if *n == 0 { " none" } else { "" };
                format!("<span class=\"term{none}\"><b>{}</b> {}</span>", count(*n), escape(name))
            };
            let parts: Vec<String> = parts.iter().map(term).collect();
            let plus = " <span class=\"sign\">+</span> ";
            let _ = writeln!(
                out,
                "<p class=\"sum\">{} <span class=\"sign\">=</span> {}</p>",
                term(whole),
                parts.join(plus)
            );
        }
        Block::Numbers(numbers) => {
            *out += "<dl class=\"numbers\">\n";
            for (name, value, of) in numbers {
                let (name, value, of) = (escape(name), escape(value), escape(of));
                let _ = writeln!(out, "<div><dt>{name}</dt><dd><b>{value}</b><span>{of}</span></dd></div>");
            }
            *out += "</dl>\n";
        }
        Block::Figure(figure) => self::figure(out, figure, heading),
        Block::Table(table) => self::table(out, table, heading),
        Block::Quotes(quotes) => {
            for (who, text) in quotes {
                let (who, text) = (escape(who), escape(text));
                let _ =
                    writeln!(out, "<figure class=\"quote\"><figcaption>{who}</figcaption><pre>{text}</pre></figure>");
            }
        }
    }
}

fn figure(out: &mut String, figure: &Figure, heading: &str) {
    // What the heading says already is not said again.
    let title =
        if heading.ends_with(&figure.title) { String::new() } else { format!("<b>{}.</b> ", escape(&figure.title)) };
    let text = if figure.text.is_empty() { String::new() } else { format!("<span>{}</span>", escape(&figure.text)) };
    let _ = writeln!(
        out,
        "<figure class=\"drawn\">\n<figcaption>{title}{text}</figcaption>\n<div class=\"wide\">{}</div>\n\
         <div class=\"narrow\">{}</div>",
        figure.wide.inline(),
        figure.narrow.inline()
    );
    if let Some(table) = &figure.table {
        *out += "<details><summary>The same as a table</summary>\n";
        self::table(out, table, &table.caption);
        *out += "</details>\n";
    }
    *out += "</figure>\n";
}

fn table(out: &mut String, table: &Table, heading: &str) {
    let columns = table.columns.len() - usize::from(table.sentences);
    let numeric: Vec<bool> = (0..table.columns.len()).map(|column| table.is_numeric(column)).collect();
    let class = |column: usize| match numeric.get(column) {
        Some(true) => " class=\"n\"",
        _ if table.is_short(column) => " class=\"s\"",
        _ => "",
    };
    let caption = escape(&table.caption);
    let hidden = if heading.ends_with(&table.caption) { " class=\"hidden\"" } else { "" };
    let _ = writeln!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table>\n<caption{hidden}>{caption}</caption>\n<thead><tr>"
    );
    for (column, (name, _)) in table.columns.iter().take(columns).enumerate() {
        let _ = write!(out, "<th scope=\"col\"{}>{}</th>", class(column), escape(name));
    }
    *out += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        let more = row.get(columns).is_some_and(|value| *value != Value::text(""));
        *out += if more { "<tr class=\"told\">" } else { "<tr>" };
        for (column, value) in row.iter().take(columns).enumerate() {
            let shown = match value {
                Value::Count(0) => "<span class=\"zero\">0</span>".to_owned(),
                value => escape(&value.shown()),
            };
            let _ = write!(out, "<td{}>{shown}</td>", class(column));
        }
        *out += "</tr>\n";
        if let Some(Value::Text(text)) = row.get(columns).filter(|value| **value != Value::text("")) {
            let _ = writeln!(out, "<tr class=\"more\"><td colspan=\"{columns}\"><div>{}</div></td></tr>", escape(text));
        }
    }
    *out += "</tbody></table></div>\n";
}
