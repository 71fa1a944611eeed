//! Both streams behind the printer: what is buffered, and when it has to be seen.

use std::io::Write;
use std::time::{Duration, Instant};

/// Where lines go.
pub type Sink = Box<dyn Write + Send>;

/// Standard output and error, and what is buffered for them.
pub struct Streams {
    out: Sink,
    err: Sink,
    /// Standard output is a terminal.
    terminal: bool,
    pub out_failed: bool,
    /// A progress line is open and has to be ended before the next line.
    pub open_line: bool,
    out_buffer: Vec<u8>,
    pub err_buffer: Vec<u8>,
    last_write: Option<Instant>,
}

/// Buffered at most for a file or a pipe (a pipe's atomic write is 4 KiB; stdio buffers are of this order).
const BUFFER: usize = 8 << 10;

/// Lines above the bar are written together this often at most: each writing redraws the bar.
const ABOVE_BAR: Duration = Duration::from_millis(100);

impl Streams {
    pub fn new(out: Sink, err: Sink, terminal: bool) -> Streams {
        Streams {
            out,
            err,
            terminal,
            out_failed: false,
            open_line: false,
            out_buffer: Vec::new(),
            err_buffer: Vec::new(),
            last_write: None,
        }
    }

    pub fn out(&mut self, text: &[u8]) {
        if !self.out_failed {
            self.out_buffer.extend_from_slice(text);
        }
    }

    pub fn close_line(&mut self) {
        if std::mem::take(&mut self.open_line) {
            self.out(b"\n");
        }
    }

    /// Whether what is buffered has to be seen now.
    pub fn is_due(&self, bar: bool) -> bool {
        if !self.err_buffer.is_empty() || self.open_line || self.out_buffer.len() >= BUFFER {
            return true;
        }
        match (self.terminal, bar) {
            (false, _) => false,
            (true, false) => true,
            (true, true) => self.last_write.is_none_or(|last| last.elapsed() >= ABOVE_BAR),
        }
    }

    pub fn write(&mut self) {
        if !self.out_buffer.is_empty() {
            let written = self.out.write_all(&self.out_buffer).and_then(|()| self.out.flush());
            self.out_failed |= written.is_err();
            self.out_buffer.clear();
        }
        if !self.err_buffer.is_empty() {
            // There is nobody to tell that standard error is closed.
            let _ = self.err.write_all(&self.err_buffer).and_then(|()| self.err.flush());
            self.err_buffer.clear();
        }
        self.last_write = Some(Instant::now());
    }
}
