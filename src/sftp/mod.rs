//! SFTP version 3 (draft-ietf-secsh-filexfer-02) as OpenSSH speaks it (its PROTOCOL file, sections 4.1 to 4.11).
//!
//! [`packet`], [`attrs`], [`frame`], [`handles`], [`outbox`] and [`table`] are pure: bytes in, bytes out, no I/O and no clock.
//! [`greeting`] begins a session and
//! [`session`] drives it over a [`wire`]. The codec is our own because names and handles are *bytes* here, because hundreds of requests
//! must be in flight on one channel, and because a request's submission has to be synchronous: its order on the wire is
//! the order of the calls, so a file's WRITEs and its CLOSE can travel together.

pub mod attrs;
pub mod flight;
pub mod frame;
pub mod greeting;
pub mod handles;
pub mod outbox;
pub mod packet;
pub mod pending;
pub mod session;
pub mod table;
pub mod traffic;
pub mod wire;

pub use attrs::Attrs;
pub use flight::Flight;
pub use greeting::{Extensions, Limits};
pub use packet::{Handle, Reply, Request, Status};
pub use pending::Pending;
pub use session::Session;
