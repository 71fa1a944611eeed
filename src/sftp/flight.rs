//! Requests that are submitted together, and an OPEN among them whose handle is foreseen ([`super::handles`]).

use std::sync::Arc;

use super::packet::{Handle, Request};
use super::pending::Pending;
use super::session::{Held, Shared, State};

/// Nobody else's request comes between those of a flight ([`super::Session::together`]).
pub struct Flight<'a> {
    shared: &'a Arc<Shared>,
    state: &'a mut State,
    /// Opened in this flight, and to be closed in it.
    passing: Option<Handle>,
}

impl<'a> Flight<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, state: &'a mut State) -> Flight<'a> {
        Flight { shared, state, passing: None }
    }

    /// An OPEN or OPENDIR whose CLOSE follows in this flight: the handle that what follows is to use, and its answer to come. If that
    /// brings another handle, nothing that followed was done, and the handle is the asker's to close.
    pub fn passes(&mut self, open: &Request) -> (Handle, Pending) {
        let (number, handle) = self.state.handles.passes();
        self.passing = Some(handle.clone());
        (handle, self.state.queue(self.shared, open, Some(number), None))
    }

    /// The same, of a file or directory that stays open.
    pub fn opens(&mut self, open: &Request) -> (Handle, Pending) {
        let (number, handle) = self.state.handles.opens();
        (handle, self.state.queue(self.shared, open, Some(number), None))
    }

    pub fn submit(&mut self, request: &Request) -> Pending {
        self.queue(request, None)
    }

    /// As [`super::Session::submit_holding`].
    pub fn submit_holding(&mut self, request: &Request, held: impl Send + 'static) -> Pending {
        self.queue(request, Some(Box::new(held)))
    }

    fn queue(&mut self, request: &Request, held: Option<Held>) -> Pending {
        let opens = match request {
            // It is counted with its OPEN.
            Request::Close { handle } if self.passing.as_ref() == Some(handle) => None,
            _ => self.state.follows(request, &self.shared.peer.habit),
        };
        self.state.queue(self.shared, request, opens, held)
    }
}
