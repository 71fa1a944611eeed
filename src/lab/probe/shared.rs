//! `hopsync-lab probe --shared`: what the holder of the shared connection found, as it told us.

use std::ffi::OsString;

use crate::fault::Fault;
use crate::job::Login;
use crate::lab::print::table;
use crate::ledger::escape;
use crate::share::{self, protocol::Probe};
use crate::ssh::connection::Context;

/// Joins the shared connection, or starts it, and tells what its holder found.
pub async fn ask(shell: &[OsString], login: &Login, context: &Context) -> Result<String, Fault> {
    Ok(describe(&share::probe(shell, login, context).await?))
}

fn describe(probe: &Probe) -> String {
    let head = ["hop", "round trip ms", "login", "cipher", "key exchange", "server"].map(str::to_owned).to_vec();
    let mut rows = vec![head];
    for (n, hop) in probe.facts.hops.iter().enumerate() {
        let time = probe.round_trips.get(n).map_or("-".to_owned(), |time| format!("{:.2}", time.as_secs_f64() * 1e3));
        let texts = [&hop.hop, &time, &hop.method, &hop.cipher, &hop.kex, &hop.banner];
        rows.push(texts.iter().map(|text| escape(text.as_bytes())).collect());
    }
    let sessions = match probe.facts.limit {
        Some((sessions, files, hashing)) => {
            format!("{sessions} on one connection: {files} used for files, {hashing} for hashing")
        }
        None => format!("no limit met; {} channels are open", probe.channels),
    };
    let (read, write, handles) = probe.limits;
    let handles = handles.map_or("not told".to_owned(), |handles| handles.to_string());
    let far = &probe.facts.far;
    let hasher = far.hasher.map_or("none: files are read back", |rung| rung.name());
    let who = match (far.uid, far.gid) {
        (Some(uid), Some(gid)) => format!("uid {uid}, gid {gid}, {} groups", far.groups.len()),
        _ => "not told (no shell)".to_owned(),
    };
    let mut text = table(&rows);
    for (what, value) in [
        ("sessions", sessions),
        ("channels open", probe.channels.to_string()),
        ("clients", probe.clients.to_string()),
        ("read, write", format!("{read}, {write} bytes a request")),
        ("open handles", handles),
        ("extensions", probe.extensions.join(", ")),
        ("hasher", hasher.to_owned()),
        ("account", who),
        ("holder", format!("process {}", probe.facts.holder)),
    ] {
        text.push_str(&format!("{what:<14} {value}\n"));
    }
    text
}
