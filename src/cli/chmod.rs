//! `--chmod`: the clauses, and what they make of a mode.

/// One comma-separated clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clause {
    /// `D`: directories only, `F`: everything else only.
    only: Option<Only>,
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    Dirs,
    Files,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Octal(u32),
    Symbolic {
        /// The classes named, as rwx bits of `ugo`; all three where none is named.
        who: u32,
        /// No class was named: the umask spares what it masks (chmod(1)).
        masked: bool,
        sign: u8,
        /// rwx bits, once, to be repeated for each class.
        bits: u32,
        /// `X`: x where a directory, or where any x is set.
        conditional: bool,
        setid: bool,
        sticky: bool,
        /// The class whose bits are copied: its shift.
        copy: Option<u32>,
    },
}

/// Parses comma-separated clauses.
///
/// # Errors
/// rsync's sentence, naming the whole argument.
pub fn parse(text: &str) -> Result<Vec<Clause>, String> {
    let clauses: Option<Vec<Clause>> = text.split(',').map(clause).collect();
    clauses.ok_or_else(|| format!("Invalid argument passed to --chmod ({text})"))
}

fn clause(text: &str) -> Option<Clause> {
    let (only, text) = match text.as_bytes().first()? {
        b'D' => (Some(Only::Dirs), &text[1..]),
        b'F' => (Some(Only::Files), &text[1..]),
        _ => (None, text),
    };
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let octal = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)?;
        return Some(Clause { only, change: Change::Octal(octal) });
    }
    let sign_at = text.find(['+', '-', '='])?;
    let mut who = 0;
    for class in text[..sign_at].bytes() {
        who |= match class {
            b'u' => 0o700,
            b'g' => 0o070,
            b'o' => 0o007,
            b'a' => 0o777,
            _ => return None,
        };
    }
    let masked = who == 0;
    if masked {
        who = 0o777;
    }
    let (mut bits, mut conditional, mut setid, mut sticky, mut copy) = (0, false, false, false, None);
    let letters = &text[sign_at + 1..];
    for letter in letters.bytes() {
        match letter {
            b'r' => bits |= 4,
            b'w' => bits |= 2,
            b'x' => bits |= 1,
            b'X' => conditional = true,
            b's' => setid = true,
            b't' => sticky = true,
            b'u' | b'g' | b'o' if letters.len() == 1 => {
                copy = Some(match letter {
                    b'u' => 6,
                    b'g' => 3,
                    _ => 0,
                });
            }
            _ => return None,
        }
    }
    let sign = text.as_bytes()[sign_at];
    Some(Clause { only, change: Change::Symbolic { who, masked, sign, bits, conditional, setid, sticky, copy } })
}

/// The mode (twelve bits) that the clauses make of `mode`; `umask` counts where a clause names no class.
pub fn apply(clauses: &[Clause], mode: u32, is_dir: bool, umask: u32) -> u32 {
    clauses.iter().filter(|clause| clause.only.is_none_or(|only| (only == Only::Dirs) == is_dir)).fold(
        mode & 0o7777,
        |mode, clause| match clause.change {
            Change::Octal(octal) => octal,
            Change::Symbolic { who, masked, sign, bits, conditional, setid, sticky, copy } => {
                let mut rwx = bits | copy.map_or(0, |shift| mode >> shift & 7);
                if conditional && (is_dir || mode & 0o111 != 0) {
                    rwx |= 1;
                }
                let mut set = (rwx * 0o111) & who;
                if masked {
                    set &= !umask;
                }
                // As rsync has it: s without a class is setuid, and = spares the special bits of its classes unless it
                // names one, or copies.
                let mut named = 0;
                if setid {
                    named |= if masked { 0o4000 } else { special(who) & 0o6000 };
                }
                if sticky {
                    named |= 0o1000;
                }
                let cleared = match named {
                    0 if copy.is_none() => 0,
                    _ if masked => named,
                    _ => special(who) | named,
                };
                match sign {
                    b'+' => mode | set | named,
                    b'-' => mode & !(set | named),
                    _ => mode & !(who | cleared) | set | named,
                }
            }
        },
    )
}

/// setuid, setgid and sticky of the classes `u`, `g` and `o`.
fn special(who: u32) -> u32 {
    let bit = |class: u32, special: u32| if who & class != 0 { special } else { 0 };
    bit(0o700, 0o4000) | bit(0o070, 0o2000) | bit(0o007, 0o1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> u32 {
        apply(&parse(text).expect("is valid"), mode, false, 0o022)
    }

    fn dir(text: &str, mode: u32) -> u32 {
        apply(&parse(text).expect("is valid"), mode, true, 0o022)
    }

    #[test]
    fn octal_and_symbolic_clauses_apply_in_order() {
        assert_eq!(file("644", 0o777), 0o644);
        assert_eq!(file("D2775,F664", 0o600), 0o664);
        assert_eq!(dir("D2775,F664", 0o700), 0o2775);
        assert_eq!(file("Dg+s,ug+w,Fo-w,+X", 0o446), 0o664);
        assert_eq!(dir("Dg+s,ug+w,Fo-w,+X", 0o446), 0o2777);
        assert_eq!(file("u=rwX,go=rX", 0o764), 0o755);
        assert_eq!(file("u=rwX,go=rX", 0o644), 0o644);
        assert_eq!(file("go-rwx", 0o755), 0o700);
        assert_eq!(file("g=u", 0o640), 0o660);
        // Compared with rsync 3.5.0.
        assert_eq!(file("a=rw", 0o4755), 0o4666);
        assert_eq!(file("a=t", 0o4755), 0o1000);
        assert_eq!(file("=t", 0o4755), 0o5000);
        assert_eq!(file("+s", 0o755), 0o4755);
        assert_eq!(file("g=u", 0o2741), 0o771);
    }

    #[test]
    fn without_a_class_the_umask_counts() {
        assert_eq!(file("+w", 0o444), 0o644);
        assert_eq!(file("a+w", 0o444), 0o666);
    }

    #[test]
    fn nonsense_is_refused_in_rsyncs_words() {
        for text in ["", "zz", "Du", "u+q", "999", "77777", "u+rg", "u", ",u+r", "D", "é+r"] {
            assert_eq!(parse(text).expect_err(text), format!("Invalid argument passed to --chmod ({text})"));
        }
        assert!(parse("u+").is_ok());
    }
}
