//! Which handle OpenSSH's server gives to the next OPEN. Pure.
//!
//! It gives the one that was freed last, or else the next number (sftp-server.c `handle_new`), takes requests in their order,
//! and frees a handle with its CLOSE whatever becomes of that. So what is to be done with a file can travel with its OPEN, a
//! round trip sooner.
//!
//! That a server is like that is not believed but watched ([`Habit`]): nothing is foreseen before a handle was given again,
//! nor ever after one was given that was not the one. And a handle that was foreseen wrongly, because an OPEN before it
//! fails, is nobody else's: what the server has open is among what is taken to be open here. So a request under it is refused.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;

use super::packet::Handle;

/// What is known of a server by the handles that it gave, on all its channels together.
#[derive(Debug, Default)]
pub struct Habit(AtomicU8);

impl Habit {
    const SEEN: u8 = 1;
    const REFUTED: u8 = 2;
    /// Refuted after it was seen: handles were foreseen.
    const BROKEN: u8 = 3;

    /// For servers that are not to be asked.
    pub fn none() -> Habit {
        Habit(AtomicU8::new(Habit::REFUTED))
    }

    /// One was given again, as foreseen.
    fn see(&self) {
        let _ = self.0.compare_exchange(0, Habit::SEEN, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// One was given that was not the one. Says whether any was ever foreseen.
    fn refute(&self) -> bool {
        let _ = self.0.compare_exchange(0, Habit::REFUTED, Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.0.compare_exchange(Habit::SEEN, Habit::BROKEN, Ordering::Relaxed, Ordering::Relaxed);
        self.0.load(Ordering::Relaxed) == Habit::BROKEN
    }

    pub fn is_unknown(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    pub fn is_seen(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Habit::SEEN
    }

    pub fn is_refuted(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), Habit::REFUTED | Habit::BROKEN)
    }
}

/// The server has given up its habit while handles were foreseen. Then what followed such an OPEN may have been done to a file
/// that the server had given the foreseen handle to: nothing that was not answered yet is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// The server's unused handles.
#[derive(Debug, Clone, Default)]
struct Unused {
    /// The last one is the next.
    freed: Vec<u32>,
    /// How many it has ever had at once.
    made: u32,
}

impl Unused {
    fn next(&self) -> u32 {
        self.freed.last().copied().unwrap_or(self.made)
    }

    fn take(&mut self) -> u32 {
        self.freed.pop().unwrap_or_else(|| {
            self.made += 1;
            self.made - 1
        })
    }

    /// A file is opened, and closed as the handle that it was taken to get.
    fn pass(&mut self, foreseen: u32) {
        let taken = self.take();
        if taken == foreseen {
            self.freed.push(taken);
        }
    }
}

/// What was asked for.
#[derive(Debug)]
enum Asked {
    Open(u64),
    /// An OPEN, and a CLOSE of this.
    Pass(u64, u32),
    Close(u32),
}

/// The handles of one channel.
#[derive(Debug, Default)]
pub struct Handles {
    /// After all that was answered.
    certain: Unused,
    /// What followed, from the first that was not answered on.
    asked: VecDeque<Asked>,
    /// After that too, if all of it succeeds.
    likely: Unused,
    opens: u64,
}

impl Handles {
    fn number(&mut self) -> u64 {
        self.opens += 1;
        self.opens
    }

    /// A file is opened and closed again by what is submitted together now: the number by which the answer is told, and the
    /// handle that the file is taken to get.
    pub fn passes(&mut self) -> (u64, Handle) {
        let (number, next) = (self.number(), self.likely.next());
        self.asked.push_back(Asked::Pass(number, next));
        (number, handle(next))
    }

    /// The same, of an OPEN or OPENDIR that is not closed yet.
    pub fn opens(&mut self) -> (u64, Handle) {
        let number = self.number();
        self.asked.push_back(Asked::Open(number));
        (number, handle(self.likely.take()))
    }

    /// A CLOSE is submitted.
    pub fn closes(&mut self, handle: &Handle, habit: &Habit) {
        // What is not open is not freed: counted twice, it would be foreseen while somebody has it.
        let open = |index: &u32| *index < self.likely.made && !self.likely.freed.contains(index);
        let Some(index) = index(handle).filter(open) else {
            habit.refute();
            return;
        };
        self.likely.freed.push(index);
        if self.asked.is_empty() {
            self.certain.freed.push(index);
        } else {
            self.asked.push_back(Asked::Close(index));
        }
    }

    /// The OPEN or OPENDIR of this number was answered: with a handle, or with a refusal.
    ///
    /// # Errors
    /// [`Broken`]: the channel is to be given up.
    pub fn answered(&mut self, number: u64, given: Option<&Handle>, habit: &Habit) -> Result<(), Broken> {
        let again = !self.certain.freed.is_empty();
        let next = self.certain.next();
        let as_told = given.is_none_or(|given| index(given) == Some(next));
        // Whether it is as it was taken to be.
        let foreseen = match self.asked.pop_front() {
            Some(Asked::Open(asked)) if asked == number && as_told => {
                if given.is_some() {
                    self.certain.take();
                }
                given.is_some()
            }
            Some(Asked::Pass(asked, foreseen)) if asked == number && as_told => {
                if given.is_some() {
                    self.certain.pass(foreseen);
                }
                next == foreseen
            }
            _ => return if habit.refute() { Err(Broken) } else { Ok(()) },
        };
        if given.is_some() && again {
            habit.see();
        }
        while let Some(Asked::Close(index)) = self.asked.front() {
            self.certain.freed.push(*index);
            self.asked.pop_front();
        }
        if !foreseen {
            self.think_again();
        }
        Ok(())
    }

    fn think_again(&mut self) {
        self.likely = self.certain.clone();
        for asked in &self.asked {
            match asked {
                Asked::Open(_) => {
                    self.likely.take();
                }
                Asked::Pass(_, foreseen) => self.likely.pass(*foreseen),
                Asked::Close(index) => self.likely.freed.push(*index),
            }
        }
    }
}

/// OpenSSH's handles are an index in four bytes.
fn handle(index: u32) -> Handle {
    Handle(Bytes::copy_from_slice(&index.to_be_bytes()))
}

fn index(handle: &Handle) -> Option<u32> {
    handle.0.as_ref().try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Opens and closes a file, `given` being its handle.
    fn used(handles: &mut Handles, habit: &Habit, given: &Handle) {
        let (number, _) = handles.opens();
        let _ = handles.answered(number, Some(given), habit);
        handles.closes(given, habit);
    }

    #[test]
    fn what_passes_shows_a_habit_too() {
        let (mut handles, habit) = (Handles::default(), Habit::default());
        for _ in 0..2 {
            assert!(!habit.is_seen());
            let (number, foreseen) = handles.passes();
            assert_eq!(handles.answered(number, Some(&foreseen), &habit), Ok(()));
        }
        assert!(habit.is_seen());
    }

    #[test]
    fn a_habit_is_seen_when_a_handle_is_given_again() {
        let (mut handles, habit) = (Handles::default(), Habit::default());
        used(&mut handles, &habit, &handle(0));
        assert!(!habit.is_seen(), "only freed so far");
        used(&mut handles, &habit, &handle(0));
        assert!(habit.is_seen());
        assert_eq!((handles.passes().1, handles.passes().1), (handle(0), handle(0)));
        assert_eq!((handles.opens().1, handles.opens().1), (handle(0), handle(1)));
    }

    #[test]
    fn a_server_that_gives_other_handles_is_never_believed_again() {
        for given in [handle(7), Handle(Bytes::from_static(b"a handle")), handle(1)] {
            let (mut handles, habit) = (Handles::default(), Habit::default());
            used(&mut handles, &habit, &handle(0));
            used(&mut handles, &habit, &handle(0));
            let (number, _) = handles.opens();
            assert_eq!(handles.answered(number, Some(&given), &habit), Err(Broken));
            assert!(habit.is_refuted());
            habit.see();
            assert!(habit.is_refuted() && !habit.is_seen());
        }
    }

    #[test]
    fn what_came_after_one_that_fails_is_thought_over() {
        let (mut handles, habit) = (Handles::default(), Habit::default());
        let ((first, _), (second, foreseen)) = (handles.opens(), handles.passes());
        assert_eq!(foreseen, handle(1));
        assert_eq!(handles.answered(first, None, &habit), Ok(()));
        assert_eq!(handles.opens().1, handle(1), "the second one has the first's, and not closed it");
        assert_eq!(handles.answered(second, Some(&handle(0)), &habit), Ok(()));
        assert!(!habit.is_refuted());
    }

    #[test]
    fn a_close_of_what_is_not_open_refutes() {
        for closed in [handle(0), handle(1)] {
            let (mut handles, habit) = (Handles::default(), Habit::default());
            used(&mut handles, &habit, &handle(0));
            handles.closes(&closed, &habit);
            assert!(habit.is_refuted());
        }
    }

    #[test]
    fn answers_out_of_their_order_refute() {
        let (mut handles, habit) = (Handles::default(), Habit::default());
        let ((_, first), (second, _)) = (handles.opens(), handles.opens());
        assert_eq!(handles.answered(second, Some(&first), &habit), Ok(()), "none was foreseen");
        assert!(habit.is_refuted());
    }

    /// OpenSSH's table of handles (sftp-server.c).
    #[derive(Default)]
    struct Server {
        used: Vec<bool>,
        unused: Vec<usize>,
    }

    impl Server {
        fn open(&mut self) -> usize {
            let given = self.unused.pop().unwrap_or(self.used.len());
            self.used.resize(self.used.len().max(given + 1), false);
            self.used[given] = true;
            given
        }

        /// Whether it was open.
        fn close(&mut self, handle: usize) -> bool {
            let open = self.is_open(handle);
            if open {
                self.used[handle] = false;
                self.unused.push(handle);
            }
            open
        }

        fn is_open(&self, handle: usize) -> bool {
            self.used.get(handle) == Some(&true)
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Open { fails: bool, foreseen: bool },
        Pass { fails: bool },
        Close(prop::sample::Index),
        Answer,
    }

    fn step() -> impl Strategy<Value = Step> {
        let fails = || prop::bool::weighted(0.1);
        prop_oneof![
            3 => (fails(), any::<bool>()).prop_map(|(fails, foreseen)| Step::Open { fails, foreseen }),
            3 => fails().prop_map(|fails| Step::Pass { fails }),
            3 => any::<prop::sample::Index>().prop_map(Step::Close),
            5 => Just(Step::Answer),
        ]
    }

    proptest! {
        /// Against OpenSSH's own way, with OPENs that fail and answers that are late by any number of requests: whatever is
        /// asked under a handle that was foreseen is asked of its own file, or of none. And while nothing fails it is the right one.
        #[test]
        fn what_is_foreseen_is_nobody_elses(steps in prop::collection::vec(step(), 0..300)) {
            let (mut handles, mut server, habit) = (Handles::default(), Server::default(), Habit::default());
            // The server takes each request as it is submitted; its answers are on their way.
            let (mut answers, mut open, mut unsure) = (VecDeque::new(), Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Open { fails, foreseen } => {
                        let (number, next) = handles.opens();
                        let given = (!fails).then(|| server.open());
                        let index = index(&next).unwrap() as usize;
                        if foreseen {
                            prop_assert!(given == Some(index) || !server.is_open(index));
                        }
                        prop_assert!(unsure > 0 || fails || given == Some(index));
                        unsure += usize::from(fails);
                        answers.push_back((number, given, index, fails, false));
                    }
                    Step::Pass { fails } => {
                        let (number, next) = handles.passes();
                        let index = index(&next).unwrap() as usize;
                        let given = (!fails).then(|| server.open());
                        let closed = server.close(index);
                        prop_assert_eq!(closed, given == Some(index));
                        prop_assert!(unsure > 0 || fails || closed);
                        unsure += usize::from(fails);
                        answers.push_back((number, given, index, fails, true));
                    }
                    Step::Close(which) if !open.is_empty() => {
                        let closed: usize = open.swap_remove(which.index(open.len()));
                        handles.closes(&handle(closed as u32), &habit);
                        prop_assert!(server.close(closed));
                    }
                    Step::Answer => {
                        let Some((number, given, foreseen, fails, passes)) = answers.pop_front() else { continue };
                        let given_ = given.map(|given| handle(given as u32));
                        prop_assert_eq!(handles.answered(number, given_.as_ref(), &habit), Ok(()));
                        unsure -= usize::from(fails);
                        // A file that was closed under its own handle is not open any more.
                        open.extend(given.filter(|given| !passes || *given != foreseen));
                    }
                    Step::Close(_) => {}
                }
            }
            prop_assert!(!habit.is_refuted());
        }
    }
}
