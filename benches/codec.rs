//! The SFTP codec: requests to bytes, bytes to packets, packets to replies.

use std::hint::black_box;

use bytes::{BufMut, Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hopsync::sftp::frame::Frames;
use hopsync::sftp::{Handle, Reply, Request};

/// What OpenSSH takes in one WRITE and gives for one READ (`limits@openssh.com`).
const DATA: usize = 261_120;
/// One SSH packet (RFC 4253 §6.1), which is how an SFTP stream arrives.
const CHUNK: usize = 32 * 1024;
/// Requests, or replies, in one iteration.
const MANY: u32 = 1000;
/// Names in one NAME reply of OpenSSH's server.
const NAMES: u32 = 100;

fn packet(kind: u8, id: u32, fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(kind);
    out.put_u32(id);
    fill(&mut out);
    out.freeze()
}

fn put_string(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

fn status(id: u32) -> Bytes {
    packet(101, id, |out| {
        out.put_u32(0);
        put_string(out, b"Success");
        put_string(out, b"");
    })
}

fn data(id: u32, len: usize) -> Bytes {
    packet(103, id, |out| {
        out.put_u32(len as u32);
        out.put_bytes(0x5a, len);
    })
}

/// A NAME reply with full attributes and the long names that OpenSSH adds.
fn names(id: u32) -> Bytes {
    packet(104, id, |out| {
        out.put_u32(NAMES);
        for i in 0..NAMES {
            put_string(out, format!("file-{i:05}").as_bytes());
            let long = format!("-rw-r--r--    1 user     group        4096 Jan  1 00:00 file-{i:05}");
            put_string(out, long.as_bytes());
            // SIZE, UIDGID, PERMISSIONS, ACMODTIME (filexfer-02 §5).
            out.put_u32(0x0f);
            out.put_u64(4096);
            out.put_u32(1000);
            out.put_u32(1000);
            out.put_u32(0o100_644);
            out.put_u32(1_700_000_000);
            out.put_u32(1_700_000_000);
        }
    })
}

/// The packets as they come over a channel: with their lengths, in chunks.
fn stream(packets: impl Iterator<Item = Bytes>) -> Vec<Bytes> {
    let mut all = BytesMut::new();
    for packet in packets {
        put_string(&mut all, &packet);
    }
    let mut all = all.freeze();
    let mut chunks = Vec::new();
    while !all.is_empty() {
        chunks.push(all.split_to(CHUNK.min(all.len())));
    }
    chunks
}

fn encode(c: &mut Criterion) {
    let handle = Handle(Bytes::from_static(&[0, 0, 0, 128]));
    let payload = Bytes::from(vec![0x5a; DATA]);
    let mut group = c.benchmark_group("codec/encode");
    group.throughput(Throughput::Elements(u64::from(MANY)));
    type Make<'a> = Box<dyn Fn(u32) -> Request<'a> + 'a>;
    let kinds: [(&str, Make); 3] = [
        ("read", Box::new(|i| Request::Read { handle: &handle, offset: u64::from(i) << 18, len: DATA as u32 })),
        ("write", Box::new(|i| Request::Write { handle: &handle, offset: u64::from(i) << 18, data: payload.clone() })),
        ("lstat", Box::new(|_| Request::Lstat { path: b"some/directory/with/a/file-00042" })),
    ];
    for (name, make) in kinds {
        let mut out = BytesMut::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                for id in 0..MANY {
                    black_box(make(id).encode(id, &mut out));
                }
                out.len()
            })
        });
    }
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/parse");
    for (name, reply, elements) in [("status", status(7), 1), ("data", data(7, DATA), 1), ("name", names(7), NAMES)] {
        group.throughput(Throughput::Elements(u64::from(elements)));
        group.bench_function(name, |b| b.iter(|| Reply::parse(black_box(reply.clone())).expect("a whole reply")));
    }
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/frames from 32 KiB chunks");
    let streams = [
        ("data of 255 KiB", stream((0..64).map(|id| data(id, DATA)))),
        ("data of 4 KiB", stream((0..MANY).map(|id| data(id, 4096)))),
        ("status", stream((0..MANY).map(status))),
        ("names", stream((0..MANY / 10).map(names))),
    ];
    for (name, chunks) in streams {
        group.throughput(Throughput::Bytes(chunks.iter().map(|chunk| chunk.len() as u64).sum()));
        group.bench_function(name, |b| {
            b.iter_batched(
                || chunks.clone(),
                |chunks| {
                    let mut frames = Frames::default();
                    let mut seen = 0;
                    for chunk in chunks {
                        frames.feed(chunk);
                        while let Some(packet) = frames.take().expect("lengths within the limit") {
                            seen += black_box(packet).len();
                        }
                    }
                    seen
                },
                BatchSize::SmallInput,
            )
        });
    }
}

criterion_group!(codec, encode, parse, frames);
criterion_main!(codec);
