//! What ssh_config(5) calls TOKENS, tildes and environment variables, expanded as ssh does.

use sha1::{Digest, Sha1};

/// What the tokens stand for, for one hop.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// `%h`: the host as resolved.
    pub host: String,
    /// `%n`: the host as named.
    pub named: String,
    /// `%k`: HostKeyAlias, or `%n`.
    pub key_alias: String,
    /// `%p`.
    pub port: u16,
    /// `%r`: the user at the far end.
    pub user: String,
    /// `%j`: ProxyJump, empty if none.
    pub jump: String,
    pub local: Local,
}

/// What the tokens about this machine stand for.
#[derive(Debug, Clone)]
pub struct Local {
    /// `%d` and `~`.
    pub home: String,
    /// `%u`.
    pub user: String,
    /// `%i`.
    pub uid: u32,
    /// `%l`; `%L` is its first label.
    pub hostname: String,
}

impl Local {
    /// This process's. The home directory is that of the password file, as ssh takes it, and `$HOME` where that has none.
    pub fn here() -> Local {
        let uid = rustix::process::getuid().as_raw();
        let (user, home) = passwd(Lookup::Uid(uid)).unwrap_or_default();
        let env = |name: &str| std::env::var(name).unwrap_or_default();
        Local {
            home: if home.is_empty() { env("HOME") } else { home },
            user: if user.is_empty() { env("USER") } else { user },
            uid,
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }
}

enum Lookup<'a> {
    Uid(u32),
    Name(&'a str),
}

/// Name and home directory, from the password database.
fn passwd(key: Lookup<'_>) -> Option<(String, String)> {
    let mut record = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut found = std::ptr::null_mut();
    // 16 KiB is glibc's own suggestion (sysconf _SC_GETPW_R_SIZE_MAX is 1 KiB, and directories may hold longer entries).
    let mut buffer = vec![0 as libc::c_char; 16 * 1024];
    // SAFETY: all pointers are valid for the call, the length is the buffer's; the record is read only if `found` says so.
    let status = unsafe {
        match key {
            Lookup::Uid(uid) => {
                libc::getpwuid_r(uid, record.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found)
            }
            Lookup::Name(name) => {
                let name = std::ffi::CString::new(name).ok()?;
                libc::getpwnam_r(name.as_ptr(), record.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found)
            }
        }
    };
    if status != 0 || found.is_null() {
        return None;
    }
    // SAFETY: the call succeeded, so the record is filled and its strings live in `buffer`.
    unsafe {
        let record = record.assume_init();
        let text = |p: *const libc::c_char| std::ffi::CStr::from_ptr(p).to_str().ok().map(str::to_owned);
        Some((text(record.pw_name)?, text(record.pw_dir)?))
    }
}

impl Tokens {
    /// Expands `%x` in `text`. An unknown token is an error, as in ssh.
    pub fn percent(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('%') => out.push('%'),
                Some('h') => out.push_str(&self.host),
                Some('n') => out.push_str(&self.named),
                Some('k') => out.push_str(&self.key_alias),
                Some('p') => out.push_str(&self.port.to_string()),
                Some('r') => out.push_str(&self.user),
                Some('j') => out.push_str(&self.jump),
                Some('d') => out.push_str(&self.local.home),
                Some('u') => out.push_str(&self.local.user),
                Some('i') => out.push_str(&self.local.uid.to_string()),
                Some('l') => out.push_str(&self.local.hostname),
                Some('L') => out.push_str(self.short_hostname()),
                Some('C') => out.push_str(&self.connection_hash()),
                Some(other) => return Err(format!("unknown token %{other} in \"{text}\"")),
                None => return Err(format!("\"{text}\" ends with a lone %")),
            }
        }
        Ok(out)
    }

    fn short_hostname(&self) -> &str {
        self.local.hostname.split('.').next().unwrap_or_default()
    }

    /// `%C`: SHA-1 of `%l%h%p%r%j` in hex (ssh.c; releases before `%j` differ where there is a jump).
    fn connection_hash(&self) -> String {
        let text = format!("{}{}{}{}{}", self.local.hostname, self.host, self.port, self.user, self.jump);
        Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A file's path: `~` and `~user`, then `${VARIABLE}`, then tokens.
    pub fn path(&self, text: &str) -> Result<std::path::PathBuf, String> {
        let text = self.tilde(text)?;
        self.percent(&environment(&text, |name| std::env::var(name).ok())?).map(Into::into)
    }

    fn tilde(&self, text: &str) -> Result<String, String> {
        let Some(rest) = text.strip_prefix('~') else { return Ok(text.to_owned()) };
        let (name, tail) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        if name.is_empty() {
            return Ok(format!("{}{tail}", self.local.home));
        }
        match passwd(Lookup::Name(name)) {
            Some((_, home)) => Ok(format!("{home}{tail}")),
            None => Err(format!("no such user as in \"{text}\"")),
        }
    }
}

/// Expands `${NAME}`; an unset variable is an error, as in ssh.
pub fn environment(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else {
            return Err(format!("\"{text}\" has a ${{ without a }}"));
        };
        let value = variable(name).ok_or_else(|| format!("environment variable {name} in \"{text}\" is not set"))?;
        out.push_str(before);
        out.push_str(&value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens {
            host: "10.0.0.1".into(),
            named: "head".into(),
            key_alias: "hk".into(),
            port: 2222,
            user: "bob".into(),
            jump: "gw".into(),
            local: Local { home: "/home/ann".into(), user: "ann".into(), uid: 1000, hostname: "w1.site".into() },
        }
    }

    #[test]
    fn each_token_stands_for_its_value() {
        let all = tokens().percent("%h %n %k %p %r %j %d %u %i %l %L %%").unwrap();
        assert_eq!(all, "10.0.0.1 head hk 2222 bob gw /home/ann ann 1000 w1.site w1 %");
    }

    #[test]
    fn the_connections_hash_is_that_of_ssh() {
        let local = Local { hostname: "vm".into(), ..tokens().local };
        let tokens =
            Tokens { host: "foo".into(), port: 2222, user: "bob".into(), jump: String::new(), local, ..tokens() };
        // `ssh -G -o ControlPath=%C -p 2222 -l bob foo` on a host named vm (OpenSSH 9.2).
        assert_eq!(tokens.percent("%C").unwrap(), "3d9d3aa2184c15ff225bac36e78e1966601f90e6");
    }

    #[test]
    fn an_unknown_or_lone_token_is_refused() {
        assert!(tokens().percent("%q").is_err());
        assert!(tokens().percent("50%").is_err());
    }

    #[test]
    fn a_path_expands_tilde_and_tokens() {
        assert_eq!(tokens().path("~/.ssh/%h_%r key").unwrap(), std::path::Path::new("/home/ann/.ssh/10.0.0.1_bob key"));
        assert_eq!(tokens().path("~").unwrap(), std::path::Path::new("/home/ann"));
        assert!(tokens().path("~no-such-user-here/x").is_err());
    }

    #[test]
    fn environment_variables_are_expanded_and_must_be_set() {
        let one = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(environment("x${A}y${A}", one).unwrap(), "x1y1");
        assert!(environment("${B}", one).is_err());
        assert!(environment("${A", one).is_err());
    }
}
