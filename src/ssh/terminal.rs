//! Reads a line from the terminal, with its echo off if need be, and always gives the echo back.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::ssh::prompt::{Answer, Echo, LIMIT};

/// How soon a reader of the terminal notices that nobody waits for the answer any more.
const PATIENCE: Duration = Duration::from_millis(100);

/// The terminal and its modes, while echo is off.
static SAVED: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// The terminal that controls this process.
pub fn open() -> std::io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}

/// Gives the terminal its echo back, if a question is open. For those who end the process on a signal.
pub fn restore() {
    if let Some((tty, modes)) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(&tty, OptionalActions::Flush, &modes);
    }
}

struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        restore();
    }
}

/// Sets the flag when dropped: whoever waited for the answer is gone.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks, and waits for the line. `None`: no line came.
pub async fn ask(question: String, echo: Echo) -> Option<Answer> {
    let gone = Arc::new(AtomicBool::new(false));
    let _waiting = Waiting(gone.clone());
    let read = tokio::task::spawn_blocking(move || {
        let typed = read_line(open()?, &question, echo, &gone)?;
        if let Typed::Interrupt = typed {
            // What the key means everywhere else, now that the terminal is as it was.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT)?;
        }
        Ok::<_, std::io::Error>(typed)
    });
    match read.await {
        Ok(Ok(Typed::Line(answer))) => Some(answer),
        Ok(Ok(Typed::Nothing | Typed::Interrupt)) | Err(_) => None,
        Ok(Err(error)) => {
            tracing::warn!("cannot ask on the terminal: {error}");
            None
        }
    }
}

/// What a person typed.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Line(Answer),
    /// Nobody waits for it any more, the end of input, or no text.
    Nothing,
    Interrupt,
}

/// Asks on a terminal, whose modes are restored on every way out.
fn read_line(mut tty: File, question: &str, echo: Echo, gone: &AtomicBool) -> std::io::Result<Typed> {
    let modes = tcgetattr(&tty)?;
    let restored = Restore;
    if echo == Echo::Off {
        let mut silent = modes.clone();
        // Keys that make signals come as bytes: a signal could end the process with the echo still off.
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some((tty.try_clone()?, modes));
        tcsetattr(&tty, OptionalActions::Flush, &silent)?;
    }
    tty.write_all(question.as_bytes())?;
    tty.flush()?;
    let wait = Timespec::try_from(PATIENCE).map_err(std::io::Error::other)?;
    let mut line = Line::default();
    let end = loop {
        match poll(&mut [PollFd::new(&tty, PollFlags::IN)], Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) if gone.load(Ordering::Relaxed) => return Ok(Typed::Nothing),
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut byte = [0];
        if tty.read(&mut byte)? == 0 {
            break Key::GaveUp;
        }
        match line.key(byte[0]) {
            Key::More => {}
            end => break end,
        }
    };
    if echo == Echo::Off {
        tty.write_all(b"\n")?;
    }
    drop(restored);
    Ok(match (end, line.text()) {
        (Key::Interrupt, _) => Typed::Interrupt,
        (Key::Done, Some(text)) => Typed::Line(text),
        _ => Typed::Nothing,
    })
}

/// What a typed byte does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    More,
    Done,
    GaveUp,
    Interrupt,
}

/// A line as it is typed, with the editing keys of a terminal's own line mode.
#[derive(Default)]
struct Line(Zeroizing<Vec<u8>>);

impl Line {
    fn key(&mut self, byte: u8) -> Key {
        match byte {
            b'\n' | b'\r' => return Key::Done,
            // Ctrl-C and Ctrl-\.
            3 | 28 => return Key::Interrupt,
            // Ctrl-D.
            4 if self.0.is_empty() => return Key::GaveUp,
            // Backspace takes back a character, not a byte.
            8 | 127 => while self.0.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            // Ctrl-U.
            21 => self.0.clear(),
            _ if self.0.len() < LIMIT => {
                // Growing would leave copies behind that are not wiped.
                let room = LIMIT - self.0.len();
                self.0.reserve_exact(room);
                self.0.push(byte);
            }
            _ => {}
        }
        Key::More
    }

    fn text(&self) -> Option<Answer> {
        std::str::from_utf8(&self.0).ok().map(|text| Zeroizing::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> (Key, Option<String>) {
        let mut line = Line::default();
        let mut last = Key::More;
        for byte in bytes {
            last = line.key(*byte);
        }
        (last, line.text().map(|text| text.to_string()))
    }

    #[test]
    fn a_line_can_be_corrected_while_it_is_typed() {
        assert_eq!(typed("wrong\u{15}söx\u{7f}\u{7f}et\n".as_bytes()), (Key::Done, Some("set".to_owned())));
        assert_eq!(typed(b"\x7f\n"), (Key::Done, Some(String::new())));
        assert_eq!(typed(b"\x04").0, Key::GaveUp);
        assert_eq!(typed(b"abc\x03").0, Key::Interrupt);
        assert_eq!(typed(&[b'x'; 5000]).1.unwrap().len(), LIMIT);
    }

    /// Types `keys` at a pseudo-terminal once the question is on it; returns what was read, and all that was shown.
    fn at_a_terminal(keys: &[u8]) -> (Typed, String) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open_again = || {
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
            File::from(rustix::fs::open(name.as_str(), flags, rustix::fs::Mode::empty()).unwrap())
        };
        // Kept open to see the modes afterwards.
        let (tty, mut master) = (open_again(), File::from(master));
        let before = tcgetattr(&tty).unwrap().local_modes;
        let asked = open_again();
        let reader =
            std::thread::spawn(move || read_line(asked, "Password: ", Echo::Off, &AtomicBool::new(false)).unwrap());
        let mut shown = Vec::new();
        let mut buffer = [0; 256];
        while !shown.ends_with(b"Password: ") {
            let count = master.read(&mut buffer).unwrap();
            shown.extend(&buffer[..count]);
        }
        master.write_all(keys).unwrap();
        let typed = reader.join().unwrap();
        assert_eq!(tcgetattr(&tty).unwrap().local_modes, before, "the modes are as they were");
        let count = master.read(&mut buffer).unwrap();
        shown.extend(&buffer[..count]);
        (typed, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn a_terminal_shows_the_question_and_not_the_answer_and_is_left_as_it_was() {
        let (typed, shown) = at_a_terminal(b"secret\r");
        assert_eq!(typed, Typed::Line(Zeroizing::new("secret".to_owned())));
        assert_eq!(shown.trim_end(), "Password:");
        assert_eq!(at_a_terminal(b"sec\x03").0, Typed::Interrupt);
        assert_eq!(at_a_terminal(b"\x04").0, Typed::Nothing);
    }
}
