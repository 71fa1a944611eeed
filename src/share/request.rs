//! A client's SFTP packets, looked at as far as passing them on needs: pure.

use bytes::{Buf, Bytes};

use crate::sftp::Attrs;
use crate::sftp::packet::{Bad, COMMIT, COPY, Cursor, DIGEST, GET, PARTS, PUT, op, open};
use crate::verify::blocks::Asked;
use crate::verify::parts::Of;

pub const POSIX_RENAME: &[u8] = b"posix-rename@openssh.com";
pub const FSYNC: &[u8] = b"fsync@openssh.com";
pub const LSETSTAT: &[u8] = b"lsetstat@openssh.com";
pub const HARDLINK: &[u8] = b"hardlink@openssh.com";
pub const COPY_DATA: &[u8] = b"copy-data";
pub const LIMITS: &[u8] = b"limits@openssh.com";

/// One packet of a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Inspected {
    pub id: u32,
    pub passage: Passage,
}

/// What becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Passage {
    /// Answered by ourselves.
    Init,
    Limits,
    Digest {
        path: Bytes,
        size: u64,
    },
    Commit {
        temp: Bytes,
        size: u64,
        wanted: Bytes,
        attrs: Attrs,
        name: Bytes,
    },
    Parts {
        path: Bytes,
        of: Of,
    },
    Copy {
        old: Bytes,
        new: Bytes,
        from: u64,
        at: u64,
        len: u64,
    },
    Put {
        path: Bytes,
        mode: u32,
        data: Bytes,
    },
    Get {
        path: Bytes,
        len: u32,
    },
    /// An extension that we do not pass on.
    Unknown,
    Relayed(Relayed),
}

/// A request for the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Relayed {
    pub kind: u8,
    /// All that follows the id.
    pub body: Bytes,
    /// The handle that it is about, which must be one of the client's.
    pub handle: Option<Bytes>,
    /// Likewise a second one.
    pub other: Option<Bytes>,
    pub weight: Weight,
    pub effect: Effect,
}

/// Which budget it waits for, and with how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Nothing,
    Read(usize),
    Write(usize),
}

/// What changes when it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    None,
    /// A handle; `temp` is the file's name if it did not exist before and is to be renamed later.
    Opens {
        temp: Option<Bytes>,
    },
    Closes,
    /// The name is no more.
    Moves {
        from: Bytes,
    },
}

/// Looks at one packet, without its length.
///
/// # Errors
/// One that is no request of SFTP version 3: the channel cannot be trusted any more.
pub fn inspect(packet: Bytes) -> Result<Inspected, Bad> {
    let mut cursor = Cursor(packet);
    let (kind, id) = (cursor.u8()?, cursor.u32()?);
    let body = cursor.0.clone();
    let relayed = |handle, weight, effect| {
        Passage::Relayed(Relayed { kind, body: body.clone(), handle, other: None, weight, effect })
    };
    let passage = match kind {
        op::INIT if id == 3 => Passage::Init,
        op::INIT => return Err(Bad::Version(id)),
        op::OPEN => {
            let (path, flags) = (cursor.string()?, cursor.u32()?);
            let temp = (flags & open::EXCLUSIVE != 0 && is_hidden(&path)).then_some(path);
            relayed(None, Weight::Nothing, Effect::Opens { temp })
        }
        op::OPENDIR => relayed(None, Weight::Nothing, Effect::Opens { temp: None }),
        op::CLOSE => relayed(Some(cursor.string()?), Weight::Nothing, Effect::Closes),
        op::READ => {
            let (handle, _, len) = (cursor.string()?, cursor.u64()?, cursor.u32()?);
            relayed(Some(handle), Weight::Read(len as usize), Effect::None)
        }
        op::WRITE => {
            let handle = cursor.string()?;
            relayed(Some(handle), Weight::Write(cursor.0.remaining()), Effect::None)
        }
        op::FSTAT | op::FSETSTAT | op::READDIR => relayed(Some(cursor.string()?), Weight::Nothing, Effect::None),
        op::REMOVE | op::RENAME => relayed(None, Weight::Nothing, Effect::Moves { from: cursor.string()? }),
        op::LSTAT | op::STAT | op::SETSTAT | op::MKDIR | op::RMDIR | op::REALPATH | op::READLINK | op::SYMLINK => {
            relayed(None, Weight::Nothing, Effect::None)
        }
        op::EXTENDED => match &*cursor.string()? {
            LIMITS => Passage::Limits,
            PUT => Passage::Put { mode: cursor.u32()?, path: cursor.string()?, data: cursor.string()? },
            GET => Passage::Get { len: cursor.u32()?, path: cursor.string()? },
            DIGEST => Passage::Digest { size: cursor.u64()?, path: cursor.string()? },
            PARTS => {
                let asked = Asked { length: cursor.u64()?, at: cursor.u64()?, weak: cursor.u8()? == 1 };
                let of = if asked.length == 0 { Of::Parts(asked.at) } else { Of::Blocks(asked) };
                Passage::Parts { of, path: cursor.string()? }
            }
            COPY => Passage::Copy {
                from: cursor.u64()?,
                at: cursor.u64()?,
                len: cursor.u64()?,
                old: cursor.string()?,
                new: cursor.string()?,
            },
            COMMIT => Passage::Commit {
                size: cursor.u64()?,
                temp: cursor.string()?,
                wanted: cursor.string()?,
                name: cursor.string()?,
                attrs: Attrs::decode(&mut cursor)?,
            },
            POSIX_RENAME => relayed(None, Weight::Nothing, Effect::Moves { from: cursor.string()? }),
            COPY_DATA => {
                let (from, _, _) = (cursor.string()?, cursor.u64()?, cursor.u64()?);
                let (to, weight, effect) = (cursor.string()?, Weight::Nothing, Effect::None);
                Passage::Relayed(Relayed {
                    kind,
                    body: body.clone(),
                    handle: Some(from),
                    other: Some(to),
                    weight,
                    effect,
                })
            }
            FSYNC => relayed(Some(cursor.string()?), Weight::Nothing, Effect::None),
            LSETSTAT | HARDLINK => relayed(None, Weight::Nothing, Effect::None),
            _ => Passage::Unknown,
        },
        other => return Err(Bad::Type(other)),
    };
    Ok(Inspected { id, passage })
}

/// Our temporary files are: `.name.XXXXXX`. What is not is never taken for one.
pub(super) fn is_hidden(path: &[u8]) -> bool {
    crate::tree::split(path).1.starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::packet::Handle;
    use crate::sftp::{Attrs, Request};
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn look(request: &Request) -> Inspected {
        let mut out = BytesMut::new();
        let payload = request.encode(7, &mut out);
        out.extend_from_slice(&payload.unwrap_or_default());
        inspect(out.freeze().slice(4..)).unwrap()
    }

    fn relayed(request: &Request) -> Relayed {
        match look(request) {
            Inspected { id: 7, passage: Passage::Relayed(relayed) } => relayed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_relayed_request_is_the_same_under_another_id() {
        let handle = Handle(Bytes::from_static(b"h"));
        let data = Bytes::from(vec![5; 100_000]);
        let write = Request::Write { handle: &handle, offset: 9, data };
        let Relayed { kind, body, .. } = relayed(&write);
        let mut out = BytesMut::new();
        let payload = Request::Relayed { kind, body }.encode(8, &mut out).unwrap();
        let mut direct = BytesMut::new();
        let direct_payload = write.encode(8, &mut direct).unwrap();
        assert_eq!([out, BytesMut::from(payload)].concat(), [direct, BytesMut::from(direct_payload)].concat());
    }

    #[test]
    fn handles_weights_and_effects_are_seen() {
        let handle = Handle(Bytes::from_static(&[0, 0, 0, 128]));
        let read = relayed(&Request::Read { handle: &handle, offset: 1 << 40, len: 255 * 1024 });
        assert_eq!((read.handle.as_ref(), read.weight), (Some(&handle.0), Weight::Read(255 * 1024)));
        let close = relayed(&Request::Close { handle: &handle });
        assert_eq!((close.handle.as_ref(), close.effect), (Some(&handle.0), Effect::Closes));
        let create =
            |path: &'static [u8], flags| relayed(&Request::Open { path, flags, attrs: Attrs::default() }).effect;
        let exclusive = open::WRITE | open::CREATE | open::EXCLUSIVE;
        assert_eq!(create(b"d/.f.x", exclusive), Effect::Opens { temp: Some(Bytes::from_static(b"d/.f.x")) });
        assert_eq!(create(b"d/f", exclusive), Effect::Opens { temp: None });
        assert_eq!(create(b"d/.f.x", open::WRITE), Effect::Opens { temp: None });
        let from = Effect::Moves { from: Bytes::from_static(b"a") };
        for gone in [
            Request::Remove { path: b"a" },
            Request::Rename { from: b"a", to: b"b" },
            Request::PosixRename { from: b"a", to: b"b" },
        ] {
            assert_eq!(relayed(&gone).effect, from);
        }
        assert_eq!(relayed(&Request::Fsync { handle: &handle }).handle, Some(handle.0.clone()));
        let second = Handle(Bytes::from_static(b"second"));
        let copy = relayed(&Request::CopyData { from: &handle, offset: 3, len: 4, to: &second, at: 5 });
        assert_eq!((copy.handle, copy.other), (Some(handle.0.clone()), Some(second.0)));
        assert_eq!(look(&Request::Limits).passage, Passage::Limits);
        let digest = look(&Request::Digest { path: b"p", size: 5 }).passage;
        assert_eq!(digest, Passage::Digest { path: Bytes::from_static(b"p"), size: 5 });
        for of in [Of::Parts(7), Of::Blocks(Asked { length: 17_408, at: 3, weak: true })] {
            let parts = look(&Request::Parts { path: b"p", of }).passage;
            assert_eq!(parts, Passage::Parts { path: Bytes::from_static(b"p"), of });
        }
        let attrs = Attrs { permissions: Some(0o644), times: Some((1, 2)), ..Attrs::default() };
        let copy = look(&Request::Copy { old: b"o", new: b"n", from: 1, at: 2, len: 3 }).passage;
        let (old, new) = (Bytes::from_static(b"o"), Bytes::from_static(b"n"));
        assert_eq!(copy, Passage::Copy { old, new, from: 1, at: 2, len: 3 });
        let commit = look(&Request::Commit { temp: b"d/t", size: 5, wanted: b"w", attrs, name: b"n" }).passage;
        let [temp, wanted, name] = [&b"d/t"[..], b"w", b"n"].map(Bytes::from_static);
        assert_eq!(commit, Passage::Commit { temp, size: 5, wanted, attrs, name });
    }

    #[test]
    fn what_is_no_request_ends_the_channel_and_unknown_extensions_are_refused() {
        assert_eq!(inspect(Bytes::from_static(&[1, 0, 0, 0, 6])), Err(Bad::Version(6)));
        assert_eq!(inspect(Bytes::from_static(&[101, 0, 0, 0, 1])), Err(Bad::Type(101)));
        let extended = [&[200, 0, 0, 0, 1, 0, 0, 0, 9][..], b"copy-cake"].concat();
        assert_eq!(inspect(Bytes::from(extended)).unwrap().passage, Passage::Unknown);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = inspect(Bytes::from(bytes));
        }
    }
}
