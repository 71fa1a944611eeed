//! The plan: a million entries in a thousand directories compared, filtered and sorted.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hopsync::entry::{Entry, Kind, Meta};
use hopsync::job::Options;
use hopsync::plan::diff::{Filters, diff_dir};
use hopsync::plan::filter::{Filter, Rule, Side};
use hopsync::plan::order;
use hopsync::plan::quick_check::Context;
use hopsync::plan::search::{Blocks, Search};
use hopsync::verify::Algorithm;
use hopsync::verify::blocks::{self, Sum};
use hopsync::verify::gmac::Key;

const DIRECTORIES: u64 = 1000;
const ENTRIES: u64 = 1000;
/// Coprime to [`ENTRIES`]: `i * STRIDE % ENTRIES` visits each once, in no order, as a listing comes.
const STRIDE: u64 = 389;

fn entry(i: u64, mtime: i64) -> Entry {
    let kind = if i.is_multiple_of(20) { Kind::Dir } else { Kind::File };
    let name = format!("measurement-{i:06}.{}", ["dat", "o", "txt", "c"][(i % 4) as usize]).into_bytes();
    let meta = Meta {
        kind,
        size: i,
        mtime,
        mtime_nsec: 0,
        atime: 0,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        dev: 1,
        ino: i,
        links: 1,
    };
    Entry { name, meta, target: None }
}

/// The listings of all directories.
fn tree(mtime: i64) -> Vec<Vec<Entry>> {
    (0..DIRECTORIES).map(|_| (0..ENTRIES).map(|i| entry(i * STRIDE % ENTRIES, mtime)).collect()).collect()
}

fn archive() -> Options {
    Options { recursive: true, links: true, perms: true, times: true, ..Options::default() }
}

/// Fifty rules as people have them: names, suffixes, anchored directories, and one that matches at last.
fn rules() -> Filter {
    let mut rules = Vec::new();
    for i in 0..10 {
        rules.extend([
            format!("- *.tmp{i}"),
            format!("- /scratch-{i}/"),
            format!("+ /keep-{i}/***"),
            format!("- **/cache-{i}/*.bin"),
        ]);
    }
    rules.extend((0..9).map(|i| format!("- core.[0-9]{i}")));
    rules.push("- *.o".to_owned());
    let rules: Vec<Rule> = rules.iter().map(|rule| Rule::parse(rule.as_bytes()).expect("a valid rule")).collect();
    Filter::new(&rules)
}

fn diff(c: &mut Criterion) {
    let opts = archive();
    let mut deleting = archive();
    deleting.delete.enabled = true;
    let mut group = c.benchmark_group("plan/diff_dir of 1,000,000 entries");
    group.throughput(Throughput::Elements(DIRECTORIES * ENTRIES)).sample_size(10);
    let cases = [
        ("all new", &opts, Filter::default(), None),
        ("all unchanged", &opts, Filter::default(), Some(1)),
        ("all changed, 50 rules, --delete", &deleting, rules(), Some(2)),
    ];
    for (name, opts, filter, there) in cases {
        let ctx = Context::new(opts, 0o022).expect("no --chmod to be wrong");
        let source = tree(1);
        let dest = there.map(tree);
        group.bench_function(name, |b| {
            b.iter_batched(
                || (source.clone(), dest.clone()),
                |(source, dest)| {
                    let mut dest = dest.map(Vec::into_iter);
                    let mut steps = 0;
                    for source in source {
                        let dest = dest.as_mut().and_then(Iterator::next);
                        steps += black_box(diff_dir(b"some/dir", source, dest, &ctx, Filters::both(&filter), true))
                            .steps
                            .len();
                    }
                    steps
                },
                BatchSize::PerIteration,
            )
        });
    }
}

fn filter(c: &mut Criterion) {
    let filter = rules();
    let paths: Vec<Vec<u8>> = (0..10_000).map(|i| [b"some/dir/".as_slice(), &entry(i, 1).name].concat()).collect();
    let mut group = c.benchmark_group("plan/filter");
    group.throughput(Throughput::Elements(paths.len() as u64));
    group.bench_function("50 rules, 10,000 paths", |b| {
        b.iter(|| paths.iter().filter(|path| filter.excludes(path, false, Side::Sender)).count())
    });
}

fn sort(c: &mut Criterion) {
    let tree = tree(1);
    let mut group = c.benchmark_group("plan/sort");
    group.throughput(Throughput::Elements(DIRECTORIES * ENTRIES)).sample_size(10);
    group.bench_function("1,000,000 entries in 1,000 directories", |b| {
        b.iter_batched_ref(
            || tree.clone(),
            |tree| tree.iter_mut().for_each(|entries| order::sort(entries)),
            BatchSize::PerIteration,
        )
    });
    group.bench_function("1,000,000 entries in one directory", |b| {
        b.iter_batched_ref(|| tree.concat(), |entries| order::sort(entries), BatchSize::PerIteration)
    });
}

/// 64 MiB searched for the blocks of another version: found one behind the other, one byte further on, and none at all.
fn search(c: &mut Criterion) {
    let random = |seed: u64, len: u64| -> Vec<u8> {
        let mut state = seed;
        let byte = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..len).map(byte).collect()
    };
    let (algorithm, length) = (Algorithm::Gmac(Key::own()), blocks::length(100 << 20));
    let old = random(1, 64 << 20);
    let sums = old.chunks(length as usize).enumerate().map(|(n, block)| (n as u64 * length, Sum::of(algorithm, block)));
    let known = Blocks::new(length, sums);
    let mut group = c.benchmark_group("plan/search");
    group.throughput(Throughput::Bytes(old.len() as u64));
    group.sample_size(10);
    let moved = [&[7][..], &old[..old.len() - 1]].concat();
    for (name, new) in [("same", &old), ("moved", &moved), ("other", &random(2, 64 << 20))] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut search = Search::default();
                let stretches = new.chunks(1 << 20).map(|stretch| {
                    search.feed(stretch);
                    search.go(&known, |window| blocks::strong(algorithm, window)).len()
                });
                black_box(stretches.sum::<usize>())
            });
        });
    }
}

criterion_group!(plan, diff, filter, sort, search);
criterion_main!(plan);
