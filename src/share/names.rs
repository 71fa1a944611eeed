//! The first names of a client's directories, asked for with their OPENDIR where its handle can be foreseen.

use std::collections::{HashMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};

use crate::sftp::packet::op;
use crate::sftp::{Handle, Pending, Request, Session};

/// READDIRs that go with an OPENDIR: as many as a listing has under way ([`crate::tree::remote`]).
const AHEAD: usize = 2;

/// Directories whose names may wait for their READDIRs: each answer is up to 256 KiB.
const MOST: usize = 64;

/// Answers to READDIRs that the client is about to send, by the handle that it will name.
#[derive(Default)]
pub struct Names(HashMap<Bytes, VecDeque<Pending>>);

impl Names {
    /// Passes an OPENDIR on.
    pub fn open(&mut self, session: &Session, request: &Request) -> Pending {
        if self.0.len() >= MOST {
            return session.submit(request);
        }
        let foreseen = session.foreseen(|flight| {
            let (handle, opening) = flight.opens(request);
            let reading = (0..AHEAD).map(|_| flight.submit(&readdir(&handle))).collect();
            (handle, opening, reading)
        });
        let Some((handle, opening, reading)) = foreseen else { return session.submit(request) };
        self.0.insert(handle.0, reading);
        opening
    }

    /// The answer to a READDIR, if it was asked for already.
    pub fn take(&mut self, session: &Session, handle: &Bytes) -> Option<Pending> {
        if !session.foresees() {
            // What was foreseen may have been wrong.
            self.0.clear();
        }
        self.0.get_mut(handle)?.pop_front()
    }

    /// Nobody asks for the rest of a directory that is closed.
    pub fn forget(&mut self, handle: &Bytes) {
        self.0.remove(handle);
    }
}

fn readdir(handle: &Handle) -> Request<'static> {
    let mut body = BytesMut::with_capacity(4 + handle.0.len());
    body.put_u32(handle.0.len() as u32);
    body.put_slice(&handle.0);
    Request::Relayed { kind: op::READDIR, body: body.freeze() }
}
