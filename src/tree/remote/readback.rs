//! The lowest rung of the ladder: the far end's bytes are read back over SFTP and hashed here.

use std::collections::VecDeque;

use crate::fault::{Cause, Stage};
use crate::verify::{Algorithm, Digest, Hasher};

use super::super::{Result, Tree};
use super::RemoteTree;

/// READs under way: with 255 KiB each, the window that is offered at distance; on a LAN the budget holds them to 2 MiB.
const AHEAD: usize = 32;

pub async fn digest(tree: &RemoteTree, path: &[u8], size: u64, algorithm: Algorithm) -> Result<Digest> {
    let chunk = tree.chunk();
    if size <= chunk as u64 {
        let (data, _, _) = tree.read_small(path, size, false).await?;
        return Ok(Digest::of(algorithm, &data));
    }
    let source = tree.open_read(path, size, false).await?;
    let mut hasher = Hasher::new(algorithm);
    let mut answers = VecDeque::new();
    let mut offset = 0;
    loop {
        while offset < size && answers.len() < AHEAD {
            let len = chunk.min((size - offset) as usize);
            answers.push_back((len, source.read_at(offset, len).await?));
            offset += len as u64;
        }
        let Some((len, answer)) = answers.pop_front() else { break };
        let data = answer.await?;
        if data.len() < len {
            return Err(tree.fault(Stage::Hash, Cause::Mismatch, path, "is shorter at the far end than what was sent"));
        }
        hasher.update(&data);
    }
    source.finish().await?;
    Ok(hasher.finish())
}
