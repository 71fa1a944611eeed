//! One SSH connection for every invocation on a host.
//!
//! Workflow engines start hundreds of transfers at the same moment; each with a connection of its own meets MaxStartups, and
//! most are dropped. So the first invocation for a route starts a *holder*: a process of its own session, with the one
//! connection, that outlives it by a little. All others, however close behind, send their SFTP requests through it. Each
//! client does its own file I/O, with its own umask, directory and signals; to the engine the holder is one more
//! [`Link`](crate::tree::remote::link::Link).
//!
//! # Who holds
//! A route has a [`key`] and with it two names in a [`place`] of mode 0700: `KEY.sock`, where the holder listens, and
//! `KEY.lock`, an flock(2) that guards every change of holder. [`join`] connects; if nobody listens, it takes the lock,
//! looks again, and starts a holder, handing it the lock itself (an inherited descriptor of the same open file). The holder
//! lets go of it once it listens. So there is no moment at which two are started, even if the starter is killed; and none
//! at which a client fails because the holder is not ready: it listens *before* it connects, and everyone who has come
//! waits for the same login. A login that is refused is refused once, and told to all of them. To leave, the holder takes
//! the lock, removes the names, tells those who came meanwhile to look for another, says goodbye to the servers, and only
//! then lets go. One that was killed leaves its names: connecting to them is refused, and the next client takes the lock.
//!
//! # Who shares
//! Everyone, unless told not to (`--no-share`, `HOPSYNC_SHARE=0`), but for large work, which [`own`] gives leave to connect for
//! itself, and where sharing cannot be: then too each has a connection of its own.
//!
//! # What is shared
//! After the greeting ([`protocol`]) the socket carries plain SFTP. A socket is a *virtual channel*; [`relay`] passes its
//! requests on, under other ids, on one real channel for as long as it has a handle open or an answer to come, and on the
//! least loaded one after that (a file on the lane that has the least of files open): so order is kept, and a handle only has to be
//! one that this client opened. Fairness comes from the budgets, whose queues are first come, first served: a client waits with one WRITE at a time for room on its
//! real channel, and with one READ at a time for room in the window. What a client that does not read has asked for is
//! bounded by [`relay::OUTSTANDING`]. A client that dies has its handles closed and its temporary files removed.
//!
//! Hashing is shared as an SFTP extension, [`digest`], that the holder answers with its one hasher at the far end.
//!
//! A connection that is lost is made again by the holder, once for all: its virtual channels end, the clients open new ones
//! and try the files again that were under way. A holder that is lost is replaced by the same rules as a first one.
//!
//! # What a client may have
//! The key covers everything that the way there and the login are decided by: the whole route as resolved (hosts, ports,
//! users, jumps, keys, agent, known_hosts, algorithms), the user id, the mount and network namespaces, and the version of
//! this program. Resolving needs `ssh -G`, which costs more than the rest of a small transfer: [`routes`] remembers its answer for
//! as long as the configuration files say the same. Both ends check the user id of the other (SO_PEERCRED).
//!
//! `-z` is not honoured here. SSH compresses in one thread at each end of the session, so all clients together would get what
//! one zlib can do (measured: 900 pulls of 1 MiB took 57 s with it, 12 s without). ssh_config's `Compression` still is.
//!
//! # By hand
//! `HOPSYNC_HOLDER_LOG=FILE` gives a holder that is started under it a log; `HOPSYNC_LOG` is its filter.

mod answers;
mod client;
pub mod digest;
mod facts;
mod files;
mod guest;
mod holder;
mod join;
mod key;
mod names;
pub mod own;
pub mod place;
mod process;
pub mod protocol;
pub mod relay;
mod request;
mod routes;
mod start;
mod starter;
pub mod whole;

use std::time::Duration;

pub use client::{ShareConnector, probe, stop};
pub use process::main as holder_main;
pub use routes::resolve;

/// How long a connection outlives its last client: long enough for a workflow's next task, short enough for nobody to mind.
pub const LINGER: Duration = Duration::from_secs(15);

/// The option by which a process is told to be a holder; not in the help, because only we use it.
pub const HOLDER: &str = "--share-holder";

/// Why the shared way is not taken.
#[derive(Debug)]
pub enum NotShared {
    /// It was tried, and this is the answer: a login refused, a host not reached.
    Fault(crate::fault::Fault),
    /// It cannot be tried here; our own connection can.
    Alone(String),
}
