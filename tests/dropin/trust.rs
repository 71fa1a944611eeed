//! Refused before anything is sent: the exit is 255, and a sentence names the hop.

use std::fs;

use hopsync::lab::bed::{Bed, Embedded, HEAD, SshdPair, TARGET};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use hopsync::lab::trees::random_file;

use crate::harness::*;

/// A push that must end with 255; nothing arrives.
fn refused(bed: &dyn Bed, hop: &str, stage: &str, cause: &str) -> Result<Ran, Box<dyn std::error::Error>> {
    random_file(&bed.client().dir().join("file"), 1000, b"")?;
    let ran = go(bed, ["-a", "file", &bed.operand("file")])?.exits(255)?;
    assert!(ran.output.err().lines().any(|line| line.contains(hop)), "{}", ran.said());
    assert!(ran.report.trouble(hop, stage, cause).is_some(), "{}", ran.said());
    assert_eq!(ran.report.drops(), 0, "nothing may be tried twice: {}", ran.said());
    assert_eq!(fs::read_dir(bed.far())?.count(), 0);
    fs::remove_file(bed.client().dir().join("file"))?;
    Ok(ran)
}

#[test]
fn a_changed_host_key_is_refused_on_either_hop() -> Tried {
    for hop in [HEAD, TARGET] {
        let (embedded, real) = (Embedded::start()?, SshdPair::start()?);
        for bed in [&embedded as &dyn Bed, &real] {
            let known = fs::read_to_string(&bed.client().known_hosts)?;
            let mine = bed.client().key.to_openssh()?;
            // The line of this hop bears another key: head's is the first.
            let lines = known.lines().enumerate().map(|(number, line)| {
                let place = line.split(' ').next().unwrap_or_default();
                if (number == 0) == (hop == HEAD) { format!("{place} {mine}\n") } else { format!("{line}\n") }
            });
            fs::write(&bed.client().known_hosts, lines.collect::<String>())?;
            refused(bed, hop, "host-key", "host-key")?;
            assert_eq!(bed.counts().target_logins, 0);
        }
    }
    Ok(())
}

#[test]
fn an_unknown_host_key_is_refused_on_either_hop_and_accept_new_learns_it() -> Tried {
    for hop in [HEAD, TARGET] {
        let bed = Embedded::start()?;
        let known = fs::read_to_string(&bed.client().known_hosts)?;
        let kept = known.lines().enumerate().filter(|(number, _)| (*number == 0) != (hop == HEAD));
        fs::write(&bed.client().known_hosts, kept.map(|(_, line)| format!("{line}\n")).collect::<String>())?;
        refused(&bed, hop, "host-key", "host-key")?;
        let text = fs::read_to_string(bed.ssh_config())?
            .replace("StrictHostKeyChecking yes", "StrictHostKeyChecking accept-new");
        fs::write(bed.ssh_config(), text)?;
        random_file(&bed.client().dir().join("file"), 1000, b"")?;
        go(&bed, ["-a", "file", &bed.operand("file")])?.well()?;
        assert_eq!(fs::read_to_string(&bed.client().known_hosts)?.lines().count(), 2);
    }
    Ok(())
}

#[test]
fn a_refused_login_names_its_hop_and_is_not_tried_again() -> Tried {
    for hop in [HEAD, TARGET] {
        let deny = || Faults::new([(Nth::Always, Trouble::Deny)]);
        let bed = Embedded::with(
            |head| head.faults = if hop == HEAD { deny() } else { Faults::none() },
            |target| target.faults = if hop == TARGET { deny() } else { Faults::none() },
            None,
        )?;
        refused(&bed, hop, "login", "denied")?;
        let counts = bed.counts();
        assert_eq!((counts.head_connections, counts.target_connections), (1, u64::from(hop == TARGET)));
    }
    Ok(())
}

#[test]
fn a_host_that_is_not_there_is_named() -> Tried {
    let bed = Embedded::start()?;
    // A port on which nobody listens: bound, and given up again.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let text = fs::read_to_string(bed.ssh_config())?;
    fs::write(bed.ssh_config(), text.replacen(&format!("Port {}", bed.door().port()), &format!("Port {port}"), 1))?;
    refused(&bed, HEAD, "tcp", "unreachable")?;
    Ok(())
}

#[test]
fn a_tunnel_that_the_head_refuses_is_the_targets_fault_with_the_heads_words() -> Tried {
    let refuse = (Nth::Always, Trouble::RefuseTunnel { reason: 1, text: "administratively prohibited: open failed" });
    let bed = Embedded::with(|head| head.faults = Faults::new([refuse]), |_| {}, None)?;
    random_file(&bed.client().dir().join("file"), 1000, b"")?;
    let ran = go(&bed, ["-a", "file", &bed.operand("file")])?.exits(255)?;
    let err = ran.output.err();
    assert!(err.contains(HEAD) && err.contains("administratively prohibited"), "{}", ran.said());
    assert!(ran.report.events("failure").any(|line| line["fault"]["stage"] == "tunnel"), "{}", ran.said());
    Ok(())
}
