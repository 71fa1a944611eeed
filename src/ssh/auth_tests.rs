//! Logins at an embedded server on an in-memory stream, with keys made by ssh-keygen and a real ssh-agent.

use super::*;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Certificate, PrivateKey, PublicKey, PublicKeyOrCertificate};
use russh::server::{Auth, Response, VerifiedPublicKey};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the server wants, factor after factor.
#[derive(Clone)]
enum Factor {
    Key(PublicKey),
    Certificate(PublicKey),
    Password(&'static str),
    Questions(Vec<(&'static str, &'static str)>),
    /// Ends the connection at the first key or password.
    HangUp,
}

impl Factor {
    fn kind(&self) -> MethodKind {
        match self {
            Factor::Key(_) | Factor::Certificate(_) | Factor::HangUp => MethodKind::PublicKey,
            Factor::Password(_) => MethodKind::Password,
            Factor::Questions(_) => MethodKind::KeyboardInteractive,
        }
    }
}

struct Server {
    factors: Vec<Factor>,
    done: usize,
    log: Log,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Server {
    fn methods(&self) -> MethodSet {
        match self.factors.get(self.done) {
            Some(factor) => (&[factor.kind(), MethodKind::HostBased][..]).into(),
            None => (&[MethodKind::HostBased][..]).into(),
        }
    }

    fn judge(&mut self, what: String, right: impl Fn(&Factor) -> bool) -> Result<Auth, russh::Error> {
        let right = self.factors.get(self.done).is_some_and(right);
        self.log.lock().unwrap().push(format!("{what} {}", if right { "yes" } else { "no" }));
        if matches!(self.factors.get(self.done), Some(Factor::HangUp)) {
            return Err(russh::Error::Disconnect);
        }
        self.done += usize::from(right);
        Ok(match right && self.done == self.factors.len() {
            true => Auth::Accept,
            false => Auth::Reject { proceed_with_methods: Some(self.methods()), partial_success: right },
        })
    }
}

impl russh::server::Handler for Server {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Reject { proceed_with_methods: Some(self.methods()), partial_success: false })
    }

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: russh::server::PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let key = offer.public_key.clone();
        let wanted = match self.factors.get(self.done) {
            Some(Factor::Key(wanted) | Factor::Certificate(wanted)) => wanted.key_data() == key.key_data(),
            _ => false,
        };
        if wanted {
            return Ok(Auth::Accept);
        }
        self.judge("offered".to_owned(), |_| false)
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let key = key.public_key.clone();
        self.judge(
            format!("{user} key"),
            |factor| matches!(factor, Factor::Key(wanted) if wanted.key_data() == key.key_data()),
        )
    }

    async fn channel_open_session(
        &mut self,
        _: russh::Channel<russh::server::Msg>,
        reply: russh::server::ChannelOpenHandle,
        _: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn auth_openssh_certificate(&mut self, _: &str, certificate: &Certificate) -> Result<Auth, Self::Error> {
        let key = certificate.public_key().clone();
        self.judge(
            "certificate".to_owned(),
            |factor| matches!(factor, Factor::Certificate(wanted) if *wanted.key_data() == key),
        )
    }

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, Self::Error> {
        self.judge(
            format!("password {password}"),
            |factor| matches!(factor, Factor::Password(wanted) if *wanted == password),
        )
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(Factor::Questions(questions)) = self.factors.get(self.done) else { return Ok(Auth::reject()) };
        match response {
            None => Ok(Auth::Partial {
                name: "Two\u{1b}fold".into(),
                instructions: "".into(),
                prompts: questions.iter().map(|(question, _)| (Cow::from(*question), false)).collect::<Vec<_>>().into(),
            }),
            Some(answers) => {
                let answers: Vec<String> =
                    answers.map(|answer| String::from_utf8_lossy(&answer).into_owned()).collect();
                self.judge(format!("answers {answers:?}"), |factor| match factor {
                    Factor::Questions(questions) => {
                        questions.iter().map(|(_, right)| *right).eq(answers.iter().map(String::as_str))
                    }
                    _ => false,
                })
            }
        }
    }
}

struct Client;

impl Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// What came of a login, and what the server saw.
struct Seen {
    outcome: Result<Method, Fault>,
    log: Vec<String>,
    /// How often the client has spoken after it had heard something.
    turns: usize,
    /// The channels that were asked for with the login, and came.
    opened: usize,
}

/// The client's end of the stream, which counts turns.
struct Turns {
    stream: tokio::io::DuplexStream,
    heard: bool,
    count: Arc<AtomicUsize>,
}

impl AsyncRead for Turns {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.heard |= buf.filled().len() > before;
        read
    }
}

impl AsyncWrite for Turns {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        if std::mem::take(&mut self.heard) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Seen {
    fn denied(self) -> String {
        let fault = self.outcome.unwrap_err();
        assert_eq!((fault.stage, fault.cause), (Stage::Login, Cause::Denied), "{fault}");
        fault.text
    }
}

async fn logged_in(hop: &Hop, prompt: &Prompt, factors: Vec<Factor>) -> Seen {
    attempt(hop, prompt, factors, true, || None, 0).await
}

async fn attempt(
    hop: &Hop,
    prompt: &Prompt,
    factors: Vec<Factor>,
    allow_password: bool,
    is_lost: impl Fn() -> Option<Fault>,
    channels: usize,
) -> Seen {
    let log = Log::default();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let config = russh::server::Config {
        auth_rejection_time: Duration::ZERO,
        keys: vec![PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap()],
        ..Default::default()
    };
    let server = Server { factors, done: 0, log: log.clone() };
    let serving = tokio::spawn(async move {
        if let Ok(session) = russh::server::run_stream(Arc::new(config), theirs, server).await {
            let _ = session.await;
        }
    });
    let count = Arc::new(AtomicUsize::new(0));
    let stream = Turns { stream: ours, heard: false, count: count.clone() };
    let mut handle = russh::client::connect_stream(Default::default(), stream, Client).await.unwrap();
    let before = count.load(Ordering::Relaxed);
    let first = vec![Wanted::Session; channels];
    let login = login(&mut handle, hop, prompt, allow_password, is_lost, first).await;
    let turns = count.load(Ordering::Relaxed) - before;
    let mut opened = 0;
    let outcome = match login {
        Ok((method, ahead)) => {
            for ahead in ahead {
                opened += usize::from(matches!(ahead.opened().await, Some(Ok(_))));
            }
            Ok(method)
        }
        Err(fault) => Err(fault),
    };
    drop(handle);
    serving.abort();
    Seen { outcome, log: std::mem::take(&mut log.lock().unwrap()), turns, opened }
}

/// Keys made by ssh-keygen in a directory of their own.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Keys {
        Keys(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn make(&self, name: &str, kind: &[&str], passphrase: &str) -> PublicKey {
        let path = self.path(name);
        keygen(&[&["-q", "-N", passphrase, "-C", "c", "-f", path.to_str().unwrap(), "-t"], kind].concat());
        PublicKey::from_openssh(&std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap()).unwrap()
    }

    /// A key with a certificate beside it.
    fn certified(&self, name: &str, kind: &[&str]) -> Factor {
        let public = self.make(name, kind, "");
        self.make(&format!("{name}-ca"), &["ed25519"], "");
        let (ca, path) = (self.path(&format!("{name}-ca")), self.path(&format!("{name}.pub")));
        keygen(&["-q", "-s", ca.to_str().unwrap(), "-I", "id", "-n", "ann", path.to_str().unwrap()]);
        Factor::Certificate(public)
    }

    fn hop(&self, names: &[&str]) -> Hop {
        let mut hop = Hop::plain("head", 22, "ann");
        hop.identity_files = names.iter().map(|name| self.path(name)).collect();
        hop
    }
}

fn keygen(arguments: &[&str]) {
    let output = std::process::Command::new("ssh-keygen").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn keys_of_every_kind_log_in_without_a_question() {
    let keys = Keys::new();
    for kind in [&["ed25519"][..], &["ecdsa", "-b", "256"], &["ecdsa", "-b", "521"], &["rsa", "-b", "2048"]] {
        let name = kind.concat();
        let public = keys.make(&name, kind, "");
        let hop = keys.hop(&["absent", &name]);
        let seen = logged_in(&hop, &Prompt::nobody(), vec![Factor::Key(public)]).await;
        assert_eq!(seen.outcome.unwrap(), Method::PublicKey(keys.path(&name).display().to_string()));
        assert_eq!(seen.log, ["ann key yes"]);
    }
}

#[tokio::test]
async fn a_passphrase_is_asked_only_for_the_key_that_the_server_wants_and_only_once() {
    let keys = Keys::new();
    keys.make("other", &["ed25519"], "never asked");
    let public = keys.make("mine", &["ed25519"], "secret");
    let hop = keys.hop(&["other", "mine"]);
    let prompt = Prompt::scripted(["wrong", "secret"]);
    for _ in 0..2 {
        let seen = logged_in(&hop, &prompt, vec![Factor::Key(public.clone())]).await;
        assert!(seen.outcome.is_ok(), "{:?}", seen.outcome);
        assert_eq!(seen.log, ["offered no", "ann key yes"]);
    }
    let questions = prompt.questions();
    assert_eq!(questions.len(), 2, "{questions:?}");
    assert!(questions[0].contains(keys.path("mine").to_str().unwrap()), "{questions:?}");
}

#[tokio::test]
async fn an_encrypted_pem_key_logs_in() {
    let keys = Keys::new();
    let public = keys.make("pem", &["ecdsa", "-m", "PKCS8"], "secret");
    let seen = logged_in(&keys.hop(&["pem"]), &Prompt::scripted(["secret"]), vec![Factor::Key(public)]).await;
    assert!(seen.outcome.is_ok(), "{:?}", seen.outcome);
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_named_in_the_refusal() {
    use std::os::unix::fs::PermissionsExt;
    let keys = Keys::new();
    let (open, locked) = (keys.make("open", &["ed25519"], ""), keys.make("locked", &["ed25519"], "secret"));
    std::fs::set_permissions(keys.path("open"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(keys.path("garbage"), "garbage").unwrap();
    let hop = keys.hop(&["open", "garbage"]);
    let text = logged_in(&hop, &Prompt::nobody(), vec![Factor::Key(open)]).await.denied();
    assert!(text.starts_with("ann@head: permission denied (publickey,hostbased)"), "{text}");
    assert!(text.contains("0644") && text.contains("garbage") && !text.contains("tried"), "{text}");
    let text = logged_in(&keys.hop(&["locked"]), &Prompt::nobody(), vec![Factor::Key(locked)]).await.denied();
    assert!(text.contains("no passphrase was given"), "{text}");
}

#[tokio::test]
async fn a_refusal_names_what_was_tried() {
    let keys = Keys::new();
    keys.make("a", &["ed25519"], "");
    let wanted = keys.make("b", &["ed25519"], "");
    let text = logged_in(&keys.hop(&["a"]), &Prompt::nobody(), vec![Factor::Key(wanted)]).await.denied();
    assert!(text.ends_with(&format!("; tried: {}", keys.path("a").display())), "{text}");
    let text = logged_in(&keys.hop(&[]), &Prompt::nobody(), vec![Factor::Password("x")]).await.denied();
    assert!(text.contains("permission denied (password,hostbased)") && text.contains("nothing to try"), "{text}");
}

#[tokio::test]
async fn a_certificate_beside_the_key_is_offered_first() {
    let keys = Keys::new();
    for kind in [&["ed25519"][..], &["rsa", "-b", "2048"]] {
        let certified = keys.certified(kind[0], kind);
        let seen = logged_in(&keys.hop(&[kind[0]]), &Prompt::nobody(), vec![certified]).await;
        let method = seen.outcome.unwrap();
        assert!(method.to_string().contains("with its certificate"), "{method}");
        assert_eq!(seen.log, ["certificate yes"]);
    }
}

#[tokio::test]
async fn a_password_is_asked_until_it_is_right_and_remembered() {
    let hop = Hop::plain("head", 22, "ann");
    let prompt = Prompt::scripted(["wrong", "right"]);
    let seen = logged_in(&hop, &prompt, vec![Factor::Password("right")]).await;
    assert_eq!(seen.outcome.unwrap(), Method::Password);
    assert_eq!(prompt.questions(), ["ann@head's password: "; 2]);
    let again = logged_in(&hop, &prompt, vec![Factor::Password("right")]).await;
    assert_eq!((again.outcome.unwrap(), prompt.questions().len()), (Method::Password, 2));
}

#[tokio::test]
async fn wrong_passwords_end_after_the_configured_prompts() {
    let mut hop = Hop::plain("head", 22, "ann");
    hop.number_of_password_prompts = 2;
    let seen = logged_in(&hop, &Prompt::scripted(["a", "b", "right"]), vec![Factor::Password("right")]).await;
    assert_eq!(seen.log, ["password a no", "password b no"]);
    assert!(seen.denied().ends_with("; tried: password"));
}

#[tokio::test]
async fn passwords_are_not_sent_to_a_host_whose_key_changed_or_in_batch_mode() {
    let mut hop = Hop::plain("head", 22, "ann");
    let prompt = Prompt::scripted(["right", "right"]);
    for factor in [Factor::Password("right"), Factor::Questions(vec![("Password:", "right")])] {
        let seen = attempt(&hop, &prompt, vec![factor.clone()], false, || None, 0).await;
        assert!(seen.log.is_empty());
        seen.denied();
        hop.batch_mode = true;
        logged_in(&hop, &prompt, vec![factor]).await.denied();
    }
    assert!(prompt.questions().is_empty());
}

#[tokio::test]
async fn the_servers_questions_are_passed_on_harmlessly() {
    let hop = Hop::plain("head", 22, "ann");
    let prompt = Prompt::scripted(["no", "no", "one", "two"]);
    let questions = Factor::Questions(vec![("Password: ", "one"), ("Code: ", "two")]);
    let seen = logged_in(&hop, &prompt, vec![questions]).await;
    assert_eq!(seen.outcome.unwrap(), Method::KeyboardInteractive);
    assert_eq!(seen.log, ["answers [\"no\", \"no\"] no", "answers [\"one\", \"two\"] yes"]);
    assert_eq!(prompt.questions()[..2], ["Two\\u{1b}fold\n(ann@head) Password: ", "(ann@head) Code: "]);
}

#[tokio::test]
async fn a_lone_password_question_is_answered_from_memory_the_next_time() {
    let hop = Hop::plain("head", 22, "ann");
    let prompt = Prompt::scripted(["one"]);
    for _ in 0..2 {
        let seen = logged_in(&hop, &prompt, vec![Factor::Questions(vec![("Password: ", "one")])]).await;
        assert_eq!(seen.outcome.unwrap(), Method::KeyboardInteractive);
    }
    assert_eq!(prompt.questions().len(), 1);
}

#[tokio::test]
async fn further_factors_are_given_one_by_one() {
    let keys = Keys::new();
    let (a, b) = (keys.make("a", &["ed25519"], ""), keys.make("b", &["ed25519"], ""));
    let factors = vec![Factor::Key(a), Factor::Key(b), Factor::Password("right")];
    let seen = logged_in(&keys.hop(&["a", "b"]), &Prompt::scripted(["right"]), factors).await;
    assert_eq!(seen.outcome.unwrap(), Method::Password);
    assert_eq!(seen.log, ["ann key yes", "ann key yes", "password right yes"]);
}

#[tokio::test]
async fn a_lost_connection_is_no_refusal_and_too_many_keys_are() {
    let keys = Keys::new();
    keys.make("a", &["ed25519"], "");
    let gone = |text: &'static str| move || Some(Fault::new("head", Stage::Tcp, Cause::Lost, text));
    let seen =
        attempt(&keys.hop(&["a"]), &Prompt::nobody(), vec![Factor::HangUp], true, gone("reset by peer"), 0).await;
    let fault = seen.outcome.unwrap_err();
    assert_eq!((fault.cause, fault.stage, fault.text.as_str()), (Cause::Lost, Stage::Login, "reset by peer"));
    let text = "Received disconnect: Too many authentication failures";
    let seen = attempt(&keys.hop(&["a"]), &Prompt::nobody(), vec![Factor::HangUp], true, gone(text), 0).await;
    let text = seen.denied();
    assert!(text.contains("Too many") && text.contains(keys.path("a").to_str().unwrap()), "{text}");
}

/// A real ssh-agent that ends with the test.
struct RealAgent {
    child: std::process::Child,
    socket: PathBuf,
}

impl RealAgent {
    async fn start(directory: &Path, keys: &[PathBuf]) -> RealAgent {
        use std::io::BufRead;
        let socket = directory.join("agent.sock");
        let mut command = std::process::Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(std::process::Stdio::piped());
        let mut agent = RealAgent { child: command.spawn().unwrap(), socket };
        // It names its socket when it listens.
        let mut line = String::new();
        std::io::BufReader::new(agent.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let mut client = AgentClient::connect_uds(&agent.socket).await.unwrap();
        for key in keys {
            client.add_identity(&russh::keys::load_secret_key(key, None).unwrap(), &[]).await.unwrap();
        }
        agent
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_agents_keys_come_first_and_only_the_configured_ones_with_identities_only() {
    let keys = Keys::new();
    let (stranger, mine) = (keys.make("stranger", &["ed25519"], ""), keys.make("mine", &["rsa", "-b", "2048"], ""));
    let file = keys.make("file", &["ed25519"], "");
    let agent = RealAgent::start(keys.0.path(), &[keys.path("stranger"), keys.path("mine")]).await;
    let mut hop = keys.hop(&["mine", "file"]);
    hop.identity_agent = Some(agent.socket.clone());
    // With the private file away only the agent can sign; the .pub still says which of its keys is meant.
    std::fs::remove_file(keys.path("mine")).unwrap();

    let seen = logged_in(&hop, &Prompt::nobody(), vec![Factor::Key(mine.clone())]).await;
    let fingerprint = mine.fingerprint(HashAlg::Sha256).to_string();
    assert_eq!(seen.outcome.unwrap(), Method::PublicKey(format!("agent key {fingerprint}")));
    assert_eq!(seen.log, ["ann key yes"]);

    let seen = logged_in(&hop, &Prompt::nobody(), vec![Factor::Key(file)]).await;
    assert_eq!(seen.log, ["offered no", "offered no", "ann key yes"]);

    hop.identities_only = true;
    let seen = logged_in(&hop, &Prompt::nobody(), vec![Factor::Key(stranger)]).await;
    assert_eq!(seen.log, ["offered no", "offered no"]);
    let text = seen.denied();
    assert!(text.contains(&format!("tried: agent key {fingerprint}, {}", keys.path("file").display())), "{text}");
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_passed_over() {
    let keys = Keys::new();
    let public = keys.make("a", &["ed25519"], "");
    let mut hop = keys.hop(&["a"]);
    hop.identity_agent = Some(keys.path("no.sock"));
    assert!(logged_in(&hop, &Prompt::nobody(), vec![Factor::Key(public)]).await.outcome.is_ok());
}

#[tokio::test]
async fn only_accepted_kinds_of_keys_are_offered() {
    let keys = Keys::new();
    let public = keys.make("a", &["ed25519"], "");
    let mut hop = keys.hop(&["a"]);
    hop.pubkey_accepted_algorithms = Some(vec!["rsa-sha2-512".to_owned()]);
    let seen = logged_in(&hop, &Prompt::nobody(), vec![Factor::Key(public)]).await;
    assert!(seen.log.is_empty());
    assert!(seen.denied().contains("PubkeyAcceptedAlgorithms"));
}

/// A login's turns, and of one that asks for channels with it, how many of two come.
async fn turns_and_channels(hop: &Hop, factor: Factor) -> (usize, usize) {
    let prompt = Prompt::nobody();
    let alone = attempt(hop, &prompt, vec![factor.clone()], true, || None, 0).await;
    // What is asked for behind the request may go a turn later here, where the first answer takes no time.
    let with_channels = attempt(hop, &prompt, vec![factor], true, || None, 2).await;
    for seen in [&alone, &with_channels] {
        assert!(seen.outcome.is_ok() && seen.log.last().unwrap().ends_with(" yes"), "{:?}", seen.log);
    }
    (alone.turns, with_channels.opened)
}

#[tokio::test]
async fn a_key_that_costs_nobody_anything_logs_in_with_the_first_words_and_so_come_the_first_channels() {
    let keys = Keys::new();
    let plain = Factor::Key(keys.make("plain", &["ed25519"], ""));
    assert_eq!(turns_and_channels(&keys.hop(&["plain"]), plain.clone()).await, (1, 2));
    // The only one of an agent, and a certificate, likewise.
    let agent = RealAgent::start(keys.0.path(), &[keys.path("plain")]).await;
    let mut hop = keys.hop(&[]);
    hop.identity_agent = Some(agent.socket.clone());
    assert_eq!(turns_and_channels(&hop, plain).await, (1, 2));
    let certified = keys.certified("certified", &["ed25519"]);
    assert_eq!(turns_and_channels(&keys.hop(&["certified"]), certified).await, (1, 2));
}

#[tokio::test]
async fn what_may_cost_a_person_something_is_only_signed_with_once_the_server_wants_it() {
    let keys = Keys::new();
    let (one, two) = (keys.make("one", &["ed25519"], ""), keys.make("two", &["ed25519"], ""));
    let agent = RealAgent::start(keys.0.path(), &[keys.path("one"), keys.path("two")]).await;
    let mut hop = keys.hop(&[]);
    hop.identity_agent = Some(agent.socket.clone());
    // Of several keys an agent may ask about each.
    assert_eq!(turns_and_channels(&hop, Factor::Key(one)).await, (2, 0));
    assert_eq!(turns_and_channels(&hop, Factor::Key(two)).await, (3, 0));
}

#[tokio::test]
async fn channels_that_were_asked_for_with_a_login_that_was_refused_are_asked_for_with_the_next() {
    let keys = Keys::new();
    let (_, right) = (keys.make("wrong", &["ed25519"], ""), keys.make("right", &["ed25519"], ""));
    assert_eq!(turns_and_channels(&keys.hop(&["wrong", "right"]), Factor::Key(right)).await, (2, 2));
}

#[test]
fn a_login_may_run_on_any_thread() {
    fn is_send<T: Send>(_: impl Fn(&'static mut Handle<Client>, &'static Hop, &'static Prompt) -> T) {}
    is_send(|handle, hop, prompt| login(handle, hop, prompt, true, || None, Vec::new()));
}
