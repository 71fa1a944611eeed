//! Destination directories: what lies in one waits until it is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::fault::{Cause, Fault, Stage};

/// Whether a directory can be worked in; likewise, whether a link or the like could be made. Cheap to clone.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    made: watch::Sender<Option<Result<(), Fault>>>,
    /// The request for it is on its way.
    asked: watch::Sender<bool>,
    used: AtomicBool,
}

impl Directory {
    /// One that exists.
    pub fn there() -> Directory {
        Directory::new(Some(Ok(())))
    }

    /// One that is to be made; [`Directory::made`] tells how that went.
    pub fn to_come() -> Directory {
        Directory::new(None)
    }

    fn new(made: Option<Result<(), Fault>>) -> Directory {
        let asked = watch::Sender::new(made.is_some());
        Directory(Arc::new(Inner { made: watch::Sender::new(made), asked, used: AtomicBool::new(false) }))
    }

    /// Whoever makes it holds this: if their task ends without a word, nobody waits for ever.
    pub fn making(&self) -> Making {
        Making(self.clone())
    }

    /// The request for it is on its way: what is asked for behind it finds it there.
    pub fn ask(&self) {
        self.0.asked.send_replace(true);
    }

    /// Waits until it is there, or has been asked for, or is known not to come.
    pub async fn asked(&self) {
        // The sender is its own.
        let _ = self.0.asked.subscribe().wait_for(|asked| *asked).await;
    }

    pub fn made(&self, how: Result<(), Fault>) {
        self.ask();
        self.0.made.send_replace(Some(how));
    }

    /// Whether it is known by now that it is there.
    pub fn is_there(&self) -> bool {
        matches!(&*self.0.made.borrow(), Some(Ok(())))
    }

    /// Whether it is known by now that it could not be made.
    pub fn has_failed(&self) -> bool {
        matches!(&*self.0.made.borrow(), Some(Err(_)))
    }

    /// Waits until it is there, for something that is done in it, which changes its time.
    ///
    /// # Errors
    /// It could not be made.
    pub async fn ready(&self) -> Result<(), Fault> {
        self.0.used.store(true, Ordering::Relaxed);
        self.known().await
    }

    /// Whether anything was done in it.
    pub fn is_used(&self) -> bool {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Waits until it is there, or known not to be.
    ///
    /// # Errors
    /// It could not be made.
    pub async fn known(&self) -> Result<(), Fault> {
        let mut watcher = self.0.made.subscribe();
        match watcher.wait_for(Option::is_some).await {
            Ok(made) => made.clone().unwrap_or(Ok(())),
            Err(_) => Err(Fault::new("local", Stage::Attributes, Cause::Cancelled, "the run was stopped")),
        }
    }
}

/// See [`Directory::making`].
pub struct Making(Directory);

impl Drop for Making {
    fn drop(&mut self) {
        self.0.ask();
        self.0.0.made.send_if_modified(|made| {
            let silent = made.is_none();
            if silent {
                *made = Some(Err(Fault::new("local", Stage::Attributes, Cause::Cancelled, "the run was stopped")));
            }
            silent
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_failed_only_once_it_could_not_be_made() {
        let directory = Directory::to_come();
        assert!(!directory.has_failed() && !Directory::there().has_failed());
        directory.made(Err(Fault::new("local", Stage::Attributes, Cause::Permission, "no")));
        assert!(directory.has_failed());
    }

    #[tokio::test]
    async fn it_is_used_by_whoever_waits_to_do_something_in_it() {
        let directory = Directory::there();
        assert!(directory.known().await.is_ok() && !directory.is_used());
        assert!(directory.clone().ready().await.is_ok() && directory.is_used());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_directory_whose_maker_is_gone() {
        let directory = Directory::to_come();
        drop(directory.making());
        assert_eq!(directory.ready().await.unwrap_err().cause, Cause::Cancelled);
        let directory = Directory::to_come();
        let making = directory.making();
        directory.made(Ok(()));
        drop(making);
        assert!(directory.is_there());
    }
}
