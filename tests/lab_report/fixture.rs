//! A bench's folder as `hopsync-lab bench` leaves one, of the storms that the seeds tell of. The numbers are made up: what is
//! tested is how they are shown.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// What a server that means ill would like to have on the page.
pub const EVIL: &str =
    "</pre></title><script>harmed = true</script><img src=\"http://example.org/x\" onerror='harmed=true'>";

pub const FILES: u64 = 400;

/// Files that `rsync-each` misses of all its runs in the first cell: by the start limit, by the session limit.
pub const MISSING: [u64; 2] = [3 * 312, 3 * 25];

fn run(cell: &Value, program: &str, round: u64, wall: f64, missing: &[Value]) -> Value {
    let lost: u64 = missing.iter().filter_map(|row| row["files"].as_u64()).sum();
    let whole = cell["files"].as_u64().unwrap_or(0) - lost;
    let arrivals: Vec<f64> = (1..=whole).map(|n| wall * (0.1 + 0.9 * n as f64 / whole as f64)).collect();
    let ours = program.starts_with("hopsync");
    let again = json!([{"hop": "head", "stage": "banner", "cause": "start-limit", "times": 3, "example": "Exceeded MaxStartups"}]);
    let mut run = cell.clone();
    let sample = json!({
        "program": program, "round": round, "warmup": round == 0, "started": 1_772_323_200 + round,
        "wall_s": wall, "user_s": wall / 4.0, "system_s": wall / 8.0, "peak_rss_bytes": 30_000_000,
        "exit": if lost > 0 { 12 } else { 0 }, "whole": whole, "extra": 0,
        "message": if lost > 0 { EVIL } else { "" },
        "missing": missing, "tried_again": if ours { again } else { json!([]) }, "arrivals": arrivals,
    });
    if let (Value::Object(run), Value::Object(sample)) = (&mut run, sample) {
        run.extend(sample);
    }
    run
}

/// Writes the folder. Reports in `reports` are put where those of the one `hopsync-each` run in the middle belong.
pub fn bench(folder: &Path, reports: &[std::path::PathBuf]) -> Result<(), Box<dyn Error>> {
    fs::create_dir(folder)?;
    let cell = |limit: &str, sessions: &str, warm: bool| {
        json!({
            "name": "400x1M", "files": FILES, "size": 1 << 20, "unchanged": false, "direction": "push", "rtt_ms": 0,
            "at_once": 400, "warm": warm, "head_sessions": sessions, "head_startups": limit,
            "target_sessions": sessions, "target_startups": limit,
        })
    };
    let row = |hop: &str, stage: &str, cause: &str, files: u64| json!({"hop": hop, "stage": stage, "cause": cause, "files": files, "example": EVIL});
    let storm = [row("head", "banner", "start-limit", 312), row("user-container", "session", "session-limit", 25)];
    let rest = [row("unknown", "unknown", "unknown", 3)];
    let mut cells: [(Value, &[Value]); 4] = [
        (cell("10:30:100", "10", false), &storm),
        (cell("1000:30:6000", "1000", false), &[]),
        (cell("10:30:100", "10", true), &rest),
        // As the first, but for where the programs ran.
        (cell("10:30:100", "10", false), &[]),
    ];
    if let Value::Object(cell) = &mut cells[3].0 {
        cell.insert("from".to_owned(), "head".into());
    }
    // The bench does not say it of one process for all files.
    if let Value::Object(cell) = &mut cells[1].0 {
        cell.remove("at_once");
    }
    let mut lines = String::new();
    let mut number = 0;
    for (cell, missing) in &cells {
        for round in 0..4 {
            for (program, wall, missing) in [
                ("hopsync", 2.1, &[][..]),
                ("hopsync-each", 4.9, &[][..]),
                ("rsync", 31.0, &[][..]),
                ("rsync-each", 19.0, *missing),
                ("scp-each", 23.0, &[][..]),
            ] {
                let wall = wall * (1.0 + 0.03 * round as f64);
                lines += &format!("{}\n", run(cell, program, round, wall, missing));
                // The second of three by their times.
                if round == 2 && program == "hopsync-each" && number < 20 {
                    let inside = folder.join(format!("reports/{number}"));
                    fs::create_dir_all(&inside)?;
                    for report in reports {
                        fs::copy(report, inside.join(report.file_name().ok_or("a name")?))?;
                    }
                }
                number += 1;
            }
        }
    }
    fs::write(folder.join("runs.jsonl"), lines)?;
    let environment = json!({
        "started": "2026-03-01-000000", "arguments": ["hopsync-lab", "bench", "--cells=400x1M"], "servers": "sshd",
        "banner": EVIL, "cpu": "a CPU", "cpus": 2, "memory_bytes": 8_000_000_000u64, "system": "Linux", "hopsync": "0.1.0",
        "optimised": true, "tools": ["rsync  version 3.2.7"],
    });
    fs::write(folder.join("environment.json"), environment.to_string())?;
    Ok(())
}
