//! The far end's proof of a large file that is pushed, made while the rest of it is still on its way: its parts are asked about
//! ([`crate::verify::parts`]) as soon as all of their bytes are acknowledged. Asked for at the end, a hash takes its time after the
//! last byte (0.4 s for 2 GB from memory, minutes for what must come from a disk again).
//!
//! Each byte is read again there after it was acknowledged, as ever; and the file's size is looked at when all of it is there. Nobody
//! else writes to that file, which is new and has a name of ours: so what is changed in place, or goes on from an earlier run's file, is
//! not proven in this way. Nor is a second try, for which bytes are read back ([`super::copy`]).
//!
//! What comes of it is only ever a proof. Where an answer is missing, or is not what was sent, all is asked once more after the close,
//! as of any other file.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt;

use crate::fault::Fault;
use crate::job::Verify;
use crate::sftp::wire::BoxFuture;
use crate::tree::{Answer, Tree};
use crate::verify::parts::{ASKED, Fold, Of, PART};
use crate::verify::{Algorithm, Digest};

use super::deliver::FileItem;
use super::pump::Begin;
use super::run::Run;

/// Bytes that one question asks about. What has no more is hashed in one go.
const SPAN: u64 = ASKED * PART;

/// Questions under way: others' files wait behind them at the hasher. Fewer where an old file's parts are asked about as well, for which
/// the sending waits.
const AHEAD: usize = 2;
const AHEAD_OF_PARTS: usize = 1;

/// The same once all has arrived and only they are waited for: a round trip's worth of them.
const AHEAD_AT_LAST: usize = 4;

/// A question: for the hashes of the parts from this one on ([`Tree::parts`]).
type Ask = dyn Fn(u64) -> BoxFuture<'static, Result<Option<Answer<Vec<Digest>>>, Fault>> + Send + Sync;

/// A file that is proven by its parts.
pub struct Proving {
    ask: Box<Ask>,
    size: u64,
    /// It is where the file comes from, and all of it is there.
    at_source: bool,
    /// How a part is hashed, and what does it.
    algorithm: Algorithm,
    by: &'static str,
    /// Questions under way at most.
    ahead: usize,
    /// Bytes acknowledged in all.
    total: u64,
    /// Bytes acknowledged of each question's span, from `next` on.
    arrived: VecDeque<u64>,
    /// The first span that was not asked about.
    next: u64,
    /// The answers to come, with the number of parts that they are to have.
    asked: VecDeque<(u64, Answer<Vec<Digest>>)>,
    /// Of all that was told; none once an answer was missing.
    told: Option<Fold>,
}

impl Proving {
    /// For a file of `size` bytes at `path` of the destination `tree`, whose hash would be made by `algorithm`. `None` where it is
    /// not worth it, or cannot be done.
    pub async fn begin(
        run: &Run,
        (tree, path): (&Arc<dyn Tree>, &[u8]),
        size: u64,
        begin: &Begin,
        algorithm: Option<Algorithm>,
    ) -> Option<Proving> {
        let options = &run.job.options;
        let first = begin.number == 1 && begin.from == 0;
        if !run.push() || !first || size <= SPAN || options.inplace || options.verify != Verify::Auto {
            return None;
        }
        let algorithm = algorithm?;
        let by = tree.tells_parts(algorithm).await?;
        let (tree, path): (_, Arc<[u8]>) = (tree.clone(), path.into());
        let ask = move |first| -> BoxFuture<'static, _> {
            let (tree, path) = (tree.clone(), path.clone());
            Box::pin(async move { tree.parts(&path, Of::Parts(first), algorithm).await })
        };
        let mut proving = Proving::of(Box::new(ask), size, algorithm, by);
        if begin.over.is_some() {
            proving.ahead = AHEAD_OF_PARTS;
        }
        Some(proving)
    }

    /// For a file of `size` bytes that is pulled over an old one. Whoever hashes it tells also what its blocks are, for which the receiving
    /// waits: in one go it would be long about it.
    pub async fn begin_at_source(item: &FileItem, size: u64, algorithm: Option<Algorithm>) -> Option<Proving> {
        let algorithm = algorithm.filter(|_| size > SPAN)?;
        let by = item.source.tells_parts(algorithm).await?;
        let (tree, path): (_, Arc<[u8]>) = (item.source.clone(), item.source_path[..].into());
        let ask = move |first| -> BoxFuture<'static, _> {
            let (tree, path) = (tree.clone(), path.clone());
            Box::pin(async move { tree.parts(&path, Of::Parts(first), algorithm).await })
        };
        let mut proving = Proving::of(Box::new(ask), size, algorithm, by);
        proving.ahead = AHEAD_OF_PARTS;
        // There it is already.
        proving.arrived(0, size);
        proving.at_source = true;
        Some(proving)
    }

    fn of(ask: Box<Ask>, size: u64, algorithm: Algorithm, by: &'static str) -> Proving {
        Proving {
            ask,
            size,
            at_source: false,
            algorithm,
            by,
            ahead: AHEAD,
            total: 0,
            arrived: VecDeque::new(),
            next: 0,
            asked: VecDeque::new(),
            told: Some(Fold::new(algorithm.in_parts())),
        }
    }

    /// What our end is to be hashed by.
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::Parts(self.algorithm.in_parts())
    }

    /// The destination has acknowledged these bytes, each of which comes once.
    pub fn arrived(&mut self, mut at: u64, mut len: u64) {
        if self.at_source {
            return;
        }
        self.total += len;
        while len > 0 {
            let here = len.min(SPAN - at % SPAN);
            let index = (at / SPAN).saturating_sub(self.next) as usize;
            if index >= self.arrived.len() {
                self.arrived.resize(index + 1, 0);
            }
            self.arrived[index] += here;
            (at, len) = (at + here, len - here);
        }
    }

    /// Asks about what has arrived whole, without waiting for the answer. (It waits for a connection that is made anew, as a write does.)
    pub async fn ask(&mut self) -> Result<(), Fault> {
        while let Some((parts, answer)) = self.asked.front_mut()
            && let Some(told) = answer.now_or_never()
        {
            let parts = *parts;
            self.asked.pop_front();
            self.take(parts, told);
        }
        while self.asked.len() < self.ahead && self.told.is_some() {
            let len = SPAN.min(self.size.saturating_sub(self.next * SPAN));
            if len == 0 || self.arrived.front().is_none_or(|arrived| *arrived < len) {
                return Ok(());
            }
            match (self.ask)(self.next * ASKED).await? {
                Some(answer) => self.asked.push_back((len.div_ceil(PART), answer)),
                None => self.told = None,
            }
            self.arrived.pop_front();
            self.next += 1;
        }
        Ok(())
    }

    /// An answer: as many hashes as there are parts, or none is believed.
    fn take(&mut self, parts: u64, told: Result<Vec<Digest>, Fault>) {
        match (told, &mut self.told) {
            (Ok(told), Some(fold)) if told.len() as u64 == parts => told.iter().for_each(|part| fold.part(part)),
            (told, _) => {
                tracing::debug!(?told, parts, "not proven by its parts");
                self.told = None;
            }
        }
    }

    /// The hash of all of it as it lies there, and what made it; all has arrived, and is to be `wanted`. `None` where it has to be found
    /// in another way.
    pub async fn finish(mut self, wanted: Digest) -> Result<Option<(Digest, &'static str)>, Fault> {
        self.ahead = AHEAD_AT_LAST;
        let told = self.all().await?;
        if told == Some(wanted) || self.total != self.size {
            return Ok(told.map(|told| (told, self.by)));
        }
        tracing::debug!(?told, %wanted, "asked once more");
        let spans = self.size.div_ceil(SPAN);
        self.arrived = (0..spans).map(|index| SPAN.min(self.size - index * SPAN)).collect();
        (self.next, self.told) = (0, Some(Fold::new(self.algorithm.in_parts())));
        Ok(self.all().await?.map(|told| (told, self.by)))
    }

    /// What is told of all that has arrived, if that is the whole file.
    async fn all(&mut self) -> Result<Option<Digest>, Fault> {
        loop {
            self.ask().await?;
            let Some((parts, answer)) = self.asked.pop_front() else { break };
            let told = answer.await;
            self.take(parts, told);
        }
        let whole = self.next * SPAN >= self.size;
        Ok(self.told.take().filter(|_| whole).map(Fold::finish))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::oneshot;

    use super::*;
    use crate::fault::{Cause, Stage};

    const SIZE: u64 = 2 * SPAN + 3 * PART + 1;

    /// A far end that answers when the test lets it.
    #[derive(Clone, Default)]
    struct Far(Arc<Mutex<Vec<Question>>>);

    type Question = (u64, oneshot::Sender<Vec<Digest>>);

    impl Far {
        fn prove(&self) -> Proving {
            let far = self.clone();
            let ask = move |first| -> BoxFuture<'static, _> {
                let (tells, told) = oneshot::channel();
                far.0.lock().unwrap().push((first, tells));
                let gone = || Fault::new("far", Stage::Hash, Cause::Lost, "gone");
                let answer: Answer<Vec<Digest>> = Box::pin(async move { told.await.map_err(|_| gone()) });
                Box::pin(std::future::ready(Ok(Some(answer))))
            };
            Proving::of(Box::new(ask), SIZE, Algorithm::Blake3, "test")
        }

        fn asked(&self) -> Vec<u64> {
            self.0.lock().unwrap().iter().map(|(first, _)| *first).collect()
        }

        /// Answers what is asked of the whole file, from this question on, one after the other.
        fn answers<T>(&self, finishing: &mut (impl Future<Output = T> + Unpin), from: u64) {
            for first in (from..3).map(|question| question * ASKED) {
                assert!((&mut *finishing).now_or_never().is_none());
                assert_eq!(self.asked().first(), Some(&first));
                self.tell(&parts(first, ASKED.min(2 * ASKED + 4 - first)));
            }
        }

        /// Answers the oldest question.
        fn tell(&self, parts: &[Digest]) {
            let (_, tells) = self.0.lock().unwrap().remove(0);
            tells.send(parts.to_vec()).unwrap();
        }
    }

    fn part(number: u64) -> Digest {
        Digest::of(Algorithm::Blake3, &number.to_be_bytes())
    }

    fn parts(first: u64, count: u64) -> Vec<Digest> {
        (first..first + count).map(part).collect()
    }

    fn whole() -> Digest {
        let mut fold = Fold::new(Algorithm::Blake3.in_parts());
        parts(0, 2 * ASKED + 4).iter().for_each(|part| fold.part(part));
        fold.finish()
    }

    #[tokio::test]
    async fn parts_are_asked_about_as_soon_as_they_are_there_and_no_sooner() {
        let far = Far::default();
        let mut proving = far.prove();
        proving.arrived(PART, SPAN);
        proving.ask().await.unwrap();
        assert_eq!(far.asked(), [0; 0], "the first part is not there");
        proving.arrived(0, PART);
        proving.ask().await.unwrap();
        assert_eq!(far.asked(), [0]);
        proving.arrived(SPAN + PART, SPAN - PART + 2);
        proving.arrived(2 * SPAN + 2, SIZE - 2 * SPAN - 2);
        proving.ask().await.unwrap();
        assert_eq!(far.asked(), [0, ASKED], "others wait for the hasher too");
        far.tell(&parts(0, ASKED));
        proving.ask().await.unwrap();
        assert_eq!(far.asked(), [ASKED, 2 * ASKED]);
        far.tell(&parts(ASKED, ASKED));
        far.tell(&parts(2 * ASKED, 4));
        assert_eq!(proving.finish(whole()).await.unwrap(), Some((whole(), "test")));
    }

    #[tokio::test]
    async fn what_is_asked_about_at_the_end_is_waited_for() {
        let far = Far::default();
        let mut proving = far.prove();
        proving.arrived(0, SIZE);
        let mut finishing = Box::pin(proving.finish(whole()));
        far.answers(&mut finishing, 0);
        assert_eq!(finishing.await.unwrap(), Some((whole(), "test")));
    }

    #[tokio::test]
    async fn an_answer_that_is_missing_or_wrong_is_asked_for_again_in_the_end() {
        let wrong = || parts(1, ASKED);
        for told in [None, Some(parts(0, ASKED - 1)), Some(Vec::new()), Some(parts(0, ASKED + 1)), Some(wrong())] {
            let far = Far::default();
            let mut proving = far.prove();
            proving.arrived(0, SIZE);
            proving.ask().await.unwrap();
            match &told {
                Some(told) => far.tell(told),
                None => drop(far.0.lock().unwrap().remove(0)),
            }
            far.tell(&parts(ASKED, ASKED));
            proving.ask().await.unwrap();
            if told == Some(wrong()) {
                far.tell(&parts(2 * ASKED, 4));
            }
            assert_eq!(far.asked(), [0; 0], "no more is asked about");
            let mut finishing = Box::pin(proving.finish(whole()));
            far.answers(&mut finishing, 0);
            assert_eq!(finishing.await.unwrap(), Some((whole(), "test")), "{told:?}");
        }
    }

    #[tokio::test]
    async fn what_is_told_twice_and_is_not_what_was_sent_is_told() {
        let far = Far::default();
        let mut proving = far.prove();
        proving.arrived(0, SIZE);
        let mut finishing = Box::pin(proving.finish(part(7)));
        far.answers(&mut finishing, 0);
        far.answers(&mut finishing, 0);
        assert_eq!(finishing.await.unwrap(), Some((whole(), "test")));
    }

    #[tokio::test]
    async fn a_byte_that_never_arrived_proves_nothing() {
        let far = Far::default();
        let mut proving = far.prove();
        proving.arrived(0, SIZE - 1);
        proving.ask().await.unwrap();
        far.tell(&parts(0, ASKED));
        far.tell(&parts(ASKED, ASKED));
        assert_eq!(proving.finish(whole()).await.unwrap(), None);
        assert_eq!(far.asked(), [0; 0]);
    }
}
