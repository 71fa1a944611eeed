//! Cases from a seed: two trees that share names, and options that go together.

use crate::harness::{Case, Ends};
use crate::scene::{Scene, Thing};

/// Small and the same for ever: a case is named by its seed (Steele et al., SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const NAMES: [&str; 8] = ["a", "a-b", "a.b", "ab", "B", "b.o", "-x", "z~"];

fn fill(chance: &mut Chance, at: &str, depth: u32, into: &mut Vec<Thing>) {
    for name in NAMES {
        if !chance.one_in(2) {
            continue;
        }
        let path = format!("{at}/{name}");
        let time = 1000 + chance.below(2) as i64;
        match chance.below(8) {
            0 | 1 if depth > 0 => {
                let mode = chance.of(&[0o755, 0o750, 0o700]);
                into.push(Thing::Dir { path: path.clone(), mode, time });
                fill(chance, &path, depth - 1, into);
            }
            3 => {
                let top = at.split('/').next();
                let file = into.iter().find_map(|thing| match thing {
                    Thing::File { path, .. } if path.split('/').next() == top => Some(path.clone()),
                    _ => None,
                });
                into.extend(file.map(|of| Thing::Hard { path, of }));
            }
            2 => into.push(Thing::Link { path, target: chance.of(&["a", "ab", "nowhere"]).to_owned(), time }),
            _ => {
                let content = chance.of(&["", "x", "y", "longer"]).to_owned();
                into.push(Thing::File { path, content, mode: chance.of(&[0o644, 0o600, 0o755]), time });
            }
        }
    }
}

/// Each line: at most one of these is taken.
const OPTIONS: [&[&str]; 15] = [
    &["-i", "-ii", "-v", "-vv", "-vi", "--stats"],
    &["-n"],
    &["--delete", "--delete-before", "--delete-excluded", "--del"],
    &["--exclude=*.o", "--exclude=a/", "--include=a*", "--filter=P_b*"],
    &["--exclude=/ab", "--exclude=B/**"],
    &["-c", "--size-only", "-I"],
    &["-u", "--existing", "--ignore-existing"],
    &["-O", "--no-t", "--no-p", "--no-l"],
    &["--chmod=D700,F600", "--chmod=ug=rwX"],
    &["--max-size=3", "--min-size=1"],
    &["-R", "-m"],
    &["-b", "--backup-dir=../kept", "-b --suffix=.old"],
    &["--inplace", "--remove-source-files", "--delay-updates"],
    &["--link-dest=../src", "--copy-dest=../src", "--compare-dest=../src"],
    &["-L", "-k", "--safe-links", "--copy-unsafe-links"],
];

/// The case of a seed.
pub fn case(seed: u64) -> Case {
    let mut chance = Chance(seed);
    let mut things = Vec::new();
    fill(&mut chance, "src", 2, &mut things);
    fill(&mut chance, "dst", 2, &mut things);
    let mut text = chance.of(&["-a", "-a", "-a", "-rlt", "-r"]).to_owned();
    for group in OPTIONS {
        if chance.one_in(5) {
            text.push(' ');
            text.push_str(chance.of(group));
        }
    }
    text.push_str(chance.of(&[" src/ dst", " src/ dst", " src/ dst/", " src dst", " src/ new"]));
    let ends = chance.of(&[Ends::Local, Ends::Push, Ends::Pull]);
    Case { scene: Scene::Made(things), ends, text: format!("{text} # {seed}") }
}
