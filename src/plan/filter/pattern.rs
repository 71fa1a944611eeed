//! Wildcards on bytes, as rsync(1) "PATTERN MATCHING RULES" describes them.
//!
//! A pattern is compiled once into tokens. Matching keeps two points to return to, the last `*` and the last `**`, so it
//! needs no recursion and no memory, and its time is bounded by a polynomial whatever a server calls its files: a `*` that
//! comes later makes those before it irrelevant, for it reaches all that they could reach within the same component.

/// A wildcard pattern for one name, as operands have them.
#[derive(Debug, Clone)]
pub struct NamePattern(Pattern);

impl NamePattern {
    pub fn new(text: &[u8]) -> NamePattern {
        NamePattern(Pattern::new(text))
    }

    /// Whether the pattern takes the whole name.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.matches(name)
    }
}

/// A compiled wildcard pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Debug, Clone)]
enum Token {
    Byte(u8),
    /// `?`: any byte but `/`.
    Any,
    /// `[…]`: never matches `/`.
    Class(Box<[bool; 256]>),
    /// `*`: any bytes but `/`.
    Star,
    /// `**` (or more): any bytes.
    StarStar,
    /// The pattern is malformed from here on: an open `[`, an unknown `[:class:]`, a backslash at the end.
    Never,
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Byte(literal) => *literal == byte,
            Token::Any => byte != b'/',
            Token::Class(set) => set[usize::from(byte)],
            Token::Star | Token::StarStar | Token::Never => false,
        }
    }
}

impl Pattern {
    pub fn new(text: &[u8]) -> Pattern {
        let mut tokens = Vec::with_capacity(text.len());
        let mut rest = text;
        while let [first, after @ ..] = rest {
            rest = after;
            tokens.push(match first {
                b'?' => Token::Any,
                b'*' => {
                    let more = rest.iter().take_while(|&&byte| byte == b'*').count();
                    rest = &rest[more..];
                    if more == 0 { Token::Star } else { Token::StarStar }
                }
                b'\\' => match rest {
                    [escaped, after @ ..] => {
                        rest = after;
                        Token::Byte(*escaped)
                    }
                    [] => Token::Never,
                },
                b'[' => match class(rest) {
                    Some((set, after)) => {
                        rest = after;
                        Token::Class(set)
                    }
                    None => {
                        rest = &[];
                        Token::Never
                    }
                },
                literal => Token::Byte(*literal),
            });
        }
        Pattern(tokens)
    }

    /// Whether the pattern takes the whole text.
    pub fn matches(&self, text: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        let mut star_star: Option<(usize, usize)> = None;
        loop {
            match self.0.get(token) {
                Some(Token::Star) => {
                    token += 1;
                    star = Some((token, at));
                    continue;
                }
                Some(Token::StarStar) => {
                    token += 1;
                    star = None;
                    star_star = Some((token, at));
                    continue;
                }
                Some(other) => match text.get(at) {
                    Some(&byte) if other.takes(byte) => {
                        token += 1;
                        at += 1;
                        continue;
                    }
                    // What is left of the text is too short already: giving a star more of it cannot help.
                    None => return false,
                    Some(_) => {}
                },
                None if at == text.len() => return true,
                None => {}
            }
            (token, at) = match (star, star_star) {
                (Some((next, from)), _) if text.get(from).is_some_and(|&byte| byte != b'/') => {
                    star = Some((next, from + 1));
                    (next, from + 1)
                }
                (_, Some((next, from))) if from < text.len() => {
                    star = None;
                    star_star = Some((next, from + 1));
                    (next, from + 1)
                }
                _ => return false,
            };
        }
    }

    /// Whether the pattern takes the whole text, or all that follows one of its slashes.
    pub fn matches_after_any_slash(&self, text: &[u8]) -> bool {
        let starts = text.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at + 1);
        std::iter::once(0).chain(starts).any(|from| self.matches(&text[from..]))
    }
}

/// The set of a class whose `[` has been read, and what follows its `]`; `None` if it is malformed.
fn class(text: &[u8]) -> Option<(Box<[bool; 256]>, &[u8])> {
    let mut set = Box::new([false; 256]);
    let (negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // The byte that a range would start at.
    let mut previous: Option<u8> = None;
    let mut first = true;
    loop {
        previous = match rest {
            [] => return None,
            // A `]` that comes first is a member.
            [b']', after @ ..] if !first => {
                rest = after;
                break;
            }
            [b'-', end, after @ ..] if *end != b']' && previous.is_some() => {
                let (end, after) = match (end, after) {
                    (b'\\', [end, after @ ..]) => (end, after),
                    (b'\\', []) => return None,
                    _ => (end, after),
                };
                for byte in previous.unwrap_or(*end)..=*end {
                    set[usize::from(byte)] = true;
                }
                rest = after;
                None
            }
            [b'[', b':', after @ ..] => {
                let close = after.iter().position(|&byte| byte == b']')?;
                match after[..close].strip_suffix(b":") {
                    Some(name) => {
                        let member = named(name)?;
                        (0..=255u8).filter(member).for_each(|byte| set[usize::from(byte)] = true);
                        rest = &after[close + 1..];
                        None
                    }
                    None => {
                        set[usize::from(b'[')] = true;
                        rest = &rest[1..];
                        Some(b'[')
                    }
                }
            }
            [b'\\', after @ ..] => {
                let (&escaped, after) = after.split_first()?;
                set[usize::from(escaped)] = true;
                rest = after;
                Some(escaped)
            }
            [byte, after @ ..] => {
                set[usize::from(*byte)] = true;
                rest = after;
                Some(*byte)
            }
        };
        first = false;
    }
    if negated {
        set.iter_mut().for_each(|member| *member = !*member);
    }
    set[usize::from(b'/')] = false;
    Some((set, rest))
}

/// The members of a `[:class:]`, in the C locale: a server's names have no locale.
fn named(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, 0x20..=0x7e),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| matches!(byte, b' ' | 0x09..=0x0d),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern.as_bytes()).matches(text.as_bytes())
    }

    #[test]
    fn one_star_stays_within_a_component_and_two_do_not() {
        assert!(matches("a*c", "abbc") && matches("a*c", "ac") && !matches("a*c", "a/c"));
        assert!(matches("a**c", "a/b/c") && matches("**/c", "a/b/c") && !matches("**/c", "c"));
        assert!(matches("**a*b/c", "xa/aab/c") && !matches("**a*b/c", "xa/aa/b/c"));
        assert!(matches("*", "") && matches("**", "a/b") && !matches("*", "a/b"));
        assert!(matches("a***", "a/b"));
    }

    #[test]
    fn classes_have_ranges_negation_names_and_escapes() {
        assert!(matches("[a-c]", "b") && !matches("[a-c]", "d") && matches("[!a-c]", "d") && matches("[^a-c]", "d"));
        assert!(matches("[]-]", "]") && matches("[]-]", "-") && matches("[a-]", "-") && matches("[\\]]", "]"));
        assert!(matches("[[:digit:]x]", "7") && matches("[[:digit:]x]", "x") && !matches("[[:digit:]x]", "y"));
        assert!(matches("[[:a]", ":") && matches("[[:a]", "[") && matches("[a-\\c]", "b"));
        assert!(!matches("[!a]", "/"), "a class never takes a slash");
    }

    #[test]
    fn malformed_patterns_match_nothing() {
        for pattern in ["[", "a[", "[]", "[!", "[[:nope:]]", "*\\", "[a\\", "[a-\\"] {
            for text in ["", "a", "[", "a[", "\\", "x\\"] {
                assert!(!matches(pattern, text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends_soon() {
        let pattern = "**a*a*a*a*a*a*a*a*a*a**a*a*a*a*a*a*b".to_string();
        assert!(!matches(&pattern, &"a".repeat(4096)));
    }
}
