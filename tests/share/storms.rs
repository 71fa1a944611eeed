//! Crowds: all is delivered, whatever befalls the connection or its holder meanwhile.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use hopsync::lab::bed::{Bed, Embedded, SshdPair};
use hopsync::lab::run::{Output, run};
use hopsync::lab::server::{Config, MaxStartups};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::crowd::*;

/// There and back, from cold; one connection and one login for all of it.
fn a_storm_shares_one_connection(bed: &dyn Bed) -> Tried {
    let crowd = Crowd::of(bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, STORM, 50_000)?;
    fs::create_dir_all(bed.far().join("there"))?;
    let pushed = crowd.storm(STORM, |n| vec![path(&sources[n]), bed.operand("there/")], |_| {})?;
    all_well(&pushed);
    same_files(&here, &bed.far().join("there"))?;
    let back = bed.client().dir().join("back");
    fs::create_dir_all(&back)?;
    let pulled =
        crowd.storm(STORM, |n| vec![bed.operand(&format!("there/f{n}")), format!("{}/", path(&back))], |_| {})?;
    all_well(&pulled);
    same_files(&here, &back)?;
    let joined: Vec<&Value> = pushed.iter().chain(&pulled).flat_map(|ran| shared(&ran.report)).collect();
    assert_eq!(joined.len(), 2 * STORM, "each joined once");
    assert_eq!(joined.iter().filter(|line| line["started"] == true).count(), 1, "one started the holder");
    assert_eq!(joined.iter().filter_map(|line| line["holder"].as_u64()).collect::<HashSet<_>>().len(), 1);
    let verified = |ran: &Ran| ran.report.last().is_some_and(|summary| summary["verified"] == 1);
    assert!(pushed.iter().chain(&pulled).all(verified));
    crowd.stop()?;
    let counts = bed.counts();
    assert_eq!((counts.head_connections, counts.head_logins, counts.target_logins), (1, 1, 1), "{counts:?}");
    assert_eq!(counts.start_drops, 0);
    Ok(())
}

#[test]
fn a_storm_on_the_embedded_pair_shares_one_connection() -> Tried {
    a_storm_shares_one_connection(&Embedded::start()?)
}

#[test]
fn a_storm_on_the_real_pair_shares_one_connection() -> Tried {
    a_storm_shares_one_connection(&SshdPair::start()?)
}

#[test]
fn a_holder_that_is_killed_is_replaced_and_nothing_is_lost() -> Tried {
    let bed = SshdPair::start()?;
    let crowd = Crowd::of(&bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, STORM, 1_000_000)?;
    fs::create_dir_all(bed.far().join("there"))?;
    let kill = |crowd: &Crowd| {
        for _ in 0..3 {
            if let Some(holder) = crowd.holder() {
                let _ = kill_process(holder, Signal::KILL);
            }
        }
    };
    let ran = crowd.storm(STORM, |n| vec![path(&sources[n]), bed.operand("there/")], kill)?;
    all_well(&ran);
    for (n, source) in sources.iter().enumerate() {
        assert!(fs::read(source)? == fs::read(bed.far().join(format!("there/f{n}")))?, "f{n} differs");
    }
    assert!(crowd.holders.lock().unwrap().len() > 1, "no holder was killed in time");
    Ok(())
}

#[test]
fn a_lost_connection_is_made_again_once_for_all() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, STORM / 2, 1_000_000)?;
    let there = bed.far().join("there");
    fs::create_dir_all(&there)?;
    let cut = |_: &Crowd| {
        let started = Instant::now();
        while fs::read_dir(&there).map_or(0, Iterator::count) < 3 && started.elapsed() < DEADLINE {
            thread::sleep(Duration::from_millis(2));
        }
        bed.cut_all();
    };
    let ran = crowd.storm(STORM / 2, |n| vec![path(&sources[n]), bed.operand("there/")], cut)?;
    all_well(&ran);
    same_files(&here, &there)?;
    assert_eq!(crowd.holders.lock().unwrap().len(), 1);
    crowd.stop()?;
    assert_eq!(bed.counts().head_logins, 2);
    Ok(())
}

#[test]
fn relative_paths_are_each_clients_own_and_one_destination_ends_whole() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let (one, two) = (bed.client().dir().join("one"), bed.client().dir().join("two"));
    for (dir, content) in [(&one, "one"), (&two, "two")] {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("file"), content.repeat(20_000))?;
    }
    let there = bed.far().join("there");
    fs::create_dir_all(&there)?;
    let outputs: Vec<io::Result<Output>> = thread::scope(|scope| {
        let running: Vec<_> = (0..20)
            .map(|n| {
                let (crowd, dir) = (&crowd, if n % 2 == 0 { &one } else { &two });
                // Some to names of their own, the others all to the same one.
                let to = if n < 4 { format!("there/own{n}") } else { "there/same".to_owned() };
                let mut command = crowd.command(["file", &bed.operand(&to)]);
                command.current_dir(dir);
                scope.spawn(move || run(command, DEADLINE))
            })
            .collect();
        running.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for output in outputs {
        let output = output?;
        assert_eq!(output.code, 0, "{}", output.err());
    }
    for n in 0..4 {
        assert_eq!(
            fs::read(there.join(format!("own{n}")))?,
            fs::read(bed.client().dir().join(["one", "two"][n % 2]).join("file"))?
        );
    }
    let same = fs::read(there.join("same"))?;
    assert!(same == fs::read(one.join("file"))? || same == fs::read(two.join("file"))?);
    assert_eq!(fs::read_dir(&there)?.count(), 5, "a temporary file is left");
    crowd.stop()?;
    assert_eq!(bed.counts().head_logins, 1);
    Ok(())
}

/// Each with a connection of its own, against the default limits: patience alone delivers all, and names every drop.
fn a_crowd_that_does_not_share_gets_through(bed: &dyn Bed) -> Tried {
    let crowd = Crowd::of(bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, STORM, 6)?;
    fs::create_dir_all(bed.far().join("there"))?;
    let push = |n: usize| vec!["--no-share".to_owned(), path(&sources[n]), bed.operand("there/")];
    let ran = crowd.storm(STORM, push, |_| {})?;
    all_well(&ran);
    same_files(&here, &bed.far().join("there"))?;
    let start_limit = |line: &&Value| line["event"] == "drop" && line["fault"]["cause"] == "start-limit";
    let named: usize = ran.iter().map(|ran| ran.report.iter().filter(start_limit).count()).sum();
    assert_eq!(named as u64, bed.counts().start_drops);
    Ok(())
}

#[test]
fn a_crowd_that_does_not_share_gets_through_on_the_embedded_pair() -> Tried {
    let limits = |server: &mut Config| server.max_startups = Some(MaxStartups { start: 10, rate: 30, full: 100 });
    a_crowd_that_does_not_share_gets_through(&Embedded::with(limits, limits, None)?)
}

#[test]
fn a_crowd_that_does_not_share_gets_through_on_the_real_pair() -> Tried {
    a_crowd_that_does_not_share_gets_through(&SshdPair::start()?)
}
