//! The sum rule, for every fault that `hopsync-lab serve` can make: what was injected is what the report says, at that hop and
//! stage, with the right cause and as many times.

use std::fs;
use std::path::PathBuf;

use hopsync::lab::bed::{Bed, Embedded, HEAD, TARGET};
use hopsync::lab::faults::Faults;
use hopsync::lab::rules::{Hop, Rule};
use hopsync::lab::trees::{many_files, random_file};
use serde_json::Value;

use crate::harness::*;

/// 60 small files in one directory, two of some megabytes, an empty one, a link, an empty directory.
fn tree(top: &std::path::Path) -> Tried {
    many_files(top, 60, 30_000)?;
    random_file(&top.join("000/large"), 3 << 20, b"large")?;
    random_file(&top.join("striped"), 10 << 20, b"striped")?;
    fs::write(top.join("empty file"), "")?;
    fs::create_dir(top.join("empty"))?;
    std::os::unix::fs::symlink("nowhere", top.join("link"))?;
    Ok(())
}
const FILES: u64 = 63;

#[test]
fn explore() -> Tried {
    let rules = std::env::var("RULES")?;
    for rule in rules.split('|') {
        let (way, rule) = rule.split_once(' ').unwrap();
        let mut options = vec!["-a"];
        let o = std::env::var("OPTS").unwrap_or_default();
        options.extend(o.split_whitespace());
        let parsed: Vec<Rule> = rule.split(';').map(|r| r.parse()).collect::<Result<_, _>>()?;
        let faults = |hop| Faults::new(parsed.iter().filter(move |r| r.hop == hop).map(|r| (r.nth, r.trouble.clone())));
        let (h, t) = (faults(Hop::Head), faults(Hop::Target));
        let bed = Embedded::with(|head| head.faults = h, |target| target.faults = t, None)?;
        let shell = bed.shell() + &std::env::var("SSHO").unwrap_or_default();
        let (source, dest, from, to): (PathBuf, PathBuf, String, String) = if way == "push" {
            let near = bed.client().dir().join("near");
            (near.clone(), bed.far().join("there"), slash(&near), bed.operand("there"))
        } else {
            let far = bed.far().join("source");
            (far, bed.client().dir().join("back"), bed.operand("source/"), "back/".into())
        };
        tree(&source)?;
        let mut args: Vec<String> = options.iter().map(|s| s.to_string()).collect();
        args.extend(["-e".into(), shell, from, to]);
        let started = std::time::Instant::now();
        let ran = plain(&bed, args).run()?;
        println!("=== {way} {rule}: {} s", started.elapsed().as_secs_f32());
        for (i, r) in parsed.iter().enumerate() {
            let s = if r.hop == Hop::Head { bed.head_server() } else { bed.target_server() };
            println!(
                "fired {} {}",
                s.faults().fired(i.min(parsed.iter().filter(|x| x.hop == r.hop).count() - 1)),
                r.text
            );
        }
        let s = ran.report.summary();
        println!(
            "exit {} v {} f {} conn {} dropA {} dropC {} dropCh {} other {} retries {}",
            ran.code(),
            s["verified"],
            s["failed"],
            s["connections"],
            s["dropped-attempts"],
            s["dropped-connections"],
            s["dropped-channels"],
            s["other-failures"],
            s["retries"]
        );
        for row in s["troubles"].as_array().unwrap() {
            println!(
                "   {} {} {}: ff {} of {} da {} dc {} dch {} — {}",
                row["hop"],
                row["stage"],
                row["cause"],
                row["files-failed"],
                row["other-failures"],
                row["dropped-attempts"],
                row["dropped-connections"],
                row["dropped-channels"],
                row["example"]
            );
        }
        println!("   limits {}", s["limits"]);
        println!("   by {}", s["verified-by"]);
        println!(
            "   same: {:?}",
            same(&source, &dest, ALL).err().map(|e| e.to_string().chars().take(300).collect::<String>())
        );
        let _ = (HEAD, TARGET, FILES, Value::Null);
    }
    Ok(())
}
