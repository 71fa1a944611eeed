//! Limits and faults of the beds, seen by a client that opens sessions and speaks SFTP packet by packet.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

use std::error::Error;
use std::fs;
use std::future::Future;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hopsync::lab::bed::{Bed, Embedded, Knobs, SshdPair, TARGET};
use hopsync::lab::faults::{Direction, Faults, Nth, Trouble};
use hopsync::lab::relay::Line;
use hopsync::lab::run::{Output, run};
use hopsync::lab::trees::random_file;
use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{Channel, ChannelMsg};
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

type Tried = Result<(), Box<dyn Error>>;

const DEADLINE: Duration = Duration::from_secs(60);
/// SSH_FXP_WRITE.
const WRITE: u8 = 6;
/// SSH_FXP_LSTAT.
const LSTAT: u8 = 7;

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// Runs a test's client with a deadline.
fn block_on(work: impl Future<Output = Tried>) -> Tried {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await? })
}

/// A login at the target through the head. The head's session must live as long as the target's.
async fn login(bed: &dyn Bed) -> Result<(Handle<Trusting>, Handle<Trusting>), Box<dyn Error>> {
    // With a deep channel buffer nested sessions do not wait on each other.
    let config = Arc::new(client::Config { channel_buffer_size: 4096, ..Default::default() });
    let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(&bed.client().identity, None)?), None);
    let user = fs::read_to_string(bed.ssh_config())?;
    let user = user.lines().find_map(|line| line.trim().strip_prefix("User ")).ok_or("no user")?.to_owned();
    let mut head = client::connect(config.clone(), bed.door(), Trusting).await?;
    head.authenticate_publickey(&user, key.clone()).await?;
    let (host, port) = bed.route();
    let tunnel = head.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0).await?;
    let mut target = client::connect_stream(config, tunnel.into_stream(), Trusting).await?;
    if !target.authenticate_publickey(&user, key).await?.success() {
        return Err("the target refused the key".into());
    }
    Ok((head, target))
}

async fn sftp(target: &Handle<Trusting>) -> Result<RawSftpSession, Box<dyn Error>> {
    let channel = target.channel_open_session().await?;
    channel.request_subsystem(true, "sftp").await?;
    let session = RawSftpSession::new(channel.into_stream());
    session.init().await?;
    Ok(session)
}

async fn create(session: &RawSftpSession, bed: &dyn Bed, name: &str, data: &[u8]) -> Result<(), SftpError> {
    let path = bed.far().join(name).display().to_string();
    let flags = OpenFlags::CREATE | OpenFlags::WRITE | OpenFlags::TRUNCATE;
    let handle = session.open(path, flags, FileAttributes::empty()).await?.handle;
    session.write(&handle, 0, data.to_vec()).await?;
    session.close(handle).await.map(drop)
}

fn refusal<T>(result: Result<T, russh::Error>) -> Option<russh::ChannelOpenFailure> {
    match result {
        Err(russh::Error::ChannelOpenFailure(failure)) => Some(failure),
        _ => None,
    }
}

async fn the_limit_is_refused_and_a_closed_session_makes_room(bed: &dyn Bed, limit: usize) -> Tried {
    let (_head, target) = login(bed).await?;
    let mut open = Vec::new();
    for _ in 0..limit {
        let channel = target.channel_open_session().await?;
        channel.request_subsystem(true, "sftp").await?;
        open.push(channel);
    }
    assert_eq!(refusal(target.channel_open_session().await), Some(russh::ChannelOpenFailure::ConnectFailed));
    let mut last: Channel<Msg> = open.pop().ok_or("none open")?;
    last.eof().await?;
    while !matches!(last.wait().await, Some(ChannelMsg::Close) | None) {}
    // The slot is free a moment after the server's CLOSE.
    while let Some(failure) = refusal(target.channel_open_session().await) {
        assert_eq!(failure, russh::ChannelOpenFailure::ConnectFailed);
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[test]
fn a_session_beyond_max_sessions_is_refused_by_both_pairs_and_a_close_makes_room() -> Tried {
    for limit in [1, 3] {
        let embedded = Embedded::target(|config| config.max_sessions = limit)?;
        block_on(the_limit_is_refused_and_a_closed_session_makes_room(&embedded, limit))?;
        assert!(embedded.counts().refused_sessions >= 1);
        let real = SshdPair::target(&Knobs { max_sessions: Some(limit as u32), ..Knobs::default() })?;
        block_on(the_limit_is_refused_and_a_closed_session_makes_room(&real, limit))?;
        assert!(real.target.wait_for_log("no more sessions", 1, DEADLINE));
    }
    Ok(())
}

#[test]
fn a_connection_is_dropped_before_the_banner_with_a_text() -> Tried {
    let text = "Not allowed at this time\r\n";
    let rule = (Nth::Only(1), Trouble::DropBeforeBanner { text });
    let bed = Embedded::with(|head| head.faults = Faults::new([rule]), |_| {}, None)?;
    let mut said = String::new();
    let mut stream = TcpStream::connect(bed.door())?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.read_to_string(&mut said)?;
    assert_eq!(said, text);
    block_on(async { login(&bed).await.map(drop) })?;
    assert_eq!(bed.head_server().faults().fired(0), 1);
    Ok(())
}

#[test]
fn sessions_and_tunnels_are_refused_by_rule() -> Tried {
    let tunnel = Trouble::RefuseTunnel { reason: 2, text: "Connection refused" };
    let bed = Embedded::with(
        |head| head.faults = Faults::new([(Nth::Only(1), tunnel)]),
        |target| target.faults = Faults::new([(Nth::Only(2), Trouble::RefuseSession)]),
        None,
    )?;
    block_on(async {
        assert!(login(&bed).await.is_err());
        let (_head, target) = login(&bed).await?;
        let _first = target.channel_open_session().await?;
        assert_eq!(refusal(target.channel_open_session().await), Some(russh::ChannelOpenFailure::ConnectFailed));
        let _third = target.channel_open_session().await?;
        Ok(())
    })
}

#[test]
fn a_right_key_is_denied_by_rule() -> Tried {
    let bed = Embedded::target(|config| config.faults = Faults::new([(Nth::Always, Trouble::Deny)]))?;
    block_on(async {
        assert!(login(&bed).await.is_err());
        assert_eq!((bed.counts().head_logins, bed.counts().target_logins), (1, 0));
        Ok(())
    })
}

#[test]
fn a_connection_is_cut_after_so_many_bytes_in_either_direction() -> Tried {
    for direction in [Direction::In, Direction::Out] {
        let rule = (Nth::Only(1), Trouble::Cut { direction, bytes: 100_000 });
        let bed = Embedded::target(|config| config.faults = Faults::new([rule]))?;
        block_on(async {
            let (_head, target) = login(&bed).await?;
            let session = sftp(&target).await?;
            session.set_timeout(5);
            random_file(&bed.far().join("file"), 1 << 20, b"")?;
            let path = bed.far().join("file").display().to_string();
            let read = session.open(path, OpenFlags::READ, FileAttributes::empty()).await?.handle;
            let both = async {
                session.read(read, 0, 200_000).await?;
                create(&session, &bed, "other", &[7; 200_000]).await
            };
            assert!(both.await.is_err());
            assert!(target.is_closed());
            Ok(())
        })?;
        block_on(async { login(&bed).await.map(drop) })?;
    }
    Ok(())
}

#[test]
fn a_silent_connection_stays_open_and_says_nothing() -> Tried {
    let rule = (Nth::Only(1), Trouble::Silence { direction: Direction::Out, bytes: 10 });
    let bed = Embedded::with(|head| head.faults = Faults::new([rule]), |_| {}, None)?;
    let mut stream = TcpStream::connect(bed.door())?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut said = [0; 100];
    let mut got = 0;
    let end = loop {
        match stream.read(&mut said[got..]) {
            Ok(0) => break None,
            Ok(n) => got += n,
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!((&said[..got], end), (&b"SSH-2.0-Op"[..], Some(std::io::ErrorKind::WouldBlock)));
    Ok(())
}

#[test]
fn requests_are_answered_shortened_swallowed_and_delayed_by_rule() -> Tried {
    let status = StatusCode::Failure as u32;
    let bed = Embedded::target(|config| {
        config.faults = Faults::new([
            (Nth::Only(2), Trouble::Answer { request: WRITE, status, text: "No space left on device" }),
            (Nth::Always, Trouble::ShortRead { max: 3 }),
            (Nth::Only(1), Trouble::Swallow { request: Some(LSTAT) }),
            (Nth::Only(2), Trouble::Delay { request: Some(LSTAT), by: Duration::from_millis(50) }),
        ])
    })?;
    block_on(async {
        let (_head, target) = login(&bed).await?;
        let session = sftp(&target).await?;
        create(&session, &bed, "one", b"first").await?;
        match create(&session, &bed, "two", b"second").await {
            Err(SftpError::Status(status)) => assert_eq!(status.error_message, "No space left on device"),
            other => return Err(format!("{other:?}").into()),
        }
        let path = bed.far().join("one").display().to_string();
        let handle = session.open(&path, OpenFlags::READ, FileAttributes::empty()).await?.handle;
        assert_eq!(session.read(handle, 0, 5).await?.data, b"fir");
        session.set_timeout(1);
        assert!(matches!(session.lstat(&path).await, Err(SftpError::Timeout)));
        let asked = std::time::Instant::now();
        assert_eq!(session.lstat(&path).await?.attrs.size, Some(5));
        assert!(asked.elapsed() >= Duration::from_millis(50));
        let faults = bed.target_server().faults();
        assert_eq!([0, 1, 2, 3].map(|rule| faults.fired(rule)), [1, 1, 1, 1]);
        Ok(())
    })
}

#[test]
fn the_channel_named_by_a_rule_is_closed_after_its_requests_and_the_others_go_on() -> Tried {
    let rule = (Nth::Only(1), Trouble::CloseChannel { requests: 4 });
    let bed = Embedded::target(|config| config.faults = Faults::new([rule]))?;
    block_on(async {
        let (_head, target) = login(&bed).await?;
        let (first, second) = (sftp(&target).await?, sftp(&target).await?);
        create(&first, &bed, "one", b"INIT, OPEN, WRITE, CLOSE are four").await?;
        assert!(create(&first, &bed, "two", b"").await.is_err());
        create(&second, &bed, "three", b"still here").await?;
        Ok(())
    })
}

#[test]
fn the_file_named_by_a_rule_is_damaged_after_its_close() -> Tried {
    let bed = Embedded::target(|config| config.faults = Faults::new([(Nth::Only(2), Trouble::CorruptFile)]))?;
    block_on(async {
        let (_head, target) = login(&bed).await?;
        let session = sftp(&target).await?;
        for name in ["one", "two", "three"] {
            create(&session, &bed, name, b"abc").await?;
        }
        let content = |name| fs::read_to_string(bed.far().join(name));
        assert_eq!((content("one")?, content("two")?, content("three")?), ("abc".into(), "acc".into(), "abc".into()));
        Ok(())
    })
}

fn ssh(bed: &dyn Bed, command: &str) -> std::io::Result<Output> {
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(bed.ssh_config()).args([TARGET, command]);
    run(ssh, DEADLINE)
}

#[test]
fn hashers_lie_print_garbage_or_are_missing_by_rule() -> Tried {
    let bed = Embedded::target(|config| {
        config.faults = Faults::new([
            (Nth::Only(1), Trouble::WrongHash { containing: "sha256sum" }),
            (Nth::Only(2), Trouble::GarbageOutput { containing: "sha256sum" }),
            (Nth::Only(4), Trouble::NoPath),
        ])
    })?;
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -\n";
    assert_eq!(ssh(&bed, "sha256sum </dev/null")?.out(), empty.replacen("fbf4", "fb04", 1));
    assert!(ssh(&bed, "sha256sum </dev/null")?.out().contains("no hash"));
    assert_eq!(ssh(&bed, "sha256sum </dev/null")?.out(), empty);
    assert_eq!(ssh(&bed, "sha256sum </dev/null")?.code, 127);
    Ok(())
}

#[test]
fn a_server_that_rekeys_often_and_far_away_loses_nothing() -> Tried {
    let line = Line { delay: Duration::from_millis(2), rate: None };
    let rekeying = |config: &mut hopsync::lab::server::Config| config.rekey_bytes = Some(1 << 20);
    let bed = Embedded::with(rekeying, rekeying, Some(line))?;
    let (here, back) = (bed.client().dir().join("here"), bed.client().dir().join("back"));
    random_file(&here, 20 << 20, b"rekey")?;
    for (from, to) in
        [(here.display().to_string(), bed.operand("there")), (bed.operand("there"), back.display().to_string())]
    {
        let mut scp = Command::new("scp");
        scp.args(["-v", "-F"]).arg(bed.ssh_config()).args([from, to]);
        let output = run(scp, DEADLINE)?;
        assert_eq!(output.code, 0, "{}", output.err());
        // Far more than the first exchange with each of the two. How many is chance: what was under way when a server
        // asked for new keys still comes under the old ones.
        assert!(output.err().matches("SSH2_MSG_KEXINIT received").count() > 8, "{}", output.err());
    }
    assert!(fs::read(&here)? == fs::read(&back)?);
    Ok(())
}

#[test]
fn cutting_all_connections_ends_them_and_lets_new_ones_in() -> Tried {
    let (embedded, real) = (Embedded::start()?, SshdPair::start()?);
    for bed in [&embedded as &dyn Bed, &real] {
        block_on(async {
            let (head, target) = login(bed).await?;
            let session = sftp(&target).await?;
            bed.cut_all();
            assert!(create(&session, bed, "late", b"").await.is_err());
            while !(head.is_closed() && target.is_closed()) {
                tokio::task::yield_now().await;
            }
            login(bed).await.map(drop)
        })?;
    }
    Ok(())
}
