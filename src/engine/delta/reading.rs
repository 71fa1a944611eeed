//! What the search goes by: the far end's sums, asked for ahead, and our file, read in stretches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future;

use crate::fault::Fault;
use crate::tree::{Answer, Source, Tree};
use crate::verify::blocks::{Asked, SPAN, Sum};
use crate::verify::of_blocks::Fold;
use crate::verify::parts::Of;
use crate::verify::{Algorithm, Digest};

/// Questions under way: so much is hashed there in the round trip in which an answer comes (192 MiB in 50 ms are 4 GB/s).
const AHEAD: usize = 3;

/// Bytes that are read and searched at one go.
pub(super) const STRETCH: u64 = 1 << 20;

/// Questions for the sums of the far end's file.
pub(super) struct Asking {
    pub(super) tree: Arc<dyn Tree>,
    pub(super) path: Vec<u8>,
    pub(super) algorithm: Algorithm,
    pub(super) length: u64,
    pub(super) size: u64,
    /// What lies behind cannot be in ours, which is so much shorter.
    pub(super) until: u64,
    /// The first byte that was not asked about.
    pub(super) next: u64,
    /// Only what is at its own place counts: it needs no weak sums.
    pub(super) in_place: bool,
    pub(super) late: bool,
    pub(super) asked: VecDeque<Answer<Vec<Digest>>>,
}

impl Asking {
    /// Asks for the next ones, without waiting for the answers. False if nothing tells them.
    pub(super) async fn ahead(&mut self) -> Result<bool, Fault> {
        while self.next < self.until && self.asked.len() < AHEAD {
            let of = Asked { length: self.length, at: self.next, weak: !self.in_place };
            let Some(answer) = self.tree.parts(&self.path, Of::Blocks(of), self.algorithm).await? else {
                return Ok(false);
            };
            self.asked.push_back(answer);
            self.next += SPAN;
        }
        Ok(true)
    }

    /// The next answer: none where it does not come in time, or tells of nothing.
    pub(super) async fn told(&mut self, patience: Duration) -> Result<Option<Vec<Sum>>, Fault> {
        let Some(answer) = self.asked.pop_front() else { return Ok(None) };
        let Ok(told) = tokio::time::timeout(patience, answer).await else {
            self.late = true;
            return Ok(None);
        };
        let sums: Vec<Sum> = told?.iter().map(Sum::told).collect();
        Ok((!sums.is_empty()).then_some(sums))
    }
}

/// The hash of a file by its blocks, if what one answer told are all of them.
pub(super) fn of_all(size: u64, length: u64, algorithm: Algorithm, sums: &[Sum]) -> Option<Digest> {
    let all = size <= SPAN && sums.len() as u64 == size.div_ceil(length);
    all.then(|| {
        let mut fold = Fold::new(length, algorithm.in_parts());
        sums.iter().for_each(|sum| fold.block(&sum.strong));
        fold.finish()
    })
}

/// Our file, as it is read.
pub(super) struct Ours {
    pub(super) file: Arc<dyn Source>,
    pub(super) size: u64,
    /// Bytes read in one call.
    pub(super) piece: u64,
    /// Where the next stretch begins.
    pub(super) read: u64,
    /// The end was come to.
    pub(super) ended: bool,
}

impl Ours {
    /// Whether all of it was, and searched, too.
    pub(super) fn is_read(&self) -> bool {
        self.ended && self.read == self.size
    }

    /// The next stretch; none at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<Bytes>, Fault> {
        let from = self.read;
        self.ended = from == self.size;
        self.read = (from + STRETCH).min(self.size);
        let stretch = self.range(from, self.read).await?;
        if stretch.iter().map(Bytes::len).sum::<usize>() as u64 != self.read - from {
            // It ends early, being changed now.
            self.size = from;
            return Ok(Vec::new());
        }
        Ok(stretch)
    }

    /// The bytes between two places; fewer at the file's end.
    pub(super) async fn range(&self, mut from: u64, to: u64) -> Result<Vec<Bytes>, Fault> {
        let mut asked = Vec::new();
        while from < to {
            let len = self.piece.min(to - from);
            asked.push(self.file.read_at(from, len as usize).await?);
            from += len;
        }
        future::try_join_all(asked).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::OfPart;
    use crate::verify::blocks::length;

    #[test]
    fn a_file_is_proven_by_its_blocks_only_where_all_of_them_were_told() {
        let length = length(0);
        let data = vec![7; 2 * length as usize + 1];
        let sums: Vec<Sum> = data.chunks(length as usize).map(|block| Sum::of(Algorithm::Sha256, block)).collect();
        let told = |size, sums: &[Sum]| of_all(size, length, Algorithm::Sha256, sums);
        let size = data.len() as u64;
        assert_eq!(told(size, &sums), Some(Digest::of(Algorithm::Blocks(length, OfPart::Sha256), &data)));
        // The file has come to be shorter or longer; or this is the first answer of several.
        assert_eq!(told(size, &sums[..2]), None);
        assert_eq!(told(size, &[&sums[..], &sums[..1]].concat()), None);
        assert_eq!(told(SPAN + 1, &vec![sums[0]; (SPAN + 1).div_ceil(length) as usize]), None);
    }
}
