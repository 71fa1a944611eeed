//! Logging in at one hop, in ssh's order: what the server offers, public keys, keyboard-interactive, password; and once more for
//! each further factor. A refused login is final: it is never tried again, because quick repetitions are what servers punish.

use std::collections::VecDeque;
use std::time::Duration;

use russh::client::{AuthResult, Handle, Handler, KeyboardInteractiveAuthResponse};
use russh::keys::HashAlg;
use russh::keys::agent::AgentIdentity;
use russh::{MethodKind, MethodSet, Signer};

use crate::fault::{Cause, Fault, Stage};
use crate::ssh::ahead::{Ahead, Wanted};
use crate::ssh::identity::{self, Agent, FileSigner, Holder, Identity};
use crate::ssh::prompt::{Answer, Echo, Prompt};
use crate::ssh::route::Hop;
use crate::ssh::signed;

/// A login that takes longer is over at the server too: sshd's LoginGraceTime is 120 s.
const DEADLINE: Duration = Duration::from_secs(120);
/// Factors, and rounds of questions, at most: a server may ask for ever.
const MAX_ROUNDS: usize = 16;
/// How long the record of a lost connection may come after the loss.
const RECORD_DELAY: Duration = Duration::from_secs(1);

/// What the server accepted, in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    None,
    /// With the key, as a person knows it: a path, or the agent's key by its fingerprint.
    PublicKey(String),
    KeyboardInteractive,
    Password,
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Method::None => f.write_str("no authentication"),
            Method::PublicKey(key) => write!(f, "publickey ({key})"),
            Method::KeyboardInteractive => f.write_str("keyboard-interactive"),
            Method::Password => f.write_str("password"),
        }
    }
}

/// Logs in on a fresh connection to `hop` whose host key was accepted.
///
/// `allow_password` is false where the host key has changed and was let pass: neither passwords nor keyboard-interactive answers
/// are sent then. `is_lost` says whether, and how, the connection has ended: russh reports that as a refusal. `first` are channels to
/// ask for together with the login, where that is possible.
///
/// # Errors
/// [`Stage::Login`]: [`Cause::Denied`] with what was tried, [`Cause::Timeout`] after two minutes, or the fault of `is_lost`.
pub async fn login<H: Handler>(
    handle: &mut Handle<H>,
    hop: &Hop,
    prompt: &Prompt,
    allow_password: bool,
    is_lost: impl Fn() -> Option<Fault>,
    first: Vec<Wanted>,
) -> Result<(Method, VecDeque<Ahead>), Fault> {
    let mut login = Login {
        handle,
        hop,
        prompt,
        allow_password,
        is_lost,
        offered: MethodSet::empty(),
        tried: Vec::new(),
        unused: Vec::new(),
        accepted: Vec::new(),
        refusals: 0,
        first,
        ahead: VecDeque::new(),
    };
    match tokio::time::timeout(DEADLINE, login.run()).await {
        Ok(outcome) => outcome.map(|method| (method, std::mem::take(&mut login.ahead))),
        Err(_) => {
            let text = format!("the login did not end within {} s", DEADLINE.as_secs());
            Err(Fault::new(hop.alias.clone(), Stage::Login, Cause::Timeout, text))
        }
    }
}

struct Login<'a, H: Handler, L> {
    handle: &'a mut Handle<H>,
    hop: &'a Hop,
    prompt: &'a Prompt,
    allow_password: bool,
    is_lost: L,
    /// What the server said last that it would take.
    offered: MethodSet,
    /// What was sent, for the refusal's sentence.
    tried: Vec<String>,
    /// What could not be sent, and why.
    unused: Vec<String>,
    /// Identities that served as a factor already.
    accepted: Vec<String>,
    refusals: usize,
    first: Vec<Wanted>,
    ahead: VecDeque<Ahead>,
}

/// What came of one request.
enum Step {
    Done,
    /// Accepted, and more is wanted.
    Partial,
    Refused,
}

impl<H: Handler, L: Fn() -> Option<Fault>> Login<'_, H, L> {
    async fn run(&mut self) -> Result<Method, Fault> {
        // Keys first, if they come first anyway: what the server takes is learnt from a refusal too, and asking beforehand
        // (RFC 4252 §5.2) is one more round trip at each hop.
        let keys_first = self.prefers_keys();
        let mut partial = false;
        if keys_first {
            self.offered = MethodSet::from(&[MethodKind::PublicKey][..]);
            match self.public_keys().await? {
                Some((Step::Done, method)) => return Ok(method),
                Some((Step::Partial, _)) => partial = true,
                Some((Step::Refused, _)) | None => {}
            }
        }
        if !partial {
            let refusals = self.refusals;
            let probe = self.handle.authenticate_none(self.hop.user.clone()).await;
            if let Step::Done = self.step(probe).await? {
                return Ok(Method::None);
            }
            self.refusals = refusals;
        }
        'factor: for round in 0..MAX_ROUNDS {
            for name in &self.hop.preferred_authentications {
                let Ok(kind) = name.parse::<MethodKind>() else { continue };
                let refused_already = kind == MethodKind::PublicKey && keys_first && !partial && round == 0;
                if !self.offered.contains(&kind) || refused_already {
                    continue;
                }
                let outcome = match kind {
                    MethodKind::PublicKey if self.hop.pubkey_authentication => self.public_keys().await?,
                    MethodKind::KeyboardInteractive if self.hop.kbd_interactive_authentication && self.may_ask() => {
                        self.keyboard_interactive().await?.map(|step| (step, Method::KeyboardInteractive))
                    }
                    MethodKind::Password if self.hop.password_authentication && self.may_ask() => {
                        self.password().await?.map(|step| (step, Method::Password))
                    }
                    _ => None,
                };
                match outcome {
                    Some((Step::Done, method)) => return Ok(method),
                    Some((Step::Partial, _)) => continue 'factor,
                    Some((Step::Refused, _)) | None => {}
                }
            }
            break;
        }
        Err(self.denied(""))
    }

    /// Whether public keys are what this user would have tried first.
    fn prefers_keys(&self) -> bool {
        let first = self.hop.preferred_authentications.iter().find_map(|name| {
            let kind = name.parse::<MethodKind>().ok()?;
            matches!(kind, MethodKind::PublicKey | MethodKind::KeyboardInteractive | MethodKind::Password)
                .then_some(kind)
        });
        first == Some(MethodKind::PublicKey) && self.hop.pubkey_authentication
    }

    fn may_ask(&self) -> bool {
        self.allow_password && self.prompt.reaches(self.hop)
    }

    /// Reads an answer, and tells a refusal from a lost connection.
    async fn step(&mut self, outcome: Result<AuthResult, russh::Error>) -> Result<Step, Fault> {
        match outcome {
            Ok(AuthResult::Success) => Ok(Step::Done),
            Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                if remaining_methods.is_empty() || self.handle.is_closed() {
                    return Err(self.lost("the connection ended").await);
                }
                self.offered = remaining_methods;
                self.ahead.clear();
                if partial_success {
                    return Ok(Step::Partial);
                }
                self.refusals += 1;
                Ok(Step::Refused)
            }
            Err(error) => Err(self.lost(&error.to_string()).await),
        }
    }

    /// How the connection ended. A server that has had enough of our keys hangs up (MaxAuthTries): that is a refusal.
    async fn lost(&self, otherwise: &str) -> Fault {
        let recorded = async {
            loop {
                match (self.is_lost)() {
                    Some(fault) => return fault,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let mut fault = match tokio::time::timeout(RECORD_DELAY, recorded).await {
            Ok(fault) => fault,
            Err(_) => Fault::new(self.hop.alias.clone(), Stage::Login, Cause::Lost, otherwise),
        };
        let said = fault.text.to_lowercase();
        // OpenSSH's words on MaxAuthTries, and russh's for a server that offers no method any more.
        if said.contains("authentication failures") || said.contains("no authentication method") {
            return self.denied(&format!(" (the server hung up: {})", fault.text));
        }
        if fault.stage < Stage::Login {
            fault.stage = Stage::Login;
        }
        fault
    }

    fn denied(&self, why: &str) -> Fault {
        let hop = self.hop;
        let offered: Vec<&str> = self.offered.iter().map(<&str>::from).collect();
        let mut text = format!("{}@{}: permission denied ({}){why}", hop.user, hop.host, offered.join(","));
        for (label, list) in [("tried", &self.tried), ("not used", &self.unused)] {
            if !list.is_empty() {
                text.push_str(&format!("; {label}: {}", list.join(", ")));
            }
        }
        if self.tried.is_empty() && self.unused.is_empty() {
            text.push_str("; there was nothing to try: no key, no agent, nobody to ask");
        } else if self.refusals >= 5 && why.contains("hung up") {
            text.push_str("; set IdentitiesOnly and IdentityFile to offer the right key first");
        }
        Fault::new(hop.alias.clone(), Stage::Login, Cause::Denied, text)
    }

    /// Offers one identity after another. `None`: there was none.
    async fn public_keys(&mut self) -> Result<Option<(Step, Method)>, Fault> {
        let mut agent = identity::agent(self.hop).await;
        let mut held = Vec::new();
        if let Some(agent) = &mut agent {
            if let Some(binding) = self.handle.agent_session_binding() {
                // For keys that are bound to destinations. Agents before 8.9 do not know it.
                let bound = agent.bind_session(binding, false).await;
                tracing::debug!("agent bound to the session: {bound:?}");
            }
            held = identity::held(agent).await;
        }
        let hop = self.hop.clone();
        let found = tokio::task::spawn_blocking(move || identity::collect(&hop, held)).await.unwrap_or_default();
        self.unused.clone_from(&found.unusable);
        let mut rsa_hash = None;
        let alone = found.usable.len() == 1;
        for identity in found.usable {
            let label = identity.to_string();
            if self.accepted.contains(&label) {
                continue;
            }
            let hash = if identity.key.algorithm().is_rsa() {
                let hash = match rsa_hash {
                    Some(hash) => hash,
                    None => *rsa_hash.insert(self.rsa_hash().await?),
                };
                if hash.is_none() {
                    self.unused.push(format!("{label} (the server takes RSA keys only with SHA-1)"));
                    continue;
                }
                hash
            } else {
                None
            };
            if !self.accepts(&identity, hash) {
                self.unused.push(format!("{label} (its kind is not in PubkeyAcceptedAlgorithms)"));
                continue;
            }
            // Before it is known: the server may hang up on it.
            self.note(&label);
            let step = match self.sign(&identity, hash, agent.as_mut(), alone).await {
                Some(Ok((request, begins))) => Ok(self.send_signed(request, begins).await?),
                // Who has declined once is not asked again.
                Some(Err(reason)) => Err(reason),
                None => self.offer(&identity, hash, agent.as_mut()).await?,
            };
            match step {
                Ok(Step::Refused) => {}
                Ok(step) => {
                    self.accepted.push(label.clone());
                    return Ok(Some((step, Method::PublicKey(label))));
                }
                Err(reason) => {
                    self.tried.retain(|tried| *tried != label);
                    self.unused.push(format!("{label} ({reason})"));
                }
            }
            if !self.offered.contains(&MethodKind::PublicKey) {
                break;
            }
        }
        Ok(None)
    }

    /// The hash for RSA signatures; `None` if the server knows SHA-1 only. A server that does not say is given SHA-512.
    async fn rsa_hash(&mut self) -> Result<Option<HashAlg>, Fault> {
        match self.handle.best_supported_rsa_hash().await {
            Ok(Some(hash)) => Ok(hash),
            Ok(None) => Ok(Some(HashAlg::Sha512)),
            Err(error) => Err(self.lost(&error.to_string()).await),
        }
    }

    fn accepts(&self, identity: &Identity, hash: Option<HashAlg>) -> bool {
        let name = signed::algorithm(identity, hash);
        self.hop.pubkey_accepted_algorithms.as_ref().is_none_or(|list| list.contains(&name))
    }

    /// A request with its signature, and where in it what is sent begins; `None` where the server is to be asked first whether it takes the
    /// key. `alone`: there is no other. The error says why the agent did not sign.
    async fn sign(
        &self,
        identity: &Identity,
        hash: Option<HashAlg>,
        agent: Option<&mut Agent>,
        alone: bool,
    ) -> Option<Result<(Vec<u8>, usize), String>> {
        let session = self.handle.agent_session_binding()?.session_id();
        let (data, begins) = signed::to_sign(session, &self.hop.user, identity, hash).ok()?;
        let signed = match (&identity.holder, agent) {
            (Holder::File(path), _) => {
                Ok(FileSigner { path, hop: self.hop, prompt: self.prompt }.sign(hash, data).await?)
            }
            // The agent may ask a person each time, or a token to be touched.
            (Holder::Agent, Some(agent)) if alone && !identity.is_in_token() => {
                let key = match &identity.certificate {
                    Some(certificate) => {
                        AgentIdentity::Certificate { certificate: certificate.clone(), comment: String::new() }
                    }
                    None => identity.key.clone().into(),
                };
                agent.auth_sign(&key, hash, data).await.map_err(|error| format!("the agent does not sign: {error}"))
            }
            (Holder::Agent, _) => return None,
        };
        Some(signed.map(|signed| (signed, begins)))
    }

    async fn send_signed(&mut self, mut request: Vec<u8>, begins: usize) -> Result<Step, Fault> {
        let submitted = self.handle.submit_signed(self.hop.user.clone(), request.split_off(begins)).await;
        let answer = match submitted {
            Ok(()) => {
                self.ahead = Ahead::ask(self.handle.opener(), &self.first);
                self.handle.authenticated().await
            }
            Err(error) => Err(error),
        };
        self.step(answer).await
    }

    /// Offers one identity; the inner error says why it could not sign, which leaves the connection usable.
    async fn offer(
        &mut self,
        identity: &Identity,
        hash: Option<HashAlg>,
        agent: Option<&mut Agent>,
    ) -> Result<Result<Step, String>, Fault> {
        let (user, key) = (self.hop.user.clone(), identity.key.clone());
        let certificate = identity.certificate.clone();
        let outcome = match (&identity.holder, agent) {
            (Holder::File(path), _) => {
                let mut signer = FileSigner { path, hop: self.hop, prompt: self.prompt };
                let sent = match certificate {
                    Some(certificate) => {
                        self.handle.authenticate_certificate_with(user, certificate, hash, &mut signer).await
                    }
                    None => self.handle.authenticate_publickey_with(user, key, hash, &mut signer).await,
                };
                sent.map_err(|error| error.to_string())
            }
            (Holder::Agent, Some(agent)) => {
                let sent = match certificate {
                    Some(certificate) => {
                        self.handle.authenticate_certificate_with(user, certificate, hash, agent).await
                    }
                    None => self.handle.authenticate_publickey_with(user, key, hash, agent).await,
                };
                sent.map_err(|error| format!("the agent does not sign: {error}"))
            }
            (Holder::Agent, None) => return Ok(Err("the agent is gone".to_owned())),
        };
        match outcome {
            Ok(result) => self.step(Ok(result)).await.map(Ok),
            Err(reason) if self.handle.is_closed() => Err(self.lost(&reason).await),
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// Where an answer is remembered that opened this account.
    fn account(&self) -> String {
        format!("{}@{}:{}", self.hop.user, self.hop.host, self.hop.port)
    }

    /// Asks for the password, or takes the one that worked before. `None`: nobody answered.
    async fn password(&mut self) -> Result<Option<Step>, Fault> {
        let account = self.account();
        let mut remembered = self.prompt.recall(&account);
        for _ in 0..self.hop.number_of_password_prompts {
            let question = format!("{}@{}'s password: ", self.hop.user, self.hop.host);
            let answer = match remembered.take() {
                Some(answer) => Some(answer),
                None => self.prompt.ask(self.hop, &question, Echo::Off).await,
            };
            let Some(answer) = answer else { return Ok(None) };
            let sent = self.handle.authenticate_password(self.hop.user.clone(), answer.to_string()).await;
            self.note("password");
            match self.step(sent).await? {
                Step::Refused if self.offered.contains(&MethodKind::Password) => self.prompt.forget(&account),
                Step::Refused => return Ok(Some(Step::Refused)),
                accepted => {
                    self.prompt.remember(&account, answer);
                    return Ok(Some(accepted));
                }
            }
        }
        Ok(Some(Step::Refused))
    }

    fn note(&mut self, what: &str) {
        if !self.tried.iter().any(|tried| tried == what) {
            self.tried.push(what.to_owned());
        }
    }

    /// Passes the server's questions on. `None`: nobody answered.
    async fn keyboard_interactive(&mut self) -> Result<Option<Step>, Fault> {
        let account = self.account();
        let mut remembered = self.prompt.recall(&account);
        for _ in 0..self.hop.number_of_password_prompts {
            let mut password = None;
            let mut response =
                self.handle.authenticate_keyboard_interactive_start(self.hop.user.clone(), None::<String>).await;
            self.note("keyboard-interactive");
            let mut rounds = 0;
            let mut answered = true;
            let result = loop {
                match response {
                    Err(error) => return Err(self.lost(&error.to_string()).await),
                    Ok(KeyboardInteractiveAuthResponse::Success) => break AuthResult::Success,
                    Ok(KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success }) => {
                        break AuthResult::Failure { remaining_methods, partial_success };
                    }
                    Ok(KeyboardInteractiveAuthResponse::InfoRequest { name, instructions, prompts }) => {
                        rounds += 1;
                        if rounds > MAX_ROUNDS {
                            return Err(self.denied(" (the server asks without end)"));
                        }
                        // Only a password may be used again; codes are good once.
                        let only = matches!(&prompts[..], [one] if !one.echo && one.prompt.to_lowercase().contains("password"));
                        let mut answers = Vec::with_capacity(prompts.len());
                        for (at, question) in prompts.iter().enumerate() {
                            let title = if at == 0 { heading(&name, &instructions) } else { String::new() };
                            let question_text =
                                format!("{title}({}@{}) {}", self.hop.user, self.hop.host, question.prompt);
                            let echo = if question.echo { Echo::On } else { Echo::Off };
                            let answer = match remembered.take().filter(|_| only) {
                                Some(answer) => Some(answer),
                                None if answered => self.prompt.ask(self.hop, &question_text, echo).await,
                                None => None,
                            };
                            answered &= answer.is_some();
                            // russh waits for answers before it does anything else, so an empty one stands for none.
                            let answer = answer.unwrap_or_else(|| Answer::new(String::new()));
                            answers.push(answer.to_string());
                            password = only.then_some(answer);
                        }
                        response = self.handle.authenticate_keyboard_interactive_respond(answers).await;
                    }
                }
            };
            match self.step(Ok(result)).await? {
                Step::Refused if !answered => return Ok(None),
                Step::Refused if self.offered.contains(&MethodKind::KeyboardInteractive) => {
                    self.prompt.forget(&account)
                }
                Step::Refused => return Ok(Some(Step::Refused)),
                accepted => {
                    if let Some(password) = password {
                        self.prompt.remember(&account, password);
                    }
                    return Ok(Some(accepted));
                }
            }
        }
        Ok(Some(Step::Refused))
    }
}

/// The server's words above its questions (RFC 4256 §3.2).
fn heading(name: &str, instructions: &str) -> String {
    [name, instructions].iter().filter(|text| !text.is_empty()).map(|text| format!("{text}\n")).collect()
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
