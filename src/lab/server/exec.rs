//! A command that a client executes on the target: really run by the shell, or spoiled by rule.

use std::process::Stdio;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use russh::server::Msg;
use russh::{Channel, ChannelWriteHalf};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::Shared;
use super::session::{Gone, finish, gone, next_data};
use crate::lab::faults::{Strike, Trouble};
use crate::lab::stats::count;

/// Exit status of a shell that could not be started.
const NOT_FOUND: u32 = 127;

/// What a rule does to a command.
enum Spoil {
    Hash,
    Kill(u64),
    Garble(u64),
    Garbage,
    Path,
}

/// Runs `command` with the channel as its standard streams, and closes the channel.
pub async fn run(channel: Channel<Msg>, shared: &Arc<Shared>, command: &[u8], closed: &Gone) {
    count(&shared.stats.commands);
    let has = |text: &str| command.windows(text.len().max(1)).any(|part| part == text.as_bytes()) || text.is_empty();
    let spoil = shared.config.faults.choose(|t| match *t {
        Trouble::WrongHash { containing } if has(containing) => Some(Spoil::Hash),
        Trouble::GarbageOutput { containing } if has(containing) => Some(Spoil::Garbage),
        Trouble::KillCommand { lines } => Some(Spoil::Kill(lines)),
        Trouble::GarbleCommand { lines } => Some(Spoil::Garble(lines)),
        Trouble::NoPath => Some(Spoil::Path),
        _ => None,
    });
    let (spoil, mut strike) = spoil.unzip();
    if let Some(Spoil::Garbage | Spoil::Path) = spoil {
        strike.take().into_iter().for_each(Strike::struck);
    }
    let (mut from_client, to_client) = channel.split();
    if let Some(Spoil::Garbage) = spoil {
        let _ = to_client.data_bytes(&b"\x00\xffthis is no hash\n\x1b[2J"[..]).await;
        return finish(&to_client, 0).await;
    }

    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(command));
    shell
        .current_dir(shared.config.commands_run_in.as_ref().unwrap_or(&shared.config.home))
        .process_group(0)
        .kill_on_drop(true);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(Spoil::Path) = spoil {
        shell.env("PATH", "/var/empty");
    }
    let mut child = match shell.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = to_client.extended_data_bytes(1, format!("/bin/sh: {error}\n")).await;
            return finish(&to_client, NOT_FOUND).await;
        }
    };
    let group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());

    let feed = async {
        let mut stdin = stdin;
        while let Some(data) = next_data(&mut from_client).await {
            // A command that does not read to the end is none of our business; its client's bytes are taken off the wire.
            if let Some(pipe) = &mut stdin
                && pipe.write_all(&data).await.is_err()
            {
                stdin = None;
            }
        }
        drop(stdin);
        std::future::pending::<()>().await
    };
    let output = async {
        let spoiling = match spoil {
            Some(Spoil::Kill(lines)) => Spoiling::Kill(lines, strike),
            Some(Spoil::Garble(lines)) => Spoiling::Garble(lines, strike),
            _ => Spoiling::Hash(strike),
        };
        let printing = async {
            if copy(stdout, &to_client, None, spoiling).await == Copied::Killed {
                group.kill();
            }
        };
        tokio::join!(printing, copy(stderr, &to_client, Some(1), Spoiling::Hash(None)));
        child.wait().await
    };
    let status = tokio::select! {
        status = output => status.ok(),
        () = feed => None,
        () = gone(closed) => None,
    };
    if let Some(status) = status {
        finish(&to_client, status.code().unwrap_or(255) as u32).await;
    }
}

/// A command and all that it started; they end with the channel, also when the server is taken down.
struct Group(Option<Pid>);

impl Group {
    fn kill(&self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What becomes of a command's output.
enum Spoiling {
    /// The first hash in it is changed, if at all.
    Hash(Option<Strike>),
    /// After so many lines the command is killed.
    Kill(u64, Option<Strike>),
    /// After so many lines one is put in.
    Garble(u64, Option<Strike>),
}

#[derive(PartialEq, Eq)]
enum Copied {
    Ended,
    Killed,
}

fn newlines(data: &[u8]) -> u64 {
    data.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Where so many lines end, if they do.
fn behind_lines(data: &[u8], lines: u64) -> Option<usize> {
    let Some(before) = usize::try_from(lines).ok()?.checked_sub(1) else { return Some(0) };
    let mut ends = data.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.nth(before).map(|(at, _)| at + 1)
}

async fn copy(
    from: Option<impl AsyncRead + Unpin>,
    to: &ChannelWriteHalf<Msg>,
    extended: Option<u32>,
    mut spoiling: Spoiling,
) -> Copied {
    let Some(mut from) = from else { return Copied::Ended };
    loop {
        let mut buffer = BytesMut::with_capacity(32 << 10);
        match from.read_buf(&mut buffer).await {
            Ok(n) if n > 0 => {}
            _ => return Copied::Ended,
        }
        match &mut spoiling {
            Spoiling::Hash(strike) => {
                if strike.is_some()
                    && let Some(digit) = first_hash(&mut buffer)
                {
                    *digit = if *digit == b'0' { b'1' } else { b'0' };
                    strike.take().into_iter().for_each(Strike::struck);
                }
            }
            Spoiling::Kill(lines, strike) => {
                *lines = lines.saturating_sub(newlines(&buffer));
                if *lines == 0 {
                    strike.take().into_iter().for_each(Strike::struck);
                    return Copied::Killed;
                }
            }
            Spoiling::Garble(lines, strike) => {
                // There and nowhere else: behind all that is asked for it would do no harm.
                if let Some(at) = behind_lines(&buffer, *lines)
                    && let Some(strike) = strike.take()
                {
                    strike.struck();
                    let rest = buffer.split_off(at);
                    buffer.extend_from_slice(b"this is no hash\n");
                    buffer.unsplit(rest);
                }
                *lines = lines.saturating_sub(newlines(&buffer));
            }
        }
        let data: Bytes = buffer.freeze();
        let sent = match extended {
            None => to.data_bytes(data).await,
            Some(code) => to.extended_data_bytes(code, data).await,
        };
        if sent.is_err() {
            return Copied::Ended;
        }
    }
}

/// A digit of the first hash of 64 in what a command prints; a hash that two reads cut in two is passed over.
fn first_hash(output: &mut [u8]) -> Option<&mut u8> {
    let at = output.windows(64).position(|part| part.iter().all(u8::is_ascii_hexdigit))?;
    // In a line about a block one of its strong sum.
    output.get_mut(at + 20)
}
