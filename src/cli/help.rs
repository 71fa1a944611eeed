//! `--help` and `--version`, in rsync's arrangement.

use super::table::ROWS;

/// The column of rsync's help texts.
const COLUMN: usize = 25;

pub fn usage() -> &'static str {
    "Usage: hopsync [OPTION]... SRC [SRC]... DEST
  or   hopsync [OPTION]... SRC [SRC]... [USER@]HOST:DEST
  or   hopsync [OPTION]... [USER@]HOST:SRC [DEST]
The ':' usages connect over SSH (-e gives the route, as it does for rsync) and move the files
by SFTP: many channels on one connection, each file verified by hash.
"
}

pub fn help() -> String {
    let mut text = format!("{}\n{}\nOptions\n", version(), usage());
    for row in ROWS.iter().filter(|row| !row.help.is_empty()) {
        let value = row.value.map(|value| format!("={value}")).unwrap_or_default();
        let spelled = match (row.long, row.short) {
            ("", Some(short)) => format!("-{short}"),
            (long, Some(short)) => format!("--{long}{value}, -{short}"),
            (long, None) => format!("--{long}{value}"),
        };
        let spelled = if row.long == "help" { "--help, -h (*)".to_owned() } else { spelled };
        text.push_str(&format!("{spelled:<width$}{}\n", row.help, width = COLUMN.max(spelled.len() + 1)));
        if row.long == "archive" {
            text.push_str(&format!("{:<COLUMN$}{}\n", "--no-OPTION", "turn off an implied OPTION (e.g. --no-D)"));
        }
    }
    text.push_str("\nOptions of rsync that are not listed here are refused by name, never ignored.\n");
    text
}

pub fn version() -> String {
    format!(
        "hopsync  version {}\nMoves files over SSH through a bastion as rsync does, and proves that they arrived.\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// `-VV`: what is supported, as JSON with rsync's keys.
pub fn capabilities() -> String {
    let capabilities = [
        ("symlinks", true),
        ("symtimes", true),
        ("hardlinks", true),
        ("hardlink_specials", false),
        ("hardlink_symlinks", false),
        ("IPv6", true),
        ("atimes", true),
        ("batchfiles", false),
        ("inplace", true),
        ("append", true),
        ("ACLs", false),
        ("xattrs", false),
        ("iconv", false),
        ("prealloc", false),
        ("stop_at", true),
        ("crtimes", false),
    ];
    let capabilities: serde_json::Map<String, serde_json::Value> =
        capabilities.into_iter().map(|(name, has)| (name.to_owned(), has.into())).collect();
    let all = serde_json::json!({
        "program": "hopsync",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": "SFTP 3",
        "capabilities": capabilities,
        "checksum_list": ["blake3", "sha256"],
        "compress_list": ["zlib", "none"],
        "options": ROWS.iter().filter(|row| !row.long.is_empty()).map(|row| row.long).collect::<Vec<_>>(),
        "license": env!("CARGO_PKG_LICENSE"),
    });
    format!("{all:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_has_a_line_at_rsyncs_column() {
        let text = help();
        for line in [
            "--verbose, -v            increase verbosity",
            "-D                       same as --devices --specials",
            "--rsh=COMMAND, -e        specify the remote shell to use",
            "--help, -h (*)           show this help (* -h is help only on its own)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(version().starts_with("hopsync  version "));
        let told: serde_json::Value = serde_json::from_str(&capabilities()).expect("is JSON");
        assert_eq!(told["capabilities"]["hardlinks"], true);
    }
}
