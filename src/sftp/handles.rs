//! Which handle OpenSSH's server gives to the next OPEN. Pure.
//!
//! It gives the one that was freed last, or else the next number (sftp-server.c `handle_new`), takes requests in their order,
//! and frees a handle with its CLOSE whatever becomes of that. So what is to be done with a file can travel with its OPEN, a
//! round trip sooner.
//!
//! That a server is like that is not believed but watched ([`Habit`]): nothing is foreseen before a handle was given again,
//! nor ever after one was given that was not the one. And a handle that was foreseen wrongly is nobody else's: whatever
//! failed meanwhile, what the server has open is among what is taken to be open here. So a request under it is refused.

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

    /// One was given again, as foreseen.
    fn see(&self) {
        let _ = self.0.compare_exchange(0, Habit::SEEN, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// One was given that was not the one, or was not foreseen rightly.
    pub fn refute(&self) {
        self.0.store(Habit::REFUTED, Ordering::Relaxed);
    }

    /// For servers that are not to be asked.
    pub fn none() -> Habit {
        Habit(AtomicU8::new(Habit::REFUTED))
    }

    pub fn is_unknown(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    pub fn is_seen(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Habit::SEEN
    }

    pub fn is_refuted(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Habit::REFUTED
    }
}

/// An OPEN or OPENDIR that was not answered yet.
#[derive(Debug)]
struct Opening {
    number: u64,
    /// What it is taken to be given.
    handle: Bytes,
    /// It was in use before; then, how many were free below it.
    again: Option<usize>,
}

/// The handles of one channel, all OPENs that are under way taken to succeed.
#[derive(Debug, Default)]
pub struct Handles {
    /// The last one is the next.
    free: Vec<Bytes>,
    /// How many the server has ever had at once.
    made: u32,
    opening: VecDeque<Opening>,
    /// OPENs submitted so far.
    opens: u64,
}

impl Handles {
    /// A file is opened and closed again by what is submitted together now: the handle that its OPEN gets.
    pub fn passes(&mut self) -> Handle {
        self.opens += 1;
        Handle(self.free.last().cloned().unwrap_or_else(|| index(self.made)))
    }

    /// An OPEN or OPENDIR is submitted: its number, by which its answer is told, and the handle that it gets.
    pub fn opens(&mut self) -> (u64, Handle) {
        let freed = self.free.pop();
        let again = freed.as_ref().map(|_| self.free.len());
        let handle = freed.unwrap_or_else(|| {
            self.made += 1;
            index(self.made - 1)
        });
        let number = self.opens;
        self.opens += 1;
        self.opening.push_back(Opening { number, handle: handle.clone(), again });
        (number, Handle(handle))
    }

    /// A CLOSE is submitted.
    pub fn closes(&mut self, handle: &Handle) {
        self.free.push(handle.0.clone());
    }

    /// The OPEN or OPENDIR of this number was answered: with a handle, or with a refusal.
    pub fn opened(&mut self, number: u64, given: Option<&Handle>, habit: &Habit) {
        let Some(opening) = self.opening.pop_front().filter(|opening| opening.number == number) else {
            return habit.refute();
        };
        match given {
            Some(given) if given.0 != opening.handle => habit.refute(),
            Some(_) if opening.again.is_some() => habit.see(),
            Some(_) => {}
            // Somebody who came after it was given its handle, and knows nothing of that yet.
            None if self.opens != number + 1 => habit.refute(),
            None => match opening.again {
                Some(below) => self.free.insert(below, opening.handle),
                None => self.made -= 1,
            },
        }
    }
}

fn index(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn handle(n: u32) -> Handle {
        Handle(index(n))
    }

    /// Opens and closes a file, `given` being its handle.
    fn used(handles: &mut Handles, habit: &Habit, given: &Handle) {
        let (number, _) = handles.opens();
        handles.opened(number, Some(given), habit);
        handles.closes(given);
    }

    #[test]
    fn a_habit_is_seen_when_a_handle_is_given_again() {
        let (mut handles, habit) = (Handles::default(), Habit::default());
        used(&mut handles, &habit, &handle(0));
        assert!(!habit.is_seen(), "only freed so far");
        used(&mut handles, &habit, &handle(0));
        assert!(habit.is_seen());
        assert_eq!((handles.passes(), handles.passes()), (handle(0), handle(0)));
        assert_eq!((handles.opens().1, handles.opens().1), (handle(0), handle(1)));
    }

    #[test]
    fn a_server_that_gives_other_handles_is_never_believed_again() {
        for given in [handle(7), Handle(Bytes::from_static(b"a handle")), handle(1)] {
            let (mut handles, habit) = (Handles::default(), Habit::default());
            used(&mut handles, &habit, &handle(0));
            used(&mut handles, &habit, &handle(0));
            used(&mut handles, &habit, &given);
            assert!(habit.is_refuted());
            habit.see();
            assert!(habit.is_refuted() && !habit.is_seen());
        }
    }

    #[test]
    fn what_fails_is_free_again() {
        let (mut handles, habit) = (Handles::default(), Habit::default());
        for _ in 0..2 {
            let (number, _) = handles.opens();
            handles.opened(number, None, &habit);
            used(&mut handles, &habit, &handle(0));
        }
        assert!(habit.is_seen());
    }

    #[test]
    fn answers_out_of_their_order_refute() {
        let (mut handles, habit) = (Handles::default(), Habit::default());
        let ((_, first), (second, _)) = (handles.opens(), handles.opens());
        handles.opened(second, Some(&first), &habit);
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

    fn number(handle: &Handle) -> usize {
        handle.0.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
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
        /// asked under a handle that was foreseen is asked of its own file, or of none. And what never fails is foreseen rightly.
        #[test]
        fn what_is_foreseen_is_nobody_elses(steps in prop::collection::vec(step(), 0..300)) {
            let (mut handles, mut server, habit) = (Handles::default(), Server::default(), Habit::default());
            habit.see();
            // The server takes each request as it is submitted; its answers are on their way.
            let (mut answers, mut open, mut failed) = (VecDeque::new(), Vec::new(), false);
            for step in steps {
                match step {
                    Step::Open { fails, foreseen } => {
                        failed |= fails;
                        let (number_, next) = handles.opens();
                        let given = (!fails).then(|| server.open());
                        if foreseen && habit.is_seen() {
                            prop_assert!(given == Some(number(&next)) || !server.is_open(number(&next)));
                        }
                        answers.push_back((Some(number_), given, next));
                    }
                    Step::Pass { fails } if habit.is_seen() => {
                        failed |= fails;
                        let next = handles.passes();
                        let given = (!fails).then(|| server.open());
                        let closed = server.close(number(&next));
                        prop_assert_eq!(closed, given == Some(number(&next)));
                        prop_assert!(failed || closed);
                        answers.push_back((None, given, next));
                    }
                    Step::Close(which) if !open.is_empty() => {
                        let closed: usize = open.swap_remove(which.index(open.len()));
                        handles.closes(&handle(closed as u32));
                        prop_assert!(server.close(closed));
                    }
                    Step::Answer => {
                        let Some((opened, given, next)) = answers.pop_front() else { continue };
                        match opened {
                            Some(number) => {
                                handles.opened(number, given.map(|given| handle(given as u32)).as_ref(), &habit);
                                open.extend(given);
                            }
                            None => if let Some(given) = given.filter(|given| *given != number(&next)) {
                                habit.refute();
                                open.push(given);
                            }
                        }
                    }
                    Step::Pass { .. } | Step::Close(_) => {}
                }
            }
            prop_assert!(failed || !habit.is_refuted());
        }
    }
}
