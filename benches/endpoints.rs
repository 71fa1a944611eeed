//! Two endpoints in memory: our SFTP session against the lab's server core, with the disk but without SSH between them.
//! What the transport costs is the difference to `hopsync-lab bench`. `TMPDIR` on a memory file system leaves out the disk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::{StreamExt, TryStreamExt, stream};
use hopsync::fault::{Fault, Stage};
use hopsync::lab::server::{Config, serve_wire};
use hopsync::lab::trees;
use hopsync::sftp::packet::open;
use hopsync::sftp::session::Peer;
use hopsync::sftp::{Attrs, Request, Session, wire};
use russh::keys::{Algorithm, PrivateKey};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const SMALL: (usize, usize) = (1000, 4 << 10);
const LARGE: usize = 64 << 20;
/// Small files in flight: fewer than this per channel starve the server.
const FILES: usize = 64;
/// Large requests in flight: some 8 MiB.
const REQUESTS: usize = 32;
/// Messages that each direction of the pair holds.
const DEPTH: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a server on this runtime and a session with it.
async fn connect(home: &Path) -> Result<Session, Fault> {
    let (near, far) = wire::pair(DEPTH);
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("a key can be made");
    let config = Config::target(key.public_key().clone(), home.to_owned());
    tokio::spawn(async move { serve_wire(far, &config).await });
    let peer = Peer {
        hop: "memory".into(),
        lane: 0,
        channel: 0,
        openssh: true,
        stall: PATIENCE,
        traffic: Arc::default(),
        habit: Arc::default(),
    };
    Session::start(near, peer, PATIENCE).await
}

const CREATE: u32 = open::WRITE | open::CREATE | open::EXCLUSIVE;

/// As the engine sends a small file: after OPEN everything travels together, under a temporary name until it is whole.
async fn push_small(session: &Session, name: &str, data: Bytes) -> Result<(), Fault> {
    let temp = format!(".{name}.tmp");
    let (temp, name) = (temp.as_bytes(), name.as_bytes());
    let attrs = Attrs { permissions: Some(0o600), ..Attrs::default() };
    let handle = session.submit(&Request::Open { path: temp, flags: CREATE, attrs }).handle(Stage::Open, temp).await?;
    let attrs = Attrs { permissions: Some(0o644), times: Some((1, 1)), ..Attrs::default() };
    let written = session.submit(&Request::Write { handle: &handle, offset: 0, data });
    let set = session.submit(&Request::Fsetstat { handle: &handle, attrs });
    let closed = session.submit(&Request::Close { handle: &handle });
    written.done(Stage::Write, name).await?;
    set.done(Stage::Attributes, name).await?;
    closed.done(Stage::Close, name).await?;
    session.submit(&Request::PosixRename { from: temp, to: name }).done(Stage::Rename, name).await
}

async fn pull_small(session: &Session, name: &str) -> Result<usize, Fault> {
    let path = name.as_bytes();
    let request = Request::Open { path, flags: open::READ, attrs: Attrs::default() };
    let handle = session.submit(&request).handle(Stage::Open, path).await?;
    let data = session.submit(&Request::Read { handle: &handle, offset: 0, len: session.limits.read });
    let closed = session.submit(&Request::Close { handle: &handle });
    let data = data.data(Stage::Read, path).await?;
    closed.done(Stage::Close, path).await?;
    Ok(data.map_or(0, |data| data.len()))
}

async fn push_large(session: &Session, data: &Bytes) -> Result<(), Fault> {
    let path = b"large".as_slice();
    let request = Request::Open { path, flags: CREATE, attrs: Attrs::default() };
    let handle = session.submit(&request).handle(Stage::Open, path).await?;
    let step = session.limits.write as usize;
    stream::iter((0..data.len()).step_by(step))
        .map(|at| {
            let part = data.slice(at..data.len().min(at + step));
            session.submit(&Request::Write { handle: &handle, offset: at as u64, data: part }).done(Stage::Write, path)
        })
        .buffer_unordered(REQUESTS)
        .try_for_each(async |()| Ok(()))
        .await?;
    session.submit(&Request::Close { handle: &handle }).done(Stage::Close, path).await
}

async fn pull_large(session: &Session, size: usize) -> Result<usize, Fault> {
    let path = b"large".as_slice();
    let request = Request::Open { path, flags: open::READ, attrs: Attrs::default() };
    let handle = session.submit(&request).handle(Stage::Open, path).await?;
    let step = session.limits.read as usize;
    let seen = stream::iter((0..size).step_by(step))
        .map(|at| {
            session
                .submit(&Request::Read { handle: &handle, offset: at as u64, len: step as u32 })
                .data(Stage::Read, path)
        })
        .buffer_unordered(REQUESTS)
        .try_fold(0, async |seen, data| Ok(seen + data.map_or(0, |data| data.len())))
        .await?;
    session.submit(&Request::Close { handle: &handle }).done(Stage::Close, path).await?;
    Ok(seen)
}

fn names() -> Vec<String> {
    (0..SMALL.0).map(|i| format!("file-{i:05}")).collect()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads can be started")
}

/// A directory that no file was ever deleted from: ext4 is slow to create files where many were.
fn fresh() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

fn push(c: &mut Criterion) {
    let runtime = runtime();
    let names = names();
    let small = Bytes::from(vec![0x5a; SMALL.1]);
    let large = Bytes::from(vec![0x5a; LARGE]);
    let mut group = c.benchmark_group("endpoints/push");
    group.sample_size(20);
    group.throughput(Throughput::Elements(SMALL.0 as u64));
    group.bench_function("1000 x 4 KiB", |b| {
        b.iter_batched(
            fresh,
            |dir| {
                let files = async {
                    let session = connect(dir.path()).await?;
                    stream::iter(&names)
                        .map(|name| push_small(&session, name, small.clone()))
                        .buffer_unordered(FILES)
                        .try_for_each(async |()| Ok::<(), Fault>(()))
                        .await
                };
                runtime.block_on(files).expect("every file is written");
                dir
            },
            BatchSize::PerIteration,
        )
    });
    group.throughput(Throughput::Bytes(LARGE as u64));
    group.bench_function("64 MiB", |b| {
        b.iter_batched(
            fresh,
            |dir| {
                let file = async { push_large(&connect(dir.path()).await?, &large).await };
                runtime.block_on(file).expect("the file is written");
                dir
            },
            BatchSize::PerIteration,
        )
    });
}

fn source(dir: &Path) -> io::Result<()> {
    for name in names() {
        trees::random_file(&dir.join(&name), SMALL.1 as u64, name.as_bytes())?;
    }
    trees::random_file(&dir.join("large"), LARGE as u64, b"large")
}

fn pull(c: &mut Criterion) {
    let runtime = runtime();
    let dir = fresh();
    source(dir.path()).expect("the source can be made");
    let names = names();
    let mut group = c.benchmark_group("endpoints/pull");
    group.sample_size(20);
    group.throughput(Throughput::Elements(SMALL.0 as u64));
    group.bench_function("1000 x 4 KiB", |b| {
        b.iter(|| {
            let files = async {
                let session = connect(dir.path()).await?;
                stream::iter(&names)
                    .map(|name| pull_small(&session, name))
                    .buffer_unordered(FILES)
                    .try_fold(0, async |seen, len| Ok::<usize, Fault>(seen + len))
                    .await
            };
            assert_eq!(runtime.block_on(files).expect("every file is read"), SMALL.0 * SMALL.1);
        })
    });
    group.throughput(Throughput::Bytes(LARGE as u64));
    group.bench_function("64 MiB", |b| {
        b.iter(|| {
            let file = async { pull_large(&connect(dir.path()).await?, LARGE).await };
            assert_eq!(runtime.block_on(file).expect("the file is read"), LARGE);
        })
    });
}

criterion_group!(endpoints, push, pull);
criterion_main!(endpoints);
