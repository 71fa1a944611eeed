//! `--sparse`: blocks of zeros are not written. What is never written of a file is a hole at either end, and reads as zeros.

use bytes::Bytes;

use super::run::Run;

/// What filesystems give out at least.
const BLOCK: usize = 4096;

/// Whether a file of this size may have holes.
pub fn concerns(run: &Run, size: u64) -> bool {
    run.job.options.sparse && size >= BLOCK as u64
}

/// The parts of `data`, which lies at `offset`, that have to be written: whole blocks of zeros are left out.
pub fn pieces(offset: u64, data: &Bytes) -> Vec<(u64, Bytes)> {
    let mut pieces = Vec::new();
    let mut from: Option<usize> = None;
    let mut at = 0;
    while at < data.len() {
        let to_edge = BLOCK - ((offset + at as u64) % BLOCK as u64) as usize;
        let next = data.len().min(at + to_edge);
        let hole = next - at == BLOCK && data[at..next].iter().all(|byte| *byte == 0);
        match (hole, from) {
            (true, Some(start)) => {
                pieces.push((offset + start as u64, data.slice(start..at)));
                from = None;
            }
            (false, None) => from = Some(at),
            _ => {}
        }
        at = next;
    }
    if let Some(start) = from {
        pieces.push((offset + start as u64, data.slice(start..)));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_blocks_of_zeros_are_left_out_wherever_the_data_starts() {
        let mut data = vec![0u8; 5 * BLOCK];
        (data[10], data[3 * BLOCK + 1]) = (1, 1);
        let found = |offset: u64, data: &[u8]| -> Vec<(u64, usize)> {
            pieces(offset, &Bytes::copy_from_slice(data)).into_iter().map(|(at, piece)| (at, piece.len())).collect()
        };
        assert_eq!(found(0, &data), [(0, BLOCK), (3 * BLOCK as u64, BLOCK)]);
        // Off the edge: a part of a block is written, whatever it holds.
        assert_eq!(found(BLOCK as u64 - 8, &data[..BLOCK + 8]), [(BLOCK as u64 - 8, BLOCK + 8)]);
        assert_eq!(found(0, &[0; 2 * BLOCK]), []);
        assert_eq!(found(0, &[0; BLOCK + 1]), [(BLOCK as u64, 1)]);
    }
}
