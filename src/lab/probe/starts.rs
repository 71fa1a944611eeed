//! The start limit of a hop (MaxStartups): how many connections may hang before their login. Found by letting some hang, which
//! is why it is asked for: while it lasts, others may be dropped.
//!
//! sshd ≥ 9.8 charges an address a second for each connection that leaves without a login (PerSourcePenalties, `noauth`), and
//! shuts it out once that passes 15 s: there, and where it is not known, ten are all that is tried.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

use crate::ledger::HopFacts;
use crate::ssh::connection::Connection;
use crate::ssh::route::{First, Route};
use crate::ssh::socket::Stream;

/// Connections at most, and where leaving without a login may be charged for.
const MOST: usize = 120;
const CAREFUL: usize = 10;

/// Between two of them.
const PACE: Duration = Duration::from_millis(100);

/// For a server to say its first line, or to hang up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Drops that end it: by then it is clear that there is a limit.
const DROPS: usize = 3;

/// What was found at one hop.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Starts {
    pub hop: String,
    /// Connections that hung at once, at most.
    pub pending: usize,
    /// Connections that hung when one was dropped for the first time; absent if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_at: Option<usize>,
    pub drops: usize,
    /// The server's words for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Why no more were tried.
    pub ended: &'static str,
}

/// Lets connections to a hop hang, one after the other, until some are dropped; then closes all.
pub async fn find(route: &Route, connection: &Connection, index: usize, facts: &HopFacts) -> Starts {
    let most = if charges(&facts.banner) { CAREFUL } else { MOST };
    let mut found = Starts {
        hop: facts.hop.clone(),
        pending: 0,
        dropped_at: None,
        drops: 0,
        said: None,
        ended: match most {
            CAREFUL => "no more were tried: this server may charge for them (PerSourcePenalties)",
            _ => "no more were tried",
        },
    };
    let mut held: Vec<Box<dyn Stream>> = Vec::new();
    while held.len() + found.drops < most {
        let mut stream = match connect(route, connection, index).await {
            Ok(stream) => stream,
            Err(why) => {
                found.ended = why;
                break;
            }
        };
        match greeting(&mut stream).await {
            Greeting::Banner => held.push(stream),
            Greeting::Dropped(said) => {
                found.drops += 1;
                if found.dropped_at.is_none() {
                    (found.dropped_at, found.said) = (Some(held.len()), Some(said).filter(|said| !said.is_empty()));
                }
                if found.drops >= DROPS {
                    found.ended = "that is enough to know";
                    break;
                }
            }
            Greeting::Silence => {
                found.ended = "the server no longer said anything";
                break;
            }
        }
        tokio::time::sleep(PACE).await;
    }
    found.pending = held.len();
    found
}

/// Whether leaving without a login may be charged for: by OpenSSH from 9.8 on, and by who knows whom.
fn charges(banner: &str) -> bool {
    let version = banner.split_once("OpenSSH_").map(|(_, version)| version);
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    let parsed = version.and_then(|version| {
        let (major, minor) = version.split_once('.')?;
        Some((number(major)?, number(minor)?))
    });
    parsed.is_none_or(|version| version >= (9, 8))
}

async fn connect(route: &Route, connection: &Connection, index: usize) -> Result<Box<dyn Stream>, &'static str> {
    if index > 0 {
        let stream = tokio::time::timeout(PATIENCE, connection.stream(index)).await;
        return stream.map_err(|_| "no further tunnel")?.map_err(|_| "the hop before it opened no further tunnel");
    }
    let hop = route.hops.first().ok_or("there is no hop")?;
    match route.first {
        First::ProxyCommand(_) => Err("the first hop is reached by a ProxyCommand, which is not run for this"),
        First::Tcp => {
            let stream = tokio::time::timeout(PATIENCE, TcpStream::connect((hop.host.as_str(), hop.port))).await;
            let stream = stream.map_err(|_| "no further connection")?.map_err(|_| "no further connection")?;
            Ok(Box::new(stream))
        }
    }
}

enum Greeting {
    Banner,
    Dropped(String),
    Silence,
}

/// The first line: an identification, or words before the door is shut.
async fn greeting(stream: &mut (impl AsyncRead + Unpin)) -> Greeting {
    let mut said = Vec::new();
    let reading = async {
        let mut buffer = [0; 256];
        while !said.contains(&b'\n') && said.len() < 1024 {
            match stream.read(&mut buffer).await {
                Ok(n) if n > 0 => said.extend_from_slice(&buffer[..n]),
                _ => break,
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, reading).await.is_ok();
    let text = String::from_utf8_lossy(&said).trim_end().to_owned();
    match ended {
        _ if text.starts_with("SSH-") => Greeting::Banner,
        true => Greeting::Dropped(text),
        false => Greeting::Silence,
    }
}

#[cfg(test)]
mod tests {
    use super::charges;

    #[test]
    fn only_servers_that_are_known_not_to_charge_are_tried_with_many() {
        for free in
            ["SSH-2.0-OpenSSH_9.2p1 Debian-2", "SSH-2.0-OpenSSH_7.4", "SSH-2.0-OpenSSH_9.7", "SSH-2.0-OpenSSH_9.2 lab"]
        {
            assert!(!charges(free), "{free}");
        }
        for charging in ["SSH-2.0-OpenSSH_9.8", "SSH-2.0-OpenSSH_10.0p2", "SSH-2.0-dropbear", "SSH-2.0-OpenSSH_x"] {
            assert!(charges(charging), "{charging}");
        }
    }
}
