//! At a distance each answer takes a round trip: what can be asked together is not asked one after the other. The targets here
//! leave requests unanswered, and the run is stopped once all that should be on their way have come.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hopsync::lab::bed::{Bed, Embedded};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use std::time::Duration;

use crate::deleting::stop_once;
use crate::harness::*;

/// SSH_FXP_*
const LSTAT: u8 = 7;
const STAT: u8 = 17;
const READLINK: u8 = 19;

/// A target that leaves some requests of one type unanswered, and counts them all.
struct Target {
    bed: Embedded,
    faults: Faults,
}

impl Target {
    fn new(silent: Option<Nth>, request: u8) -> std::io::Result<Target> {
        Target::with(silent, request, None)
    }

    fn with(silent: Option<Nth>, request: u8, more: Option<Trouble>) -> std::io::Result<Target> {
        let request = Some(request);
        let silent = silent.map(|nth| (nth, Trouble::Swallow { request }));
        let counted = (Nth::Always, Trouble::Delay { request, by: Duration::ZERO });
        let faults = Faults::new(silent.into_iter().chain([counted]).chain(more.map(|trouble| (Nth::Always, trouble))));
        let given = faults.clone();
        Ok(Target { bed: Embedded::target(|config| config.faults = given)?, faults })
    }

    fn asked(&self) -> u64 {
        self.faults.fired(0) + self.faults.fired(1)
    }

    /// Runs until so many requests have come.
    fn asks(&self, wanted: u64, args: &[String]) -> Tried {
        let ran = over(&self.bed, args).run_with(|child| stop_once(child, || self.asked() >= wanted))?.exits(20)?;
        assert!(self.asked() >= wanted, "{} of {wanted}: {}", self.asked(), ran.said());
        Ok(())
    }

    /// An empty directory of ours.
    fn near(&self) -> Result<String, Box<dyn std::error::Error>> {
        let near = self.bed.client().dir().join("near");
        fs::create_dir_all(&near)?;
        Ok(slash(&near))
    }
}

fn args(options: &[&str], operands: [String; 2]) -> Vec<String> {
    options.iter().map(ToString::to_string).chain(operands).collect()
}

fn file(path: &Path) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, "content")
}

#[test]
fn what_matches_wildcards_is_asked_for_together() -> Tried {
    for (pattern, request) in [("d*/f", LSTAT), ("d*/", STAT)] {
        let target = Target::new(Some(Nth::Always), request)?;
        for number in 0..20 {
            file(&target.bed.far().join(format!("d{number}/f")))?;
        }
        target.asks(20, &args(&["-a"], [target.bed.operand(pattern), target.near()?]))?;
    }
    Ok(())
}

#[test]
fn listed_names_are_asked_for_together() -> Tried {
    let names = |target: &Target, names: &[String]| -> Result<String, std::io::Error> {
        let list = target.bed.client().dir().join("names");
        fs::write(&list, names.join("\n"))?;
        Ok(format!("--files-from={}", list.display()))
    };
    // Links.
    let target = Target::new(Some(Nth::Always), READLINK)?;
    let links: Vec<String> = (0..20).map(|number| format!("d{number}/l")).collect();
    for link in &links {
        fs::create_dir_all(target.bed.far().join("from").join(link).parent().unwrap_or(Path::new("")))?;
        symlink("f", target.bed.far().join("from").join(link))?;
    }
    let list = names(&target, &links)?;
    target.asks(20, &args(&["-a", &list], [target.bed.operand("from"), target.near()?]))?;

    // What is not there; of the directory that all are in, it is asked once before.
    let target = Target::new(Some(Nth::From(2)), STAT)?;
    fs::create_dir_all(target.bed.far().join("from"))?;
    let list = names(&target, &links)?;
    target.asks(20, &args(&["-a", &list], [target.bed.operand("from"), target.near()?]))
}
