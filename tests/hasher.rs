//! The hashing script, run for real by this machine's shell, awk and hashers.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

use std::sync::Arc;
use std::time::Duration;

use hopsync::tree::remote::link::{CommandConnector, Connector};
use hopsync::verify::{Digest, ladder, remote};

/// A "remote" shell that runs its command here: what a wrapper given to `-e` may do.
fn here() -> CommandConnector {
    let shell = ["sh", "-c", "shift; exec sh -c \"$*\"", "here"].map(Into::into).to_vec();
    CommandConnector { shell, user: None, host: "far".to_owned() }
}

#[tokio::test]
async fn thousands_of_files_asked_for_at_once_are_hashed_by_the_script() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..3000)
        .map(|n| {
            let path = dir.path().join(format!("a rather long name with spaces, as people give them, number {n}"));
            std::fs::write(&path, n.to_string()).unwrap();
            path
        })
        .collect();
    let link = here().connect().await.unwrap();
    let wire = link.exec(ladder::SCRIPT.as_bytes()).await.unwrap();
    let found = remote::start(wire, "far".into()).await.unwrap();
    let hasher = Arc::new(found.hasher.expect("this machine has awk, xargs and sha256sum"));
    let asks = files.iter().enumerate().map(|(n, path)| {
        let (hasher, path) = (hasher.clone(), path.to_str().unwrap().to_owned());
        async move {
            let answer = tokio::time::timeout(Duration::from_secs(60), hasher.digest(path.as_bytes(), 4)).await;
            let digest = answer.expect("an answer in time").unwrap();
            assert_eq!(digest, Digest::of(hasher.rung.algorithm(), n.to_string().as_bytes()));
        }
    });
    futures::future::join_all(asks).await;
    let gone = dir.path().join("is not there");
    assert!(hasher.digest(gone.to_str().unwrap().as_bytes(), 1).await.is_err());
    link.close().await;
}
