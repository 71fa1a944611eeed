//! Routes against the real `ssh -G`, with a configuration of our own (`-F`), so nothing of this machine's is read.

use super::*;

struct Config(tempfile::TempDir);

impl Config {
    fn new(text: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config"), text).unwrap();
        Config(directory)
    }

    async fn resolve(&self, line: &str, host: &str) -> Result<Route, Fault> {
        let mut shell: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        shell.splice(1..1, ["-F".into(), self.0.path().join("config").into()]);
        let (user, host) = host.split_once('@').map_or((None, host), |(user, host)| (Some(user.to_owned()), host));
        match resolve(&shell, &Login { user, host: host.to_owned() }).await? {
            Shell::Ssh(route) => Ok(route),
            Shell::Command(_) => panic!("{line} is ssh"),
        }
    }

    /// `user@host:port` of each hop.
    async fn way(&self, line: &str, host: &str) -> Vec<String> {
        let route = self.resolve(line, host).await.unwrap();
        route.hops.iter().map(|hop| format!("{}@{}:{}", hop.user, hop.host, hop.port)).collect()
    }
}

const REVERSE_TUNNEL: &str = "Host usercontainer\n HostName localhost\n Port 2222\n User jovyan\n ProxyJump head\n\
                              Host head\n HostName 10.0.0.1\n User bob\n StrictHostKeyChecking yes\n\
                              Host *\n StrictHostKeyChecking ask\n";

#[tokio::test]
async fn the_reverse_tunnel_form_leads_through_the_head() {
    let config = Config::new(REVERSE_TUNNEL);
    let route = config.resolve("ssh", "usercontainer").await.unwrap();
    assert_eq!(route.first, First::Tcp);
    let [head, target] = &route.hops[..] else { panic!("{route:?}") };
    assert_eq!((&*head.alias, &*head.host, head.port, &*head.user), ("head", "10.0.0.1", 22, "bob"));
    assert_eq!(
        (&*target.alias, &*target.host, target.port, &*target.user),
        ("usercontainer", "localhost", 2222, "jovyan")
    );
}

#[tokio::test]
async fn options_of_the_command_line_concern_the_target_only() {
    let config = Config::new(REVERSE_TUNNEL);
    let line = "ssh -J head -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -C -p 2200 -l eve";
    let route = config.resolve(line, "usercontainer").await.unwrap();
    let [head, target] = &route.hops[..] else { panic!("{route:?}") };
    assert_eq!((target.strict, target.compression, target.port, &*target.user), (Strict::No, true, 2200, "eve"));
    assert_eq!(target.user_known_hosts, [std::path::Path::new("/dev/null")]);
    assert_eq!((head.strict, head.compression, head.port, &*head.user), (Strict::Yes, false, 22, "bob"));
    assert_ne!(head.user_known_hosts, target.user_known_hosts);
}

#[tokio::test]
async fn a_list_of_jumps_is_followed_in_order_with_its_users_and_ports() {
    let config = Config::new("Host b\n HostName bb.example\n User conf\n Port 5\n");
    assert_eq!(
        config.way("ssh -J u@a:22,b,v@[::1]:3 -l me", "t").await,
        ["u@a:22", "conf@bb.example:5", "v@::1:3", "me@t:22"]
    );
}

#[tokio::test]
async fn only_the_first_jumps_own_jump_or_proxy_command_applies() {
    let config = Config::new("Host a\n ProxyJump outer\nHost b\n ProxyJump never\n User x\nHost *\n User u\n");
    assert_eq!(config.way("ssh -J a,b", "t").await, ["u@outer:22", "u@a:22", "x@b:22", "u@t:22"]);
    let config = Config::new("Host a\n ProxyCommand nc -x \"%n\" %h %p %r %%\n HostName real\n Port 9\n User u\n");
    let route = config.resolve("ssh -J a", "t").await.unwrap();
    assert_eq!(route.first, First::ProxyCommand("nc -x \"a\" real 9 u %".to_owned()));
    assert_eq!(route.hops.len(), 2);
}

#[tokio::test]
async fn none_turns_a_configured_jump_or_command_off() {
    let config = Config::new("Host *\n ProxyJump a\n User u\n");
    assert_eq!(config.way("ssh -J none", "t").await, ["u@t:22"]);
    let config = Config::new("Host *\n ProxyCommand none\n");
    assert_eq!(config.resolve("ssh", "t").await.unwrap().first, First::Tcp);
}

#[tokio::test]
async fn a_loop_of_jumps_ends() {
    let config = Config::new("Host a\n ProxyJump b\nHost b\n ProxyJump a\n");
    let fault = config.resolve("ssh -J a", "t").await.unwrap_err();
    assert_eq!((fault.stage, fault.cause), (Stage::Resolve, Cause::Config));
    assert!(fault.text.contains("16 jumps"), "{fault}");
}

#[tokio::test]
async fn the_operands_user_yields_to_l_as_in_rsync() {
    let config = Config::new("Host *\n User conf\n");
    assert_eq!(config.way("ssh", "op@t").await, ["op@t:22"]);
    assert_eq!(config.way("ssh -l shell", "op@t").await, ["shell@t:22"]);
    assert_eq!(config.way("ssh -lshell", "op@t").await, ["shell@t:22"]);
    assert_eq!(config.way("ssh", "t").await, ["conf@t:22"]);
}

#[tokio::test]
async fn algorithms_are_ours_to_choose_unless_configured() {
    let config = Config::new("Host t\n Ciphers aes256-ctr\n");
    let hop = config.resolve("ssh", "t").await.unwrap().hops.remove(0);
    assert_eq!(hop.ciphers, Some(vec!["aes256-ctr".to_owned()]));
    assert_eq!((hop.kex_algorithms, hop.macs, hop.host_key_algorithms), (None, None, None));
    let hop = config.resolve("ssh -c aes128-ctr", "x").await.unwrap().hops.remove(0);
    assert_eq!(hop.ciphers, Some(vec!["aes128-ctr".to_owned()]));
}

#[tokio::test]
async fn paths_are_expanded_with_their_spaces() {
    let config = Config::new(
        "Host t\n HostName real\n User u\n IdentityFile \"/k/%h %r\"\n IdentityFile /k/2\n CertificateFile /k/%n-cert.pub\n\
         UserKnownHostsFile \"/k/a b/known\" /k/%h\n HostKeyAlias hk\n IdentityAgent none\n",
    );
    let hop = config.resolve("ssh", "t").await.unwrap().hops.remove(0);
    let paths = |list: &[std::path::PathBuf]| list.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    assert_eq!(paths(&hop.identity_files), ["/k/real u", "/k/2"]);
    assert_eq!(paths(&hop.certificate_files), ["/k/t-cert.pub"]);
    assert_eq!(paths(&hop.user_known_hosts), ["/k/a b/known", "/k/real"]);
    assert_eq!((hop.host_key_alias.as_deref(), hop.identity_agent), (Some("hk"), None));
}

#[tokio::test]
async fn sshs_own_complaint_is_told() {
    let config = Config::new("Host t\n NoSuchKeyword x\n");
    let fault = config.resolve("ssh", "t").await.unwrap_err();
    assert_eq!(fault.cause, Cause::Config);
    assert!(fault.text.contains("nosuchkeyword"), "{fault}");
}

#[tokio::test]
async fn hosts_that_would_be_options_or_shell_syntax_are_refused() {
    let shell = [OsString::from("ssh")];
    for host in ["-oProxyCommand=touch x", "-J", "a b", "a;b", "a\nb", ""] {
        let login = Login { user: None, host: host.to_owned() };
        assert_eq!(resolve(&shell, &login).await.unwrap_err().cause, Cause::Config, "{host:?}");
    }
    let config = Config::new("Host t\n HostName \"x;y\"\n");
    assert!(config.resolve("ssh", "t").await.is_err());
    for jumps in ["a;b", "-oX", "a:0", "a:x", "[::1", "@a"] {
        assert!(Jump::parse(jumps).is_err(), "{jumps}");
    }
}

#[tokio::test]
async fn other_programs_and_unknown_options_are_run_as_given() {
    for line in [vec!["rsh"], vec!["ssh", "-L", "1:a:2"]] {
        let shell: Vec<OsString> = line.into_iter().map(OsString::from).collect();
        let login = Login { user: None, host: "t".to_owned() };
        assert!(matches!(resolve(&shell, &login).await, Ok(Shell::Command(given)) if given == shell));
    }
}

#[tokio::test]
async fn without_an_ssh_the_configuration_is_read_by_us() {
    let config = Config::new(REVERSE_TUNNEL);
    let hops = config.way("/nonexistent/ssh -J head,second", "usercontainer").await;
    assert_eq!(hops[0], "bob@10.0.0.1:22");
    assert_eq!(hops.len(), 3);
    assert_eq!(hops[2], "jovyan@localhost:2222");
}

#[test]
fn jumps_take_all_their_forms() {
    let jump =
        |user: Option<&str>, host: &str, port| Jump { user: user.map(str::to_owned), host: host.to_owned(), port };
    assert_eq!(Jump::parse("h").unwrap(), jump(None, "h", None));
    assert_eq!(Jump::parse("a@b@h:1").unwrap(), jump(Some("a@b"), "h", Some(1)));
    assert_eq!(Jump::parse("ssh://u@h:22/").unwrap(), jump(Some("u"), "h", Some(22)));
    assert_eq!(Jump::parse("[fe80::1]:3").unwrap(), jump(None, "fe80::1", Some(3)));
    assert_eq!(Jump::parse("fe80::1").unwrap(), jump(None, "fe80::1", None));
}

#[tokio::test]
async fn a_program_that_only_has_sshs_name_is_run_as_given() {
    let directory = tempfile::tempdir().unwrap();
    let login = Login { user: None, host: "far".to_owned() };
    // One runs its arguments, as a stand-in for ssh does; one says yes to everything.
    for (name, script) in [("runs", "#!/bin/sh\nshift\nexec sh -c \"$*\"\n"), ("says", "#!/bin/sh\necho yes\n")] {
        let program = directory.path().join(name).join("ssh");
        std::fs::create_dir(program.parent().unwrap()).unwrap();
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let shell = vec![program.into_os_string(), "-q".into()];
        match resolve(&shell, &login).await.unwrap() {
            Shell::Command(words) => assert_eq!(words, shell),
            Shell::Ssh(_) => panic!("{name} is no ssh"),
        }
    }
}
