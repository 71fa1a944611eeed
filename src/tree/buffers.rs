//! Buffers for pieces of large files, used again.
//!
//! A quarter of a megabyte from the allocator is fresh pages, each cleared by the kernel at its first touch and given back
//! after: for a disk read that the page cache answers, that costs more than the copy itself. The one used last is still in
//! the processor's cache, too.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Buffers that are kept: as many as may be under way (64 MiB, `engine::budget`, in pieces of 255 KiB). With fewer the allocator keeps some for
/// each thread, which took more (900 × 1 MiB pulled over old ones, 50 ms: 392 and 256 MB at most).
const KEPT: usize = 256;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn free() -> MutexGuard<'static, Vec<Vec<u8>>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An empty buffer, with whatever capacity it had before.
pub fn take() -> Vec<u8> {
    free().pop().unwrap_or_default()
}

/// What was filled; its buffer is free again when the last reference to it goes.
pub fn give(filled: Vec<u8>) -> Bytes {
    Bytes::from_owner(Recycled(filled))
}

struct Recycled(Vec<u8>);

impl AsRef<[u8]> for Recycled {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        let mut free = free();
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_when_nobody_holds_its_bytes() {
        let bytes = give(vec![7; 1000]);
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(part, [7; 10][..]);
        drop(part);
        // Other tests may take it first: whoever gets one gets it empty.
        assert!(take().is_empty());
    }
}
