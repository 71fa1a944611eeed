//! The request table: which ids are outstanding and what may answer each. Pure: what waits on a reply is the caller's `W`.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::packet::{Bad, Cursor, Expect, Reply, Request};

/// Outstanding requests of one channel.
#[derive(Debug)]
pub struct Table<W> {
    next: u32,
    waiting: HashMap<u32, (Expect, W)>,
}

impl<W> Default for Table<W> {
    fn default() -> Self {
        Table { next: 0, waiting: HashMap::new() }
    }
}

impl<W> Table<W> {
    /// Encodes `request` into `out` under a fresh id, and remembers who waits for its answer. Returns a WRITE's payload,
    /// to be sent right behind `out`.
    pub fn submit(&mut self, request: &Request, waiter: W, out: &mut BytesMut) -> Option<Bytes> {
        // Ids are ours and may be reused once answered (filexfer-02 §3); 2^32 of them never wrap onto a live one, as far
        // fewer are outstanding, but a skip costs nothing.
        while self.waiting.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(id, (request.expects(), waiter));
        request.encode(id, out)
    }

    /// Matches one packet with its request. An unknown or repeated id, or a reply of the wrong kind, is the peer's error:
    /// the channel cannot be trusted any more.
    pub fn answer(&mut self, packet: Bytes) -> Result<(W, Reply), Bad> {
        let mut head = Cursor(packet.clone());
        let (kind, id) = (head.u8()?, head.u32()?);
        if matches!(self.waiting.get(&id), Some((Expect::Relayed, _)))
            && let Some((_, waiter)) = self.waiting.remove(&id)
        {
            return Ok((waiter, Reply::Relayed(kind, head.0)));
        }
        let (id, reply) = Reply::parse(packet)?;
        let (expect, waiter) = self.waiting.remove(&id).ok_or(Bad::Id(id))?;
        reply.fits(expect)?;
        Ok((waiter, reply))
    }

    /// How many requests are outstanding.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes out everyone who still waits, for a channel that has ended.
    pub fn drain(&mut self) -> impl Iterator<Item = W> + '_ {
        self.waiting.drain().map(|(_, (_, waiter))| waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::packet::Status;

    fn status(id: u32, code: u32) -> Bytes {
        let mut p = vec![101];
        p.extend_from_slice(&id.to_be_bytes());
        p.extend_from_slice(&code.to_be_bytes());
        Bytes::from(p)
    }

    #[test]
    fn answers_may_come_in_any_order_but_only_once() {
        let mut table = Table::default();
        let mut out = BytesMut::new();
        table.submit(&Request::Lstat { path: b"a" }, "a", &mut out);
        table.submit(&Request::Lstat { path: b"b" }, "b", &mut out);
        assert_eq!(table.answer(status(1, 2)), Ok(("b", Reply::Status(Status { code: 2, text: String::new() }))));
        assert_eq!(table.answer(status(1, 2)), Err(Bad::Id(1)));
        assert_eq!(table.answer(status(77, 2)), Err(Bad::Id(77)));
        assert_eq!(table.answer(status(0, 0)).map(|(w, _)| w), Ok("a"));
        assert!(table.is_empty());
    }

    #[test]
    fn a_reply_of_the_wrong_kind_or_with_too_much_data_is_refused() {
        let mut table = Table::default();
        let mut out = BytesMut::new();
        let handle = super::super::packet::Handle(Bytes::from_static(b"h"));
        table.submit(&Request::Remove { path: b"a" }, (), &mut out);
        table.submit(&Request::Read { handle: &handle, offset: 0, len: 2 }, (), &mut out);
        assert_eq!(table.answer(Bytes::from_static(&[103, 0, 0, 0, 0, 0, 0, 0, 0])), Err(Bad::Kind));
        let data = Bytes::from_static(&[103, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3]);
        assert_eq!(table.answer(data), Err(Bad::TooMuchData));
    }
}
