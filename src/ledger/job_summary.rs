//! The job as the report's first line tells it: never the command line itself, which may name keys and passwords.

use crate::job::{Job, Place, Verify};

/// What a run was asked to do, in a few fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct JobSummary {
    /// `push`, `pull` or `local`; empty if the ledger was told nothing.
    pub direction: &'static str,
    /// The host of the operand, without its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Count of source operands.
    pub sources: usize,
    /// `auto`, `readback` or `off`.
    pub verify: &'static str,
    pub delete: bool,
    pub dry_run: bool,
    pub connections: usize,
    /// The cap on channels, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
}

impl From<&Job> for JobSummary {
    fn from(job: &Job) -> JobSummary {
        let host = |place: &Place| match place {
            Place::Remote { login, .. } => Some(login.host.clone()),
            Place::Local(_) => None,
        };
        let from = job.sources.iter().find_map(host);
        let to = job.dest.as_ref().and_then(host);
        let o = &job.options;
        JobSummary {
            direction: match (&from, &to) {
                (_, Some(_)) => "push",
                (Some(_), None) => "pull",
                (None, None) => "local",
            },
            host: to.or(from),
            sources: job.sources.len(),
            verify: match o.verify {
                Verify::Auto => "auto",
                Verify::Readback => "readback",
                Verify::Off => "off",
            },
            delete: o.delete.enabled,
            dry_run: o.dry_run,
            connections: o.connections,
            channels: o.channels,
        }
    }
}
