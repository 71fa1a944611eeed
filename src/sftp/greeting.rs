//! How a session begins: INIT and VERSION, what the server says that it can take, and what else can be asked at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::fault::{Cause, Fault, Stage};

use super::flight::Flight;
use super::frame::Frames;
use super::packet::{self, Reply, Request};
use super::pending::at;
use super::session::{Peer, Session, Shared, read_loop, write_loop};
use super::wire::Wire;

/// What the server says it can take (`limits@openssh.com`), or the defaults where it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of data in one READ's reply and in one WRITE.
    pub read: u32,
    pub write: u32,
    /// Open handles per session; `None` if unknown.
    pub handles: Option<u64>,
}

impl Default for Limits {
    /// 32 KiB is what every server must take (filexfer-02 §3: packets of 34,000 bytes).
    fn default() -> Limits {
        Limits { read: 32 * 1024, write: 32 * 1024, handles: None }
    }
}

/// The extensions that we use, as the server's VERSION names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    pub posix_rename: bool,
    pub fsync: bool,
    pub lsetstat: bool,
    pub hardlink: bool,
    pub copy_data: bool,
    pub limits: bool,
    /// [`packet::DIGEST`]: whoever answers here hashes, too.
    pub digest: bool,
    /// [`packet::COPY`]: likewise, and copies.
    pub copies: bool,
    /// [`packet::PUT`] and [`packet::GET`]: likewise, whole files.
    pub whole: bool,
}

impl Session {
    /// INIT, VERSION and, where offered, `limits@openssh.com`; within `deadline`.
    pub async fn start(wire: Wire, peer: Peer, deadline: Duration) -> Result<Session, Fault> {
        Ok(Session::start_with(wire, peer, deadline, |_| ()).await?.0)
    }

    /// The same, with questions that go with the greeting, if this server takes such: of OpenSSH, while nothing is known against foreseeing
    /// its handles. They change nothing there.
    pub async fn start_with<T>(
        wire: Wire,
        peer: Peer,
        deadline: Duration,
        questions: impl FnOnce(&mut Flight<'_>) -> T,
    ) -> Result<(Session, Option<T>), Fault> {
        let init =
            |cause, text: String| Fault::new(peer.hop.clone(), Stage::Init, cause, text).on(peer.lane, peer.channel);
        let Wire { mut tx, mut rx } = wire;
        let shared = Arc::new(Shared::new(peer.clone()));
        // OpenSSH's server takes what follows INIT in order, and refuses an extension that it does not have: its limits are
        // asked for with the greeting, and come with it. Others may want to be greeted first.
        let early = peer.openssh.then(|| {
            shared.ask_habit();
            shared.submit(&Request::Limits)
        });
        let takes = peer.openssh && !peer.habit.is_refuted();
        let asked = takes.then(|| questions(&mut Flight::new(&shared, &mut shared.state())));
        let handshake = async {
            let mut first = BytesMut::from(packet::init().as_ref());
            shared.state().out.take().iter().for_each(|bytes| first.extend_from_slice(bytes));
            tx.send(first.freeze()).await?;
            let mut frames = Frames::default();
            let mut heard = 0usize;
            let version = loop {
                let chunk = rx.recv().await?.ok_or_else(|| {
                    init(Cause::Lost, "the far end closed the channel without a word of SFTP".to_owned())
                })?;
                heard += chunk.len();
                let first = chunk.clone();
                frames.feed(chunk);
                match frames.take() {
                    Ok(Some(packet)) => break packet,
                    Ok(None) if heard < 4096 => {}
                    Ok(None) => return Err(init(Cause::Protocol, "the SFTP greeting is too long".to_owned())),
                    Err(_) => return Err(init(Cause::Protocol, not_sftp(&first))),
                }
            };
            let extensions = packet::parse_version(version)
                .map_err(|bad| init(Cause::Protocol, format!("in the SFTP greeting: {bad}")))?;
            Ok((extensions, frames))
        };
        let (announced, frames) = match tokio::time::timeout(deadline, handshake).await {
            Ok(result) => result?,
            Err(_) => return Err(init(Cause::Timeout, format!("no SFTP greeting within {} s", deadline.as_secs()))),
        };
        let has = |name: &[u8]| announced.iter().any(|(n, _)| n.as_ref() == name);
        let extensions = Extensions {
            posix_rename: has(b"posix-rename@openssh.com"),
            fsync: has(b"fsync@openssh.com"),
            lsetstat: has(b"lsetstat@openssh.com"),
            hardlink: has(b"hardlink@openssh.com"),
            copy_data: has(b"copy-data"),
            limits: has(b"limits@openssh.com"),
            digest: has(packet::DIGEST),
            copies: has(packet::COPY),
            whole: has(packet::PUT) && has(packet::GET),
        };
        tokio::spawn(write_loop(tx, shared.clone()));
        tokio::spawn(read_loop(rx, frames, shared.clone()));
        let mut session = Session { shared, limits: Limits::default(), extensions };
        // Where they are not offered, the refusal need not be waited for.
        if extensions.limits {
            let asked = early.unwrap_or_else(|| session.submit(&Request::Limits));
            let answer = tokio::time::timeout(deadline, asked).await.map_err(|_| {
                session.shared.fault(Stage::Init, Cause::Timeout, "limits@openssh.com was never answered")
            })?;
            if let Reply::Extended(data) = answer.map_err(|fault| at(Stage::Init, fault))? {
                session.limits = parse_limits(data);
            }
        }
        Ok((session, asked))
    }
}

fn not_sftp(first: &[u8]) -> String {
    // What a login script or a refusing account prints in place of SFTP: the same trap that breaks scp and sftp.
    let text = String::from_utf8_lossy(&first[..first.len().min(80)]).trim_end().to_owned();
    format!("this is not SFTP: the far end says \"{text}\" (does its shell's start-up file print something?)")
}

/// `limits@openssh.com` (PROTOCOL §4.8): packet, read, write, handles; 0 is "no limit". A server may say 1 or 2^64−1:
/// we stay between 1 byte and what OpenSSH itself can take (261,120).
fn parse_limits(data: Bytes) -> Limits {
    let mut data = data;
    let mut next = || data.try_get_u64().unwrap_or(0);
    let (_packet, read, write, handles) = (next(), next(), next(), next());
    let sane = |n: u64| if n == 0 { 32 * 1024 } else { n.clamp(1, 261_120) as u32 };
    Limits { read: sane(read), write: sane(write), handles: (handles != 0).then_some(handles) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::session::tests::peer;
    use crate::sftp::wire;

    async fn expect_fault(far: &[u8]) -> Fault {
        let (near, mut other) = wire::pair(8);
        other.tx.send(Bytes::copy_from_slice(far)).await.unwrap();
        other.tx.finish().await;
        match Session::start(near, peer(), Duration::from_secs(5)).await {
            Ok(_) => panic!("a broken greeting was accepted"),
            Err(fault) => fault,
        }
    }

    #[tokio::test]
    async fn a_greeting_that_is_no_sftp_is_named() {
        let fault = expect_fault(b"Welcome to the cluster!\n").await;
        assert_eq!((fault.stage, fault.cause), (Stage::Init, Cause::Protocol));
        assert!(fault.text.contains("Welcome to the cluster!"), "{}", fault.text);
        let fault = expect_fault(&[0, 0, 0, 5, 2, 0, 0, 0, 99]).await;
        assert!(fault.text.contains("version 99"), "{}", fault.text);
    }

    #[tokio::test]
    async fn openssh_is_asked_for_its_limits_and_what_else_there_is_to_ask_with_the_greeting() {
        let (near, mut far) = wire::pair(8);
        let server = tokio::spawn(async move {
            let first = far.rx.recv().await.unwrap().unwrap();
            let (init, asked) = first.split_at(9);
            assert_eq!(init, &packet::init()[..]);
            // And the question that was given: LSTAT, request 5.
            let question = [0, 0, 0, 10, 7, 0, 0, 0, 5, 0, 0, 0, 1, b'x'];
            assert!(asked.ends_with(&[&b"limits@openssh.com"[..], &question].concat()), "{asked:?}");
            // VERSION with the extension; a directory that was opened twice and closed; and the answer to request 4.
            let name = b"limits@openssh.com";
            let mut out = vec![0, 0, 0, 5 + 4 + 18 + 4 + 1, 2, 0, 0, 0, 3, 0, 0, 0, 18];
            out.extend_from_slice(name);
            out.extend_from_slice(&[0, 0, 0, 1, b'1']);
            for id in [0, 2] {
                out.extend_from_slice(&[0, 0, 0, 13, 102, 0, 0, 0, id, 0, 0, 0, 4, 0, 0, 0, 0]);
                out.extend_from_slice(&[0, 0, 0, 9, 101, 0, 0, 0, id + 1, 0, 0, 0, 0]);
            }
            out.extend_from_slice(&[0, 0, 0, 5 + 32, 201, 0, 0, 0, 4]);
            for value in [262_144u64, 261_120, 1000, 99] {
                out.extend_from_slice(&value.to_be_bytes());
            }
            // There is no such thing.
            out.extend_from_slice(&[0, 0, 0, 17, 101, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
            far.tx.send(Bytes::from(out)).await.unwrap();
            far
        });
        let openssh = Peer { openssh: true, ..peer() };
        let ask = |flight: &mut Flight<'_>| flight.submit(&Request::Lstat { path: b"x" });
        let (session, asked) = Session::start_with(near, openssh, Duration::from_secs(5), ask).await.unwrap();
        assert_eq!(asked.unwrap().attrs(Stage::List, b"x").await.unwrap(), None);
        assert_eq!(session.limits, Limits { read: 261_120, write: 1000, handles: Some(99) });
        assert_eq!(session.outstanding(), 0);
        assert!(session.foresees(), "the same handle was given twice");
        drop(server.await.unwrap());
    }

    #[test]
    fn absurd_limits_are_kept_within_reason() {
        let limits = |values: [u64; 4]| {
            parse_limits(Bytes::from(values.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>()))
        };
        assert_eq!(limits([262144, 261120, 261120, 1019]).write, 261120);
        assert_eq!(limits([0, 0, 0, 0]), Limits::default());
        assert_eq!(limits([1, 1, 1, 1]).read, 1);
        assert_eq!(limits([u64::MAX; 4]).write, 261120);
    }
}
