//! `--rsync-path`: which of its uses hopsync can honour without running anything at the far end.
//!
//! Scripts use it to create a directory first (`mkdir -p DIR && rsync`); that becomes SFTP requests. The program itself is what
//! hopsync replaces, so its path does not matter. Anything else would change what happens, and is refused.

use super::UsageError;
use super::exit::Exit;

/// The directories that `command` creates before rsync starts, in order; relative ones start at the login's home directory.
///
/// # Errors
/// Exit 4 for a command that is neither a path to an rsync nor `mkdir -p DIR... && rsync`.
pub fn directories(command: &[u8]) -> Result<Vec<Vec<u8>>, UsageError> {
    let refused = |why: &str| UsageError {
        text: format!(
            "--rsync-path={}: {why}; hopsync runs nothing at the far end, and understands a path to rsync or \
             \"mkdir -p DIR && rsync\"",
            String::from_utf8_lossy(command)
        ),
        code: Exit::Unsupported.code(),
    };
    let mut commands = split(command).map_err(|why| refused(&why))?;
    match commands.pop().as_deref() {
        Some([program]) if is_rsync(program) => {}
        Some([]) | None => return Err(refused("it ends without a program")),
        Some([_]) => return Err(refused("the program is not an rsync")),
        Some(_) => return Err(refused("a wrapper, or arguments of rsync's, cannot be honoured")),
    }
    let mut found = Vec::new();
    for words in commands {
        let Some((b"mkdir", rest)) = words.split_first().map(|(first, rest)| (first.as_slice(), rest)) else {
            return Err(refused("a command other than mkdir cannot be honoured"));
        };
        let mut options_end = false;
        let mut parents = false;
        for word in rest {
            match word.as_slice() {
                b"--" if !options_end => options_end = true,
                b"-p" | b"--parents" if !options_end => parents = true,
                b"-v" | b"--verbose" if !options_end => {}
                b"-pv" | b"-vp" if !options_end => parents = true,
                [b'-', _, ..] if !options_end => return Err(refused("an option of mkdir cannot be honoured")),
                b"" => return Err(refused("an empty directory name")),
                dir => found.push(dir.to_vec()),
            }
        }
        if !parents {
            return Err(refused("mkdir without -p fails where the directory exists"));
        }
    }
    Ok(found)
}

fn is_rsync(program: &[u8]) -> bool {
    matches!(program.rsplit(|byte| *byte == b'/').next(), Some(b"rsync" | b"hopsync"))
}

/// Commands joined by `&&` or `;`, each as words, as a POSIX shell cuts them (XCU 2.2, 2.3). What a shell would expand or do
/// beyond that is an error: nothing here may mean something else than it would there.
fn split(command: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, String> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = command.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' => push(&mut commands, &mut word),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next() {
                        Some(b'\'') => break,
                        Some(byte) => word.push(byte),
                        None => return Err("a quote does not end".into()),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next() {
                        Some(b'"') => break,
                        Some(b'\\') => match bytes.next() {
                            Some(byte @ (b'$' | b'`' | b'"' | b'\\')) => word.push(byte),
                            Some(b'\n') => {}
                            Some(byte) => word.extend([b'\\', byte]),
                            None => return Err("a quote does not end".into()),
                        },
                        Some(b'$' | b'`') => return Err("what a shell would expand cannot be honoured".into()),
                        Some(byte) => word.push(byte),
                        None => return Err("a quote does not end".into()),
                    }
                }
            }
            b'\\' => match bytes.next() {
                Some(b'\n') => {}
                Some(byte) => word.get_or_insert_default().push(byte),
                None => return Err("it ends in a backslash".into()),
            },
            b';' | b'\n' => next(&mut commands, &mut word)?,
            b'&' if bytes.next_if_eq(&b'&').is_some() => next(&mut commands, &mut word)?,
            b'&' | b'|' | b'<' | b'>' | b'(' | b')' => return Err("only && and ; may join commands".into()),
            // A lone ~/ is the home directory, where relative names start anyway.
            b'~' if word.is_none() && bytes.next_if_eq(&b'/').is_some() => {
                while bytes.next_if_eq(&b'/').is_some() {}
                word = Some(b"./".to_vec());
            }
            b'$' | b'`' | b'*' | b'?' | b'[' | b'{' => {
                return Err("what a shell would expand cannot be honoured".into());
            }
            b'~' | b'#' if word.is_none() => return Err("what a shell would expand cannot be honoured".into()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    push(&mut commands, &mut word);
    Ok(commands)
}

fn push(commands: &mut [Vec<Vec<u8>>], word: &mut Option<Vec<u8>>) {
    if let (Some(command), Some(word)) = (commands.last_mut(), word.take()) {
        command.push(word);
    }
}

fn next(commands: &mut Vec<Vec<Vec<u8>>>, word: &mut Option<Vec<u8>>) -> Result<(), String> {
    push(commands, word);
    if commands.last().is_none_or(|command| command.is_empty()) {
        return Err("a command is missing before && or ;".into());
    }
    commands.push(Vec::new());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(command: &str) -> Vec<String> {
        let found = directories(command.as_bytes()).unwrap_or_else(|e| panic!("{command}: {}", e.text));
        found.into_iter().map(|dir| String::from_utf8(dir).expect("is UTF-8")).collect()
    }

    #[test]
    fn the_idiom_creates_its_directories() {
        assert_eq!(dirs("mkdir -p /a/b && rsync"), ["/a/b"]);
        assert_eq!(dirs("mkdir -p a b&&/usr/bin/rsync"), ["a", "b"]);
        assert_eq!(dirs("mkdir -p -- '-x y' \"it's\" c\\ d; mkdir --parents z && rsync"), ["-x y", "it's", "c d", "z"]);
        assert_eq!(dirs("mkdir -p ~/a && rsync"), ["./a"]);
        assert_eq!(dirs("mkdir -pv '$HOME' && rsync"), ["$HOME"]);
    }

    #[test]
    fn the_program_itself_does_not_matter() {
        for command in ["rsync", "/opt/bin/rsync", "hopsync", " rsync "] {
            assert!(dirs(command).is_empty());
        }
    }

    #[test]
    fn what_would_do_something_else_is_refused_with_exit_4() {
        for command in [
            "",
            "sudo rsync",
            "rsync --fake-super",
            "/bin/sh",
            "mkdir -p a && sudo rsync",
            "mkdir a && rsync",
            "mkdir -p a",
            "mkdir -m 700 -p a && rsync",
            "cd a && rsync",
            "mkdir -p $HOME/a && rsync",
            "mkdir -p \"$X\" && rsync",
            "mkdir -p `x` && rsync",
            "mkdir -p a* && rsync",
            "mkdir -p a || rsync",
            "mkdir -p a | rsync",
            "mkdir -p 'a && rsync",
            "&& rsync",
            "mkdir -p ~bob/a && rsync",
            "mkdir -p '' && rsync",
            "mkdir -p a > b && rsync",
            "mkdir -p a & rsync",
        ] {
            let error = directories(command.as_bytes()).expect_err(command);
            assert_eq!(error.code, 4, "{command}");
        }
    }
}
