//! The one place that decides exit codes: those of rsync(1), "EXIT VALUES", and 255 for what ssh itself would fail with.

use crate::fault::{Cause, Fault, Stage};

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    Ok,
    Syntax,
    Protocol,
    FileSelect,
    Unsupported,
    StartClient,
    SocketIo,
    FileIo,
    StreamIo,
    /// The remote shell could not be run.
    Ipc,
    Signal,
    Partial,
    Vanished,
    MaxDelete,
    Timeout,
    ConnectTimeout,
    /// Connecting, host key or login failed: what ssh exits with, and a wrapper of rsync sees.
    Ssh,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Syntax => 1,
            Exit::Protocol => 2,
            Exit::FileSelect => 3,
            Exit::Unsupported => 4,
            Exit::StartClient => 5,
            Exit::SocketIo => 10,
            Exit::FileIo => 11,
            Exit::StreamIo => 12,
            Exit::Ipc => 14,
            Exit::Signal => 20,
            Exit::Partial => 23,
            Exit::Vanished => 24,
            Exit::MaxDelete => 25,
            Exit::Timeout => 30,
            Exit::ConnectTimeout => 35,
            Exit::Ssh => 255,
        }
    }

    /// rsync's words for the code (errcode.c; `socket IO` and the like as printed by 3.5.0).
    pub const fn text(self) -> &'static str {
        match self {
            Exit::Ok => "success",
            Exit::Syntax => "syntax or usage error",
            Exit::Protocol => "protocol incompatibility",
            Exit::FileSelect => "errors selecting input/output files, dirs",
            Exit::Unsupported => "requested action not supported",
            Exit::StartClient => "error starting client-server protocol",
            Exit::SocketIo => "error in socket IO",
            Exit::FileIo => "error in file IO",
            Exit::StreamIo => "error in data stream",
            Exit::Ipc => "error in IPC code",
            Exit::Signal => "received SIGINT, SIGTERM, or SIGHUP",
            Exit::Partial => "some files/attrs were not transferred (see previous errors)",
            Exit::Vanished => "some files vanished before they could be transferred",
            Exit::MaxDelete => "the --max-delete limit stopped deletions",
            Exit::Timeout => "timeout in data send/receive",
            Exit::ConnectTimeout => "timeout waiting for connection",
            Exit::Ssh => "unexplained error",
        }
    }

    /// The code that belongs to a usage error's number.
    pub fn from_code(code: u8) -> Option<Exit> {
        use Exit::*;
        let all = [
            Ok,
            Syntax,
            Protocol,
            FileSelect,
            Unsupported,
            StartClient,
            SocketIo,
            FileIo,
            StreamIo,
            Ipc,
            Signal,
            Partial,
            Vanished,
            MaxDelete,
            Timeout,
            ConnectTimeout,
            Ssh,
        ];
        all.into_iter().find(|exit| exit.code() == code)
    }

    /// The line that ends a failed run; `None` for success. 24 is only a warning to rsync.
    pub fn line(self) -> Option<String> {
        let word = match self {
            Exit::Ok => return None,
            Exit::Vanished => "warning",
            _ => "error",
        };
        Some(format!("hopsync {word}: {} (code {})", self.text(), self.code()))
    }
}

/// What happened beside the faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// SIGINT, SIGTERM or SIGHUP ended the run.
    pub interrupted: bool,
    /// The far end was reached and logged in to at least once: a lost connection is then a broken stream, not a failed connect.
    pub connected: bool,
    /// A directory could not be listed (and so nothing was deleted below it).
    pub listing_errors: bool,
    /// A source vanished between the listing and the copy.
    pub vanished: bool,
    /// `--max-delete` stopped deletions.
    pub max_delete: bool,
}

/// The exit of a run with these faults, of which none was made good by a retry.
///
/// What ended the run comes first (signal, then the worst fault of a connection), then, as rsync 3.5.0 does (*measured*: a run
/// with a failed file and an exceeded `--max-delete` exits 23), 23 before 24 before 25.
pub fn decide<'a>(faults: impl IntoIterator<Item = &'a Fault>, ended: Ended) -> Exit {
    let mut worst = Exit::Ok;
    let mut consider = |exit: Exit| {
        if rank(exit) > rank(worst) {
            worst = exit;
        }
    };
    if ended.interrupted {
        consider(Exit::Signal);
    }
    if ended.listing_errors {
        consider(Exit::Partial);
    }
    if ended.vanished {
        consider(Exit::Vanished);
    }
    if ended.max_delete {
        consider(Exit::MaxDelete);
    }
    for fault in faults {
        consider(of(fault, ended.connected));
    }
    worst
}

/// What one fault, by itself, ends a run with.
fn of(fault: &Fault, connected: bool) -> Exit {
    match fault.cause {
        Cause::HostKey | Cause::Denied => Exit::Ssh,
        Cause::Config => Exit::Syntax,
        Cause::Vanished => Exit::Vanished,
        Cause::NotFound
        | Cause::Permission
        | Cause::NoSpace
        | Cause::Io
        | Cause::Changed
        | Cause::Mismatch
        | Cause::Unverified
        | Cause::Cancelled
            if fault.stage >= Stage::List =>
        {
            Exit::Partial
        }
        Cause::Timeout if fault.stage <= Stage::Tunnel && !connected => Exit::ConnectTimeout,
        Cause::Timeout => Exit::Timeout,
        _ if fault.stage <= Stage::Tunnel && !connected => Exit::Ssh,
        Cause::Unreachable if fault.stage == Stage::Session => Exit::Ipc,
        Cause::Unreachable => Exit::SocketIo,
        Cause::Lost if fault.stage <= Stage::Tcp => Exit::SocketIo,
        Cause::Lost => Exit::StreamIo,
        Cause::Unsupported if fault.stage >= Stage::List => Exit::Unsupported,
        Cause::Protocol if fault.stage > Stage::Init => Exit::StreamIo,
        Cause::Protocol => Exit::Protocol,
        Cause::Cancelled => Exit::Partial,
        _ if fault.stage <= Stage::Tunnel => Exit::SocketIo,
        _ => Exit::StartClient,
    }
}

/// Higher wins.
fn rank(exit: Exit) -> u8 {
    match exit {
        Exit::Ok => 0,
        Exit::MaxDelete => 1,
        Exit::Vanished => 2,
        Exit::Partial => 3,
        Exit::FileSelect => 4,
        Exit::FileIo => 5,
        Exit::Unsupported => 6,
        Exit::StreamIo => 7,
        Exit::SocketIo => 8,
        Exit::Protocol => 9,
        Exit::StartClient => 10,
        Exit::Ipc => 11,
        Exit::Timeout => 12,
        Exit::ConnectTimeout => 13,
        Exit::Ssh => 14,
        Exit::Syntax => 15,
        Exit::Signal => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(stage: Stage, cause: Cause) -> Fault {
        Fault::new("head", stage, cause, "text")
    }

    fn code(faults: &[Fault], ended: Ended) -> u8 {
        decide(faults, ended).code()
    }

    const BEFORE: Ended =
        Ended { interrupted: false, connected: false, listing_errors: false, vanished: false, max_delete: false };
    const AFTER: Ended = Ended { connected: true, ..BEFORE };

    #[test]
    fn nothing_wrong_is_0_and_no_fault_ever_is() {
        assert_eq!(code(&[], AFTER), 0);
        let causes = [
            Cause::Unreachable,
            Cause::StartLimit,
            Cause::SessionLimit,
            Cause::Lost,
            Cause::Timeout,
            Cause::HostKey,
            Cause::Denied,
            Cause::Protocol,
            Cause::NotFound,
            Cause::Permission,
            Cause::NoSpace,
            Cause::Io,
            Cause::Changed,
            Cause::Vanished,
            Cause::Mismatch,
            Cause::Unverified,
            Cause::Unsupported,
            Cause::Cancelled,
            Cause::Config,
        ];
        for stage in Stage::ALL {
            for cause in causes {
                for ended in [BEFORE, AFTER] {
                    assert_ne!(code(&[fault(stage, cause)], ended), 0, "{stage} {cause:?}");
                }
            }
        }
    }

    #[test]
    fn what_ssh_would_fail_with_is_255() {
        for (stage, cause) in [
            (Stage::Resolve, Cause::Unreachable),
            (Stage::Tcp, Cause::Unreachable),
            (Stage::Banner, Cause::StartLimit),
            (Stage::Kex, Cause::Lost),
            (Stage::HostKey, Cause::HostKey),
            (Stage::Login, Cause::Denied),
            (Stage::Tunnel, Cause::Unreachable),
        ] {
            assert_eq!(code(&[fault(stage, cause)], BEFORE), 255, "{stage} {cause:?}");
        }
        assert_eq!(code(&[fault(Stage::HostKey, Cause::HostKey)], AFTER), 255);
    }

    #[test]
    fn timeouts_are_30_and_35_while_connecting() {
        assert_eq!(code(&[fault(Stage::Tcp, Cause::Timeout)], BEFORE), 35);
        assert_eq!(code(&[fault(Stage::Write, Cause::Timeout)], AFTER), 30);
        assert_eq!(code(&[fault(Stage::Tcp, Cause::Timeout)], AFTER), 30);
        assert_eq!(code(&[fault(Stage::Init, Cause::Timeout)], BEFORE), 30);
    }

    #[test]
    fn a_connection_lost_for_good_is_12_or_10() {
        assert_eq!(code(&[fault(Stage::Write, Cause::Lost)], AFTER), 12);
        assert_eq!(code(&[fault(Stage::Session, Cause::Lost)], AFTER), 12);
        assert_eq!(code(&[fault(Stage::Tcp, Cause::Lost)], AFTER), 10);
        assert_eq!(code(&[fault(Stage::Tcp, Cause::Unreachable)], AFTER), 10);
    }

    #[test]
    fn a_server_without_sftp_is_5_and_one_that_breaks_the_protocol_2_or_12() {
        assert_eq!(code(&[fault(Stage::Subsystem, Cause::Unsupported)], AFTER), 5);
        assert_eq!(code(&[fault(Stage::Session, Cause::SessionLimit)], AFTER), 5);
        assert_eq!(code(&[fault(Stage::Init, Cause::Protocol)], AFTER), 2);
        assert_eq!(code(&[fault(Stage::Read, Cause::Protocol)], AFTER), 12);
    }

    #[test]
    fn failed_files_are_23_then_24_then_25() {
        let failed = fault(Stage::Open, Cause::Permission);
        let vanished = fault(Stage::Open, Cause::Vanished);
        assert_eq!(code(&[failed.clone(), vanished.clone()], Ended { max_delete: true, ..AFTER }), 23);
        assert_eq!(code(std::slice::from_ref(&vanished), Ended { max_delete: true, ..AFTER }), 24);
        assert_eq!(code(&[], Ended { vanished: true, ..AFTER }), 24);
        assert_eq!(code(&[], Ended { max_delete: true, ..AFTER }), 25);
        assert_eq!(code(&[], Ended { listing_errors: true, vanished: true, ..AFTER }), 23);
        assert_eq!(code(&[fault(Stage::Hash, Cause::Mismatch)], AFTER), 23);
        assert_eq!(code(&[fault(Stage::Hash, Cause::Unverified)], AFTER), 23);
    }

    #[test]
    fn a_remote_shell_that_cannot_be_run_is_14() {
        assert_eq!(code(&[fault(Stage::Session, Cause::Unreachable)], BEFORE), 14);
    }

    #[test]
    fn a_signal_beats_all() {
        let lost = fault(Stage::Write, Cause::Lost);
        assert_eq!(code(&[lost], Ended { interrupted: true, ..AFTER }), 20);
    }

    #[test]
    fn the_last_line_is_rsyncs() {
        assert_eq!(Exit::Ok.line(), None);
        assert_eq!(
            Exit::Partial.line().as_deref(),
            Some("hopsync error: some files/attrs were not transferred (see previous errors) (code 23)")
        );
        assert!(Exit::Vanished.line().is_some_and(|line| line.starts_with("hopsync warning: some files vanished")));
        assert_eq!(Exit::from_code(35), Some(Exit::ConnectTimeout));
        assert_eq!(Exit::from_code(99), None);
    }
}
