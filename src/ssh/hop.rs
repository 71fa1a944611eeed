//! One hop: an SSH session over whatever stream leads there, checked and logged in.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use russh::client::{self, DisconnectReason, Handle};
use russh::keys::PublicKeyOrCertificate;
use russh::{ChannelId, ChannelOpenFailure, Names, Preferred, cipher, compression, kex, mac};

use crate::fault::{Cause, Fault, Stage};

use super::ahead::{self, Ahead, Opened, Wanted};
use super::fate::Fate;
use super::prompt::Prompt;
use super::route::{Hop, LogLevel};
use super::socket::{Stream, Watched};
use super::{auth, host_key};

/// From the stream to the end of the key exchange. OpenSSH's LoginGraceTime (120 s) runs meanwhile.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(60);

/// For the end of a jump to be known, where a tunnel of it has ended.
const JUMP_PATIENCE: Duration = Duration::from_millis(50);

/// For a jump to answer, where something behind it has been silent for longer than anyone waits.
pub const BLAME_PATIENCE: Duration = Duration::from_secs(2);

/// For the login, prompts included: the server's LoginGraceTime ends it anyway.
const LOGIN_PATIENCE: Duration = Duration::from_secs(120);

/// Keepalives where ssh_config asks for none: every wait must end, and a black hole sends no FIN. 15 s × 4.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const ALIVE_COUNT: usize = 4;

/// Messages that russh may queue per channel before the session waits. Our drain tasks always take, so this only covers
/// the time until they run.
const CHANNEL_QUEUE: usize = 4096;

/// What we offer per channel. Every channel of a session shares its values.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    /// The receive window, in bytes.
    pub receive: u32,
    /// What a server may put into one packet for us, in bytes of payload.
    pub packet: u32,
}

impl Windows {
    /// Bytes, where the path is short.
    pub const NEAR: u32 = 2 << 20;

    /// By the path's round trip: 2 MiB keeps a LAN busy, and larger ones make the *head* burn CPU (measured: 3.5–4.6 s
    /// instead of 1.2 s for 943 MB); at distance 8 MiB carries 160 MB/s over 50 ms.
    ///
    /// OpenSSH puts as much into a packet as it has. With twice RFC 4253 §6.1's 32 KiB a pull of 2 GB over a short path takes 9 % less
    /// time (its many packets cost both ends), and more gains nothing more. At distance what a packet takes more is what sshd's
    /// socket holds more (`tree::remote::lanes`): 244 KiB, of the 256 KiB that both sides take for the longest packet there is.
    pub fn for_round_trip(round_trip: Duration) -> Windows {
        if round_trip < Duration::from_millis(5) {
            Windows { receive: Windows::NEAR, packet: 65_535 }
        } else {
            Windows { receive: 8 << 20, packet: 244 << 10 }
        }
    }
}

/// A live, logged-in session at one hop.
pub struct HopSession {
    pub handle: Handle<Client>,
    pub fate: Arc<Fate>,
    pub hop: Hop,
    /// Time spent at each stage, and how the login was done.
    pub stages: Vec<(Stage, Duration)>,
    pub method: String,
    pub windows: Windows,
    /// No channel was opened yet.
    pub fresh: AtomicBool,
    /// The first channels, where they were asked for with the login.
    ahead: Mutex<VecDeque<Ahead>>,
}

impl HopSession {
    /// Opens a channel, or takes one like it that was asked for with the login.
    ///
    /// # Errors
    /// russh's.
    pub async fn open(&self, wanted: Wanted) -> Opened {
        if let Some(ahead) = self.asked_for(&wanted)
            && let Some(opened) = ahead.opened().await
        {
            return opened;
        }
        wanted.open(&self.handle.opener()).await
    }

    /// Takes a channel like this one that was asked for with the login, if there is one left.
    pub fn asked_for(&self, wanted: &Wanted) -> Option<Ahead> {
        let mut asked = self.ahead.lock().unwrap_or_else(|p| p.into_inner());
        let at = asked.iter().position(|ahead| ahead.wanted == *wanted)?;
        asked.remove(at)
    }
}

/// russh's callbacks: who is trusted, and what the server says.
pub struct Client {
    hop: Hop,
    fate: Arc<Fate>,
    prompt: Arc<Prompt>,
    /// The hops that carry this one, in order.
    jumps: Vec<Arc<HopSession>>,
    /// Set when a changed key was let pass (`StrictHostKeyChecking no`): no password may then be sent.
    changed: Arc<Mutex<bool>>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        self.fate.enter(Stage::HostKey);
        match host_key::check(&self.hop, key, &self.prompt).await {
            Ok(accepted) => {
                for notice in [&accepted.newly_added, &accepted.warning].into_iter().flatten() {
                    self.fate.notice(notice);
                }
                *self.changed.lock().unwrap_or_else(|p| p.into_inner()) = accepted.changed_but_allowed;
                Ok(true)
            }
            Err(fault) => {
                self.fate.refuse(fault);
                Ok(false)
            }
        }
    }

    async fn kex_done(&mut self, _: Option<&[u8]>, names: &Names, _: &mut client::Session) -> Result<(), russh::Error> {
        self.fate.negotiated(names.kex.as_ref(), names.cipher.as_ref());
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut client::Session) -> Result<(), russh::Error> {
        if self.hop.log_level >= LogLevel::Info {
            self.fate.notice(banner);
        }
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        _: &str,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        self.fate.open_failed(&format!("{description} (reason {})", reason.code()));
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.fate.disconnected(&format!("{:?}", info.reason_code), &info.message);
                self.fate.end();
                Ok(())
            }
            DisconnectReason::Error(error) => {
                if !explain(&self.fate, &error) && !self.fate.is_left() {
                    // The end of a tunnel may come before that of the jump that carried it is written down.
                    for jump in &self.jumps {
                        if tokio::time::timeout(JUMP_PATIENCE, jump.fate.over()).await.is_ok() {
                            self.fate.refuse(jump.fate.fault());
                            break;
                        }
                    }
                }
                // When a jump falls silent, so does all that it carries, and any may be the first to notice.
                if let Some(silent) = silent_jump(&self.jumps, self.fate.fault(), BLAME_PATIENCE).await {
                    self.fate.refuse(silent);
                }
                self.fate.end();
                Err(error)
            }
        }
    }
}

/// The fault of the jump that a silence is due to: a hop that does not answer may only be behind one that does not.
pub async fn silent_jump(jumps: &[Arc<HopSession>], fault: Fault, patience: Duration) -> Option<Fault> {
    if fault.cause != Cause::Timeout {
        return None;
    }
    for jump in jumps.iter().filter(|jump| jump.hop.alias != fault.hop) {
        let answered = tokio::select! {
            answered = tokio::time::timeout(patience, jump.handle.send_ping()) => matches!(answered, Ok(Ok(()))),
            () = jump.fate.over() => false,
        };
        if !answered {
            let text = format!("{}; it is {} that does not answer", fault.text, jump.hop.alias);
            return Some(Fault { hop: jump.hop.alias.clone(), stage: Stage::Session, text, ..fault });
        }
    }
    None
}

impl Drop for Client {
    /// russh drops its handler when the session's task ends, on every path.
    fn drop(&mut self) {
        self.fate.end();
    }
}

/// Writes down why a session ended. Where it was the hop below that ended, that hop's own words are the reason; whether they
/// were.
fn explain(fate: &Fate, error: &russh::Error) -> bool {
    if let russh::Error::IO(error) = error
        && let Some(carrier) = error.get_ref().and_then(|inner| inner.downcast_ref::<Fault>())
    {
        fate.refuse(carrier.clone());
        return true;
    }
    fate.failed(&describe(error));
    false
}

fn describe(error: &russh::Error) -> String {
    match error {
        russh::Error::IO(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
        russh::Error::IO(e) => e.to_string(),
        russh::Error::Disconnect | russh::Error::HUP => "connection closed".to_owned(),
        russh::Error::KeepaliveTimeout => "keepalives unanswered".to_owned(),
        other => other.to_string(),
    }
}

/// Runs the handshake and the login on `stream`, and writes down in `fate` what the server says. `spent` is what was spent to
/// get the stream; `jumps` are the hops that carry it; `first` are the channels that will be wanted first, if they may be asked for
/// before it is known that the login is granted.
#[expect(clippy::too_many_arguments, reason = "each is told by one caller, and none belongs with another")]
pub async fn connect(
    hop: &Hop,
    fate: Arc<Fate>,
    stream: Box<dyn Stream>,
    windows: Windows,
    compress: bool,
    prompt: &Arc<Prompt>,
    spent: Vec<(Stage, Duration)>,
    jumps: Vec<Arc<HopSession>>,
    mut first: Vec<Wanted>,
) -> Result<HopSession, Fault> {
    fate.enter(Stage::Banner);
    let config = config(hop, windows, compress).await?;
    let changed = Arc::new(Mutex::new(false));
    let client =
        Client { hop: hop.clone(), fate: fate.clone(), prompt: prompt.clone(), jumps, changed: changed.clone() };
    let started = Instant::now();
    let patience = config.keepalive_interval.filter(|_| config.keepalive_max > 0);
    let patience = patience.map(|interval| interval.saturating_mul(config.keepalive_max as u32 + 1));
    let watched = Watched::new(stream, fate.clone(), patience);
    let connected = tokio::time::timeout(HANDSHAKE_PATIENCE, client::connect_stream(Arc::new(config), watched, client));
    let mut handle = match connected.await {
        Ok(Ok(handle)) => handle,
        Ok(Err(error)) => {
            explain(&fate, &error);
            return Err(fate.fault());
        }
        Err(_) => {
            fate.failed(&format!("no answer within {} s", HANDSHAKE_PATIENCE.as_secs()));
            let mut fault = fate.fault();
            fault.cause = Cause::Timeout;
            return Err(fault);
        }
    };
    let mut stages = spent;
    stages.push((Stage::Kex, started.elapsed()));
    let started = Instant::now();
    fate.enter(Stage::Login);
    let allow_password = !*changed.lock().unwrap_or_else(|p| p.into_inner());
    let lost = || fate.is_over().then(|| fate.fault());
    // What is sent before the login is granted is not compressed, and what is read after it may have to be.
    let plain = !compress && !hop.compression;
    if !plain || !fate.banner().is_some_and(|banner| ahead::bears(&banner)) {
        first.clear();
    }
    let login = auth::login(&mut handle, hop, prompt, allow_password, lost, first);
    let (method, ahead) = match tokio::time::timeout(LOGIN_PATIENCE, login).await {
        Ok(Ok(in_by)) => in_by,
        Ok(Err(fault)) => return Err(fault),
        Err(_) => {
            let text = format!("no login within {} s", LOGIN_PATIENCE.as_secs());
            return Err(Fault::new(hop.alias.clone(), Stage::Login, Cause::Timeout, text));
        }
    };
    stages.push((Stage::Login, started.elapsed()));
    fate.enter(Stage::Session);
    Ok(HopSession {
        handle,
        fate,
        hop: hop.clone(),
        stages,
        method: method.to_string(),
        windows,
        fresh: AtomicBool::new(true),
        ahead: Mutex::new(ahead),
    })
}

async fn config(hop: &Hop, windows: Windows, compress: bool) -> Result<client::Config, Fault> {
    Ok(client::Config {
        client_id: russh::SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-hopsync_", env!("CARGO_PKG_VERSION")))),
        // A rekey that *we* start fails once more than two windows of data are in flight (russh counts all channels
        // together), so the server starts them: sshd does at 1 GiB with chacha20 and at 2^32 blocks with AES (RFC 4344
        // §3.2). For a server that never does, 2^36 bytes with AES-GCM is far below its limit.
        limits: russh::Limits {
            rekey_write_limit: 1 << 36,
            rekey_read_limit: 1 << 36,
            rekey_time_limit: Duration::from_secs(365 * 24 * 3600),
        },
        window_size: windows.receive,
        // russh takes more than 65,535 for a mistake and says so: `program::log_filter`.
        maximum_packet_size: windows.packet,
        channel_buffer_size: CHANNEL_QUEUE,
        preferred: preferred(hop, compress).await?,
        inactivity_timeout: None,
        keepalive_interval: Some(hop.server_alive_interval.unwrap_or(ALIVE_INTERVAL)),
        keepalive_max: match hop.server_alive_interval {
            Some(_) => hop.server_alive_count_max as usize,
            None => ALIVE_COUNT,
        },
        nodelay: true,
        ..client::Config::default()
    })
}

/// Key exchanges offered, best first. russh's own list, without SHA-1.
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
];

/// Markers that are no algorithms but must be offered: EXT_INFO (RFC 8308) and strict key exchange (OpenSSH's PROTOCOL
/// §1.10, against the Terrapin attack).
const KEX_MARKERS: &[kex::Name] = &[kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];

const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];

/// AES-GCM first where the CPU has AES instructions: chacha20-poly1305 is several times slower there (measured: 900 × 1 MiB
/// took 1.9 instead of 1.3 of rsync's speed with the change of cipher alone).
fn ciphers() -> Vec<cipher::Name> {
    let gcm = [cipher::AES_128_GCM, cipher::AES_256_GCM];
    let ctr = [cipher::AES_128_CTR, cipher::AES_192_CTR, cipher::AES_256_CTR];
    let mut all = Vec::new();
    if has_aes() {
        all.extend(gcm);
        all.push(cipher::CHACHA20_POLY1305);
    } else {
        all.push(cipher::CHACHA20_POLY1305);
        all.extend(gcm);
    }
    all.extend(ctr);
    all
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

async fn preferred(hop: &Hop, compress: bool) -> Result<Preferred, Fault> {
    let refuse = |what: &str, wanted: &[String]| {
        let text = format!("none of the configured {what} is supported: {}", wanted.join(","));
        Fault::new(hop.alias.clone(), Stage::Kex, Cause::Config, text)
    };
    /// What the user wants and we have, in the user's order; all that we have if the user left it to us.
    fn choose<N: AsRef<str> + Copy>(wanted: &Option<Vec<String>>, have: &[N]) -> Vec<N> {
        match wanted {
            None => have.to_vec(),
            Some(wanted) => wanted.iter().filter_map(|w| have.iter().find(|h| h.as_ref() == w).copied()).collect(),
        }
    }
    let mut kex = choose(&hop.kex_algorithms, KEX);
    let cipher = choose(&hop.ciphers, &ciphers());
    let mac = choose(&hop.macs, MACS);
    let none = Vec::new();
    if kex.is_empty() {
        return Err(refuse("key exchange algorithms", hop.kex_algorithms.as_ref().unwrap_or(&none)));
    }
    if cipher.is_empty() {
        return Err(refuse("ciphers", hop.ciphers.as_ref().unwrap_or(&none)));
    }
    if mac.is_empty() {
        return Err(refuse("MACs", hop.macs.as_ref().unwrap_or(&none)));
    }
    kex.extend(KEX_MARKERS);
    let host_keys = host_key::preference(hop).await?;
    let compression: Vec<compression::Name> = if compress || hop.compression {
        vec![compression::ZLIB_LEGACY, compression::ZLIB, compression::NONE]
    } else {
        vec![compression::NONE]
    };
    Ok(Preferred {
        kex: kex.into(),
        host_key_certificates: host_keys.certificates.into(),
        key: host_keys.keys.into(),
        cipher: cipher.into(),
        mac: mac.into(),
        compression: compression.into(),
    })
}
