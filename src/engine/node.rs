//! Devices, FIFOs and sockets: made from disk to disk. SFTP has no request that makes them.

use std::sync::Arc;

use crate::fault::{Cause, Fault, Stage};
use crate::plan::filter::Filter;
use crate::plan::quick_check::Decision;
use crate::tree::Change;

use super::backup::Of;
use super::brought::Origin;
use super::delete;
use super::directory::Directory;
use super::run::Run;

/// Whether both ends can do it.
pub fn is_possible(run: &Run, origin: &Origin) -> bool {
    run.dest.as_local().is_some() && origin.source.as_local().is_some()
}

/// Why it is not done.
pub fn refused(run: &Run) -> Fault {
    let text = "devices and special files are not carried: SFTP has no request that makes them";
    Fault::new(run.dest.hop().clone(), Stage::Attributes, Cause::Unsupported, text)
}

/// Makes the node, or sets its attributes.
pub async fn make(
    run: &Run,
    filter: &Arc<Filter>,
    origin: &Origin,
    directory: &Directory,
    (path, shown): (&[u8], &[u8]),
    decision: Decision,
    change: Change,
) -> Result<(), Fault> {
    directory.ready().await?;
    if matches!(decision, Decision::Attributes(_)) {
        return run.dest.set(path, change, false).await;
    }
    if let Decision::Replace(way) = decision {
        delete::make_way(run, filter, path, shown, way, Of::Replaced).await?;
    }
    let temp = run.temps.name(path);
    run.dest.node_like(&temp, origin.source.as_ref(), &origin.path).await?;
    run.dest.commit(&temp, path, change).await?;
    run.temps.gone(&temp);
    Ok(())
}
