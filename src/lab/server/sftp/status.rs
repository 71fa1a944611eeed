//! How a request ends when it is not with data: STATUS codes, and which one an error of the disk becomes.

use std::io;

use bytes::{BufMut, BytesMut};

use super::codec::{kind, put_packet, put_string};

// Status codes, §7.
pub const OK: u32 = 0;
pub const EOF: u32 = 1;
pub const NO_SUCH_FILE: u32 = 2;
pub const PERMISSION_DENIED: u32 = 3;
pub const FAILURE: u32 = 4;
pub const BAD_MESSAGE: u32 = 5;
pub const UNSUPPORTED: u32 = 8;

/// What a request comes to, beside a reply that is already written.
pub type Outcome = Result<(), Refusal>;

/// A STATUS other than OK.
pub enum Refusal {
    Status(u32),
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Io(error)
    }
}

impl From<rustix::io::Errno> for Refusal {
    fn from(error: rustix::io::Errno) -> Refusal {
        Refusal::Io(error.into())
    }
}

impl Refusal {
    /// OpenSSH's `errno_to_portable`.
    pub fn code(&self) -> u32 {
        let error = match self {
            Refusal::Status(code) => return *code,
            Refusal::Io(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::EBADF | libc::ELOOP) => NO_SUCH_FILE,
            Some(libc::EPERM | libc::EACCES | libc::EFAULT) => PERMISSION_DENIED,
            Some(libc::ENAMETOOLONG | libc::EINVAL) => BAD_MESSAGE,
            Some(libc::ENOSYS) => UNSUPPORTED,
            _ => FAILURE,
        }
    }
}

/// OpenSSH's words for a status.
pub fn text(code: u32) -> &'static str {
    match code {
        OK => "Success",
        EOF => "End of file",
        NO_SUCH_FILE => "No such file",
        PERMISSION_DENIED => "Permission denied",
        BAD_MESSAGE => "Bad message",
        UNSUPPORTED => "Operation unsupported",
        _ => "Failure",
    }
}

/// Appends a STATUS reply.
pub fn put_status(out: &mut BytesMut, id: u32, code: u32, text: &str) {
    put_packet(out, kind::STATUS, id, |out| {
        out.put_u32(code);
        put_string(out, text.as_bytes());
        put_string(out, b"");
    });
}

/// For a request whose fields do not parse, or that does not fit its handle.
pub fn bad() -> Refusal {
    Refusal::Status(BAD_MESSAGE)
}
