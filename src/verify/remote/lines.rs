//! Cuts a hasher's output into lines of bounded length, and what stands between them.

use bytes::{Bytes, BytesMut};

/// A line of output at most: a hash and a path (Linux: 4,096 bytes).
const LINE: usize = 16 * 1024;

#[derive(Default)]
pub(super) struct Lines {
    buffer: BytesMut,
    /// How much of the buffer is known to hold no newline.
    seen: usize,
    /// Bytes that come before the next line, and are none.
    awaited: usize,
}

impl Lines {
    /// False if a line grows beyond [`LINE`].
    pub fn feed(&mut self, data: &[u8]) -> bool {
        self.buffer.extend_from_slice(data);
        self.buffer.len() - self.seen <= self.awaited + LINE.max(data.len())
            || self.buffer[self.seen..].contains(&b'\n')
    }

    pub fn next(&mut self) -> Option<Bytes> {
        match self.buffer[self.seen..].iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let line = self.buffer.split_to(self.seen + at + 1).freeze();
                self.seen = 0;
                Some(line.slice(..line.len() - 1))
            }
            None => {
                self.seen = self.buffer.len();
                None
            }
        }
    }

    /// What comes now is so many bytes ([`Lines::bytes`]).
    pub fn expect(&mut self, len: usize) {
        self.awaited = len;
    }

    /// The bytes that are expected, when they have come.
    pub fn bytes(&mut self) -> Option<Bytes> {
        if self.buffer.len() < self.awaited {
            return None;
        }
        let len = std::mem::take(&mut self.awaited);
        Some(self.buffer.split_to(len).freeze())
    }
}
