//! Faults as a person writes them on a command line: `target: drop session 14`, `head: cut after 3MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::faults::{Direction, Nth, Trouble};
use crate::cli::size::size;

/// What `--help` says of them. A test tries each of its examples.
pub const GRAMMAR: &str = "\
Faults, each with a --fault of its own:
  head|target: drop connection [WHICH] [saying TEXT]        before its banner, as at MaxStartups
  head|target: cut [connection WHICH] after SIZE [in|out]   reset; in: what the server was sent
  head|target: silent [connection WHICH] after SIZE [in|out]  open, but nothing passes any more
  head|target: deny login [WHICH]                           although the key is right
  head: refuse tunnel [WHICH] [as prohibited] [saying TEXT]  as when the target is down, or forwarding forbidden
  target: drop session [WHICH]                              as beyond MaxSessions
  target: close channel [WHICH] after N requests            an SFTP channel
  target: answer REQUEST [WHICH] with STATUS [saying TEXT]  SFTP, without doing it
  target: swallow REQUEST|request [WHICH]                   done, but never answered
  target: delay REQUEST|request [WHICH] by TIME
  target: shorten read [WHICH] to BYTES
  target: corrupt file [WHICH]                              a bit flipped on the disk, once it is closed
  target: corrupt copy [WHICH]                              the same in what copy-data copies
  target: corrupt read [WHICH]                              a bit flipped in what READ is answered with
  target: answer hash wrongly [WHICH] [containing TEXT]     the first hash that a command prints
  target: answer hash with garbage [WHICH] [containing TEXT]
  target: kill command [WHICH] after N lines                of its output; a hasher prints a few before its first hash
  target: garble command [WHICH] after N lines              one is put in that it has not printed; it goes on
  target: hide hashers [WHICH]                              commands run with an empty PATH

WHICH    14 or 14th: that one alone; from 14: it and all after it; every 5: each fifth; all (if nothing is said)
SIZE     bytes, or with a unit: 500, 64K, 3MiB
TIME     5ms, 2s
REQUEST  open close read write lstat fstat setstat fsetstat opendir readdir remove mkdir rmdir realpath stat rename
         readlink symlink extended; or `request`, for any
STATUS   end-of-file no-such-file permission-denied failure bad-message unsupported no-space
containing TEXT: only commands with TEXT in them are meant; counted are those alone

Counted from 1, over the server's whole life. Examples:
  --fault 'target: drop session 14'
  --fault 'head: cut after 3MiB'
  --fault 'head: silent connection 1 after 1MiB out'
  --fault 'target: corrupt file every 5'
  --fault 'target: answer write 50th with no-space'
  --fault 'target: answer hash wrongly 1'
  --fault 'head: drop connection from 2 saying Not allowed at this time'";

/// SSH_FXP_*, draft-ietf-secsh-filexfer-02 §3.
const REQUESTS: [(&str, u8); 19] = [
    ("open", 3),
    ("close", 4),
    ("read", 5),
    ("write", 6),
    ("lstat", 7),
    ("fstat", 8),
    ("setstat", 9),
    ("fsetstat", 10),
    ("opendir", 11),
    ("readdir", 12),
    ("remove", 13),
    ("mkdir", 14),
    ("rmdir", 15),
    ("realpath", 16),
    ("stat", 17),
    ("rename", 18),
    ("readlink", 19),
    ("symlink", 20),
    ("extended", 200),
];

/// SSH_FX_*, §7, and what OpenSSH or its kernel says.
const STATUSES: [(&str, u32, &str); 7] = [
    ("end-of-file", 1, "End of file"),
    ("no-such-file", 2, "No such file"),
    ("permission-denied", 3, "Permission denied"),
    ("failure", 4, "Failure"),
    ("bad-message", 5, "Bad message"),
    ("unsupported", 8, "Operation unsupported"),
    ("no-space", 4, "No space left on device"),
];

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    Head,
    Target,
}

/// One rule, and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub text: String,
    pub hop: Hop,
    pub nth: Nth,
    pub trouble: Trouble,
}

/// A rule that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the fault \"{rule}\" is not understood: {what}")]
pub struct BadRule {
    rule: String,
    what: String,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Rule, BadRule> {
        let bad = |what| BadRule { rule: text.to_owned(), what };
        let (hop, words) = text.split_once(':').ok_or_else(|| bad("it begins with head: or target:".into()))?;
        let hop = match hop.trim() {
            "head" => Hop::Head,
            "target" => Hop::Target,
            other => return Err(bad(format!("\"{other}\" is neither head nor target"))),
        };
        let mut words = Words(words.trim());
        let (nth, trouble) = words.rule().map_err(bad)?;
        words.end().map_err(bad)?;
        let serves = match trouble {
            Trouble::DropBeforeBanner { .. } | Trouble::Cut { .. } | Trouble::Silence { .. } | Trouble::Deny => hop,
            Trouble::RefuseTunnel { .. } => Hop::Head,
            _ => Hop::Target,
        };
        match (hop, serves) {
            (Hop::Target, Hop::Head) => {
                Err(bad("it is the head that opens tunnels: write head: in place of target:".into()))
            }
            (Hop::Head, Hop::Target) => Err(bad("the head only forwards: write target: in place of head:".into())),
            _ => Ok(Rule { text: text.trim().to_owned(), hop, nth, trouble }),
        }
    }
}

/// What is left of a rule.
struct Words<'a>(&'a str);

type Parsed<T> = Result<T, String>;

impl<'a> Words<'a> {
    fn rule(&mut self) -> Parsed<(Nth, Trouble)> {
        match self.next() {
            "drop" => match self.next() {
                "connection" => {
                    let nth = self.which()?;
                    let text =
                        self.text("saying").map_or("Exceeded MaxStartups\r\n", |text| leak(format!("{text}\r\n")));
                    Ok((nth, Trouble::DropBeforeBanner { text }))
                }
                "session" => Ok((self.which()?, Trouble::RefuseSession)),
                other => Err(wanted("connection or session after drop", other)),
            },
            "cut" => self.wire(|direction, bytes| Trouble::Cut { direction, bytes }),
            "silent" => self.wire(|direction, bytes| Trouble::Silence { direction, bytes }),
            "deny" => {
                self.expect("login")?;
                Ok((self.which()?, Trouble::Deny))
            }
            "refuse" => match self.next() {
                "tunnel" => self.tunnel(),
                "session" => Ok((self.which()?, Trouble::RefuseSession)),
                other => Err(wanted("tunnel or session after refuse", other)),
            },
            "close" => {
                let (nth, requests) = self.which_after("channel", "requests")?;
                Ok((nth, Trouble::CloseChannel { requests }))
            }
            "kill" => {
                let (nth, lines) = self.which_after("command", "lines")?;
                Ok((nth, Trouble::KillCommand { lines }))
            }
            "garble" => {
                let (nth, lines) = self.which_after("command", "lines")?;
                Ok((nth, Trouble::GarbleCommand { lines }))
            }
            "answer" if self.eat("hash") => {
                let garbage = self.eat("with");
                self.expect(if garbage { "garbage" } else { "wrongly" })?;
                let nth = self.which()?;
                let containing = self.text("containing").map_or("", |text| leak(text.to_owned()));
                let trouble = match garbage {
                    true => Trouble::GarbageOutput { containing },
                    false => Trouble::WrongHash { containing },
                };
                Ok((nth, trouble))
            }
            "answer" => {
                let request = request(self.next())?.ok_or("answer takes one kind of request, not any")?;
                let nth = self.which()?;
                self.expect("with")?;
                let name = self.next();
                let status = STATUSES.iter().find(|status| status.0 == name);
                let (_, status, words) = status.ok_or_else(|| one_of("status", name, STATUSES.map(|s| s.0)))?;
                let text = self.text("saying").map_or(*words, |text| leak(text.to_owned()));
                Ok((nth, Trouble::Answer { request, status: *status, text }))
            }
            "swallow" => {
                let request = request(self.next())?;
                Ok((self.which()?, Trouble::Swallow { request }))
            }
            "delay" => {
                let request = request(self.next())?;
                let nth = self.which()?;
                self.expect("by")?;
                Ok((nth, Trouble::Delay { request, by: time(self.next())? }))
            }
            "shorten" => {
                self.expect("read")?;
                let nth = self.which()?;
                self.expect("to")?;
                let max = u32::try_from(bytes(self.next())?).map_err(|_| "no read is that long".to_owned())?;
                Ok((nth, Trouble::ShortRead { max }))
            }
            "corrupt" => match self.next() {
                "file" => Ok((self.which()?, Trouble::CorruptFile)),
                "copy" => Ok((self.which()?, Trouble::CorruptCopy)),
                "read" => Ok((self.which()?, Trouble::CorruptRead)),
                other => Err(wanted("file, copy or read after corrupt", other)),
            },
            "hide" => {
                self.expect("hashers")?;
                Ok((self.which()?, Trouble::NoPath))
            }
            "" => Err("it says nothing to do".to_owned()),
            other => Err(format!("there is no fault \"{other}\" (--help lists them)")),
        }
    }

    /// `[connection WHICH] after SIZE [in|out]`.
    fn wire(&mut self, trouble: impl FnOnce(Direction, u64) -> Trouble) -> Parsed<(Nth, Trouble)> {
        let nth = if self.eat("connection") { self.which()? } else { Nth::Always };
        self.expect("after")?;
        let bytes = bytes(self.next())?;
        let direction = match (self.eat("in"), self.eat("out")) {
            (true, _) => Direction::In,
            (_, true) => Direction::Out,
            _ => Direction::Either,
        };
        Ok((nth, trouble(direction, bytes)))
    }

    /// `[WHICH] [as prohibited] [saying TEXT]`; the words are sshd's.
    fn tunnel(&mut self) -> Parsed<(Nth, Trouble)> {
        let nth = self.which()?;
        let (reason, words) = if self.eat("as") {
            self.expect("prohibited")?;
            (1, "administratively prohibited: open failed")
        } else {
            (2, "Connection refused")
        };
        let text = self.text("saying").map_or(words, |text| leak(text.to_owned()));
        Ok((nth, Trouble::RefuseTunnel { reason, text }))
    }

    /// `WHAT [WHICH] after N OF`.
    fn which_after(&mut self, what: &str, of: &str) -> Parsed<(Nth, u64)> {
        self.expect(what)?;
        let nth = self.which()?;
        self.expect("after")?;
        let many = number(self.next())?;
        self.expect(of)?;
        Ok((nth, many))
    }

    fn which(&mut self) -> Parsed<Nth> {
        if self.eat("all") {
            return Ok(Nth::Always);
        }
        if self.eat("from") {
            return Ok(Nth::From(ordinal(self.next())?));
        }
        if self.eat("every") {
            return Ok(Nth::Every(ordinal(self.next())?));
        }
        match self.0.starts_with(|c: char| c.is_ascii_digit()) {
            true => Ok(Nth::Only(ordinal(self.next())?)),
            false => Ok(Nth::Always),
        }
    }

    /// All that follows this word.
    fn text(&mut self, word: &str) -> Option<&'a str> {
        self.eat(word).then(|| std::mem::take(&mut self.0))
    }

    /// The next word; empty at the end.
    fn next(&mut self) -> &'a str {
        let (word, rest) = self.0.split_once(char::is_whitespace).unwrap_or((self.0, ""));
        self.0 = rest.trim_start();
        word
    }

    fn eat(&mut self, word: &str) -> bool {
        let mut ahead = Words(self.0);
        let found = ahead.next() == word;
        if found {
            self.0 = ahead.0;
        }
        found
    }

    fn expect(&mut self, word: &str) -> Parsed<()> {
        match self.next() {
            found if found == word => Ok(()),
            found => Err(wanted(&format!("\"{word}\""), found)),
        }
    }

    fn end(&self) -> Parsed<()> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("\"{}\" is too much", self.0)) }
    }
}

fn wanted(what: &str, found: &str) -> String {
    match found {
        "" => format!("{what} is missing at its end"),
        found => format!("{what} was expected, not \"{found}\""),
    }
}

fn one_of<const N: usize>(what: &str, found: &str, names: [&str; N]) -> String {
    let names = names.join(", ");
    match found {
        "" => format!("a {what} is missing at its end: one of {names}"),
        found => format!("\"{found}\" is no {what}: one of {names}"),
    }
}

/// `None` is any.
fn request(name: &str) -> Parsed<Option<u8>> {
    let known = REQUESTS.iter().find(|request| request.0 == name).map(|request| request.1);
    match known {
        None if name == "request" => Ok(None),
        None => Err(one_of("request", name, REQUESTS.map(|request| request.0))),
        known => Ok(known),
    }
}

/// `14` or `14th`.
fn ordinal(word: &str) -> Parsed<u64> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let right = matches!(&word[digits.len()..], "" | "st" | "nd" | "rd" | "th");
    match number(digits) {
        Ok(n) if n > 0 && right => Ok(n),
        _ => Err(wanted("a number from 1 on, as 14 or 14th,", word)),
    }
}

fn number(word: &str) -> Parsed<u64> {
    crate::cli::size::count(word).filter(|_| !word.is_empty()).ok_or_else(|| wanted("a number", word))
}

fn bytes(word: &str) -> Parsed<u64> {
    size(word, b'b').ok_or_else(|| wanted("a number of bytes, as 500, 64K or 3MiB,", word))
}

fn time(word: &str) -> Parsed<Duration> {
    let units = [("ms", 1), ("s", 1000)];
    let found = units.iter().find_map(|(unit, millis)| Some((word.strip_suffix(unit)?, millis)));
    let time = found.and_then(|(digits, millis)| number(digits).ok()?.checked_mul(*millis));
    time.map(Duration::from_millis).ok_or_else(|| wanted("a time, as 5ms or 2s,", word))
}

/// A rule lives as long as the servers do, which is as long as the process.
fn leak(text: String) -> &'static str {
    text.leak()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Hop, Nth, Trouble) {
        let rule: Rule = text.parse().unwrap_or_else(|error| panic!("{error}"));
        (rule.hop, rule.nth, rule.trouble)
    }

    #[test]
    fn each_fault_is_read_as_it_is_meant() {
        use Direction::{Either, In, Out};
        use Hop::{Head, Target};
        use Nth::{Always, Every, From, Only};
        let drop = |text| Trouble::DropBeforeBanner { text };
        let tunnel = |reason, text| Trouble::RefuseTunnel { reason, text };
        let answer = |request, status, text| Trouble::Answer { request, status, text };
        let second = Duration::from_secs(1);
        for (text, hop, nth, trouble) in [
            ("head: drop connection", Head, Always, drop("Exceeded MaxStartups\r\n")),
            ("target:drop connection 2 saying  go away ", Target, Only(2), drop("go away\r\n")),
            ("head: cut after 3MiB", Head, Always, Trouble::Cut { direction: Either, bytes: 3 << 20 }),
            ("target: cut connection from 2 after 500 in", Target, From(2), Trouble::Cut { direction: In, bytes: 500 }),
            ("head: silent after 64K out", Head, Always, Trouble::Silence { direction: Out, bytes: 65536 }),
            ("target: deny login 2nd", Target, Only(2), Trouble::Deny),
            ("head: refuse tunnel", Head, Always, tunnel(2, "Connection refused")),
            (
                "head: refuse tunnel 1 as prohibited",
                Head,
                Only(1),
                tunnel(1, "administratively prohibited: open failed"),
            ),
            ("head: refuse tunnel 1 saying No route to host", Head, Only(1), tunnel(2, "No route to host")),
            ("target: drop session 14", Target, Only(14), Trouble::RefuseSession),
            ("target: refuse session all", Target, Always, Trouble::RefuseSession),
            (
                "target: close channel every 2 after 30 requests",
                Target,
                Every(2),
                Trouble::CloseChannel { requests: 30 },
            ),
            ("target: answer write 50th with no-space", Target, Only(50), answer(6, 4, "No space left on device")),
            ("target: answer open with permission-denied saying no", Target, Always, answer(3, 3, "no")),
            ("target: swallow request 9", Target, Only(9), Trouble::Swallow { request: None }),
            ("target: swallow extended from 3", Target, From(3), Trouble::Swallow { request: Some(200) }),
            ("target: delay read every 40 by 1s", Target, Every(40), Trouble::Delay { request: Some(5), by: second }),
            ("target: shorten read every 3 to 1000", Target, Every(3), Trouble::ShortRead { max: 1000 }),
            ("target: corrupt file every 5", Target, Every(5), Trouble::CorruptFile),
            ("target: corrupt copy 2", Target, Only(2), Trouble::CorruptCopy),
            ("target: corrupt read 3", Target, Only(3), Trouble::CorruptRead),
            ("target: answer hash wrongly", Target, Always, Trouble::WrongHash { containing: "" }),
            ("target: answer hash wrongly 1 containing a b", Target, Only(1), Trouble::WrongHash { containing: "a b" }),
            ("target: answer hash with garbage 1", Target, Only(1), Trouble::GarbageOutput { containing: "" }),
            ("target: kill command 1 after 9 lines", Target, Only(1), Trouble::KillCommand { lines: 9 }),
            ("target: garble command 1 after 9 lines", Target, Only(1), Trouble::GarbleCommand { lines: 9 }),
            ("target: hide hashers", Target, Always, Trouble::NoPath),
        ] {
            assert_eq!(parsed(text), (hop, nth, trouble), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_rule() {
        for (text, part) in [
            ("drop session 14", "begins with head: or target:"),
            ("host: drop session", "neither head nor target"),
            ("target:", "nothing to do"),
            ("target: explode", "no fault \"explode\""),
            ("target: drop file", "connection or session"),
            ("target: drop session 0", "from 1 on"),
            ("target: drop session every", "is missing"),
            ("target: drop session 14 twice", "\"twice\" is too much"),
            ("head: cut after lunch", "number of bytes"),
            ("head: cut 3MiB", "\"after\""),
            ("target: refuse tunnel", "write head:"),
            ("head: corrupt file", "write target:"),
            ("target: answer dance with failure", "\"dance\" is no request"),
            ("target: answer request with failure", "one kind of request"),
            ("target: answer write with shame", "\"shame\" is no status"),
            ("target: delay read by 5", "a time"),
            ("target: close channel after x requests", "a number"),
        ] {
            let Err(error) = text.parse::<Rule>() else { panic!("\"{text}\" was taken") };
            let said = error.to_string();
            assert!(said.contains(part) && said.contains(text), "{said}");
        }
    }

    #[test]
    fn the_examples_of_the_help_are_rules() {
        let examples: Vec<_> = GRAMMAR.lines().filter_map(|line| line.trim().strip_prefix("--fault '")).collect();
        assert!(examples.len() >= 6);
        for example in examples {
            parsed(example.trim_end_matches('\''));
        }
        for name in REQUESTS.map(|r| r.0).iter().chain(&STATUSES.map(|s| s.0)) {
            assert!(GRAMMAR.contains(name), "{name}");
        }
    }
}
