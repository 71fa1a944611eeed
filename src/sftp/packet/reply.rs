//! What is answered, and what of it is believed.

use bytes::Bytes;

use super::super::attrs::Attrs;
use super::request::Expect;
use super::{Bad, Cursor, Handle, MAX_HANDLE, op, status};

/// A STATUS reply: code and the server's text (cut to 256 bytes, lossily decoded: it is for people).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub code: u32,
    pub text: String,
}

impl Status {
    /// `No such file` for a bare code; OpenSSH's text for code 4 is just "Failure".
    pub fn describe(&self) -> String {
        let name = match self.code {
            status::OK => "OK",
            status::EOF => "end of file",
            status::NO_SUCH_FILE => "No such file or directory (2)",
            status::PERMISSION_DENIED => "Permission denied (13)",
            status::FAILURE => "the server says only \"failure\"",
            status::OP_UNSUPPORTED => "operation not supported by the server",
            _ => "unexpected status",
        };
        let known = matches!(self.text.as_str(), "" | "Failure" | "No such file" | "Permission denied" | "Success");
        if known { name.to_owned() } else { format!("{name}: {}", self.text) }
    }
}

/// One name of a NAME reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: Bytes,
    pub attrs: Attrs,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Status(Status),
    Handle(Handle),
    Data(Bytes),
    Names(Vec<Named>),
    Attrs(Attrs),
    Extended(Bytes),
    /// A reply to [`Request::Relayed`]: its type, and all that follows its id.
    Relayed(u8, Bytes),
}

impl Reply {
    /// The handle that it brings.
    pub fn handle(&self) -> Option<Handle> {
        match self {
            Reply::Handle(handle) => Some(handle.clone()),
            Reply::Relayed(op::HANDLE, body) => Cursor(body.clone()).string().ok().map(Handle),
            _ => None,
        }
    }

    /// Parses one packet (without its length). Returns the id that it answers.
    pub fn parse(packet: Bytes) -> Result<(u32, Reply), Bad> {
        let mut cursor = Cursor(packet);
        let kind = cursor.u8()?;
        let id = cursor.u32()?;
        let reply = match kind {
            op::STATUS => {
                let code = cursor.u32()?;
                // The message and its language are absent from some servers of versions below 3.
                let text = cursor.string().unwrap_or_default();
                let text = String::from_utf8_lossy(&text[..text.len().min(256)]).into_owned();
                return Ok((id, Reply::Status(Status { code, text })));
            }
            op::HANDLE => {
                let handle = cursor.string()?;
                if handle.is_empty() || handle.len() > MAX_HANDLE {
                    return Err(Bad::Handle(handle.len()));
                }
                Reply::Handle(Handle(handle))
            }
            op::DATA => Reply::Data(cursor.string()?),
            op::NAME => {
                let count = cursor.u32()?;
                // An entry is two strings and a flag word: 12 bytes at least.
                if count as usize > cursor.0.len() / 12 {
                    return Err(Bad::Count(count, cursor.0.len()));
                }
                let mut names = Vec::with_capacity(count as usize);
                for _ in 0..count {
                    let name = cursor.string()?;
                    cursor.string()?; // the `ls -l` line
                    names.push(Named { name, attrs: Attrs::decode(&mut cursor)? });
                }
                Reply::Names(names)
            }
            op::ATTRS => Reply::Attrs(Attrs::decode(&mut cursor)?),
            op::EXTENDED_REPLY => return Ok((id, Reply::Extended(cursor.0))),
            other => return Err(Bad::Type(other)),
        };
        if cursor.is_empty() { Ok((id, reply)) } else { Err(Bad::Trailing) }
    }

    /// Whether this may answer a request that expects `expect`.
    pub fn fits(&self, expect: Expect) -> Result<(), Bad> {
        match (self, expect) {
            (Reply::Status(_), _) => Ok(()),
            (Reply::Data(data), Expect::Data(asked)) if data.len() > asked as usize => Err(Bad::TooMuchData),
            (Reply::Data(_), Expect::Data(_))
            | (Reply::Handle(_), Expect::Handle)
            | (Reply::Names(_), Expect::Name)
            | (Reply::Attrs(_), Expect::Attrs)
            | (Reply::Extended(_), Expect::Extended) => Ok(()),
            _ => Err(Bad::Kind),
        }
    }
}
