//! One line of a bench's runs.jsonl, and its environment.json: what their fields are, and what of them can be believed.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::read::{Error, Lines, shown};
use super::units::{bytes, count, size};
use crate::lab::bench::Kind;
use crate::ledger::escape_cut;

/// The axes that are limits: the head's, the target's, and what both are called where they are the same in every cell.
pub const LIMITS: [(&str, &str, &str); 2] = [
    ("head MaxSessions", "target MaxSessions", "MaxSessions"),
    ("head MaxStartups", "target MaxStartups", "MaxStartups"),
];

/// Arrivals kept of one run.
const ARRIVALS: usize = 400;
/// Bytes kept of a text.
const TEXT: usize = 200;
/// The most files that are believed, so that sums hold.
const FILES: u64 = 1 << 40;

/// A line, or a part of one. A sample's fields are beside the cell's, or in `sample`.
pub struct Record<'a>(pub &'a Value);

impl Record<'_> {
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.0.get(name).or_else(|| self.0.get("sample")?.get(name)).filter(|value| !value.is_null())
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.field(name)?.as_str().map(|text| escape_cut(text.as_bytes(), TEXT))
    }

    /// As it came: for what escapes it itself.
    pub fn raw(&self, name: &str) -> &str {
        self.field(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// What kind of work it is; `None` if that is none that we know.
    pub fn kind(&self) -> Option<Kind> {
        match self.field("kind") {
            Some(kind) => Kind::deserialize(kind).ok(),
            // Benches that knew but these two told it so.
            None => Some(if self.flag("unchanged") { Kind::Nothing } else { Kind::Files }),
        }
    }

    pub fn flag(&self, name: &str) -> bool {
        self.field(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn number(&self, name: &str) -> Result<u64, String> {
        match self.field(name).map(Value::as_u64) {
            Some(Some(number)) if number <= FILES => Ok(number),
            Some(_) => Err(format!("its {name} is no count")),
            None => Err(format!("it has no {name}")),
        }
    }

    pub fn real(&self, name: &str) -> Result<Option<f64>, String> {
        match self.field(name).map(Value::as_f64) {
            Some(Some(seconds)) if (0.0..=super::lines::LONGEST).contains(&seconds) => Ok(Some(seconds)),
            Some(_) => Err(format!("its {name} is no time in seconds")),
            None => Ok(None),
        }
    }

    pub fn list(&self, name: &str) -> Option<&Vec<Value>> {
        self.field(name)?.as_array()
    }

    /// Sorted, and thinned out to [`ARRIVALS`] points.
    pub fn arrivals(&self) -> Result<Vec<(f64, u64)>, String> {
        let Some(list) = self.list("arrivals") else { return Ok(Vec::new()) };
        let time = |value: &Value| value.as_f64().filter(|t| (0.0..=super::lines::LONGEST).contains(t));
        let times: Option<Vec<f64>> = list.iter().map(time).collect();
        let mut times = times.ok_or("its arrivals are no times in seconds")?;
        times.sort_by(f64::total_cmp);
        let step = times.len().div_ceil(ARRIVALS).max(1);
        let points = (1u64..).zip(&times).map(|(number, t)| (*t, number));
        let last = times.len() as u64;
        Ok(points.filter(|(_, number)| number.is_multiple_of(step as u64) || *number == last).collect())
    }
}

/// What a work is besides files of a size.
fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Files | Kind::Links => "",
        Kind::Nothing => "all there already",
        Kind::Tree => "a directory for each",
        Kind::UnchangedTree => "a directory for each, all there already",
        Kind::Chain => "in directories one in another",
        Kind::Delete => "all there already, beside a tree that has to go",
        Kind::Parts => "over an older one, which differs in places",
        Kind::Moved => "over an older one, in which bytes were put in and taken out",
        Kind::Changed => "over older ones, in each of which a byte differs",
    }
}

/// What a cell is, by what may vary between cells.
pub fn axes(record: &Record) -> Result<Vec<(&'static str, String)>, String> {
    let mut axes = Vec::new();
    let files = record.number("files")?;
    let kind = record.kind();
    let links = matches!(kind, Some(Kind::Links));
    let what = if links { "link" } else { "file" };
    axes.push(("files", if files == 1 { format!("1 {what}") } else { format!("{} {what}s", count(files)) }));
    if !links {
        axes.push(("size", format!("of {}", size(record.number("size")?))));
    }
    let work = match kind {
        Some(kind) => words(kind).to_owned(),
        // A newer bench's.
        None => record.text("kind").unwrap_or_default(),
    };
    axes.push(("work", work));
    axes.push(("direction", record.text("direction").unwrap_or_default()));
    // A bench says it only of cells whose programs did not run on a worker.
    if let Some(from) = record.text("from").filter(|from| from != "worker") {
        axes.push(("from", format!("from the {from}")));
    }
    axes.push((
        "at once",
        record.number("at_once").ok().map_or(String::new(), |n| match n {
            0 | 1 => "one process".to_owned(),
            n => format!("{} at once", count(n)),
        }),
    ));
    axes.push(("round trip", record.number("rtt_ms").map_or(String::new(), |ms| format!("{} ms", count(ms)))));
    for (field, name) in [
        ("head_sessions", LIMITS[0].0),
        ("target_sessions", LIMITS[0].1),
        ("head_startups", LIMITS[1].0),
        ("target_startups", LIMITS[1].1),
    ] {
        let told = record.text(field).or_else(|| record.number(field).ok().map(|n| n.to_string()));
        axes.push((name, told.unwrap_or_else(|| "default".to_owned())));
    }
    // One process for all files stands beside the others, warmed or not: its name tells.
    if record.field("at_once").is_some() {
        axes.push(("warm", if record.flag("warm") { "warmed connection" } else { "cold" }.to_owned()));
    }
    axes.retain(|axis| !axis.1.is_empty());
    Ok(axes)
}

/// `environment.json`, flat; nothing if it is not there.
pub fn environment(path: &Path) -> Result<Vec<(String, String)>, Error> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let mut lines = Lines::open(path)?;
    let mut text = String::new();
    while let Some(line) = lines.next()? {
        text += line;
        if text.len() > 1 << 20 {
            break;
        }
    }
    let Ok(Value::Object(map)) = serde_json::from_str::<Value>(&text) else {
        return Err(Error::Content { path: shown(path), why: "this is no JSON object, as a bench writes it" });
    };
    let short = |text: &str| escape_cut(text.as_bytes(), 2 * TEXT);
    let told = |value: &Value| match value {
        Value::String(text) => short(text),
        Value::Array(list) if list.iter().all(Value::is_string) => {
            short(&list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" · "))
        }
        other => short(&other.to_string()),
    };
    let entry = |(name, value): (&String, &Value)| match (name.strip_suffix("_bytes"), value.as_f64()) {
        (Some(name), Some(n)) => (short(name), bytes(n)),
        _ => (short(name), told(value)),
    };
    Ok(map.iter().take(64).map(entry).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_work_is_told_and_an_older_bench_s_and_a_newer_one_s_too() {
        let of = |more: Value| {
            let mut value = json!({"files": 2000, "size": 1000, "direction": "push"});
            value.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let axes = axes(&Record(&value)).expect("axes");
            axes.iter()
                .take_while(|axis| axis.0 != "direction")
                .map(|axis| axis.1.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let files = "2,000 files of 1\u{a0}kB";
        assert_eq!([of(json!({"kind": "files"})), of(json!({"unchanged": false}))], [files, files]);
        let nothing = format!("{files} all there already");
        assert_eq!([of(json!({"kind": "nothing"})), of(json!({"unchanged": true}))], [&*nothing, &*nothing]);
        assert_eq!(of(json!({"kind": "unchanged-tree"})), format!("{files} a directory for each, all there already"));
        assert_eq!(of(json!({"kind": "links"})), "2,000 links");
        assert_eq!(of(json!({"kind": "a <new> one"})), format!("{files} a <new> one"), "the page escapes it");
    }

    #[test]
    fn what_was_warmed_stands_beside_the_others_unless_it_is_many_processes() {
        let of = |at_once: Option<u64>, warm: bool| {
            let value = json!({"files": 2, "size": 1, "direction": "push", "at_once": at_once, "warm": warm});
            axes(&Record(&value)).expect("axes")
        };
        assert_eq!(of(None, true), of(None, false));
        assert_ne!(of(Some(2), true), of(Some(2), false));
        assert_ne!(of(None, false), of(Some(2), false));
    }
}
