//! The hashing script, run for real by this machine's shell, awk and hashers.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

use std::sync::Arc;
use std::time::Duration;

use hopsync::tree::remote::link::{CommandConnector, Connector};
use hopsync::verify::ladder::{self, Rung};
use hopsync::verify::remote::{self, NoHash};
use hopsync::verify::{Digest, PART};

/// A "remote" shell that runs its command here: what a wrapper given to `-e` may do.
fn here() -> CommandConnector {
    let shell = ["sh", "-c", "shift; exec sh -c \"$*\"", "here"].map(Into::into).to_vec();
    CommandConnector { shell, user: None, host: "far".to_owned() }
}

/// The script on a machine that has none but this hasher.
fn with_only(rung: Rung) -> String {
    let mut script = ladder::SCRIPT.to_owned();
    for (other, found, missing) in [
        (Rung::Own, "if has hopsync ", "if false "),
        (Rung::B3sum, "if has b3sum;", "if false;"),
        (Rung::Python, "/usr/bin/python3 python3;", ";"),
        (Rung::Openssl, "if has openssl;", "if false;"),
        (Rung::Sha256sum, "if has sha256sum;", "if false;"),
    ] {
        assert!(script.contains(found));
        if other != rung {
            script = script.replace(found, missing);
        }
    }
    script
}

#[tokio::test]
async fn thousands_of_files_asked_for_at_once_are_hashed_by_each_of_the_scripts_hashers() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..3000)
        .map(|n| {
            let path = dir.path().join(format!("a rather long name with spaces, as people give them, number {n}"));
            std::fs::write(&path, n.to_string()).unwrap();
            path
        })
        .collect();
    for rung in [Rung::Python, Rung::Openssl, Rung::Sha256sum] {
        let link = here().connect().await.unwrap();
        let wire = link.exec(with_only(rung).as_bytes()).await.unwrap();
        let found = remote::start(wire, "far".into()).await.unwrap();
        assert_eq!(found.far.hasher, Some(rung));
        let hasher = Arc::new(found.hasher.expect("this machine has it"));
        let asks = files.iter().enumerate().map(|(n, path)| {
            let (hasher, path) = (hasher.clone(), path.to_str().unwrap().to_owned());
            async move {
                let answer = tokio::time::timeout(Duration::from_secs(60), hasher.digest(path.as_bytes(), 4)).await;
                let digest = answer.expect("an answer in time").unwrap();
                assert_eq!(digest, Digest::of(hasher.rung.algorithm(), n.to_string().as_bytes()));
            }
        });
        futures::future::join_all(asks).await;
        // The last has parts of its own, where files are hashed in parts.
        for size in [3_000_000, PART as usize, 2 * PART as usize + 1] {
            let large = dir.path().join("large");
            let data: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            std::fs::write(&large, &data).unwrap();
            let expected = Digest::of(rung.algorithm(), &data);
            assert_eq!(hasher.digest(large.to_str().unwrap().as_bytes(), size as u64).await, Ok(expected));
        }
        let gone = dir.path().join("is not there");
        assert_eq!(hasher.digest(gone.to_str().unwrap().as_bytes(), 1).await, Err(NoHash::Skipped));
        link.close().await;
    }
}
