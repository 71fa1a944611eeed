//! What servers allow, and the ways to them.

use std::fs;
use std::time::Duration;

use hopsync::lab::bed::{Bed, Embedded, HEAD, Knobs, SshdPair, TARGET};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use hopsync::lab::relay::Line;
use hopsync::lab::server::{Commands, Config, Extensions, Route, Server};
use hopsync::lab::trees::{Aspects, many_files, random_file};
use serde_json::Value;

use crate::harness::*;

/// Files enough for many channels, and one that is striped.
fn work(bed: &dyn Bed) -> Result<std::path::PathBuf, Box<dyn std::error::Error>> {
    let near = bed.client().dir().join("near");
    many_files(&near, 150, 20_000)?;
    random_file(&near.join("striped"), 12 << 20, b"striped")?;
    Ok(near)
}

/// `near` both ways, `files` in it; what both runs told.
fn both_ways(
    bed: &dyn Bed,
    near: &std::path::Path,
    files: u64,
    options: &[&str],
) -> Result<[Ran; 2], Box<dyn std::error::Error>> {
    let with = |from: String, to: String| {
        let args = options.iter().map(|option| (*option).to_owned()).chain([from, to]);
        go(bed, args)?.well()
    };
    let pushed = with(slash(near), bed.operand("there"))?;
    same(near, &bed.far().join("there"), ALL)?;
    let pulled = with(bed.operand("there/"), "back/".into())?;
    same(near, &bed.client().dir().join("back"), ALL)?;
    for ran in [&pushed, &pulled] {
        assert_eq!(ran.report.count("verified"), files, "{}", ran.said());
    }
    Ok([pushed, pulled])
}

/// Both ways; returns what the push reported.
fn there_and_back(bed: &dyn Bed, options: &[&str]) -> Result<Ran, Box<dyn std::error::Error>> {
    let [pushed, pulled] = both_ways(bed, &work(bed)?, 151, options)?;
    for ran in [&pushed, &pulled] {
        assert_eq!(ran.report.count("connections"), 1, "{}", ran.said());
    }
    Ok(pushed)
}

fn the_limit_is_found_and_told(bed: &dyn Bed, sessions: u64) -> Tried {
    let ran = there_and_back(bed, &["-a"])?;
    let limits = ran.report.summary()["limits"].as_array().cloned().unwrap_or_default();
    if sessions <= 10 {
        let [limit] = limits.as_slice() else { return Err(ran.said().into()) };
        assert_eq!((&limit["hop"], &limit["sessions"]), (&Value::from(TARGET), &sessions.into()), "{}", ran.said());
        let hashing = u64::from(sessions > 1);
        assert_eq!((&limit["files"], &limit["hashing"]), (&(sessions - hashing).into(), &hashing.into()));
        let by = if sessions > 1 { "at user-container" } else { "read-back" };
        assert!(ran.report.summary()["verified-by"].to_string().contains(by.trim_start_matches("at ")));
    } else {
        // More channels than bring anything are not asked for.
        assert_eq!(limits, Vec::<Value>::new(), "{}", ran.said());
        assert!((2..=17).contains(&ran.report.count("channels-max")), "{}", ran.said());
    }
    Ok(())
}

#[test]
fn any_session_limit_is_worked_with_at_embedded_servers() -> Tried {
    for sessions in [1, 2, 10, 100, 1000] {
        let bed = Embedded::target(|config| config.max_sessions = sessions)?;
        the_limit_is_found_and_told(&bed, sessions as u64).map_err(|e| format!("MaxSessions {sessions}: {e}"))?;
    }
    Ok(())
}

#[test]
fn any_session_limit_is_worked_with_at_a_real_sshd() -> Tried {
    for sessions in [1, 2, 10, 100, 1000] {
        let bed = SshdPair::target(&Knobs { max_sessions: Some(sessions), ..Knobs::default() })?;
        the_limit_is_found_and_told(&bed, sessions.into()).map_err(|e| format!("MaxSessions {sessions}: {e}"))?;
    }
    Ok(())
}

/// The embedded server has 1,019 handles on a channel, as OpenSSH has where 1,024 files may be open.
#[test]
fn more_files_than_a_server_has_handles_are_opened_one_after_the_other() -> Tried {
    let line = Line { delay: Duration::from_millis(10), rate: None };
    let bed = Embedded::with(|_| {}, |target| target.max_sessions = 2, Some(line))?;
    let near = bed.client().dir().join("near");
    many_files(&near, 3000, 10)?;
    for options in ["-a", "-aI"] {
        let ran = go(&bed, [options, &slash(&near), &bed.operand("there")])?.well()?;
        assert_eq!((ran.report.count("verified"), ran.report.drops()), (3000, 0), "{}", ran.said());
    }
    same(&near, &bed.far().join("there"), ALL)?;
    go(&bed, ["-a", &bed.operand("there/"), "back/"])?.well()?;
    same(&near, &bed.client().dir().join("back"), ALL)
}

#[test]
fn accounts_limited_to_sftp_are_verified_by_reading_back() -> Tried {
    let embedded = Embedded::target(|config| config.commands = Commands::SftpOnly)?;
    let real = SshdPair::target(&Knobs { sftp_only: true, ..Knobs::default() })?;
    for bed in [&embedded as &dyn Bed, &real] {
        let ran = there_and_back(bed, &["-a"])?;
        let by = ran.report.summary()["verified-by"].clone();
        assert_eq!(
            (by[0]["by"].as_str(), by[0]["files"].as_u64(), by[1].is_null()),
            (Some("read-back"), Some(151), true)
        );
    }
    Ok(())
}

#[test]
fn servers_without_extensions_serve_new_files() -> Tried {
    let bed = Embedded::target(|config| {
        config.extensions = Extensions::NONE;
        config.banner = "SSH-2.0-Other_1".into();
        config.commands = Commands::SftpOnly;
    })?;
    there_and_back(&bed, &["-rlpt"]).map(drop)
}

#[test]
fn channels_are_no_more_than_asked_for() -> Tried {
    let bed = Embedded::start()?;
    let ran = there_and_back(&bed, &["-a", "--channels=3", "--verify=readback"])?;
    assert!(ran.report.count("channels-max") <= 3, "{}", ran.said());
    Ok(())
}

#[test]
fn start_limits_are_waited_out_and_counted_with_the_servers_words() -> Tried {
    let text = "Exceeded MaxStartups\r\n";
    let drop = || Faults::new([(Nth::Only(1), Trouble::DropBeforeBanner { text })]);
    for hop in [HEAD, TARGET] {
        let bed = Embedded::with(
            |head| head.faults = if hop == HEAD { drop() } else { Faults::none() },
            |target| target.faults = if hop == TARGET { drop() } else { Faults::none() },
            None,
        )?;
        random_file(&bed.client().dir().join("file"), 1000, b"")?;
        let ran = go(&bed, ["-a", "file", &bed.operand("file")])?.well()?;
        let row = ran.report.trouble(hop, "banner", "start-limit").ok_or_else(|| ran.said())?;
        assert_eq!(row["dropped-connections"], 1, "{}", ran.said());
        let said = ran.report.summary()["server-texts"].to_string();
        assert!(said.contains("Exceeded MaxStartups") && said.contains("pre-banner") && said.contains(hop), "{said}");
        assert_eq!(ran.report.drops(), 1, "{}", ran.said());
    }
    Ok(())
}

#[test]
fn a_session_refused_once_is_no_harm() -> Tried {
    for nth in 1..=3 {
        let rule = (Nth::Only(nth), Trouble::RefuseSession);
        let bed = Embedded::target(|config| config.faults = Faults::new([rule]))?;
        random_file(&bed.client().dir().join("file"), 1000, b"")?;
        let ran = go(&bed, ["-a", "file", &bed.operand("file")])?.well()?;
        assert_eq!(bed.target_server().faults().fired(0), u64::from(nth <= 2), "{}", ran.said());
        // Without a first session there is nothing to work with: another connection is made.
        assert_eq!(ran.report.count("connections"), if nth == 1 { 2 } else { 1 }, "{}", ran.said());
    }
    Ok(())
}

#[test]
fn a_server_that_refuses_every_session_is_told_by_name() -> Tried {
    let bed = Embedded::target(|config| config.max_sessions = 0)?;
    random_file(&bed.client().dir().join("file"), 1000, b"")?;
    let ran = go(&bed, ["-a", "file", &bed.operand("file")])?;
    assert_ne!(ran.code(), 0);
    assert!(ran.output.err().contains(TARGET) && ran.output.err().contains("session"), "{}", ran.said());
    assert!(ran.report.trouble(TARGET, "session", "session-limit").is_some(), "{}", ran.said());
    Ok(())
}

/// A configuration beside the bed's own, changed.
fn config(bed: &dyn Bed, change: impl FnOnce(String) -> String) -> Result<String, Box<dyn std::error::Error>> {
    let path = bed.client().dir().join("other_config");
    fs::write(&path, change(fs::read_to_string(bed.ssh_config())?))?;
    Ok(format!("ssh -F {}", path.display()))
}

#[test]
fn the_target_is_reached_without_a_jump_and_through_a_proxy_command() -> Tried {
    let bed = SshdPair::start()?;
    random_file(&bed.client().dir().join("file"), 1 << 20, b"")?;
    let (host, port) = bed.route();
    let direct = config(&bed, |text| text.replace("  ProxyJump head\n", ""))?;
    plain(&bed, ["-a", "-e", &direct, "file", &bed.operand("direct")]).run()?.well()?;
    assert_eq!(bed.counts().head_connections, 0);
    let proxy = format!("  ProxyCommand ssh -F {} -W {host}:{port} {HEAD}\n", bed.ssh_config().display());
    let proxied = config(&bed, |text| text.replace("  ProxyJump head\n", &proxy))?;
    plain(&bed, ["-a", "-e", &proxied, "file", &bed.operand("proxied")]).run()?.well()?;
    plain(&bed, ["-a", "-e", &proxied, &bed.operand("proxied"), "back"]).run()?.well()?;
    assert_eq!(bed.counts().head_connections, 2);
    for name in ["direct", "proxied"] {
        same(&bed.client().dir().join("file"), &bed.far().join(name), Aspects::CONTENT)?;
    }
    Ok(())
}

#[test]
fn two_jumps_are_taken_one_after_the_other() -> Tried {
    let bed = SshdPair::start()?;
    random_file(&bed.client().dir().join("file"), 1 << 20, b"")?;
    // The target's sshd is the second jump too: to itself.
    let bare = config(&bed, |text| {
        let (_, port) = bed.route();
        let second = format!("Host second\n  HostName 127.0.0.1\n  Port {port}\n");
        second + &text.replace("  ProxyJump head\n", "")
    })?;
    let shell = format!("{bare} -J {HEAD},second");
    let ran = plain(&bed, ["-a", "-e", &shell, "file", &bed.operand("far")]).run()?.well()?;
    same(&bed.client().dir().join("file"), &bed.far().join("far"), Aspects::CONTENT)?;
    let hops: Vec<_> = ran.report.events("hop-connected").map(|hop| hop["hop"].clone()).collect();
    assert_eq!(hops, [HEAD, "second", TARGET]);
    assert_eq!((ran.report.count("connections"), bed.counts().head_connections), (1, 1));
    Ok(())
}

/// The reverse-tunnel form: the head reaches the target as `localhost:2222`.
#[test]
fn the_reverse_tunnel_form_works() -> Tried {
    let runtime = tokio::runtime::Runtime::new()?;
    let plain_bed = Embedded::start()?;
    let far = plain_bed.far().to_owned();
    let target = runtime.block_on(Server::start(Config::target(plain_bed.client().key.clone(), far.clone())))?;
    let route = Route { host: "localhost".into(), port: 2222, to: target.address() };
    let head = runtime.block_on(Server::start(Config::head(plain_bed.client().key.clone(), vec![route])))?;
    let dir = plain_bed.client().dir();
    let known = format!(
        "[127.0.0.1]:{} {}\n[localhost]:2222 {}\n",
        head.address().port(),
        head.host_key().to_openssh()?,
        target.host_key().to_openssh()?
    );
    fs::write(dir.join("known"), known)?;
    let config = format!(
        "Host {HEAD}\n  HostName 127.0.0.1\n  Port {}\nHost usercontainer\n  HostName localhost\n  Port 2222\n  ProxyJump {HEAD}\n\
         Host *\n  User lab\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n",
        head.address().port(),
        plain_bed.client().identity.display(),
        dir.join("known").display()
    );
    fs::write(dir.join("reverse"), config)?;
    random_file(&dir.join("file"), 6, b"")?;
    let shell = format!("ssh -F {}", dir.join("reverse").display());
    plain(&plain_bed, ["-a", "-e", &shell, "file", "usercontainer:file"]).run()?.well()?;
    same(&dir.join("file"), &far.join("file"), Aspects::CONTENT)
}

fn logins(ran: &Ran, hop: &str) -> u64 {
    let all = ran.report.summary()["logins"].as_array().cloned().unwrap_or_default();
    all.iter().filter(|row| row["hop"] == hop).filter_map(|row| row["logins"].as_u64()).sum()
}

/// 40 files of 1 MiB, both ways.
fn much(bed: &dyn Bed, options: &[&str]) -> Result<[Ran; 2], Box<dyn std::error::Error>> {
    let near = bed.client().dir().join("near");
    many_files(&near, 40, 1 << 20)?;
    let ran = both_ways(bed, &near, 40, options)?;
    for ran in &ran {
        assert_eq!(ran.report.drops(), 0, "{}", ran.said());
    }
    Ok(ran)
}

#[test]
fn what_is_much_for_one_tunnel_at_this_distance_goes_over_further_lanes_of_the_same_connection() -> Tried {
    // 40 MiB are 2 s at one window of 2 MiB for each round trip of 100 ms.
    let line = Line { delay: Duration::from_millis(50), rate: None };
    let bed = Embedded::with(|_| (), |_| (), Some(line))?;
    let [push, pull] = much(&bed, &["-a"])?;
    for ran in [&push, &pull] {
        assert_eq!((ran.report.count("connections"), logins(ran, HEAD)), (1, 1), "{}", ran.said());
    }
    assert!(logins(&push, TARGET) >= 2, "{}", push.said());
    // What comes to us is bound by TCP at the head, of which further lanes make only a little more.
    assert_eq!(logins(&pull, TARGET), 1, "{}", pull.said());
    Ok(())
}

#[test]
fn a_long_pull_from_afar_comes_over_further_lanes_of_the_same_connection() -> Tried {
    // 40 MiB are 6 s at 2 MiB for each round trip of 300 ms; they are not to be over before the lanes are there.
    let line = Line { delay: Duration::from_millis(150), rate: None };
    let bed = Embedded::with(|_| (), |_| (), Some(line))?;
    many_files(&bed.far().join("there"), 40, 1 << 20)?;
    let pull = go(&bed, ["-a", "--bwlimit=8m", &bed.operand("there/"), "back/"])?.well()?;
    same(&bed.far().join("there"), &bed.client().dir().join("back"), ALL)?;
    assert_eq!((pull.report.count("connections"), logins(&pull, HEAD)), (1, 1), "{}", pull.said());
    assert!(logins(&pull, TARGET) >= 2, "{}", pull.said());
    Ok(())
}

#[test]
fn as_many_connections_are_made_as_are_asked_for() -> Tried {
    let bed = Embedded::start()?;
    for ran in much(&bed, &["-a", "--connections=3"])? {
        // A run may be over before the last of them.
        assert!((2..=3).contains(&logins(&ran, HEAD)), "{}", ran.said());
        assert!(logins(&ran, TARGET) >= 2, "{}", ran.said());
    }
    Ok(())
}

#[test]
fn where_the_first_connection_is_turned_away_the_others_do_not_come() -> Tried {
    let deny = |config: &mut Config| config.faults = Faults::new([(Nth::Always, Trouble::Deny)]);
    let at_head = Embedded::with(deny, |_| (), None)?;
    let at_target = Embedded::target(deny)?;
    for bed in [&at_head, &at_target] {
        fs::write(bed.client().dir().join("file"), "x")?;
        go(bed, ["-a", "--connections=4", "file", &bed.operand("file")])?.exits(255)?;
    }
    assert_eq!(at_head.counts().head_connections, 1);
    // They had come as far as the first had, and no further.
    assert_eq!(at_target.counts().target_connections, 1);
    assert!(at_target.counts().head_connections <= 4);
    Ok(())
}
