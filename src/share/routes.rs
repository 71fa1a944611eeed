//! Remembers what `ssh -G` said, so that of hundreds of clients only the first has to ask.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use super::files::fingerprint;
use super::place::{Lock, Place, remove};
use crate::fault::Fault;
use crate::job::Login;
use crate::ssh::options;
use crate::ssh::route::{self, Route, Shell};

/// An answer is asked for again after this long, for what ssh may decide by and we do not know of.
const LIFE: Duration = Duration::from_secs(600);

/// Bytes of a remembered route at most.
const LONGEST: u64 = 256 * 1024;

/// As [`route::resolve`], from memory where nothing has changed since.
///
/// # Errors
/// Those of [`route::resolve`]; trouble with the memory only makes it ask.
pub async fn resolve(shell: &[OsString], login: &Login) -> Result<Shell, Fault> {
    let known = options::parse(shell).and_then(|options| fingerprint(&options, login.user.as_deref(), &login.host));
    let (Some(key), Ok(place)) = (known, Place::find()) else { return route::resolve(shell, login).await };
    let (answer, lock) = (place.file(&key, "route"), place.file(&key, "ask"));
    if let Some(route) = recall(&answer) {
        return Ok(Shell::Ssh(route));
    }
    // Whoever comes while the first asks waits for its answer.
    let asking = Lock::take(&lock).await.ok();
    let shell = match recall(&answer) {
        Some(route) => Ok(Shell::Ssh(route)),
        None => {
            let shell = route::resolve(shell, login).await;
            if let Ok(Shell::Ssh(route)) = &shell
                && let Err(error) = remember(&answer, route)
            {
                tracing::debug!(%error, "the route is not remembered");
            }
            shell
        }
    };
    if let Some(asking) = asking {
        remove(&[&lock]);
        asking.release();
    }
    shell
}

fn recall(path: &Path) -> Option<Route> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let age = SystemTime::now().duration_since(file.metadata().ok()?.modified().ok()?).ok()?;
    if age > LIFE {
        return None;
    }
    let mut content = Vec::new();
    file.take(LONGEST).read_to_end(&mut content).ok()?;
    serde_json::from_slice(&content).ok().filter(|route: &Route| !route.hops.is_empty())
}

/// Under the lock, so that nobody else writes; others see the old file or the new one.
fn remember(path: &Path, route: &Route) -> io::Result<()> {
    let content = serde_json::to_vec(route)?;
    let temp = path.with_extension("new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&temp, flags, Mode::RUSR | Mode::WUSR)?;
    io::Write::write_all(&mut std::fs::File::from(file), &content)?;
    Ok(rustix::fs::rename(&temp, path)?)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests' own scratch files")]
mod tests {
    use super::*;
    use crate::ssh::route::{First, Hop};

    #[test]
    fn a_route_is_recalled_as_it_was_and_rubbish_is_none() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.route");
        assert!(recall(&path).is_none());
        let mut hop = Hop::plain("user", 2222, "me");
        hop.control_persist = Some(Duration::MAX);
        let route = Route { first: First::Tcp, hops: vec![Hop::plain("head", 22, "me"), hop] };
        remember(&path, &route).unwrap();
        assert_eq!(format!("{:?}", recall(&path).unwrap()), format!("{route:?}"));
        std::fs::write(&path, "{}").unwrap();
        assert!(recall(&path).is_none());
    }
}
