//! The answer to a request, as what its asker wants of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::fault::{Cause, Fault, Stage};

use super::attrs::Attrs;
use super::packet::{Bad, Handle, Named, Reply, Status, status};
use super::session::Shared;

/// The answer to come. Dropping it does not recall the request.
pub struct Pending {
    pub(super) receiver: oneshot::Receiver<Result<Reply, Fault>>,
    pub(super) shared: Arc<Shared>,
}

impl Future for Pending {
    type Output = Result<Reply, Fault>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(cx).map(|received| {
            received.unwrap_or_else(|_| Err(self.shared.fault(Stage::Session, Cause::Lost, "the channel is gone")))
        })
    }
}

/// The cause of a STATUS that is no success.
pub fn cause_of(status: &Status) -> Cause {
    match status.code {
        status::NO_SUCH_FILE => Cause::NotFound,
        status::PERMISSION_DENIED => Cause::Permission,
        status::OP_UNSUPPORTED => Cause::Unsupported,
        // READ and READDIR, whose end it is, have taken it before.
        status::EOF => Cause::Protocol,
        // OpenSSH folds ENOSPC, EDQUOT and EIO into "Failure" (sftp-server.c errno_to_portable); other servers say strerror's
        // words.
        _ if ["No space left on device", "Disk quota exceeded"].contains(&status.text.as_str()) => Cause::NoSpace,
        _ => Cause::Io,
    }
}

impl Pending {
    fn refuse(shared: &Shared, stage: Stage, what: &[u8], status: &Status) -> Fault {
        let name = String::from_utf8_lossy(what);
        shared.fault(stage, cause_of(status), format!("\"{name}\": {}", status.describe()))
    }

    /// For requests that a STATUS answers: OK, or a fault at `stage` about `what`.
    pub async fn done(self, stage: Stage, what: &[u8]) -> Result<(), Fault> {
        let shared = self.shared.clone();
        match self.await.map_err(|fault| at(stage, fault))? {
            Reply::Status(s) if s.code == status::OK => Ok(()),
            Reply::Status(s) => Err(Self::refuse(&shared, stage, what, &s)),
            _ => Err(shared.fault(stage, Cause::Protocol, Bad::Kind.to_string())),
        }
    }

    /// For OPEN and OPENDIR.
    pub async fn handle(self, stage: Stage, what: &[u8]) -> Result<Handle, Fault> {
        let shared = self.shared.clone();
        match self.await.map_err(|fault| at(stage, fault))? {
            Reply::Handle(handle) => Ok(handle),
            Reply::Status(s) => Err(Self::refuse(&shared, stage, what, &s)),
            _ => Err(shared.fault(stage, Cause::Protocol, Bad::Kind.to_string())),
        }
    }

    /// For READ: `None` at the end of the file.
    pub async fn data(self, stage: Stage, what: &[u8]) -> Result<Option<Bytes>, Fault> {
        let shared = self.shared.clone();
        match self.await.map_err(|fault| at(stage, fault))? {
            Reply::Data(data) if data.is_empty() => {
                Err(shared.fault(stage, Cause::Protocol, "an empty DATA reply, which could go on for ever"))
            }
            Reply::Data(data) => Ok(Some(data)),
            Reply::Status(s) if s.code == status::EOF => Ok(None),
            Reply::Status(s) => Err(Self::refuse(&shared, stage, what, &s)),
            _ => Err(shared.fault(stage, Cause::Protocol, Bad::Kind.to_string())),
        }
    }

    /// For READDIR, READLINK and REALPATH: `None` at the end of the listing.
    pub async fn names(self, stage: Stage, what: &[u8]) -> Result<Option<Vec<Named>>, Fault> {
        let shared = self.shared.clone();
        match self.await.map_err(|fault| at(stage, fault))? {
            Reply::Names(names) => Ok(Some(names)),
            Reply::Status(s) if s.code == status::EOF => Ok(None),
            Reply::Status(s) => Err(Self::refuse(&shared, stage, what, &s)),
            _ => Err(shared.fault(stage, Cause::Protocol, Bad::Kind.to_string())),
        }
    }

    /// For extended requests with a reply of their own: its bytes.
    pub async fn extended(self, stage: Stage, what: &[u8]) -> Result<Bytes, Fault> {
        let shared = self.shared.clone();
        match self.await.map_err(|fault| at(stage, fault))? {
            Reply::Extended(data) => Ok(data),
            Reply::Status(s) => Err(Self::refuse(&shared, stage, what, &s)),
            _ => Err(shared.fault(stage, Cause::Protocol, Bad::Kind.to_string())),
        }
    }

    /// For LSTAT, STAT and FSTAT: `None` if there is no such file.
    pub async fn attrs(self, stage: Stage, what: &[u8]) -> Result<Option<Attrs>, Fault> {
        let shared = self.shared.clone();
        match self.await.map_err(|fault| at(stage, fault))? {
            Reply::Attrs(attrs) => Ok(Some(attrs)),
            Reply::Status(s) if s.code == status::NO_SUCH_FILE => Ok(None),
            Reply::Status(s) => Err(Self::refuse(&shared, stage, what, &s)),
            _ => Err(shared.fault(stage, Cause::Protocol, Bad::Kind.to_string())),
        }
    }
}

/// A fault of the connection, told at the stage of the file that met it: the cause stays, the place is where work stopped.
pub(super) fn at(stage: Stage, mut fault: Fault) -> Fault {
    fault.stage = stage;
    fault
}
