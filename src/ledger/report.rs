//! The way of a JSON line to the report file: a bounded buffer and one writer thread, so that a task never waits on the
//! disk unless the disk is a whole buffer behind.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes waiting for the disk at most: some 5,000 lines.
const CAPACITY: usize = 1 << 20;

/// A disk that accepts nothing for this long is given up, and the report with it, not the run.
const STALL: Duration = Duration::from_secs(10);

/// A line buffer with one thread behind it. Dropping it writes what is left, within [`STALL`].
pub(super) struct Report {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Told when there is something to write, or the report is closed.
    data: Condvar,
    /// Told when the writer has taken or finished a batch.
    room: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    writing: bool,
    closed: bool,
    failed: Option<String>,
}

impl Report {
    pub(super) fn new(sink: Box<dyn Write + Send>) -> Report {
        let shared = Arc::new(Shared { state: Mutex::default(), data: Condvar::new(), room: Condvar::new() });
        let theirs = shared.clone();
        let spawned = std::thread::Builder::new().name("report".into()).spawn(move || theirs.write_all(sink));
        if let Err(error) = spawned {
            shared.lock().failed = Some(format!("no thread to write it: {error}"));
        }
        Report { shared }
    }

    /// Appends what `line` writes, and a newline. Waits for room at most [`STALL`]; after a failure it does nothing.
    pub(super) fn line(&self, line: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) {
        self.append(line, false);
    }

    /// The same, and nothing comes after it.
    pub(super) fn last_line(&self, line: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) {
        self.append(line, true);
    }

    fn append(&self, line: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>, last: bool) {
        let deadline = Instant::now() + STALL;
        let mut state = self.shared.lock();
        while state.bytes.len() >= CAPACITY && state.failed.is_none() {
            state = self.shared.wait_room(state, deadline);
        }
        if state.closed || state.failed.is_some() {
            return;
        }
        let before = state.bytes.len();
        match line(&mut state.bytes) {
            Ok(()) => state.bytes.push(b'\n'),
            Err(error) => {
                state.bytes.truncate(before);
                state.failed = Some(error.to_string());
            }
        }
        state.closed = last;
        drop(state);
        self.shared.data.notify_one();
    }

    /// Waits until everything so far is written, at most [`STALL`].
    ///
    /// # Errors
    /// The first failure of the file or of its disk, as a sentence.
    pub(super) fn flush(&self) -> Result<(), String> {
        let deadline = Instant::now() + STALL;
        let mut state = self.shared.lock();
        while (state.writing || !state.bytes.is_empty()) && state.failed.is_none() {
            state = self.shared.wait_room(state, deadline);
        }
        state.failed.clone().map_or(Ok(()), Err)
    }

    /// [`Self::flush`], and no line is taken any more.
    pub(super) fn close(&self) -> Result<(), String> {
        self.shared.lock().closed = true;
        self.shared.data.notify_one();
        self.flush()
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // Whoever wants to know about a failure has called `close` before.
        let _ = self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_room<'a>(&self, state: MutexGuard<'a, State>, deadline: Instant) -> MutexGuard<'a, State> {
        let left = deadline.saturating_duration_since(Instant::now());
        let (mut state, waited) = self.room.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            state.failed.get_or_insert_with(|| format!("its disk accepted nothing for {} s", STALL.as_secs()));
        }
        state
    }

    fn write_all(&self, mut sink: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        let mut state = self.lock();
        loop {
            while state.bytes.is_empty() && !state.closed {
                state = self.data.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.bytes.is_empty() {
                return;
            }
            std::mem::swap(&mut batch, &mut state.bytes);
            state.writing = true;
            drop(state);
            let written = sink.write_all(&batch).and_then(|()| sink.flush());
            batch.clear();
            state = self.lock();
            state.writing = false;
            if let Err(error) = written {
                state.bytes = Vec::new();
                state.failed.get_or_insert(error.to_string());
            }
            self.room.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    struct Sink(mpsc::Sender<Vec<u8>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_arrives_once_and_in_order_although_there_are_more_than_the_buffer_holds() {
        let (tx, rx) = mpsc::channel();
        let report = Report::new(Box::new(Sink(tx)));
        let padding = "x".repeat(1000);
        for i in 0..3000 {
            report.line(|out| serde_json::to_writer(out, &(i, &padding)));
        }
        assert_eq!(report.close(), Ok(()));
        report.line(|out| serde_json::to_writer(out, "too late"));
        drop(report);
        let all: Vec<u8> = rx.iter().flatten().collect();
        let numbers: Vec<i32> = serde_json::Deserializer::from_slice(&all)
            .into_iter::<(i32, String)>()
            .map(|pair| pair.map(|p| p.0))
            .collect::<Result<_, _>>()
            .expect("lines are JSON");
        assert!(numbers.into_iter().eq(0..3000));
    }

    #[test]
    fn a_full_disk_is_told_at_the_end_and_stops_nobody() {
        let report = Report::new(Box::new(Full));
        for _ in 0..100 {
            report.line(|out| serde_json::to_writer(out, &"x".repeat(CAPACITY)));
        }
        assert!(report.close().is_err());
    }
}
