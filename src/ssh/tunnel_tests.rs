use std::time::Duration;

use russh::keys::{PrivateKey, PublicKeyOrCertificate};
use russh::server::{Auth, ChannelOpenHandle, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;

/// A head that opens a tunnel, renews its window once, and closes it when told.
struct Head {
    close: Option<oneshot::Receiver<()>>,
}

impl russh::server::Handler for Head {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    fn adjust_window(&mut self, _: russh::ChannelId, _: u32) -> u32 {
        1
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<russh::server::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        let close = self.close.take().unwrap();
        tokio::spawn(async move {
            let _ = close.await;
            let _ = channel.eof().await;
            let _ = channel.close().await;
        });
        Ok(())
    }
}

struct Client;

impl russh::client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

#[tokio::test]
async fn a_writer_that_waits_for_the_window_learns_that_the_head_closed_the_tunnel() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (close, closed) = oneshot::channel();
    let config = russh::server::Config {
        keys: vec![PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap()],
        window_size: 32 * 1024,
        ..Default::default()
    };
    let head = Head { close: Some(closed) };
    let serving = tokio::spawn(async move {
        if let Ok(session) = russh::server::run_stream(Arc::new(config), theirs, head).await {
            let _ = session.await;
        }
    });
    let mut handle = russh::client::connect_stream(Default::default(), ours, Client).await.unwrap();
    handle.authenticate_none("user").await.unwrap();
    let channel = handle.channel_open_direct_tcpip("target", 22, "127.0.0.1", 0).await.unwrap();
    let mut tunnel = Tunnel::new(channel, Fate::new("head".into()));
    // More than the windows and the queue hold: without the close this write never ends.
    let much = vec![0; 2 * QUEUE];
    let writing = async { tokio::join!(tunnel.write_all(&much), async { close.send(()) }) };
    let (written, told) = tokio::time::timeout(Duration::from_secs(20), writing).await.unwrap();
    written.unwrap();
    told.unwrap();
    assert_eq!(tunnel.read(&mut [0; 16]).await.unwrap(), 0, "and the reader tells the end");
    drop(handle);
    serving.abort();
}
