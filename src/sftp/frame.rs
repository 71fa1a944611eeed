//! Cuts a byte stream into packets by their length prefix, with at most one packet's copy and bounded memory.

use bytes::{Buf, Bytes, BytesMut};

use super::packet::{Bad, MAX_MESSAGE};

/// Feeds on chunks of any size, yields whole packets without their length.
#[derive(Debug, Default)]
pub struct Frames {
    /// The start of a packet that the chunks so far did not complete.
    partial: BytesMut,
    chunk: Bytes,
}

impl Frames {
    /// Takes the next chunk. All packets must have been taken out before ([`Frames::take`] returned `None`).
    pub fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// The next whole packet; `None` if more bytes are needed.
    pub fn take(&mut self) -> Result<Option<Bytes>, Bad> {
        if self.partial.is_empty() {
            // The common case for small replies: the packet lies whole in the chunk and is not copied.
            if let Some(prefix) = self.chunk.get(..4) {
                let len = check(prefix)?;
                if self.chunk.len() - 4 >= len {
                    self.chunk.advance(4);
                    return Ok(Some(self.chunk.split_to(len)));
                }
                self.partial.reserve(4 + len);
            }
        }
        while self.partial.len() < 4 && !self.chunk.is_empty() {
            self.partial.extend_from_slice(&self.chunk.split_to(1));
        }
        let Some(prefix) = self.partial.get(..4) else { return Ok(None) };
        let len = check(prefix)?;
        let missing = (4 + len).saturating_sub(self.partial.len()).min(self.chunk.len());
        self.partial.reserve((4 + len) - self.partial.len());
        self.partial.extend_from_slice(&self.chunk.split_to(missing));
        if self.partial.len() < 4 + len {
            return Ok(None);
        }
        let mut packet = std::mem::take(&mut self.partial);
        packet.advance(4);
        Ok(Some(packet.freeze()))
    }

    /// Whether the stream may end here.
    pub fn at_boundary(&self) -> bool {
        self.partial.is_empty() && self.chunk.is_empty()
    }
}

fn check(prefix: &[u8]) -> Result<usize, Bad> {
    let len = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
    if len == 0 || len > MAX_MESSAGE { Err(Bad::Length(len)) } else { Ok(len as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_of_nothing_or_of_gigabytes_is_refused_at_once() {
        for length in [0u32, MAX_MESSAGE + 1, u32::MAX] {
            let mut frames = Frames::default();
            frames.feed(Bytes::copy_from_slice(&length.to_be_bytes()));
            assert_eq!(frames.take(), Err(Bad::Length(length)));
        }
    }

    proptest! {
        #[test]
        fn packets_come_out_whole_however_the_stream_is_cut(
            packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 1..12),
            cuts in proptest::collection::vec(1usize..40, 1..40),
        ) {
            let mut stream = Vec::new();
            for p in &packets {
                stream.extend_from_slice(&(p.len() as u32).to_be_bytes());
                stream.extend_from_slice(p);
            }
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            let mut rest = Bytes::from(stream);
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let n = (*cuts.next().unwrap()).min(rest.len());
                frames.feed(rest.split_to(n));
                while let Some(p) = frames.take().unwrap() {
                    seen.push(p.to_vec());
                }
            }
            prop_assert!(frames.at_boundary());
            prop_assert_eq!(seen, packets);
        }
    }
}
