//! Hashing: all algorithms at the sizes that occur, and the lines that a far end's hasher prints.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hopsync::verify::gmac::Key;
use hopsync::verify::ladder::{is_plain, parse_line};
use hopsync::verify::{Algorithm, Digest};

/// A small file, one request of OpenSSH's largest size, and many blocks of a large file.
const SIZES: [(&str, usize); 3] = [("4 KiB", 4 << 10), ("255 KiB", 255 << 10), ("16 MiB", 16 << 20)];
const LINES: usize = 1000;

fn hash(c: &mut Criterion) {
    let data = vec![0x5a; SIZES.iter().map(|(_, size)| *size).max().unwrap_or(0)];
    for (name, algorithm) in
        [("blake3", Algorithm::Blake3), ("gmac", Algorithm::Gmac(Key::own())), ("sha256", Algorithm::Sha256)]
    {
        let mut group = c.benchmark_group(format!("hashing/{name}"));
        for (size_name, size) in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            if size > 1 << 20 {
                group.sample_size(20);
            }
            group.bench_with_input(BenchmarkId::from_parameter(size_name), &data[..size], |b, data| {
                b.iter(|| Digest::of(algorithm, black_box(data)))
            });
        }
    }
}

fn ladder(c: &mut Criterion) {
    let lines: Vec<String> = (0..LINES)
        .map(|i| {
            let digest = Digest::of(Algorithm::Sha256, &i.to_le_bytes());
            let mut hex = String::new();
            for byte in digest.bytes {
                write!(hex, "{byte:02x}").expect("a string takes anything");
            }
            format!("{hex}  ./some/directory/.file-{i:05}.Ab3dE6")
        })
        .collect();
    let mut group = c.benchmark_group("hashing/ladder");
    group.throughput(Throughput::Elements(LINES as u64));
    group.bench_function("parse_line", |b| {
        b.iter(|| lines.iter().filter_map(|line| parse_line(Algorithm::Sha256, black_box(line.as_bytes()))).count())
    });
    group.bench_function("is_plain", |b| {
        b.iter(|| lines.iter().filter(|line| is_plain(black_box(&line.as_bytes()[66..]))).count())
    });
}

criterion_group!(hashing, hash, ladder);
criterion_main!(hashing);
