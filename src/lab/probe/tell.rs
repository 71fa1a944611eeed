//! What was found, as text, and what follows from it in plain words.

use std::fmt::Write;

use super::Found;
use crate::lab::print::table;
use crate::ledger::escape;
use crate::tree::remote::pool::ENOUGH;

/// sshd's defaults (sshd_config(5)).
const MAX_SESSIONS: usize = 10;

fn shown(text: &str) -> String {
    escape(text.as_bytes())
}

pub fn text(found: &Found) -> String {
    let head = ["hop", "round trip ms", "up MB/s", "down MB/s", "login", "cipher", "key exchange", "server"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{:.0}", rate / 1e6));
    for hop in &found.hops {
        let time = format!("{:.2}", hop.round_trip_seconds * 1e3);
        let (up, down) = hop.speed.as_ref().map_or((None, None), |speed| (speed.up, speed.down));
        let (facts, up, down) = (&hop.facts, rate(up), rate(down));
        let cells = [&facts.hop, &time, &up, &down, &facts.method, &facts.cipher, &facts.kex, &facts.banner];
        rows.push(cells.iter().map(|text| shown(text)).collect());
    }
    let mut text = table(&rows);
    let open = found.sessions.open;
    let sessions = match found.sessions.refused {
        true => format!("{open} on one connection: the next one was refused"),
        false => format!("{open} on one connection, and none refused: no more were tried"),
    };
    let handles = found.sftp.handles.map_or("not told".to_owned(), |handles| handles.to_string());
    let hashers = match found.hashers.is_empty() {
        true => "none: files are read back".to_owned(),
        false => found.hashers.join(", "),
    };
    let theirs = match found.windows.openssh {
        Some(theirs) => format!("{theirs} up: the target's, a constant of OpenSSH"),
        None => "the target does not tell its own".to_owned(),
    };
    let windows = format!("bytes on a channel: {} down: what we offer; {theirs}", found.windows.offered);
    let (read, write) = (found.sftp.read_bytes, found.sftp.write_bytes);
    for (what, value) in [
        ("sessions", sessions),
        ("read, write", format!("{read}, {write} bytes a request")),
        ("open handles", handles),
        ("extensions", found.sftp.extensions.join(", ")),
        ("up, down", "from here to that hop, over one channel; -: not allowed there".to_owned()),
        ("windows", windows),
        ("hashers", hashers),
    ] {
        let _ = writeln!(text, "{what:<14} {value}");
    }
    for starts in &found.starts {
        let how = match starts.dropped_at {
            Some(at) => format!("the first drop came with {at} logins pending"),
            None => format!("{} logins pending, and none dropped", starts.pending),
        };
        let said = starts.said.as_ref().map_or(String::new(), |said| format!(" (it said \"{}\")", shown(said)));
        let _ = writeln!(text, "{:<14} {}: {how}{said}; {}", "start limit", shown(&starts.hop), starts.ended);
    }
    for advice in &found.advice {
        let _ = write!(text, "\n{advice}\n");
    }
    text
}

/// A sentence or two for each thing that can be done, or need not be.
pub fn advice(found: &Found) -> Vec<String> {
    let mut all = Vec::new();
    let target = found.hops.last().map_or_else(String::new, |hop| shown(&hop.facts.hop));
    let open = found.sessions.open;
    if found.sessions.refused && open == 1 {
        all.push(format!(
            "{target} allows one session on a connection: it is used for files, and each is read back to be verified. With \
             MaxSessions {MAX_SESSIONS} (sshd's default) in its sshd_config there is one for hashing, and nine for files."
        ));
    } else if found.sessions.refused && open <= ENOUGH {
        all.push(format!(
            "{target} allows {open} sessions on a connection (MaxSessions): hopsync finds that by being refused, which harms \
             nothing, and uses all of them. More than {} bring little.",
            ENOUGH + 1
        ));
    }
    for starts in &found.starts {
        let hop = shown(&starts.hop);
        if let Some(at) = starts.dropped_at {
            all.push(format!(
                "{hop} drops connections when {at} or more log in at once (MaxStartups). hopsync makes one connection for all \
                 that run at the same time, and is not affected; for one rsync or ssh each, raise it above the number that \
                 starts together, such as MaxStartups 1000:30:2000."
            ));
        }
    }
    if found.starts.is_empty() {
        all.push(
            "Start limits (MaxStartups; by default sshd drops some when more than 10 log in at once) were not looked for: \
             --intrusive does that."
                .to_owned(),
        );
    }
    if found.hashers.is_empty() {
        all.push(format!(
            "{target} runs no commands for this account, or has no hasher: what is sent is read back to be verified, which \
             moves it twice. Any of b3sum, python3, openssl, sha256sum would do."
        ));
    } else if !found.hashers.iter().any(|hasher| ["hopsync", "b3sum", "python3"].contains(&hasher.as_str())) {
        all.push(format!(
            "With python3, b3sum or hopsync itself in {target}'s PATH hashing there would take less of its CPU."
        ));
    }
    if !found.sftp.extensions.contains(&"posix-rename") {
        all.push(format!(
            "{target}'s SFTP server has no posix-rename: files that exist there cannot be replaced at once."
        ));
    }
    let near = found.hops.first().map_or(0.0, |hop| hop.round_trip_seconds);
    if found.hops.len() > 1 && near > 0.002 {
        let bound = 2.0 * 1.048576 / near;
        all.push(format!(
            "At {:.0} ms one tunnel through the head carries at most {bound:.0} MB/s upwards (OpenSSH's window, which is always \
             2 MiB, for each round trip); hopsync adds lanes where that binds.",
            near * 1e3
        ));
    }
    all
}
