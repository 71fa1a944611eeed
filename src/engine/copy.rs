//! One try at one file: temp → all writes acknowledged → size → close → hash of the temp ([`super::proving`]: some of it sooner) →
//! attributes → rename.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future;
use tokio::sync::{OnceCell, oneshot};

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::job::Verify;
use crate::tree::{How, Tree, Used};
use crate::verify::{Algorithm, Digest};

use super::deliver::FileItem;
use super::proving::Proving;
use super::pump::{AtSource, Begin, pump};
use super::run::Run;
use super::{delta, sparse, stage};

/// What a try did, whether it succeeded or not.
#[derive(Debug, Default)]
pub struct Trace {
    pub used: Used,
    /// Bytes of data acknowledged by the destination.
    pub bytes: u64,
    /// Bytes that it had: copied there, or left in place.
    pub matched: u64,
    /// It would not copy what it had said that it has. What came of the try is to be thrown away, and all be sent.
    pub refused: bool,
    /// Time before the first request: for the directory and the budgets.
    pub waited: Duration,
}

impl Trace {
    /// Bytes that have come to be at the destination, either way.
    pub fn done(&self) -> u64 {
        self.bytes + self.matched
    }
}

/// How a delivered file was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    By(&'static str),
    Sent,
}

/// What proves a file without bytes: its size, which the destination told after the close.
const EMPTY: &str = "empty, by its size";

/// Tries once. On a fault the temp is removed if that can be done.
pub async fn attempt(run: &Run, item: &FileItem, meta: &Meta, number: u32, trace: &mut Trace) -> Result<Proof, Fault> {
    let started = tokio::time::Instant::now();
    item.directory.ready().await?;
    trace.waited = started.elapsed();
    if run.job.options.inplace {
        return Box::pin(super::inplace::attempt(run, item, meta, number, trace)).await;
    }
    let temp = stage::name(run, &item.dest_path);
    let tried = async {
        let stage = stage::tree(run).await?;
        let from =
            if number == 1 { Box::pin(super::partial::resume(run, &item.dest_path, meta, &temp)).await? } else { 0 };
        let copied =
            if from == 0 && number == 1 { Box::pin(copied(run, item, meta, (&stage, &temp))).await? } else { None };
        let proof = match copied {
            Some(proof) => proof,
            None => {
                let to = (&stage, &temp[..]);
                let (sent, there) = send_hashed(run, item, meta, to, number, trace, from).await?;
                // (In a place of its own: of a pull thousands are under way, and none has it.)
                if let Some(wanted) = sent.waits(run)
                    && let Some(proof) = Box::pin(prove_and_commit(run, item, meta, &temp, wanted, number)).await?
                {
                    return Ok(proof);
                }
                prove(run, item, to, sent, there, number).await?
            }
        };
        let change = run.change_like(meta, item.old.as_ref(), item.like.as_ref()).await?;
        if run.job.options.delay_updates {
            stage::commit(run, &temp, &super::delay::place(run, &item.dest_path).await?, change).await?;
            return Ok(proof);
        }
        if item.old.as_ref().is_some_and(Meta::is_file) {
            Box::pin(super::backup::keep_first(run, &item.dest_path)).await?;
        }
        stage::commit(run, &temp, &item.dest_path, change).await?;
        Ok::<_, Fault>(proof)
    };
    match tried.await {
        Ok(proof) => {
            run.temps.gone(&temp);
            if number > 1
                && let Err(fault) = super::partial::forget(run, &item.dest_path).await
            {
                tracing::debug!(%fault, "a partial file stays");
            }
            Ok(proof)
        }
        Err(fault) => {
            // What is proven to be wrong is nothing to go on from.
            let bytes = if fault.cause == Cause::Mismatch { 0 } else { trace.done() };
            Box::pin(give_back(run, item, meta, &temp, bytes)).await;
            Err(fault)
        }
    }
}

/// `--copy-dest`: a copy of what the destination has already, if it turns out to be the source's data. What only looked so is
/// sent.
async fn copied(run: &Run, item: &FileItem, meta: &Meta, (dest, temp): To<'_>) -> Result<Option<Proof>, Fault> {
    let Some((tree, path)) = &item.copied else { return Ok(None) };
    let algorithm = run.algorithm().await;
    let proven = async {
        if !tree.copy_to(path, meta.size, dest.as_ref(), temp).await? {
            return Ok::<_, Fault>(None);
        }
        let Some(algorithm) = algorithm else { return Ok(Some(Proof::Sent)) };
        let how = How::Best(algorithm);
        let here = item.source.digest(&item.source_path, meta.size, how);
        let (here, there) = future::try_join(here, dest.digest(temp, meta.size, how)).await?;
        Ok((here.0 == there.0).then_some(Proof::By(there.1)))
    };
    let proof: Option<Proof> = match proven.await {
        Err(fault) if !matches!(fault.cause, Cause::NotFound | Cause::Io | Cause::Permission) => return Err(fault),
        proof => proof.unwrap_or_default(),
    };
    if proof.is_none() {
        match dest.remove(temp).await {
            Err(fault) if fault.cause != Cause::NotFound => return Err(fault),
            _ => {}
        }
    }
    Ok(proof)
}

/// One try's hash. Asked for once: a connection that is made anew meanwhile may know of another one, and two of them do not
/// compare.
pub(super) struct Chosen(OnceCell<Option<Algorithm>>);

impl Chosen {
    pub(super) async fn of(&self, run: &Run) -> Option<Algorithm> {
        *self.0.get_or_init(|| run.algorithm()).await
    }
}

/// A file that is written, in the tree that it is written to.
pub(super) type To<'a> = (&'a Arc<dyn Tree>, &'a [u8]);

/// Sends the data to `to` and proves it there. What lies below `from` is there already, or may be.
pub(super) async fn send_proven(
    run: &Run,
    item: &FileItem,
    meta: &Meta,
    to: To<'_>,
    number: u32,
    trace: &mut Trace,
    from: u64,
) -> Result<Proof, Fault> {
    let (sent, there) = send_hashed(run, item, meta, to, number, trace, from).await?;
    prove(run, item, to, sent, there, number).await
}

/// Sends the data, and has it hashed at our end, and meanwhile at the other one where it comes from there.
async fn send_hashed(
    run: &Run,
    item: &FileItem,
    meta: &Meta,
    to: To<'_>,
    number: u32,
    trace: &mut Trace,
    from: u64,
) -> Result<(Sent, Option<Hashed>), Fault> {
    let algorithm = &Chosen(OnceCell::new());
    let over = delta::over(run, item, meta, number, from);
    let (sent, there) = if in_pieces(run, meta, from, over.is_some()) {
        by_pieces(run, item, meta, to, trace, (number, from, over), algorithm).await?
    } else {
        whole(run, item, meta, to, trace, number, algorithm).await?
    };
    if run.job.options.fsync {
        to.0.sync(to.1).await?;
    }
    Ok((sent, there))
}

/// Has a pushed file proven, and given its attributes and its name, in one question, where nothing is to be done in between and the far
/// end can do that. `None` where it has yet to be proven.
async fn prove_and_commit(
    run: &Run,
    item: &FileItem,
    meta: &Meta,
    temp: &[u8],
    (here, size): (Digest, u64),
    number: u32,
) -> Result<Option<Proof>, Fault> {
    let options = &run.job.options;
    let replaced = item.old.as_ref().is_some_and(Meta::is_file);
    let between = options.delay_updates || options.temp_dir.is_some() || options.backup.is_some() && replaced;
    if between || !matches!(how(run, here.algorithm, number), How::Best(_)) {
        return Ok(None);
    }
    let change = run.change_like(meta, item.old.as_ref(), item.like.as_ref()).await?;
    let Some(proven) = run.dest.commit_proven(temp, &item.dest_path, change, (here, size)).await? else {
        return Ok(None);
    };
    same(run.dest.as_ref(), item, here, proven.digest)?;
    if !proven.committed {
        // Whoever could not do it does not say why: the server does.
        stage::commit(run, temp, &item.dest_path, change).await?;
    }
    Ok(Some(Proof::By(proven.by)))
}

/// Removes the temp of a failed try, or keeps it as `--partial` asks. What cannot be removed now stays on the list.
async fn give_back(run: &Run, item: &FileItem, meta: &Meta, temp: &[u8], bytes: u64) {
    if run.is_over() {
        return;
    }
    let done = if run.job.options.partial && bytes > 0 && large(run, meta) {
        super::partial::keep(run, temp, &super::partial::path(run, &item.dest_path)).await
    } else {
        match stage::tree(run).await {
            Ok(stage) => stage.remove(temp).await,
            Err(fault) => Err(fault),
        }
    };
    match done {
        Ok(()) => run.temps.gone(temp),
        Err(fault) if fault.cause == Cause::NotFound => run.temps.gone(temp),
        Err(fault) => tracing::debug!(%fault, "a temporary file is left for later"),
    }
}

/// Whether a file moves in pieces.
fn large(run: &Run, meta: &Meta) -> bool {
    meta.size > run.chunk() as u64
}

/// The hash of what is at our end (none with `--verify=off`), and its size: of the source as it was read, or of the temp as
/// it lies on our disk.
pub(super) struct Sent {
    pub digest: Option<Digest>,
    pub size: u64,
    /// Where what lies at the far end was hashed meanwhile.
    pub meanwhile: Option<Meanwhile>,
}

/// A proof for which nobody has to be asked any more for all of a file. (In places of their own: thousands of small files have none.)
pub(super) enum Meanwhile {
    ByParts(Box<Proving>),
    /// The hash of what is pulled, of what was told of it so that an old file might be searched; and who told it.
    Told(Box<(Digest, &'static str)>),
}

impl Sent {
    /// What is still to be asked of the far end that this was sent to: for this hash, of so many bytes.
    fn waits(&self, run: &Run) -> Option<(Digest, u64)> {
        let digest = self.digest.filter(|_| !run.pull && self.size > 0 && self.meanwhile.is_none())?;
        Some((digest, self.size))
    }
}

/// Whether a file is sent piece by piece; else it is small enough for one read and one write.
fn in_pieces(run: &Run, meta: &Meta, from: u64, over: bool) -> bool {
    large(run, meta) || from > 0 || run.job.options.inplace || over || sparse::concerns(run, meta.size)
}

async fn by_pieces(
    run: &Run,
    item: &FileItem,
    meta: &Meta,
    to: To<'_>,
    trace: &mut Trace,
    (number, from, over): (u32, u64, Option<delta::Over>),
    algorithm: &Chosen,
) -> Result<(Sent, Option<Hashed>), Fault> {
    if item.spared && over.is_none() {
        run.has_to_send(meta.size);
    }
    let (proof, proven) = oneshot::channel();
    // Who hashes it has to tell first what its blocks are.
    let waits = run.pull && over.is_some();
    let begin = Begin { from, over, proof: waits.then_some(proof), number };
    let (sent, there) = if run.pull {
        // What comes is hashed at its source meanwhile.
        let there = async {
            if waits && proven.await == Ok(AtSource::Meanwhile) {
                return Ok(None);
            }
            Ok(at_source(run, item, meta, number, algorithm).await)
        };
        future::try_join(send(run, item, meta, to, trace, begin, algorithm), there).await?
    } else {
        (send(run, item, meta, to, trace, begin, algorithm).await?, None)
    };
    Ok((sent, there))
}

async fn send(
    run: &Run,
    item: &FileItem,
    meta: &Meta,
    to: To<'_>,
    trace: &mut Trace,
    begin: Begin,
    algorithm: &Chosen,
) -> Result<Sent, Fault> {
    let Begin { from, number, .. } = begin;
    let fault = match Box::pin(pump(run, item, meta, to, trace, begin, algorithm)).await {
        Err(fault) if trace.refused => fault,
        done => return done,
    };
    // What cannot be copied there is sent.
    tracing::debug!(%fault, "not copied there, but sent");
    run.unmoved(trace.done());
    run.has_to_send(meta.size);
    (trace.bytes, trace.matched, trace.refused) = (0, 0, false);
    match to.0.remove(to.1).await {
        Err(fault) if fault.cause != Cause::NotFound => return Err(fault),
        _ => {}
    }
    Box::pin(pump(run, item, meta, to, trace, Begin { from, over: None, proof: None, number }, algorithm)).await
}

/// Reads a small file and writes it. What is pulled is hashed at its source by whoever reads it there, or else meanwhile.
async fn whole(
    run: &Run,
    item: &FileItem,
    meta: &Meta,
    to: To<'_>,
    trace: &mut Trace,
    number: u32,
    algorithm: &Chosen,
) -> Result<(Sent, Option<Hashed>), Fault> {
    if item.spared {
        run.has_to_send(meta.size);
    }
    let started = tokio::time::Instant::now();
    let _held = run.budget.bytes(meta.size as usize).await;
    trace.waited += started.elapsed();
    if run.pull
        && meta.size > 0
        && run.job.options.verify == Verify::Auto
        && number == 1
        && let Some(told) = item.source.read_hashed(&item.source_path, meta).await
    {
        trace.used = told.used;
        let _ = algorithm.0.set(Some(told.digest.algorithm));
        let sent = write(run, item, to, trace, told.data, algorithm).await?;
        return Ok((sent, Some(Ok((told.digest, told.by)))));
    }
    let sent = async {
        let (data, after, used) = item.source.read_small(&item.source_path, meta.size, item.follow).await?;
        trace.used = used;
        unchanged(item, meta, &after, data.len() as u64)?;
        write(run, item, to, trace, data, algorithm).await
    };
    if !run.pull {
        return Ok((sent.await?, None));
    }
    let there = async { Ok(at_source(run, item, meta, number, algorithm).await) };
    future::try_join(sent, there).await
}

/// Writes a small file, all of it.
async fn write(
    run: &Run,
    item: &FileItem,
    to: To<'_>,
    trace: &mut Trace,
    data: Bytes,
    algorithm: &Chosen,
) -> Result<Sent, Fault> {
    super::sums::of_all(run, item, &data);
    let size = data.len() as u64;
    let algorithm = algorithm.of(run).await;
    let (used, stored) = to.0.write_small(to.1, data.clone(), 0o600, algorithm).await?;
    if used.channel.is_some() {
        trace.used = used;
    }
    trace.bytes = size;
    let digest = stored.or_else(|| algorithm.map(|algorithm| Digest::of(algorithm, &data)));
    Ok(Sent { digest, size, meanwhile: None })
}

/// The source must be what it was when it was listed: else what was read may be half of one version and half of another.
pub(super) fn unchanged(item: &FileItem, before: &Meta, after: &Meta, read: u64) -> Result<(), Fault> {
    let same = read == before.size
        && after.size == before.size
        && (after.mtime, after.mtime_nsec) == (before.mtime, before.mtime_nsec)
        && (before.ino == 0 || item.follow || after.ino == before.ino);
    if same {
        return Ok(());
    }
    let name = String::from_utf8_lossy(&item.shown).into_owned();
    let text = format!("\"{name}\" changed while it was read ({} bytes before, {} now)", before.size, after.size);
    Err(Fault::new(item.source.hop().clone(), Stage::Read, Cause::Changed, text))
}

type Hashed = Result<(Digest, &'static str), Fault>;

/// The hash of a file that is pulled, made where it comes from.
async fn at_source(run: &Run, item: &FileItem, meta: &Meta, number: u32, algorithm: &Chosen) -> Option<Hashed> {
    let algorithm = if meta.size > 0 { algorithm.of(run).await? } else { return None };
    Some(item.source.digest(&item.source_path, meta.size, how(run, algorithm, number)).await)
}

/// Compares the hash of what is at our end with that of what lies at the far one.
async fn prove(
    run: &Run,
    item: &FileItem,
    (dest, temp): To<'_>,
    sent: Sent,
    there: Option<Hashed>,
    number: u32,
) -> Result<Proof, Fault> {
    let Some(mut here) = sent.digest else { return Ok(Proof::Sent) };
    if sent.size == 0 {
        return Ok(Proof::By(EMPTY));
    }
    let proven = match sent.meanwhile {
        Some(Meanwhile::ByParts(proving)) => Box::pin(proving.finish(here)).await?,
        Some(Meanwhile::Told(told)) if told.0 == here => return Ok(Proof::By(told.1)),
        // Of the sums one may be wrong that told of nothing else: all is asked once more.
        Some(Meanwhile::Told(told)) => {
            let told = told.0;
            tracing::debug!(%told, %here, "asked once more");
            here = dest.digest(temp, sent.size, How::Readback(told.algorithm.in_parts().into())).await?.0;
            None
        }
        None => None,
    };
    let (end, there) = match (there, proven) {
        (Some(there), _) => (&item.source, there),
        (None, Some(there)) if run.pull => (&item.source, Ok(there)),
        (None, Some(there)) => (dest, Ok(there)),
        (None, None) if run.pull => {
            let there = item.source.digest(&item.source_path, sent.size, how(run, here.algorithm, number)).await;
            (&item.source, there)
        }
        (None, None) => (dest, dest.digest(temp, sent.size, how(run, here.algorithm, number)).await),
    };
    let (there, by) = there?;
    same(end.as_ref(), item, here, there)?;
    Ok(Proof::By(by))
}

/// From the second try on, the bytes themselves are read back: a hasher that is wrong must not fail a file that is right.
fn how(run: &Run, algorithm: Algorithm, number: u32) -> How {
    match run.job.options.verify {
        Verify::Auto if number == 1 => How::Best(algorithm),
        _ => How::Readback(algorithm),
    }
}

fn same(end: &dyn Tree, item: &FileItem, wanted: Digest, found: Digest) -> Result<(), Fault> {
    if wanted == found {
        return Ok(());
    }
    let name = String::from_utf8_lossy(&item.shown).into_owned();
    let text = format!("\"{name}\": hashes differ: {wanted} is here, {found} is there");
    Err(Fault::new(end.hop().clone(), Stage::Hash, Cause::Mismatch, text))
}
