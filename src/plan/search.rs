//! Where one file has the blocks of another one, of which only the sums are known: at any place, as bytes were put in or taken out.
//!
//! The window rolls over the bytes one by one only where nothing is found; behind a block that was found comes the next one, at once.

use std::collections::HashMap;

use crate::verify::blocks::{Rolling, Strong, Sum, weak};

/// Windows whose weak sum is a block's and whose strong one is not, in one stretch: with more, the bytes are such that searching them
/// takes longer than they are worth.
const ALARMS: u32 = 1024;

/// Blocks of one length, by their sums.
#[derive(Debug, Default)]
pub struct Blocks {
    length: usize,
    /// Which values the lower half of a weak sum has: most windows end here.
    low: Vec<u64>,
    /// The higher half.
    high: Vec<u64>,
    by_weak: HashMap<u32, Vec<Known>>,
    /// Where only a block at its own place counts; then there is nothing of the above.
    by_place: Option<HashMap<u64, Strong>>,
}

/// Where blocks of this content are; the first is the one to take.
#[derive(Debug)]
struct Known {
    strong: Strong,
    at: Vec<u64>,
}

/// What was found: a block's content at a place in the bytes that were searched, and where in their file the blocks are that have it.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub here: u64,
    pub blocks: Vec<u64>,
}

impl Blocks {
    /// Blocks of `length` bytes, at these places of their file, that are looked for at these places alone.
    pub fn in_place(length: u64, known: impl Iterator<Item = (u64, Sum)>) -> Blocks {
        let by_place = known.map(|(at, sum)| (at, sum.strong)).collect();
        Blocks { length: length as usize, by_place: Some(by_place), ..Blocks::default() }
    }

    /// Blocks of `length` bytes at these places of their file, that are looked for at every place.
    pub fn new(length: u64, known: impl Iterator<Item = (u64, Sum)>) -> Blocks {
        let bitmap = || vec![0u64; 1024];
        let mut blocks = Blocks { length: length as usize, low: bitmap(), high: bitmap(), ..Blocks::default() };
        for (at, Sum { weak, strong }) in known {
            set(&mut blocks.low, weak as u16);
            set(&mut blocks.high, (weak >> 16) as u16);
            let alike = blocks.by_weak.entry(weak).or_default();
            match alike.iter_mut().find(|known| known.strong == strong) {
                Some(known) => known.at.push(at),
                None => alike.push(Known { strong, at: vec![at] }),
            }
        }
        blocks
    }

    /// The blocks that this window is. The inner `None`: its weak sum is a block's, and its strong one is not.
    fn at(&self, window: &[u8], weak: u32, strong: &mut impl FnMut(&[u8]) -> Strong) -> Option<Option<&Known>> {
        if !get(&self.high, (weak >> 16) as u16) {
            return None;
        }
        let alike = self.by_weak.get(&weak)?;
        let strong = strong(window);
        Some(alike.iter().find(|known| known.strong == strong))
    }
}

fn set(bitmap: &mut [u64], value: u16) {
    bitmap[usize::from(value >> 6)] |= 1 << (value & 63);
}

fn get(bitmap: &[u64], value: u16) -> bool {
    bitmap[usize::from(value >> 6)] >> (value & 63) & 1 == 1
}

/// Goes through a file's bytes, in order.
#[derive(Debug, Default)]
pub struct Search {
    /// The place of the first byte that was not searched, and it and those behind it.
    at: u64,
    bytes: Vec<u8>,
}

impl Search {
    /// Makes room for so many bytes, which then need not be made as they come: in `room`, which another search had, if there was none.
    pub fn make_room(&mut self, bytes: u64, room: impl FnOnce() -> Vec<u8>) {
        if self.bytes.capacity() == 0 {
            self.bytes = room();
        }
        self.bytes.reserve((bytes as usize).saturating_sub(self.bytes.len()));
    }

    /// The search is over: its room, empty, for another one.
    pub fn into_room(self) -> Vec<u8> {
        let mut room = self.bytes;
        room.clear();
        room
    }

    /// All before was searched.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// What is left: fewer bytes than a block has.
    pub fn rest(&self) -> &[u8] {
        &self.bytes
    }

    /// Searches all that there is, but for what may be the beginning of a block. `strong` makes the strong sum of a window.
    pub fn go(&mut self, blocks: &Blocks, mut strong: impl FnMut(&[u8]) -> Strong) -> Vec<Found> {
        let (length, bytes) = (blocks.length, &self.bytes);
        let (mut found, mut place, mut alarms) = (Vec::new(), 0, 0);
        'windows: while length > 0 && place + length <= bytes.len() {
            if let Some(known) = &blocks.by_place {
                let here = self.at + place as u64;
                if known.get(&here).is_some_and(|known| *known == strong(&bytes[place..place + length])) {
                    found.push(Found { here, blocks: vec![here] });
                }
                place += length;
                continue;
            }
            let mut sum = weak(&bytes[place..place + length]);
            let mut rolling = None;
            loop {
                match blocks.at(&bytes[place..place + length], sum, &mut strong) {
                    Some(Some(known)) => {
                        found.push(Found { here: self.at + place as u64, blocks: known.at.clone() });
                        place += length;
                        continue 'windows;
                    }
                    Some(None) => alarms += 1,
                    None => {}
                }
                if alarms > ALARMS {
                    // What is left of this stretch is passed over.
                    place = bytes.len() + 1 - length;
                    break 'windows;
                }
                // On to the next window that may be one.
                let rolling = rolling.get_or_insert_with(|| Rolling::over(&bytes[place..place + length]));
                let mut next = bytes[place..].iter().zip(&bytes[place + length..]);
                let on = next.position(|(out, into)| {
                    rolling.roll(*out, *into);
                    get(&blocks.low, rolling.low())
                });
                let Some(on) = on else {
                    place = bytes.len() + 1 - length;
                    break 'windows;
                };
                place += on + 1;
                sum = rolling.weak();
            }
        }
        self.at += place as u64;
        self.bytes.drain(..place);
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::verify::Algorithm;
    use crate::verify::blocks;

    const LENGTH: u64 = 16;

    fn strong(window: &[u8]) -> Strong {
        blocks::strong(Algorithm::Blake3, window)
    }

    /// The whole blocks of a file.
    fn known(file: &[u8]) -> Blocks {
        let blocks = file.chunks_exact(LENGTH as usize).enumerate();
        Blocks::new(LENGTH, blocks.map(|(n, block)| (n as u64 * LENGTH, Sum::of(Algorithm::Blake3, block))))
    }

    fn search(old: &[u8], new: &[u8], stretch: usize) -> Vec<Found> {
        let (blocks, mut search, mut found) = (known(old), Search::default(), Vec::new());
        for data in new.chunks(stretch) {
            search.feed(data);
            found.extend(search.go(&blocks, strong));
            assert!(search.rest().len() < LENGTH as usize);
        }
        found
    }

    fn random(len: usize) -> Vec<u8> {
        (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ (n / 251) as u8).collect()
    }

    #[test]
    fn blocks_are_found_where_they_were_moved_to() {
        let old = random(1000);
        let new = [&old[..100], b"put in", &old[100..500], &old[507..]].concat();
        for stretch in [1, 15, 16, 17, 300, 2000] {
            let found = search(&old, &new, stretch);
            for Found { here, blocks } in &found {
                let at = blocks[0] as usize;
                assert_eq!(new[*here as usize..][..16], old[at..at + 16]);
            }
            let all: Vec<u64> = found.iter().map(|found| found.blocks[0] / LENGTH).collect();
            // All but the one with the bytes that were put in, and the one that lacks some.
            let expected: Vec<u64> = (0..62).filter(|n| *n != 6 && *n != 31).collect();
            assert_eq!(all, expected, "{stretch}");
        }
    }

    #[test]
    fn blocks_of_the_same_content_are_all_told() {
        let found = search(&[0; 48], &[0; 40], 40);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|found| found.blocks == [0, 16, 32]));
    }

    #[test]
    fn in_place_only_a_block_that_is_where_it_was_counts() {
        let old = random(64);
        let new = [&old[16..32], &old[16..48], &old[..16]].concat();
        for stretch in [17, 64] {
            let known = old.chunks_exact(LENGTH as usize).enumerate();
            let known = known.map(|(n, block)| (n as u64 * LENGTH, Sum::strong(Algorithm::Blake3, block)));
            let (blocks, mut search, mut found) = (Blocks::in_place(LENGTH, known), Search::default(), Vec::new());
            for data in new.chunks(stretch) {
                search.feed(data);
                found.extend(search.go(&blocks, strong));
            }
            assert_eq!(found.iter().map(|found| found.here).collect::<Vec<_>>(), [16, 32]);
        }
    }

    #[test]
    fn what_only_looks_like_blocks_does_not_hold_up_for_ever() {
        let data = vec![7; 100_000];
        let sum = Sum { strong: [0; 28], ..Sum::of(Algorithm::Blake3, &data[..16]) };
        let (blocks, mut search, mut made) = (Blocks::new(LENGTH, [(0, sum)].into_iter()), Search::default(), 0);
        search.feed(&data);
        let found = search.go(&blocks, |window| {
            made += 1;
            strong(window)
        });
        assert_eq!((found, made, search.at(), search.rest().len()), (Vec::new(), ALARMS + 1, 99_985, 15));
    }

    proptest! {
        /// Whatever is found is there; and where nothing was found no block is.
        #[test]
        fn what_is_found_is_there_and_nothing_is_missed(
            old in prop::collection::vec(0u8..3, 0..120),
            new in prop::collection::vec(0u8..3, 0..200),
            stretch in 1usize..80,
        ) {
            let found = search(&old, &new, stretch);
            let mut free = 0;
            let whole: Vec<&[u8]> = old.chunks_exact(16).collect();
            let lacks = |from: usize, to: usize| {
                (from..to).all(|at| new.get(at..at + 16).is_none_or(|window| !whole.contains(&window)))
            };
            for Found { here, blocks } in found {
                let here = here as usize;
                prop_assert!(here >= free && lacks(free, here));
                for at in blocks {
                    prop_assert_eq!(&new[here..here + 16], &old[at as usize..][..16]);
                }
                free = here + 16;
            }
            prop_assert!(lacks(free, new.len()));
        }
    }
}
