//! Many invocations at once on one shared connection: embedded servers and real sshd's, holders killed, logins refused.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

mod crowd;
mod holder;
mod own;
mod storms;
