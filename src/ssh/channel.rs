//! Session channels of a hop: opened, started as SFTP or as a command, and turned into a [`Wire`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};

use crate::fault::{Cause, Fault, Stage};
use crate::sftp::wire::{BoxFuture, Receiver, Sender, Wire};

use super::ahead::Wanted;
use super::fate::Fate;
use super::hop::HopSession;
use super::inbox::Inbox;

/// For a channel to be opened and its subsystem to be started. sshd forks for it; a loaded host takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a session channel is started as.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// The `sftp` subsystem.
    Sftp,
    /// A command for the login shell.
    Exec(&'a [u8]),
}

/// A started channel: its wire, and what its far end leaves behind.
pub struct Started {
    pub wire: Wire,
    pub inbox: Arc<Inbox>,
}

/// Opens a session channel and starts it.
///
/// # Errors
/// [`Stage::Session`] with [`Cause::SessionLimit`] if the server refuses the channel (sshd does at MaxSessions, with reason
/// 2 and the text "open failed", and says nothing else about its limit); [`Stage::Subsystem`] if it refuses the start.
pub async fn open(session: &Arc<HopSession>, start: Start<'_>) -> Result<Started, Fault> {
    let fault = |stage, cause, text: String| Fault::new(session.hop.alias.clone(), stage, cause, text);
    nudge(session);
    let opening = async {
        let opened = tokio::select! {
            opened = session.open(Wanted::Session) => opened,
            () = session.fate.over() => return Err(session.fate.fault()),
        };
        let channel = match opened {
            Ok(channel) => channel,
            Err(russh::Error::ChannelOpenFailure(reason)) => {
                let said = session.fate.open_failure().await.unwrap_or_else(|| format!("reason {}", reason.code()));
                let text = format!("the server refused a session: {said}");
                return Err(fault(Stage::Session, Cause::SessionLimit, text));
            }
            Err(error) => {
                let last_words = session.fate.last_words().await;
                let lost = || fault(Stage::Session, Cause::Lost, error.to_string());
                return Err(if session.fate.is_over() { last_words } else { lost() });
            }
        };
        begin(channel, session, start).await
    };
    match tokio::time::timeout(PATIENCE, opening).await {
        Ok(result) => result,
        Err(_) => Err(fault(Stage::Session, Cause::Timeout, format!("no channel within {} s", PATIENCE.as_secs()))),
    }
}

/// After the login OpenSSH says several small things (its host keys, notes on the key), and the answer to our first channel
/// waits by Nagle until those were acknowledged. Behind a jump the one to acknowledge is the *head's* kernel, which takes
/// 40 ms unless it has something to send there: so we say something, a few times. (Measured: 49 ms to the first channel, some
/// 10 with this. To go on with it gains nothing.)
fn nudge(session: &Arc<HopSession>) {
    if !session.fresh.swap(false, std::sync::atomic::Ordering::Relaxed) {
        return;
    }
    let session = Arc::downgrade(session);
    tokio::spawn(async move {
        for milliseconds in [2, 3, 5, 10, 20] {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            let Some(session) = session.upgrade().filter(|session| !session.fate.is_over()) else { return };
            let _ = session.handle.send_keepalive(false).await;
        }
    });
}

/// Asks for the start and does not wait until it is granted: the server takes what follows in order, as ssh(1) itself
/// relies on, so the first words can travel with the request. A refusal is what the wire then ends with.
async fn begin(channel: Channel<Msg>, session: &HopSession, start: Start<'_>) -> Result<Started, Fault> {
    let (mut reader, writer) = channel.split();
    let asked = match start {
        Start::Sftp => writer.request_subsystem(true, "sftp").await,
        Start::Exec(command) => writer.exec(true, command).await,
    };
    let text = match start {
        Start::Sftp => "the server has no SFTP subsystem for this account",
        Start::Exec(_) => "the server runs no commands for this account",
    };
    let refusal = Fault::new(session.hop.alias.clone(), Stage::Subsystem, Cause::Unsupported, text);
    let inbox = Arc::new(Inbox::default());
    let tx = ChannelTx { writer: Some(writer), fate: session.fate.clone(), inbox: inbox.clone() };
    if asked.is_err() {
        return Err(session.fate.last_words().await);
    }
    if let Start::Exec(_) = start {
        // Not everybody takes words for a command that is not run: ProFTPD's mod_sftp hangs up on them. And OpenSSH opens the window for
        // them together with its grant.
        granted(&mut reader, &inbox, &session.fate, &refusal).await?;
        tokio::spawn(drain(reader, inbox.clone(), session.fate.clone()));
    } else {
        let (inbox, fate) = (inbox.clone(), session.fate.clone());
        tokio::spawn(async move {
            match granted(&mut reader, &inbox, &fate, &refusal).await {
                Ok(()) => drain(reader, inbox, fate).await,
                Err(fault) => inbox.end(Err(fault)),
            }
        });
    }
    let wire = Wire { tx: Box::new(tx), rx: Box::new(ChannelRx { inbox: inbox.clone() }) };
    Ok(Started { wire, inbox })
}

/// Waits for the answer to the start.
async fn granted(reader: &mut ChannelReadHalf, inbox: &Inbox, fate: &Fate, refusal: &Fault) -> Result<(), Fault> {
    loop {
        match reader.wait().await {
            Some(ChannelMsg::Success) => return Ok(()),
            Some(ChannelMsg::Failure) => {
                inbox.refuse();
                return Err(refusal.clone());
            }
            Some(ChannelMsg::Close | ChannelMsg::Eof) => {
                inbox.refuse();
                // A connection that ends meanwhile looks like a refusal.
                let last_words = fate.last_words().await;
                return Err(if fate.is_over() { last_words } else { refusal.clone() });
            }
            // What was started may speak before its server says that it was.
            Some(ChannelMsg::Data { data }) => {
                inbox.push(data);
            }
            Some(_) => {}
            None => return Err(fate.last_words().await),
        }
    }
}

async fn drain(mut reader: ChannelReadHalf, inbox: Arc<Inbox>, fate: Arc<Fate>) {
    let flood =
        || Fault::new(fate.hop.clone(), Stage::Session, Cause::Protocol, "the server sends what nobody asked for");
    let mut taken = true;
    loop {
        match reader.wait().await {
            Some(ChannelMsg::Data { data }) if taken => {
                taken = inbox.push(data);
                if !taken {
                    inbox.end(Err(flood()));
                }
            }
            Some(ChannelMsg::ExtendedData { data, .. }) => inbox.push_stderr(&data),
            Some(ChannelMsg::ExitStatus { exit_status }) => inbox.set_exit(exit_status),
            // The exit status comes between EOF and CLOSE, and it tells how the end is to be taken.
            Some(ChannelMsg::Close) => return inbox.end(Ok(())),
            Some(_) => {}
            None => {
                let how = if fate.is_over() { Err(fate.fault()) } else { Ok(()) };
                return inbox.end(how);
            }
        }
    }
}

struct ChannelTx {
    /// `None` once finished.
    writer: Option<ChannelWriteHalf<Msg>>,
    fate: Arc<Fate>,
    inbox: Arc<Inbox>,
}

struct ChannelRx {
    inbox: Arc<Inbox>,
}

impl Sender for ChannelTx {
    fn send(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let Some(writer) = &self.writer else {
                return Err(Fault::new(self.fate.hop.clone(), Stage::Session, Cause::Lost, "the channel was finished"));
            };
            let sent = tokio::select! {
                sent = writer.data_bytes(data) => sent.is_ok(),
                // A writer that waits for window is not woken when the connection dies.
                () = self.fate.over() => false,
            };
            if sent { Ok(()) } else { Err(self.fate.last_words().await) }
        })
    }

    /// EOF, not CLOSE: after a `close()` russh forgets the channel and ignores the server's own, and the drain task would
    /// wait for ever. The server closes when its process has exited, and russh answers.
    fn finish(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(writer) = self.writer.take() {
                tokio::select! {
                    _ = writer.eof() => {}
                    () = self.fate.over() => {}
                }
            }
        })
    }
}

impl Drop for ChannelTx {
    /// A dropped channel sends no CLOSE and its session slot would leak: EOF makes the far end's process exit.
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) = (self.writer.take(), tokio::runtime::Handle::try_current()) {
            let (fate, inbox) = (self.fate.clone(), self.inbox.clone());
            runtime.spawn(async move {
                let parting = async {
                    // Where nothing was started, nothing will exit.
                    let _ = if inbox.is_refused() { writer.close().await } else { writer.eof().await };
                };
                tokio::select! {
                    () = parting => {}
                    () = fate.over() => {}
                }
            });
        }
    }
}

impl Receiver for ChannelRx {
    fn recv(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Fault>> {
        Box::pin(std::future::poll_fn(|cx| self.inbox.poll_next(cx)))
    }
}
