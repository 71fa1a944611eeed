//! `hopsync-lab report` as a person uses it: on real runs through servers that drop, on a crowd, and on a bench's folder; and
//! what a browser makes of the page.
//!
//! With `HOPSYNC_REPORT_KEEP=DIR` the pages are kept there, to be looked at.

#![expect(clippy::disallowed_methods, reason = "scratch trees and pages, which are no delivery")]

mod browser;
mod fixture;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use hopsync::lab::bed::{Bed, Embedded};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use hopsync::lab::run::{Output, run};
use hopsync::lab::server::{Config, MaxStartups};
use hopsync::lab::trees::many_files;
use serde_json::Value;

use self::browser::{Measured, measure};
use self::fixture::{EVIL, FILES, MISSING};

type Tried = Result<(), Box<dyn Error>>;

const DEADLINE: Duration = Duration::from_secs(60);

/// `hopsync -a --report REPORT … FROM TO` with a connection of its own.
fn hopsync(bed: &dyn Bed, report: &Path, from: &Path, to: &str) -> Result<Output, Box<dyn Error>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync"));
    command.args(["-a", "--no-share", "-e", &bed.shell(), "--report"]).arg(report).arg(from).arg(bed.operand(to));
    command.env_remove("SSH_AUTH_SOCK").env_remove("RSYNC_RSH").current_dir(bed.client().dir());
    Ok(run(command, DEADLINE)?)
}

fn report(arguments: &[&Path], out: &Path, formats: &str) -> Result<Output, Box<dyn Error>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
    command.arg("report").args(arguments).arg("--out").arg(out).args(["--format", formats]);
    Ok(run(command, DEADLINE)?)
}

fn summary(report: &Path) -> Result<Value, Box<dyn Error>> {
    let text = fs::read_to_string(report)?;
    Ok(serde_json::from_str(text.lines().last().ok_or("an empty report")?)?)
}

/// A run that is dropped before its banner once, some of whose files may not be written and some of whose attempts fail.
fn troubled_run(dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    const OPEN: u8 = 3;
    const PERMISSION_DENIED: u32 = 3;
    let head = |config: &mut Config| {
        config.faults = Faults::new([(Nth::Only(1), Trouble::DropBeforeBanner { text: "Exceeded MaxStartups" })]);
    };
    let target = |config: &mut Config| {
        let denied = Trouble::Answer { request: OPEN, status: PERMISSION_DENIED, text: EVIL };
        config.faults = Faults::new([
            (Nth::Every(9), denied),
            (Nth::Only(30), Trouble::CorruptFile),
            (Nth::Only(3), Trouble::CloseChannel { requests: 40 }),
        ]);
    };
    let bed = Embedded::with(head, target, None)?;
    let near = bed.client().dir().join("near");
    many_files(&near, 120, 30_000)?;
    let report = dir.join("run.jsonl");
    let output = hopsync(&bed, &report, &near, "there")?;
    assert_eq!(output.code, 23, "{}", output.err());
    Ok(report)
}

/// Many at once against a start limit: all get through in the end, and not all at once.
fn crowd(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let limits = |config: &mut Config| config.max_startups = Some(MaxStartups { start: 2, rate: 60, full: 4 });
    let bed = Embedded::with(limits, |_| {}, None)?;
    let near = bed.client().dir().join("near");
    fs::create_dir(&near)?;
    fs::create_dir(dir)?;
    let reports: Vec<PathBuf> = (0..12).map(|n| dir.join(format!("{n}.jsonl"))).collect();
    let outputs: Vec<_> = thread::scope(|scope| {
        let one = |(n, report): (usize, &PathBuf)| {
            let (bed, file, report) = (&bed, near.join(format!("f{n}")), report.clone());
            scope.spawn(move || {
                fs::write(&file, vec![n as u8; 20_000]).map_err(|error| error.to_string())?;
                hopsync(bed, &report, &file, "").map_err(|error| error.to_string())
            })
        };
        let running: Vec<_> = reports.iter().enumerate().map(one).collect();
        running.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    for output in outputs {
        let output = output?;
        assert_eq!(output.code, 0, "{}", output.err());
    }
    Ok(reports)
}

/// A page with everything wrong, so that it is seen that the measuring finds it.
const WRONG: &str = r#"<!DOCTYPE html><html><body style="background:#fff;color:#ddd"><style>p { width: 9000px }</style>
<p>wide and pale</p><script>harmed = true</script><img src="data:,x" alt=""><figure class="drawn">
<svg class="figure" id="bad-wide" width="300" height="50"><title></title><desc></desc><text x="0" y="20">over</text>
<text x="5" y="20">each</text><text x="290" y="40">beyond it</text>
<rect class="bar ok" data-n="1" data-of="2" width="0" height="9"></rect>
<rect class="bar red" y="10" width="9" height="9" fill="rgb(192,0,0)" stroke="rgb(192,0,0)" data-of="0"></rect>
<rect class="bar blue" y="20" width="9" height="9" fill="rgb(48,48,255)" stroke="rgb(48,48,255)" data-of="0"></rect>
<path class="curve" d="M0 0L50 50" stroke="red"></path><path class="other" d="M0 50L50 0" stroke="blue"></path></svg></figure><table></table></body></html>"#;

fn found_out(wrong: &Measured) {
    let problems = wrong.problems.join("\n");
    for problem in [
        "no description",
        "is over",
        "leaves it",
        "not to be seen",
        "wider than its window",
        "hardly be read",
        "no room",
        "two lines differ by colour alone",
        "bars \"red\" and \"blue\" differ by colour alone",
    ] {
        assert!(problems.contains(problem), "{problem} is not found: {problems}");
    }
    assert!(wrong.harmed && wrong.foreign.len() == 2, "{wrong:?}");
}

/// Bars are as long as their numbers say: within what a line's width and the least visible size make of it.
fn proportional(measured: &Measured) {
    for (figure, bars) in &measured.figures {
        let share = |bar: &browser::Bar| bar.n / bar.of;
        let Some(longest) = bars.iter().max_by(|a, b| share(a).total_cmp(&share(b))) else { continue };
        for bar in bars {
            let expected = longest.length * share(bar) / share(longest);
            let place = format!("{} {} {figure}: {bar:?}, {longest:?}", measured.page, measured.width);
            assert!((bar.length - expected).abs() <= 3.1, "{place}: not {expected}");
        }
    }
}

fn looks_well(measured: &Measured) {
    let place = format!("{}, {} px, dark: {}", measured.page, measured.width, measured.dark);
    assert_eq!(measured.problems, Vec::<String>::new(), "{place}");
    assert_eq!(measured.requests, Vec::<String>::new(), "{place}");
    assert_eq!(measured.foreign, Vec::<String>::new(), "{place}");
    assert!(!measured.harmed, "{place}: what a server said was obeyed");
    assert!(measured.texts > 20 && measured.figures.len() >= 4, "{place}: {:?}", measured.figures.keys());
    proportional(measured);
}

fn number(measured: &Measured, figure: &str, kind: &str) -> f64 {
    let bars = measured.figures.get(figure).unwrap_or_else(|| panic!("no {figure} in {}", measured.page));
    bars.iter().filter(|bar| bar.kind == kind).map(|bar| bar.n).sum()
}

#[test]
fn pages_are_drawn_as_their_numbers_are_in_light_and_dark_and_on_a_telephone() -> Tried {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let run = troubled_run(dir.path())?;
    let reports = crowd(&at("crowd"))?;
    fixture::bench(&at("bench"), &reports)?;
    let formats = "html,markdown,csv,svg";
    for (what, out) in [(run.clone(), "run.html"), (at("crowd"), "crowd.html"), (at("bench"), "bench.html")] {
        let output = report(&[&what], &at(out), formats)?;
        assert_eq!(output.code, 0, "{}", output.err());
    }
    if let Some(keep) = std::env::var_os("HOPSYNC_REPORT_KEEP") {
        for entry in fs::read_dir(dir.path())?.flatten().filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), Path::new(&keep).join(entry.file_name()))?;
        }
    }
    let page = |name: &str| fs::read_to_string(at(name));
    let pages = [page("run.html")?, page("crowd.html")?, page("bench.html")?];
    for page in &pages {
        // The name of SVG is an address to which nobody goes; the other was said by a server, and is only text.
        let without = page.replace("http://www.w3.org/2000/svg", "").replace("img src=&quot;http://example.org/x", "");
        assert!(!without.contains("//") && !without.contains("@import") && !without.contains("src="), "an address");
    }
    let mut named = ["run", "crowd", "bench"].into_iter().zip(pages.iter().map(String::as_str)).collect::<Vec<_>>();
    named.push(("wrong", WRONG));
    let mut measured = measure(dir.path(), &named)?;
    for wrong in measured.split_off(12) {
        found_out(&wrong);
    }
    let seen: Vec<_> = measured.iter().map(|m| (m.page.as_str(), m.width, m.dark)).collect();
    let all = |page| [(page, 400, false), (page, 400, true), (page, 1000, false), (page, 1000, true)];
    assert_eq!(seen, [all("run"), all("crowd"), all("bench")].concat());
    for measured in &measured {
        looks_well(measured);
        assert_eq!(measured.dark, measured.ground != "rgb(255, 255, 255)", "{}", measured.ground);
    }

    // The run: what the ledger counted is what is drawn.
    let told = summary(&run)?;
    let count = |name: &str| told[name].as_u64().unwrap_or_default();
    assert!(count("failed") > 0 && count("dropped-connections") > 0, "{told}");
    let drops = count("dropped-attempts") + count("dropped-connections") + count("dropped-channels");
    for measured in &measured[..4] {
        let drawn = ["ok", "lost"].map(|kind| number(measured, "files", kind));
        assert_eq!(drawn, [count("verified"), count("failed")].map(|n| n as f64));
        let drawn = ["lost", "over"].map(|kind| number(measured, "drops", kind));
        assert_eq!(drawn, [count("failed"), drops].map(|n| n as f64));
        let times: f64 = measured.figures["file-times"].iter().map(|bar| bar.n).sum();
        assert_eq!(times, count("verified") as f64);
        let marks = ["lost", "over"].map(|kind| number(measured, "time", kind));
        assert_eq!(marks, [count("failed"), drops].map(|n| n as f64), "marks over time");
    }

    // The crowd: the sum of all its runs.
    let mut overcome = 0;
    for report in &reports {
        overcome += summary(report)?["dropped-connections"].as_u64().unwrap_or_default();
    }
    assert!(overcome > 0, "a start limit of 2 dropped none of 12");
    assert_eq!(number(&measured[4], "files", "ok"), 12.0);
    assert!(number(&measured[4], "drops", "over") >= overcome as f64);

    // The bench: as it was made up.
    let lost: u64 = MISSING.iter().sum::<u64>() + 3 * 3;
    assert_eq!(number(&measured[8], "delivered", "lost"), lost as f64);
    assert_eq!(number(&measured[8], "delivered", "ok"), (5 * 4 * 3 * FILES - lost) as f64);
    assert_eq!(number(&measured[8], "drops", "lost"), lost as f64);
    assert_eq!(number(&measured[8], "inside1-files", "ok"), 12.0, "hopsync's own reports of the run in the middle");

    // The other forms say the same.
    let markdown = page("bench.md")?;
    assert!(markdown.contains("1,020 of 4,800 files did not arrive: 936 dropped by head's start limit"), "{markdown}");
    assert!(!markdown.contains("<script>"));
    assert!(markdown.contains("| one process |") && markdown.contains("| 400 at once |"), "{markdown}");
    assert!(markdown.contains("| from the head ") && markdown.contains("| through the head |"), "{markdown}");
    assert!(pages[2].contains("D: from the head, 400 at once"), "the cells' headings do not tell them apart");
    let csv = page("bench-drops.csv")?;
    let lost_rows: u64 = csv.lines().skip(1).filter_map(|row| row.split(',').nth(5)?.parse::<u64>().ok()).sum();
    assert_eq!(lost_rows, lost, "{csv}");
    let svg = page("run-drops.svg")?;
    assert!(svg.starts_with("<svg") && svg.contains("prefers-color-scheme") && !svg.contains("<script"), "{svg}");
    Ok(())
}

#[test]
fn what_can_not_be_read_is_told_in_one_sentence() -> Tried {
    let dir = tempfile::tempdir()?;
    let start =
        r#"{"t":0.0,"event":"start","version":"0.1.0","started":"2026-03-01T00:00:00Z","job":{"direction":"push"}}"#;
    let planned = r#"{"t":0.1,"event":"planned","file":0,"path":"a","size":6}"#;
    let say = |text: &str| -> Result<(i32, String), Box<dyn Error>> {
        let path = dir.path().join("report.jsonl");
        fs::write(&path, text)?;
        let output = report(&[&path], &dir.path().join("page.html"), "html")?;
        Ok((output.code, output.out() + &output.err()))
    };
    for (text, sentence) in [
        (format!("{start}\n{{\"t\":1,\n{planned}\n"), "report.jsonl, line 2: it ends in the middle"),
        (format!("{start}\n{}\n", planned.replace('6', "\"six\"")), "report.jsonl, line 2: invalid type: string"),
        (format!("{start}\n{}\n", planned.replace("0.1", "-7")), "line 2: -7e0 is no time"),
        (format!("{planned}\n"), "line 1: the first line of a report is its start"),
        ("{\"a\":1}\n".to_owned(), "line 1: this is neither a report of hopsync --report nor a bench's runs.jsonl"),
        (String::new(), "nothing was read"),
    ] {
        let (code, said) = say(&text)?;
        assert_eq!((code, said.lines().count()), (1, 1), "{said}");
        assert!(said.starts_with("hopsync-lab: ") && said.contains(sentence), "{said}: not {sentence}");
    }
    // A live run's last line may be half there.
    let (code, said) = say(&format!("{start}\n{planned}\n{{\"t\":0.2,\"event\":\"cla"))?;
    assert_eq!(code, 0, "{said}");
    let page = fs::read_to_string(dir.path().join("page.html"))?;
    assert!(page.contains("The run is not finished") && page.contains("had no result yet"), "it is not told");
    assert!(!page.contains("file arrived"), "it had no result");
    Ok(())
}
