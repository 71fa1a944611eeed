//! A line of `--list-only`.

use super::number::human;
use crate::entry::{Kind, Meta};

/// `drwxr-xr-x          4,096 2026/11/22 20:56:22` and a space: what comes before the name. `level` is the `-h` level, `time`
/// the modification time as [`local_time`] gives it.
pub fn columns(meta: &Meta, level: u8, time: &str) -> String {
    // rsync leaves room for the separators, but for plain digits.
    let width = if level > 0 { 14 } else { 11 };
    format!("{} {:>width$} {time} ", permissions(meta), human(meta.size, level))
}

/// As `ls -l` shows it. SFTP does not tell block from character devices once they are a [`Kind`], nor sockets from FIFOs.
pub fn permissions(meta: &Meta) -> String {
    let mut text = String::with_capacity(10);
    text.push(match meta.kind {
        Kind::File => '-',
        Kind::Dir => 'd',
        Kind::Symlink => 'l',
        Kind::Device => 'c',
        Kind::Special => 'p',
    });
    for (shift, special, with, without) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = meta.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (meta.mode & special != 0, bits & 1 != 0) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Seconds since the epoch as `2026/11/22 20:56:22` in the local time zone; the number itself where it is beyond any calendar.
pub fn local_time(seconds: i64) -> String {
    // SAFETY: `tm` is plain data for which all zeroes is a valid value, and `localtime_r` writes only to the one given.
    let tm = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&seconds, &mut tm).is_null() {
            return seconds.to_string();
        }
        tm
    };
    format!(
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02}",
        i64::from(tm.tm_year) + 1900,
        tm.tm_mon + 1,
        tm.tm_mday,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(kind: Kind, mode: u32, size: u64) -> Meta {
        Meta { kind, size, mtime: 0, mtime_nsec: 0, atime: 0, mode, uid: 0, gid: 0, dev: 0, ino: 0, links: 1 }
    }

    #[test]
    fn columns_are_rsyncs() {
        let time = "2026/11/22 20:56:22";
        let line = |meta: &Meta, level| columns(meta, level, time);
        assert_eq!(line(&meta(Kind::Dir, 0o755, 4096), 1), "drwxr-xr-x          4,096 2026/11/22 20:56:22 ");
        assert_eq!(line(&meta(Kind::File, 0o600, 3002), 2), "-rw-------          3.00K 2026/11/22 20:56:22 ");
        assert_eq!(line(&meta(Kind::Symlink, 0o777, 1), 1), "lrwxrwxrwx              1 2026/11/22 20:56:22 ");
        assert_eq!(line(&meta(Kind::Special, 0o644, 0), 0), "prw-r--r--           0 2026/11/22 20:56:22 ");
    }

    #[test]
    fn special_bits_take_the_place_of_x() {
        assert_eq!(permissions(&meta(Kind::File, 0o7777, 0)), "-rwsrwsrwt");
        assert_eq!(permissions(&meta(Kind::File, 0o7666, 0)), "-rwSrwSrwT");
    }

    #[test]
    fn times_are_of_this_time_zone_and_never_panic() {
        assert!(local_time(86_400 * 365).starts_with("197"));
        assert_eq!(local_time(0).len(), 19);
        for odd in [i64::MIN, -1, u32::MAX.into(), i64::MAX] {
            local_time(odd);
        }
    }
}
