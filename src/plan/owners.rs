//! `--usermap`, `--groupmap` and `--chown`: which owner or group a source's becomes.

use crate::plan::filter::NamePattern;

/// The rules of one map, in order; the first that matches decides.
#[derive(Debug, Clone, Default)]
pub struct IdMap(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    from: From,
    to: To,
}

#[derive(Debug, Clone)]
enum From {
    Ids(u32, u32),
    Name(NamePattern),
    /// An id without a name.
    Nameless,
}

/// What an id is mapped to: looked up at the destination if it is a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    Id(u32),
    Name(Vec<u8>),
}

impl IdMap {
    /// Parses `FROM:TO,FROM:TO…`: a name with wildcards, an id or a range of ids; nothing stands for ids without a name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<IdMap, String> {
        let rules = text.split(|byte| *byte == b',').map(|rule| {
            let colon = rule.iter().position(|byte| *byte == b':');
            let wrong = || format!("No colon found in map: {}", String::from_utf8_lossy(rule));
            let (from, to) = rule.split_at(colon.ok_or_else(wrong)?);
            Ok(Rule { from: from_of(from)?, to: to_of(&to[1..])? })
        });
        rules.collect::<Result<Vec<Rule>, String>>().map(IdMap)
    }

    /// `--chown`: everything becomes this.
    ///
    /// # Errors
    /// There is nothing to become.
    pub fn all_to(text: &[u8]) -> Result<IdMap, String> {
        Ok(IdMap(vec![Rule { from: From::Ids(0, u32::MAX), to: to_of(text)? }]))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What an id, with its name at the source, is mapped to; `None` where no rule says.
    pub fn map(&self, id: u32, name: Option<&[u8]>) -> Option<&To> {
        let matches = |rule: &&Rule| match &rule.from {
            From::Ids(low, high) => (*low..=*high).contains(&id),
            From::Name(pattern) => name.is_some_and(|name| pattern.matches(name)),
            From::Nameless => name.is_none(),
        };
        self.0.iter().find(matches).map(|rule| &rule.to)
    }

    /// Whether names at the source matter.
    pub fn asks_names(&self) -> bool {
        self.0.iter().any(|rule| !matches!(rule.from, From::Ids(..)))
    }
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn from_of(text: &[u8]) -> Result<From, String> {
    if text.is_empty() {
        return Ok(From::Nameless);
    }
    if text == b"*" {
        return Ok(From::Ids(0, u32::MAX));
    }
    if !text[0].is_ascii_digit() {
        return Ok(From::Name(NamePattern::new(text)));
    }
    let bad = || format!("Bad number in map: {}", String::from_utf8_lossy(text));
    let (low, high) = match text.iter().position(|byte| *byte == b'-') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, text),
    };
    Ok(From::Ids(number(low).ok_or_else(bad)?, number(high).ok_or_else(bad)?))
}

fn to_of(text: &[u8]) -> Result<To, String> {
    match number(text) {
        _ if text.is_empty() => Err("No name found after the colon of a map".to_owned()),
        Some(id) => Ok(To::Id(id)),
        None => Ok(To::Name(text.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let map = IdMap::parse(b"dae*:bin,1-3:7,0:8,:9,*:nobody").expect("a map");
        assert_eq!(map.map(1, Some(b"daemon")), Some(&To::Name(b"bin".to_vec())));
        assert_eq!(map.map(2, Some(b"bin")), Some(&To::Id(7)));
        assert_eq!(map.map(0, Some(b"root")), Some(&To::Id(8)));
        assert_eq!(map.map(50, None), Some(&To::Id(9)));
        assert_eq!(map.map(50, Some(b"x")), Some(&To::Name(b"nobody".to_vec())));
        assert_eq!(IdMap::parse(b"5:6").expect("a map").map(4, None), None);
        assert_eq!(IdMap::all_to(b"4").expect("a map").map(9, None), Some(&To::Id(4)));
    }

    #[test]
    fn what_is_no_map_is_told() {
        for text in ["", "a", "a:", "1-x:2", "99999999999:1", "a:b,,c:d"] {
            assert!(IdMap::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
