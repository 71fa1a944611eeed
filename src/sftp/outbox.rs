//! What is to be sent, in its order: small requests gathered into messages, large payloads by reference. Pure.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes from which on a message of gathered requests is not added to: what OpenSSH takes in one SSH packet (channels.h). With a
/// payload that is copied it may come to half as much more, and then is two packets.
const GATHER: usize = 32 * 1024;

/// A payload of at most this many bytes is copied among the requests around it; a longer one travels by reference. Each message
/// of its own costs an SSH packet, a wake-up and two encryptions, all of which take longer than the copying.
const COPIED: usize = 16 * 1024;

/// Requests that have not been sent yet.
#[derive(Default)]
pub struct Outbox {
    ready: VecDeque<Bytes>,
    tail: BytesMut,
}

impl Outbox {
    /// Where the next request is written, its payload left out.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// The request is whole, with what follows the bytes that were written last.
    pub fn add(&mut self, payload: Option<Bytes>) {
        match payload {
            Some(payload) if payload.len() > COPIED => {
                self.end();
                self.ready.push_back(payload);
            }
            Some(payload) => self.tail.extend_from_slice(&payload),
            None => {}
        }
        if self.tail.len() >= GATHER {
            self.end();
        }
    }

    fn end(&mut self) {
        if !self.tail.is_empty() {
            self.ready.push_back(self.tail.split().freeze());
        }
    }

    /// All that is to be sent, as messages.
    pub fn take(&mut self) -> VecDeque<Bytes> {
        self.end();
        std::mem::take(&mut self.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Nothing is lost, added or out of order; nothing large is copied; no message is empty or much longer than a packet.
        #[test]
        fn what_comes_in_goes_out_in_order(
            requests in prop::collection::vec((1..200usize, prop::option::of(0..3 * COPIED), any::<bool>()), 0..60),
        ) {
            let (mut outbox, mut wanted, mut sent) = (Outbox::default(), Vec::new(), Vec::new());
            let mut large = Vec::new();
            for (n, (head, payload, taken)) in requests.into_iter().enumerate() {
                let head = vec![n as u8; head];
                wanted.extend_from_slice(&head);
                outbox.tail().extend_from_slice(&head);
                let payload = payload.map(|len| Bytes::from(vec![!(n as u8); len]));
                wanted.extend_from_slice(payload.as_deref().unwrap_or_default());
                large.extend(payload.clone().filter(|payload| payload.len() > COPIED));
                outbox.add(payload);
                if taken {
                    sent.extend(outbox.take());
                }
            }
            sent.extend(outbox.take());
            prop_assert!(outbox.take().is_empty());
            prop_assert_eq!(&sent.concat(), &wanted);
            let (whole, gathered): (Vec<_>, Vec<_>) = sent.iter().partition(|message| {
                large.iter().any(|payload| payload.as_ptr() == message.as_ptr())
            });
            prop_assert_eq!(whole.len(), large.len());
            prop_assert!(gathered.iter().all(|message| !message.is_empty() && message.len() < GATHER + COPIED + 200));
        }
    }
}
