//! SFTP packets on their way back to a client: small ones gathered, long ones not copied.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;

/// Answers up to this many bytes are gathered before they are written.
const GATHER: usize = 32 * 1024;

/// Answers on their way to the client.
pub struct Answers {
    /// `None` once nobody reads any more.
    write: Option<OwnedWriteHalf>,
    buffer: BytesMut,
}

impl Answers {
    pub fn to(write: OwnedWriteHalf) -> Answers {
        Answers { write: Some(write), buffer: BytesMut::new() }
    }

    /// Appends an answer; writes if there are many.
    pub async fn put(&mut self, id: u32, kind: u8, body: &Bytes) {
        self.buffer.put_u32(5 + body.len() as u32);
        self.buffer.put_u8(kind);
        self.buffer.put_u32(id);
        if body.len() <= GATHER {
            self.buffer.put_slice(body);
            if self.buffer.len() >= GATHER {
                self.flush().await;
            }
        } else {
            self.flush().await;
            self.write(body).await;
        }
    }

    /// Writes what there is.
    pub async fn flush(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer).await;
        self.buffer = buffer;
        self.buffer.clear();
    }

    async fn write(&mut self, bytes: &[u8]) {
        if let Some(write) = &mut self.write
            && write.write_all(bytes).await.is_err()
        {
            self.write = None;
        }
    }
}
