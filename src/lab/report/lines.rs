//! The lines of a run's report (docs/report.md), as far as they are read here. Whatever else a line has is passed over, and
//! so is an event that is not known: a newer hopsync may tell more.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};

/// The longest time that is believed, in seconds: 31 years. What is longer is no measurement, and would make every bin and
/// every axis useless.
pub const LONGEST: f64 = 1e9;

/// What every line has.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    #[serde(deserialize_with = "seconds")]
    pub t: f64,
}

#[derive(Debug, Deserialize)]
pub struct Start<'a> {
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
    #[serde(borrow, default)]
    pub started: Cow<'a, str>,
    #[serde(default)]
    pub job: Job,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Job {
    pub direction: String,
    pub host: Option<String>,
    pub verify: String,
    pub delete: bool,
    pub dry_run: bool,
    pub connections: Option<u64>,
    pub channels: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub struct Fault<'a> {
    #[serde(borrow, default)]
    pub hop: Cow<'a, str>,
    #[serde(borrow, default)]
    pub stage: Cow<'a, str>,
    #[serde(borrow, default)]
    pub cause: Cow<'a, str>,
    #[serde(borrow, default)]
    pub text: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub struct HopConnected<'a> {
    #[serde(flatten, borrow)]
    pub facts: HopFacts<'a>,
    #[serde(default)]
    pub stages: std::collections::BTreeMap<String, Seconds>,
}

#[derive(Debug, Deserialize)]
pub struct HopFacts<'a> {
    #[serde(borrow)]
    pub hop: Cow<'a, str>,
    #[serde(borrow, default)]
    pub via: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub banner: Cow<'a, str>,
    #[serde(borrow, default)]
    pub kex: Cow<'a, str>,
    #[serde(borrow, default)]
    pub cipher: Cow<'a, str>,
    #[serde(borrow, default)]
    pub method: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub struct Shared<'a> {
    #[serde(default)]
    pub waited: Seconds,
    #[serde(borrow, default)]
    pub hops: Vec<HopFacts<'a>>,
}

/// A channel opened or closed.
#[derive(Debug, Deserialize)]
pub struct Channel<'a> {
    #[serde(borrow)]
    pub hop: Cow<'a, str>,
    #[serde(default)]
    pub lane: u32,
    pub channel: u32,
    pub elapsed: Option<Seconds>,
}

#[derive(Debug, Deserialize)]
pub struct LimitFound<'a> {
    #[serde(borrow)]
    pub hop: Cow<'a, str>,
    pub sessions: u64,
    #[serde(default)]
    pub files: u64,
    #[serde(default)]
    pub hashing: u64,
}

#[derive(Debug, Deserialize)]
pub struct HasherChosen<'a> {
    #[serde(borrow)]
    pub hop: Cow<'a, str>,
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    #[serde(borrow, default)]
    pub detail: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub struct ServerText<'a> {
    #[serde(borrow)]
    pub hop: Cow<'a, str>,
    #[serde(borrow, default)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub text: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub struct Drop<'a> {
    #[serde(borrow, default)]
    pub what: Cow<'a, str>,
    #[serde(borrow)]
    pub fault: Fault<'a>,
}

#[derive(Debug, Deserialize)]
pub struct Failure<'a> {
    #[serde(borrow)]
    pub fault: Fault<'a>,
}

#[derive(Debug, Deserialize)]
pub struct Planned {
    pub file: u64,
    pub size: u64,
}

#[derive(Debug, Deserialize)]
pub struct Attempt<'a> {
    pub file: u64,
    pub number: u64,
    #[serde(default)]
    pub bytes: u64,
    #[serde(default)]
    pub matched: u64,
    #[serde(default)]
    pub elapsed: Seconds,
    #[serde(default)]
    pub waited: Seconds,
    #[serde(borrow, default)]
    pub fault: Option<Fault<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct Class<'a> {
    pub file: u64,
    #[serde(borrow)]
    pub class: Cow<'a, str>,
    #[serde(borrow, default)]
    pub by: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub fault: Option<Fault<'a>>,
}

/// The path of a line that has one: a string, or `{"bytes": hexadecimal}`.
#[derive(Debug, Deserialize)]
pub struct WithPath {
    pub path: Option<serde_json::Value>,
}

impl WithPath {
    /// As it may be shown, once it is escaped for what shows it.
    pub fn shown(&self) -> Option<String> {
        match self.path.as_ref()? {
            serde_json::Value::String(text) => Some(text.clone()),
            other => other.get("bytes")?.as_str().map(|hex| format!("bytes {hex}")),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Summary {
    pub elapsed: Seconds,
    pub planned: u64,
    pub verified: u64,
    pub sent: u64,
    pub unchanged: u64,
    pub skipped: u64,
    pub failed: u64,
    pub planned_bytes: u64,
    pub verified_bytes: u64,
    pub sent_bytes: u64,
    pub unchanged_bytes: u64,
    pub skipped_bytes: u64,
    pub failed_bytes: u64,
    pub channels_max: u64,
    pub miscounted: Option<String>,
}

/// A time or a duration that can be believed.
#[derive(Debug, Default, Clone, Copy, PartialEq, PartialOrd)]
pub struct Seconds(pub f64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Seconds, D::Error> {
        seconds(from).map(Seconds)
    }
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if (0.0..=LONGEST).contains(&value) {
        return Ok(value);
    }
    Err(de::Error::custom(format!("{value:e} is no time: seconds from 0 to {LONGEST:e} are")))
}

/// Seconds since 1970 of `2026-02-28T23:59:59Z`, with or without a fraction.
pub fn epoch(text: &str) -> Option<f64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (time.next()?.parse::<u32>().ok()?, time.next()?.parse::<u32>().ok()?);
    let second = time.next()?.parse::<f64>().ok()?;
    let sound = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sound || hour > 24 || minute > 60 || !(0.0..=61.0).contains(&second) {
        return None;
    }
    // Howard Hinnant, "chrono-compatible low-level date algorithms", days_from_civil: years begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
    Some((days * 86_400) as f64 + f64::from(hour * 3600 + minute * 60) + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_what_the_ledger_writes() {
        for (seconds, text) in [(0, "1970-01-01T00:00:00Z"), (951_782_399, "2000-02-28T23:59:59Z")] {
            assert_eq!(epoch(text), Some(f64::from(seconds)));
        }
        assert_eq!(epoch("2100-03-01T00:00:00.25Z"), Some(4_107_542_400.25));
        for wrong in ["", "Z", "2100-03-01", "2100-03-01T00:00Z", "2100-13-01T00:00:00Z", "2100-03-01T00:00:NaNZ"] {
            assert_eq!(epoch(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_is_refused() {
        assert!(serde_json::from_str::<Head>(r#"{"event":"x","t":1.5}"#).is_ok());
        for t in ["-1", "1e10", "\"1\"", "null"] {
            assert!(serde_json::from_str::<Head>(&format!(r#"{{"event":"x","t":{t}}}"#)).is_err(), "{t}");
        }
    }
}
