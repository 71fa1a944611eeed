//! Sentences: what befell files, in words that somebody understands who does not know the stages.

use super::tally::{Row, Tally};
use super::units::{count, counted};

/// Places named in a sentence; the others are counted together.
const NAMED: usize = 4;

/// What happened at a place, as it goes on after a number: `dropped by head's start limit before its banner (start-limit)`.
pub fn befell(row: &Row) -> String {
    let (hop, stage, cause) = (&row.place.hop, row.place.stage.as_str(), row.place.cause.as_str());
    let at = |what: &str| match hop.as_str() {
        "unknown" => what.to_owned(),
        "local" => format!("{what} on this machine"),
        hop => format!("{what} at {hop}"),
    };
    let told = match (stage, cause) {
        ("unknown", "unknown") if hop == "unknown" => return "for a cause that is not known".to_owned(),
        (_, "start-limit") => format!("dropped by {hop}'s start limit before its banner"),
        (_, "session-limit") => format!("refused by {hop}'s session limit"),
        (_, "lost") => format!("cut off from {hop}{}", during(stage)),
        (_, "timeout") => format!("{}{}", at("timed out"), during(stage)),
        (_, "unknown") => format!("for an unknown cause{}{}", if hop == "unknown" { "" } else { " at " }, known(hop)),
        (_, "permission") => format!("{}{}", at("refused for want of permission"), during(stage)),
        (_, "denied") => at("refused at login"),
        (_, "cancelled") => "left because the run was stopped".to_owned(),
        (_, cause) => format!("{}{}", at(&cause.replace('-', " ")), during(stage)),
    };
    format!("{told} ({cause})")
}

fn known(hop: &str) -> &str {
    if hop == "unknown" { "" } else { hop }
}

fn during(stage: &str) -> String {
    let told = match stage {
        "unknown" | "" => return String::new(),
        "resolve" => "while its name was looked up",
        "tcp" => "while connecting",
        "banner" => "before its banner",
        "kex" => "during key exchange",
        "host-key" => "at its host key",
        "login" => "at login",
        "tunnel" => "while the tunnel was opened",
        "session" => "while a session was opened",
        "subsystem" | "init" => "while SFTP was started",
        "list" => "while listing",
        "open" => "when the file was opened",
        "read" => "while reading",
        "write" => "while writing",
        "close" => "when the file was closed",
        "hash" => "while hashing",
        "rename" => "when it was given its name",
        "attributes" => "when attributes were set",
        other => return format!(" at {other}"),
    };
    format!(" {told}")
}

/// `312 dropped by …, 25 lost …`: every lost file is in it.
pub fn losses(tally: &Tally) -> String {
    let rows: Vec<&Row> = tally.sorted().into_iter().filter(|row| row.lost > 0).collect();
    let named = if rows.len() > NAMED { NAMED - 1 } else { NAMED };
    let mut parts: Vec<String> =
        rows.iter().take(named).map(|row| format!("{} {}", count(row.lost), befell(row))).collect();
    let others: u64 = rows.iter().skip(named).map(|row| row.lost).sum();
    if others > 0 {
        parts.push(format!("{} for {} other causes", count(others), rows.len() - named));
    }
    parts.join(", ")
}

/// `3 drops were overcome: 2 at …`; nothing if there were none.
pub fn overcome(tally: &Tally) -> Option<String> {
    let mut rows: Vec<&Row> = tally.rows().iter().filter(|row| row.drops() > 0).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.drops()));
    let most = rows.first()?;
    let all = tally.drops();
    let were = if all == 1 { "was" } else { "were" };
    let chief = match rows.len() {
        1 => befell(most),
        _ => format!("{} {}, and others", count(most.drops()), befell(most)),
    };
    Some(format!("{} {were} tried again and overcome: {chief}.", counted(all, "drop")))
}

/// `337 of 400 files did not arrive: …`, or that all did.
pub fn arrived(lost: u64, of: u64, tally: &Tally) -> String {
    match (lost, of) {
        (0, 0) => "There was nothing to move.".to_owned(),
        (0, 1) => "The one file arrived.".to_owned(),
        (0, of) => format!("All {} arrived.", counted(of, "file")),
        (lost, of) => format!("{} of {} did not arrive: {}.", count(lost), counted(of, "file"), losses(tally)),
    }
}

/// `a, b and c`.
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::report::tally::{Kind, Place};

    fn tally(rows: &[(&str, &str, &str, Kind, u64)]) -> Tally {
        let mut tally = Tally::default();
        for (hop, stage, cause, kind, times) in rows {
            let row = tally.row(Place::new(hop, stage, cause));
            tally.add(row, *kind, *times, "");
        }
        tally
    }

    #[test]
    fn a_sentence_says_what_happened() {
        let tally = tally(&[
            ("user-container", "write", "lost", Kind::Lost, 25),
            ("head", "banner", "start-limit", Kind::Lost, 312),
            ("head", "banner", "start-limit", Kind::Connection, 7),
        ]);
        let expected = "337 of 400 files did not arrive: 312 dropped by head's start limit before its banner (start-limit), \
                        25 cut off from user-container while writing (lost).";
        assert_eq!(arrived(337, 400, &tally).replace('\u{a0}', " "), expected);
        let expected =
            "7 drops were tried again and overcome: dropped by head's start limit before its banner (start-limit).";
        assert_eq!(overcome(&tally).map(|text| text.replace('\u{a0}', " ")).as_deref(), Some(expected));
    }

    #[test]
    fn every_lost_file_is_in_it_however_many_causes_there_are() {
        let causes = ["a", "b", "c", "d", "e", "f"].map(|cause| ("head", "kex", cause, Kind::Lost, 2));
        let text = losses(&tally(&causes));
        assert!(text.ends_with("6 for 3 other causes"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_called_so() {
        let text = losses(&tally(&[("unknown", "unknown", "unknown", Kind::Lost, 3)]));
        assert_eq!(text, "3 for a cause that is not known");
    }
}
