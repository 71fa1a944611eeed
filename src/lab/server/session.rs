//! One client's connection: login, tunnels, and session channels within the limit.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::startups::Start;
use super::{Commands, Shared, exec, sftp, wire};
use crate::lab::faults::{Faults, Trouble};
use crate::lab::stats::{Stats, count};

/// sshd's word for a session beyond MaxSessions: SSH_OPEN_CONNECT_FAILED (RFC 4254 §5.1) and this text.
const NO_MORE_SESSIONS: (u32, &str) = (2, "open failed");

/// Tells a channel's task that its channel, or the whole connection, is gone: the sender has been dropped.
pub type Gone = watch::Receiver<()>;

/// Waits for that.
pub async fn gone(gone: &Gone) {
    let mut gone = gone.clone();
    while gone.changed().await.is_ok() {}
}

/// The place of one session channel within the limit, given back when its task has ended.
pub struct Slot {
    open: Arc<AtomicUsize>,
    stats: Arc<Stats>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Relaxed);
        self.stats.session_closed();
    }
}

/// A session channel on which nothing runs yet.
struct Idle {
    channel: Channel<Msg>,
    slot: Slot,
    gone: Gone,
}

pub struct Handler {
    shared: Arc<Shared>,
    /// Held until the login succeeds.
    start: Option<Start>,
    open: Arc<AtomicUsize>,
    idle: HashMap<ChannelId, Idle>,
    /// One per open channel; dropping it ends the channel's task.
    alive: HashMap<ChannelId, watch::Sender<()>>,
}

impl Handler {
    pub fn new(shared: Arc<Shared>, start: Start) -> Handler {
        Handler { shared, start: Some(start), open: Arc::default(), idle: HashMap::new(), alive: HashMap::new() }
    }

    fn faults(&self) -> &Faults {
        &self.shared.config.faults
    }

    fn judge(&self, accepted: bool) -> Auth {
        // Only what would have been let in counts.
        if accepted && self.faults().meet(|t| (*t == Trouble::Deny).then_some(())).is_none() {
            return Auth::Accept;
        }
        count(&self.shared.stats.denied);
        Auth::reject()
    }

    fn authorized(&self, key: &PublicKey) -> bool {
        self.shared.config.authorized.iter().any(|known| known.key_data() == key.key_data())
    }

    fn birth(&mut self, id: ChannelId) -> Gone {
        let (alive, gone) = watch::channel(());
        self.alive.insert(id, alive);
        gone
    }

    /// Starts SFTP, or a command, on an idle session channel.
    fn begin(&mut self, id: ChannelId, command: Option<Vec<u8>>, session: &mut Session) -> Result<(), russh::Error> {
        let Some(Idle { channel, slot, gone }) = self.idle.remove(&id) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let shared = self.shared.clone();
        tokio::spawn(async move {
            match command {
                Some(command) => exec::run(channel, &shared, &command, &gone).await,
                None => sftp::run(channel, &shared, &gone).await,
            }
            drop(slot);
        });
        Ok(())
    }
}

impl russh::server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(if self.authorized(offer.public_key) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.judge(self.authorized(key.public_key)))
    }

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(self.judge(self.shared.config.password.as_deref() == Some(password)))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(expected) = self.shared.config.password.clone() else { return Ok(Auth::reject()) };
        match response {
            None => Ok(Auth::Partial {
                name: Cow::Borrowed(""),
                instructions: Cow::Borrowed(""),
                prompts: Cow::Borrowed(&[(Cow::Borrowed("Password: "), false)]),
            }),
            Some(mut answers) => {
                let right = answers.next().is_some_and(|answer| answer == expected.as_bytes());
                Ok(self.judge(right))
            }
        }
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Self::Error> {
        self.start = None;
        count(&self.shared.stats.logins);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let refused = self.faults().meet(|t| (*t == Trouble::RefuseSession).then_some(())).is_some();
        if refused || self.open.load(Relaxed) >= self.shared.config.max_sessions {
            count(&self.shared.stats.refused_sessions);
            let (code, reason) = NO_MORE_SESSIONS;
            reply.reject(ChannelOpenFailure::Other { code, reason: reason.into() }).await;
            return Ok(());
        }
        self.open.fetch_add(1, Relaxed);
        self.shared.stats.session_opened();
        let slot = Slot { open: self.open.clone(), stats: self.shared.stats.clone() };
        let id = channel.id();
        let gone = self.birth(id);
        self.idle.insert(id, Idle { channel, slot, gone });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let refused = self.faults().meet(|t| match *t {
            Trouble::RefuseTunnel { reason, text } => Some((reason, text)),
            _ => None,
        });
        let route = self.shared.config.routes.iter().find(|r| r.host == host && r.port == port).cloned();
        let (refusal, route) = match (refused, route) {
            (Some((code, text)), _) => (ChannelOpenFailure::Other { code, reason: text.into() }, None),
            (None, None) => {
                (ChannelOpenFailure::Other { code: 1, reason: "administratively prohibited: open failed".into() }, None)
            }
            (None, route) => (ChannelOpenFailure::ConnectFailed, route),
        };
        let Some(route) = route else {
            count(&self.shared.stats.refused_tunnels);
            reply.reject(refusal).await;
            return Ok(());
        };
        let gone = self.birth(channel.id());
        let shared = self.shared.clone();
        tokio::spawn(async move {
            match shared.config.callers.connect(route.to).await {
                Ok(socket) => {
                    count(&shared.stats.tunnels);
                    // Bytes are counted where they pass the server's own socket.
                    let (_alive, alive) = watch::channel(0);
                    let stream = wire::attach(socket, Arc::default(), &Faults::none(), alive);
                    reply.accept().await;
                    tunnel(channel, stream, &gone).await;
                }
                Err(error) => {
                    count(&shared.stats.refused_tunnels);
                    let reason = crate::fault::errno_text(&error);
                    reply.reject(ChannelOpenFailure::Other { code: 2, reason }).await;
                }
            }
        });
        Ok(())
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Self::Error> {
        if name == "sftp" || self.shared.config.commands == Commands::SftpOnly {
            self.begin(id, None, session)
        } else {
            session.channel_failure(id)
        }
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        let command = (self.shared.config.commands == Commands::Shell).then(|| command.to_vec());
        self.begin(id, command, session)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        let command = (self.shared.config.commands == Commands::Shell).then(|| b"exec /bin/sh".to_vec());
        self.begin(id, command, session)
    }

    async fn env_request(&mut self, id: ChannelId, _: &str, _: &str, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.alive.remove(&id);
        self.idle.remove(&id);
        Ok(())
    }
}

/// Carries a direct-tcpip channel's bytes both ways until either side ends.
async fn tunnel(channel: Channel<Msg>, stream: wire::Stream, closed: &Gone) {
    let (mut from_client, to_client) = channel.split();
    let (mut from_target, mut to_target) = tokio::io::split(stream);
    let up = async {
        while let Some(message) = from_client.wait().await {
            match message {
                ChannelMsg::Data { data } if to_target.write_all(&data).await.is_err() => break,
                ChannelMsg::Eof if to_target.shutdown().await.is_err() => break,
                ChannelMsg::Close => break,
                _ => {}
            }
        }
    };
    let down = async {
        loop {
            let mut buffer = bytes::BytesMut::with_capacity(64 << 10);
            match from_target.read_buf(&mut buffer).await {
                Ok(n) if n > 0 => {}
                _ => break,
            }
            if to_client.data_bytes(buffer.freeze()).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
        () = gone(closed) => {}
    }
    let _ = to_client.eof().await;
    let _ = to_client.close().await;
}

/// Ends a session channel from the server's side: exit status, EOF, CLOSE, in sshd's order.
pub async fn finish(to_client: &ChannelWriteHalf<Msg>, status: u32) {
    let _ = to_client.eof().await;
    let _ = to_client.exit_status(status).await;
    let _ = to_client.close().await;
}

/// Reads a channel's next data: `None` at EOF or CLOSE.
pub async fn next_data(from_client: &mut ChannelReadHalf) -> Option<bytes::Bytes> {
    loop {
        match from_client.wait().await? {
            ChannelMsg::Data { data } => return Some(data),
            ChannelMsg::Eof | ChannelMsg::Close => return None,
            _ => {}
        }
    }
}
