//! hopsync's reports (docs/report.md), as far as a bench reads them: which files failed and why, what was dropped and tried
//! again, and when each file was done.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::attribute::{Hop, TriedAgain, Why, short};

/// How the far end and the hops before it are called in reports.
#[derive(Debug, Clone)]
pub struct Names {
    target: String,
}

impl Names {
    /// `target` as ssh is asked for it: reports name a host without the user.
    pub fn new(target: &str) -> Names {
        Names { target: target.rsplit_once('@').map_or(target, |(_, host)| host).to_owned() }
    }

    pub fn hop(&self, name: &str) -> Hop {
        match name {
            "local" => Hop::Local,
            name if name == self.target => Hop::Target,
            _ => Hop::Head,
        }
    }
}

/// What one report says.
#[derive(Debug, Default)]
pub struct Told {
    /// Files that failed, by their names in the report.
    pub failed: HashMap<PathBuf, (Why, String)>,
    /// What is no file's: why the whole run came to nothing, where it did.
    pub failure: Option<(Why, String)>,
    /// Seconds since the report's start at which files were done.
    pub landed: Vec<f64>,
    drops: BTreeMap<Why, (u64, String)>,
}

impl Told {
    /// Why `file` is missing: its own failure, or the only one there is, or what befell the whole run.
    pub fn why(&self, file: &std::path::Path, only: bool) -> Option<&(Why, String)> {
        let own = || if only { self.failed.values().next() } else { self.failed.get(file) };
        own().or(self.failure.as_ref())
    }
}

/// Reads a report. Lines that are cut off, or that nobody here asks for, are passed over.
pub fn read(report: impl BufRead, names: &Names) -> Told {
    let mut told = Told::default();
    for line in report.split(b'\n').map_while(Result::ok) {
        let wanted = [&br#""event":"class""#[..], br#""event":"failure""#, br#""event":"summary""#];
        if !wanted.iter().any(|event| line.windows(event.len()).any(|part| part == *event)) {
            continue;
        }
        let Ok(line) = serde_json::from_slice::<Value>(&line) else { continue };
        match line["event"].as_str() {
            Some("class") => match (line["class"].as_str(), line.get("fault")) {
                (Some("failed"), Some(fault)) => {
                    let path = PathBuf::from(line["path"].as_str().unwrap_or_default());
                    told.failed.insert(path, fault_of(fault, names));
                }
                (Some("verified" | "sent"), _) => told.landed.extend(line["t"].as_f64()),
                _ => {}
            },
            Some("failure") => told.failure = line.get("fault").map(|fault| fault_of(fault, names)),
            Some("summary") => {
                for row in line["troubles"].as_array().into_iter().flatten() {
                    let count = |field: &str| row[field].as_u64().unwrap_or(0);
                    let times = count("dropped-attempts") + count("dropped-connections") + count("dropped-channels");
                    let (why, example) = fault_of(row, names);
                    if times > 0 {
                        told.drops.entry(why).or_insert((0, example)).0 += times;
                    }
                }
            }
            _ => {}
        }
    }
    told
}

/// All reports' drops that were overcome, most first.
pub fn tried_again<'a>(reports: impl Iterator<Item = &'a Told>) -> Vec<TriedAgain> {
    let mut sums: BTreeMap<&Why, TriedAgain> = BTreeMap::new();
    for (why, (times, example)) in reports.flat_map(|told| &told.drops) {
        let row = TriedAgain { why: why.clone(), times: 0, example: short(example) };
        sums.entry(why).or_insert(row).times += times;
    }
    let mut rows: Vec<_> = sums.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.times));
    rows
}

/// Hop, stage and cause of a fault or of a row of troubles, and its words.
fn fault_of(fault: &Value, names: &Names) -> (Why, String) {
    fn word<T: DeserializeOwned>(value: &Value) -> Option<T> {
        T::deserialize(value).ok()
    }
    let hop = fault["hop"].as_str().map_or(Hop::Unknown, |name| names.hop(name));
    let text = fault["text"].as_str().or(fault["example"].as_str()).unwrap_or_default();
    (Why { hop, stage: word(&fault["stage"]), cause: word(&fault["cause"]) }, text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fault::{Cause, Stage};

    const REPORT: &str = r#"{"t":0.1,"event":"start","version":"0.1.0"}
{"t":0.2,"event":"class","file":0,"path":"000/a","class":"verified","by":"b3sum"}
{"t":0.3,"event":"class","file":1,"path":"000/b","class":"failed","fault":{"hop":"far","stage":"open","cause":"no-space","text":"full"}}
{"t":0.4,"event":"summary","troubles":[{"hop":"far","stage":"open","cause":"no-space","files-failed":1,"dropped-attempts":0,"dropped-connections":0,"dropped-channels":0,"example":"full"},{"hop":"jump","stage":"banner","cause":"start-limit","files-failed":0,"dropped-attempts":0,"dropped-connections":2,"dropped-channels":1,"example":"Exceeded MaxStartups"}]}
{"t":0.5,"event":"cut o"#;

    #[test]
    fn failures_drops_and_arrivals_are_read() {
        let names = Names::new("far");
        let told = read(REPORT.as_bytes(), &names);
        let full = (Why::new(Hop::Target, Stage::Open, Cause::NoSpace), "full".to_owned());
        assert_eq!(told.why(Path::new("000/b"), false), Some(&full));
        assert_eq!(told.why(Path::new("b"), true), Some(&full), "one process, one file");
        assert_eq!((told.why(Path::new("000/c"), false), &told.landed[..]), (None, &[0.2][..]));
        let drops = tried_again([&told, &told].into_iter());
        assert_eq!(drops.len(), 1, "a file's failure is no drop");
        let start = Why::new(Hop::Head, Stage::Banner, Cause::StartLimit);
        assert_eq!((&drops[0].why, drops[0].times, drops[0].example.as_str()), (&start, 6, "Exceeded MaxStartups"));
    }

    #[test]
    fn what_befell_the_whole_run_befell_each_file() {
        let line =
            r#"{"t":0.1,"event":"failure","fault":{"hop":"jump","stage":"tunnel","cause":"unreachable","text":"no"}}"#;
        let told = read(line.as_bytes(), &Names::new("far"));
        let why = Why::new(Hop::Head, Stage::Tunnel, Cause::Unreachable);
        assert_eq!(told.why(Path::new("x"), false), Some(&(why, "no".to_owned())));
    }

    #[test]
    fn a_target_with_a_user_is_the_target_that_reports_name_without() {
        for target in ["far", "me@far", "me@home@far"] {
            let names = Names::new(target);
            let hops = ["far", "jump", "local"].map(|name| names.hop(name));
            assert_eq!(hops, [Hop::Target, Hop::Head, Hop::Local], "{target}");
        }
    }
}
