//! The far end's hashes over SFTP: [`DIGEST`](crate::sftp::packet::DIGEST), which a holder answers with its one hasher.

use bytes::{BufMut, Bytes, BytesMut};

use crate::fault::{Cause, Fault, Stage};
use crate::sftp::{Attrs, Request, Session};
use crate::verify::gmac::Key;
use crate::verify::parts::Of;
use crate::verify::remote::{Committed, NoHash};
use crate::verify::{Algorithm, Digest};

const BLAKE3: u8 = 1;
const SHA256: u8 = 2;
const SKIPPED: u8 = 3;
const GONE: u8 = 4;
const GMAC: u8 = 5;
const COPIED: u8 = 6;

/// Asks the holder. The outer error is the connection's.
pub async fn ask(session: &Session, path: &[u8], size: u64) -> Result<Result<Digest, NoHash>, Fault> {
    let answer = session.submit(&Request::Digest { path, size }).extended(Stage::Hash, path).await?;
    decode(&answer).ok_or_else(|| no_hash(session))
}

/// As [`ask`], and to have the file committed ([`crate::verify::commit`]).
pub async fn commit(
    session: &Session,
    temp: &[u8],
    size: u64,
    wanted: &Digest,
    attrs: Attrs,
    name: &[u8],
) -> Result<Result<Committed, NoHash>, Fault> {
    let wanted = encode(&Ok(*wanted));
    let request = Request::Commit { temp, size, wanted: &wanted, attrs, name };
    let answer = session.submit(&request).extended(Stage::Hash, temp).await?;
    let committed = match answer.split_first() {
        Some((0, rest)) => decode(rest).map(|answer| answer.map(Committed::Left)),
        Some((1, rest)) => decode(rest).map(|answer| answer.map(Committed::Done)),
        _ => None,
    };
    committed.ok_or_else(|| no_hash(session))
}

/// The reply's body to that.
pub fn encode_committed(answer: Result<Committed, NoHash>) -> Bytes {
    let (done, answer) = match answer {
        Ok(Committed::Done(digest)) => (1, Ok(digest)),
        Ok(Committed::Left(digest)) => (0, Ok(digest)),
        Err(why) => (0, Err(why)),
    };
    [&[done], &encode(&answer)[..]].concat().into()
}

/// Bytes that a line of an answer about parts is here.
pub const LINE: usize = 32;

/// As [`ask`], for what one question tells of parts or blocks. When it returns, the request is on its way.
pub fn parts(
    session: &Session,
    path: &[u8],
    of: Of,
) -> impl Future<Output = Result<Result<Vec<Digest>, NoHash>, Fault>> + Send + 'static {
    let pending = session.submit(&Request::Parts { path, of });
    let (path, fault) = (path.to_vec(), no_hash(session));
    async move {
        let answer = pending.extended(Stage::Hash, &path).await?;
        decode_parts(&answer).ok_or(fault)
    }
}

/// The reply's body to that, if there is an answer; else [`encode`]'s.
pub fn encode_parts(algorithm: Algorithm, told: &[Digest]) -> Bytes {
    let head = encode(&Ok(Digest { algorithm, bytes: [0; LINE] }));
    let mut out = BytesMut::from(&head[..head.len().saturating_sub(LINE)]);
    told.iter().for_each(|digest| out.put_slice(&digest.bytes));
    out.freeze()
}

/// What [`encode_parts`] made, or [`encode`] of why there are none.
fn decode_parts(body: &[u8]) -> Option<Result<Vec<Digest>, NoHash>> {
    let (head, lines) = match *body.first()? {
        BLAKE3 | SHA256 => body.split_at(1),
        GMAC => body.split_at_checked(17)?,
        _ => return decode(body).map(|answer| answer.map(|digest| vec![digest])),
    };
    if lines.len() % LINE > 0 {
        return None;
    }
    let one = |line: &[u8]| decode(&[head, line].concat())?.ok();
    lines.chunks_exact(LINE).map(one).collect::<Option<Vec<_>>>().map(Ok)
}

/// As [`parts`], to have bytes copied ([`crate::verify::copied`]).
pub fn copy(
    session: &Session,
    old: &[u8],
    new: &[u8],
    (from, at, len): (u64, u64, u64),
) -> impl Future<Output = Result<Result<(), NoHash>, Fault>> + Send + 'static {
    let pending = session.submit(&Request::Copy { old, new, from, at, len });
    let (path, fault) = (new.to_vec(), no_hash(session));
    async move {
        let answer = pending.extended(Stage::Write, &path).await?;
        decode_copied(&answer).ok_or(fault)
    }
}

/// The reply's body to that.
pub fn encode_copied(answer: Result<(), NoHash>) -> Bytes {
    match answer {
        Ok(()) => Bytes::from_static(&[COPIED]),
        Err(why) => encode(&Err(why)),
    }
}

/// What [`encode_copied`] made.
fn decode_copied(body: &[u8]) -> Option<Result<(), NoHash>> {
    match body {
        [COPIED] => Some(Ok(())),
        _ => Some(Err(decode(body)?.err()?)),
    }
}

fn no_hash(session: &Session) -> Fault {
    let text = "the shared connection's holder gave a hash that is none";
    Fault::new(session.peer().hop.clone(), Stage::Hash, Cause::Protocol, text)
}

/// The reply's body.
pub fn encode(answer: &Result<Digest, NoHash>) -> Bytes {
    let mut out = BytesMut::new();
    match answer {
        // It is asked for whole files only.
        Ok(Digest { algorithm: Algorithm::Parts(_) | Algorithm::Blocks(..), .. }) => out.put_u8(SKIPPED),
        Ok(digest) => {
            match digest.algorithm {
                Algorithm::Blake3 => out.put_u8(BLAKE3),
                Algorithm::Sha256 => out.put_u8(SHA256),
                Algorithm::Gmac(Key(key)) => {
                    out.put_u8(GMAC);
                    out.put_slice(&key);
                }
                Algorithm::Parts(_) | Algorithm::Blocks(..) => {}
            }
            out.put_slice(&digest.bytes);
        }
        Err(NoHash::Skipped) => out.put_u8(SKIPPED),
        Err(NoHash::Gone(why)) => {
            out.put_u8(GONE);
            out.put_slice(&why.as_bytes()[..why.len().min(1024)]);
        }
    }
    out.freeze()
}

/// What [`encode`] made.
pub fn decode(body: &[u8]) -> Option<Result<Digest, NoHash>> {
    let (kind, rest) = body.split_first()?;
    let digest = |algorithm, rest: &[u8]| Some(Ok(Digest { algorithm, bytes: rest.try_into().ok()? }));
    match *kind {
        BLAKE3 => digest(Algorithm::Blake3, rest),
        SHA256 => digest(Algorithm::Sha256, rest),
        GMAC => {
            let (key, rest) = rest.split_first_chunk()?;
            digest(Algorithm::Gmac(Key(*key)), rest)
        }
        SKIPPED => Some(Err(NoHash::Skipped)),
        GONE => Some(Err(NoHash::Gone(String::from_utf8_lossy(rest).into_owned()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_survives_the_way_and_half_a_hash_is_none() {
        for answer in [
            Ok(Digest::of(Algorithm::Blake3, b"x")),
            Ok(Digest::of(Algorithm::Sha256, b"x")),
            Ok(Digest::of(Algorithm::Gmac(Key([7; 16])), b"x")),
            Err(NoHash::Skipped),
            Err(NoHash::Gone("killed".to_owned())),
        ] {
            assert_eq!(decode(&encode(&answer)), Some(answer));
        }
        let digest = Digest::of(Algorithm::Blake3, b"x");
        for (answer, done) in [(Committed::Done(digest), 1), (Committed::Left(digest), 0)] {
            let body = encode_committed(Ok(answer));
            assert_eq!((body[0], decode(&body[1..])), (done, Some(Ok(digest))));
        }
        assert_eq!(decode(&encode_committed(Err(NoHash::Skipped))[1..]), Some(Err(NoHash::Skipped)));
        for algorithm in [Algorithm::Blake3, Algorithm::Sha256, Algorithm::Gmac(Key([7; 16]))] {
            let told: Vec<Digest> = (0..3).map(|n| Digest { algorithm, bytes: [n; LINE] }).collect();
            for told in [&told[..], &told[..1], &[]] {
                let body = encode_parts(algorithm, told);
                assert_eq!(decode_parts(&body), Some(Ok(told.to_vec())));
                assert_eq!(decode_parts(&[&body[..], b"x"].concat()), None);
            }
        }
        for answer in [Ok(()), Err(NoHash::Skipped), Err(NoHash::Gone("killed".to_owned()))] {
            assert_eq!(decode_copied(&encode_copied(answer.clone())), Some(answer));
        }
        for body in [&encode(&Ok(digest))[..], &[COPIED, 1], &[]] {
            assert_eq!(decode_copied(body), None);
        }
        for why in [NoHash::Skipped, NoHash::Gone("killed".to_owned())] {
            assert_eq!(decode_parts(&encode(&Err(why.clone()))), Some(Err(why)));
        }
        assert_eq!([decode_parts(&[]), decode_parts(&[GMAC, 1]), decode_parts(&[99])], [None, None, None]);
        assert_eq!(decode(&[BLAKE3, 1, 2]), None);
        assert_eq!(decode(&[[GMAC; 16], [1; 16], [2; 16]].concat()), None);
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[99]), None);
    }
}
