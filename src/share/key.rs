//! What a shared connection is known by: two clients have the same key only if each might have made the other's connection.

use crate::ssh::route::{First, Route};

/// A file's path taken from this process's directory: the holder has another.
fn absolute(path: &mut std::path::PathBuf) {
    if let Ok(whole) = std::path::absolute(&*path) {
        *path = whole;
    }
}

/// The route with every file in it named from the root.
pub fn rooted(mut route: Route) -> Route {
    for hop in &mut route.hops {
        let lists = [
            &mut hop.identity_files,
            &mut hop.certificate_files,
            &mut hop.user_known_hosts,
            &mut hop.global_known_hosts,
        ];
        lists.into_iter().flatten().chain(&mut hop.identity_agent).for_each(absolute);
    }
    route
}

/// The key, 32 hexadecimal digits; `None` for a route that cannot be written down (a path that is no UTF-8).
///
/// The route is already what all options, configuration files and variables amount to, so it stands for them.
pub fn of(route: &Route) -> Option<String> {
    let mut hasher = blake3::Hasher::new_derive_key("hopsync 2026 the key of a shared connection");
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(&[super::protocol::VERSION]);
    add(&rustix::process::getuid().as_raw().to_be_bytes());
    // Another namespace is another network, or has other files under the same names.
    for namespace in ["mnt", "net", "user"] {
        let link = rustix::fs::readlink(format!("/proc/self/ns/{namespace}"), Vec::new());
        add(link.unwrap_or_default().as_bytes());
    }
    add(&serde_json::to_vec(route).ok()?);
    if matches!(route.first, First::ProxyCommand(_)) {
        // It may name files, and runs where it was started.
        add(std::env::current_dir().ok()?.as_os_str().as_encoded_bytes());
    }
    Some(hasher.finalize().to_hex()[..32].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::route::Hop;

    fn route() -> Route {
        Route { first: First::Tcp, hops: vec![Hop::plain("head", 22, "me"), Hop::plain("user", 22, "me")] }
    }

    #[test]
    fn whatever_decides_the_way_or_the_login_is_in_the_key() {
        let ours = of(&route()).unwrap();
        assert_eq!(of(&route()), Some(ours.clone()));
        let changes: [fn(&mut Route); 6] = [
            |r| r.hops[1].user = "you".to_owned(),
            |r| r.hops[0].port = 2222,
            |r| r.hops[1].identity_files.push("/k".into()),
            |r| r.hops[0].identity_agent = Some("/agent".into()),
            |r| drop(r.hops.remove(0)),
            |r| r.first = First::ProxyCommand("nc".to_owned()),
        ];
        for change in changes {
            let mut other = route();
            change(&mut other);
            assert_ne!(of(&other), Some(ours.clone()));
        }
    }

    #[test]
    fn files_are_named_from_the_root() {
        let mut route = route();
        route.hops[1].identity_files = vec!["keys/id".into(), "/abs".into()];
        let files = rooted(route).hops.remove(1).identity_files;
        assert_eq!(files[0], std::env::current_dir().unwrap().join("keys/id"));
        assert_eq!(files[1], std::path::Path::new("/abs"));
    }
}
