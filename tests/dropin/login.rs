//! What a login asks of real servers, and what it asks for with it.

use std::fs;

use hopsync::lab::bed::{Bed, Knobs, SshdPair};
use hopsync::lab::trees::random_file;

use crate::harness::*;

#[test]
fn a_key_is_signed_with_without_asking_whether_it_is_taken() -> Tried {
    let bed = SshdPair::start()?;
    random_file(&bed.client().dir().join("file"), 1000, b"")?;
    go(&bed, ["-a", "file", &bed.operand("file")])?.well()?;
    for sshd in [&bed.head, &bed.target] {
        assert_eq!((sshd.logins(), sshd.logged("Postponed publickey")), (1, 0), "{}", sshd.log_text());
    }
    Ok(())
}

/// The channels that were asked for behind the first key are refused with it, by a server that goes on.
#[test]
fn the_next_key_logs_in_where_the_first_is_refused_with_all_that_was_asked_for_behind_it() -> Tried {
    // So that no channel is to be had beyond those that are used: what was asked for in vain must not hold any.
    let limited = Knobs { max_sessions: Some(2), ..Knobs::default() };
    let bed = SshdPair::target(&limited)?;
    let wrong = bed.client().dir().join("wrong");
    let made =
        std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&wrong).status()?;
    assert!(made.success());
    let config = fs::read_to_string(bed.ssh_config())?;
    let first = format!("  IdentityFile {}\n  IdentityFile ", wrong.display());
    fs::write(bed.ssh_config(), config.replacen("  IdentityFile ", &first, 1))?;
    random_file(&bed.client().dir().join("file"), 1000, b"")?;
    let ran = go(&bed, ["-a", "file", &bed.operand("file")])?.well()?;
    assert_eq!(ran.report.drops(), 0, "{}", ran.said());
    for sshd in [&bed.head, &bed.target] {
        assert_eq!((sshd.logins(), sshd.logged("Failed publickey")), (1, 1), "{}", sshd.log_text());
        assert!(sshd.logged("dispatch_protocol_error: type 90") > 0, "{}", sshd.log_text());
    }
    Ok(())
}
