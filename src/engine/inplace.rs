//! `--inplace`: a file is written under its own name. Nothing here is atomic: until it is proven, and for ever if the run
//! ends meanwhile, the name shows a part of the new content over the old one. That is what the option asks for.

use std::time::SystemTime;

use crate::entry::Meta;
use crate::fault::Fault;

use super::copy::{Proof, Trace, send_proven};
use super::deliver::FileItem;
use super::run::Run;

/// As [`super::copy::attempt`], the file's directory being there.
pub async fn attempt(run: &Run, item: &FileItem, meta: &Meta, number: u32, trace: &mut Trace) -> Result<Proof, Fault> {
    let path = &item.dest_path;
    if item.old.as_ref().is_some_and(Meta::is_file) {
        super::backup::copy(run, path).await?;
        // What is too long would stay behind the new end.
        if run.dest.stat(path, false).await?.is_some_and(|now| now.size > meta.size) {
            run.dest.truncate(path, meta.size).await?;
        }
    }
    // --append-verify: what is there is taken for the beginning, until the hash says otherwise.
    let from = match &item.old {
        Some(old) if run.job.options.append_verify && number == 1 && old.is_file() => old.size,
        _ => 0,
    };
    let proof = send_proven(run, item, meta, (&run.dest, path), number, trace, from).await?;
    let mut change = run.change(meta, item.old.as_ref()).await?;
    if trace.bytes == 0 && change.mtime.is_none() && item.old.is_some() {
        // Nothing had to be written, and so its time would still be that of what was there before.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        change.mtime = Some((i64::try_from(now.as_secs()).unwrap_or(i64::MAX), now.subsec_nanos()));
    }
    run.dest.set(path, change, false).await?;
    Ok(proof)
}
