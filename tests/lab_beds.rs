//! The test beds themselves, tried with OpenSSH's own clients: what holds here, hopsync's tests may rely on.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hopsync::lab::bed::{Bed, Embedded, Knobs, SshdPair, TARGET};
use hopsync::lab::run::{Output, run};
use hopsync::lab::server::{Commands, MaxStartups};
use hopsync::lab::trees::{Aspects, differences, odd_tree};

type Tried = Result<(), Box<dyn Error>>;

const DEADLINE: Duration = Duration::from_secs(60);

fn ssh(bed: &dyn Bed, args: &[&str]) -> std::io::Result<Output> {
    let mut command = Command::new("ssh");
    command.arg("-F").arg(bed.ssh_config()).args(args);
    run(command, DEADLINE)
}

/// A batch of sftp(1) commands.
fn sftp(bed: &dyn Bed, batch: &str) -> std::io::Result<Output> {
    let script = bed.client().dir().join("batch");
    fs::write(&script, batch)?;
    let mut command = Command::new("sftp");
    command.arg("-F").arg(bed.ssh_config()).arg("-b").arg(script).arg(TARGET);
    run(command, DEADLINE)
}

fn rsync(bed: &dyn Bed, from: &str, to: &str) -> std::io::Result<Output> {
    let mut command = Command::new("rsync");
    command.args(["-a", "-e", &bed.shell(), from, to]);
    run(command, DEADLINE)
}

fn succeeded(output: Output) -> Result<Output, String> {
    if output.code == 0 { Ok(output) } else { Err(format!("exit {}: {}{}", output.code, output.out(), output.err())) }
}

fn a_file_goes_there_and_back(bed: &dyn Bed) -> Tried {
    let dir = bed.client().dir();
    hopsync::lab::trees::random_file(&dir.join("here"), 3_000_000, b"a file")?;
    let (here, far, back) = (dir.join("here"), bed.far().join("far"), dir.join("back"));
    let batch = format!(
        "put {} {far}\nchmod 640 {far}\nrename {far} {far}2\nget {far}2 {}\n",
        here.display(),
        back.display(),
        far = far.display()
    );
    succeeded(sftp(bed, &batch)?)?;
    assert_eq!(differences(&here, &back, Aspects::CONTENT)?, Vec::<String>::new());
    Ok(())
}

fn a_tree_goes_there_and_back_by_rsync(bed: &dyn Bed) -> Tried {
    let (tree, back) = (bed.client().dir().join("tree"), bed.client().dir().join("back-tree"));
    odd_tree(&tree)?;
    let slash = |path: &Path| format!("{}/", path.display());
    succeeded(rsync(bed, &slash(&tree), &bed.operand("tree"))?)?;
    succeeded(rsync(bed, &slash_operand(bed), &slash(&back))?)?;
    let all = Aspects { link_times: true, ..Aspects::ARCHIVE };
    assert_eq!(differences(&tree, &back, all)?, Vec::<String>::new());
    Ok(())
}

fn slash_operand(bed: &dyn Bed) -> String {
    bed.operand("tree") + "/"
}

fn a_command_gets_its_input_and_its_exit_code_comes_back(bed: &dyn Bed) -> Tried {
    let output = ssh(bed, &[TARGET, "echo out; echo err >&2; exit 7"])?;
    assert_eq!((output.code, output.out().as_str(), output.err().as_str()), (7, "out\n", "err\n"));
    Ok(())
}

#[test]
fn files_trees_and_commands_pass_the_embedded_pair() -> Tried {
    let bed = Embedded::start()?;
    a_file_goes_there_and_back(&bed)?;
    a_tree_goes_there_and_back_by_rsync(&bed)?;
    a_command_gets_its_input_and_its_exit_code_comes_back(&bed)?;
    let counts = bed.counts();
    assert_eq!((counts.head_connections, counts.head_logins), (4, 4));
    assert_eq!((counts.target_connections, counts.target_logins), (4, 4));
    Ok(())
}

#[test]
fn files_trees_and_commands_pass_the_real_pair() -> Tried {
    let bed = SshdPair::start()?;
    a_file_goes_there_and_back(&bed)?;
    a_tree_goes_there_and_back_by_rsync(&bed)?;
    a_command_gets_its_input_and_its_exit_code_comes_back(&bed)?;
    assert!(bed.target.wait_for_log("Accepted publickey", 4, DEADLINE));
    let counts = bed.counts();
    assert_eq!((counts.head_connections, counts.head_logins), (4, 4));
    assert_eq!((counts.target_connections, counts.target_logins), (4, 4));
    Ok(())
}

#[test]
fn the_embedded_target_is_reached_through_the_head_alone() -> Tried {
    let bed = Embedded::start()?;
    let port = bed.target_server().address().port().to_string();
    let direct = ssh(&bed, &["-o", "ProxyJump=none", "-o", "HostName=127.0.0.1", "-p", &port, TARGET, "true"])?;
    assert_eq!(direct.code, 255, "{}", direct.err());
    let elsewhere = ssh(&bed, &["-o", "HostName=10.0.0.1", TARGET, "true"])?;
    assert_eq!(elsewhere.code, 255);
    assert!(elsewhere.err().contains("administratively prohibited"), "{}", elsewhere.err());
    assert_eq!(bed.counts().target_logins, 0);
    Ok(())
}

#[test]
fn an_account_limited_to_sftp_runs_no_commands_on_either_pair() -> Tried {
    let embedded = Embedded::target(|config| config.commands = Commands::SftpOnly)?;
    let real = SshdPair::target(&Knobs { sftp_only: true, ..Knobs::default() })?;
    for bed in [&embedded as &dyn Bed, &real] {
        a_file_goes_there_and_back(bed)?;
        assert_ne!(ssh(bed, &[TARGET, "touch", &bed.far().join("made").display().to_string()])?.code, 7);
        assert!(!bed.far().join("made").exists());
    }
    Ok(())
}

#[test]
fn max_startups_drops_with_its_text_before_the_banner() -> Tried {
    // Start and full at 1: whoever comes while another has not logged in is dropped.
    let limit = MaxStartups { start: 1, rate: 100, full: 1 };
    let embedded = Embedded::with(|head| head.max_startups = Some(limit), |_| {}, None)?;
    let real = SshdPair::with(&Knobs { max_startups: Some("1:100:1"), ..Knobs::default() }, &Knobs::default())?;
    for (bed, address) in [(&embedded as &dyn Bed, embedded.head_server().address()), (&real, real.head.address())] {
        let first = std::net::TcpStream::connect(address)?;
        let banner = first_line(&first)?;
        assert!(banner.starts_with("SSH-2.0-"), "{banner}");
        let second = std::net::TcpStream::connect(address)?;
        assert_eq!(first_line(&second)?, "Exceeded MaxStartups\r\n");
        assert_eq!(ssh(bed, &[TARGET, "true"])?.code, 255);
    }
    assert_eq!(embedded.counts().start_drops, 2);
    Ok(())
}

fn first_line(mut stream: &std::net::TcpStream) -> std::io::Result<String> {
    use std::io::BufRead;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut line = String::new();
    std::io::BufReader::new(&mut stream).read_line(&mut line)?;
    Ok(line)
}
