//! The SFTP server's core, packet by packet.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::{BufMut, BytesMut};

use super::codec::{Fields, kind, put_packet, put_string};
use super::files::Core;
use super::status::{EOF, FAILURE, NO_SUCH_FILE, OK, UNSUPPORTED};
use super::{Extensions, take_packet};
use crate::lab::server::Config;

/// A core with `home`, past its INIT.
fn core(home: &Path, change: impl FnOnce(&mut Config)) -> io::Result<Core> {
    let key = russh::keys::PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519);
    let mut config = Config::target(key.map_err(io::Error::other)?.public_key().clone(), home.to_owned());
    change(&mut config);
    let mut core = Core::new(&config);
    core.answer(&[kind::INIT, 0, 0, 0, 3], &mut BytesMut::new()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(core)
}

/// Sends one request with id 7; the reply's type and what follows its id.
fn ask(core: &mut Core, request: u8, fill: impl FnOnce(&mut BytesMut)) -> (u8, Vec<u8>) {
    let (mut packet, mut reply) = (BytesMut::new(), BytesMut::new());
    put_packet(&mut packet, request, 7, fill);
    assert_eq!(core.answer(&packet[4..], &mut reply), Some(()));
    let reply = take_packet(&mut reply).flatten().unwrap_or_default();
    let mut fields = Fields(&reply);
    let answer = fields.u8().unwrap_or_default();
    assert_eq!(fields.u32(), Some(7), "the reply carries the request's id");
    (answer, fields.0.to_vec())
}

fn status((answer, rest): (u8, Vec<u8>)) -> u32 {
    assert_eq!(answer, kind::STATUS);
    Fields(&rest).u32().unwrap_or(u32::MAX)
}

fn handle((answer, rest): (u8, Vec<u8>)) -> Vec<u8> {
    assert_eq!(answer, kind::HANDLE);
    Fields(&rest).string().unwrap_or_default().to_vec()
}

/// OPEN with these flags and no attributes.
fn open(core: &mut Core, name: &[u8], flags: u32) -> (u8, Vec<u8>) {
    ask(core, kind::OPEN, |out| {
        put_string(out, name);
        out.put_u64(u64::from(flags) << 32);
    })
}

fn paths<'a>(first: &'a [u8], second: &'a [u8]) -> impl FnOnce(&mut BytesMut) + 'a {
    |out| {
        put_string(out, first);
        put_string(out, second);
    }
}

/// WRITE | CREAT | EXCL.
const NEW: u32 = 2 | 8 | 32;

#[test]
fn names_are_bytes_and_a_listing_gives_them_back() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let mut core = core(home.path(), |_| {})?;
    let name = b"n\xffme\nwith \x80";
    let file = handle(open(&mut core, name, NEW));
    let written = ask(&mut core, kind::WRITE, |out| {
        put_string(out, &file);
        out.put_u64(3);
        put_string(out, b"data");
    });
    assert_eq!(status(written), OK);
    assert_eq!(status(ask(&mut core, kind::CLOSE, |out| put_string(out, &file))), OK);
    assert_eq!(fs::read(home.path().join(OsStr::from_bytes(name)))?, b"\0\0\0data");
    assert_eq!(status(open(&mut core, name, NEW)), FAILURE, "EXCL");

    let dir = handle(ask(&mut core, kind::OPENDIR, |out| put_string(out, b"")));
    let (answer, rest) = ask(&mut core, kind::READDIR, |out| put_string(out, &dir));
    assert_eq!(answer, kind::NAME);
    let mut fields = Fields(&rest);
    let mut names = Vec::new();
    for _ in 0..fields.u32().unwrap_or_default() {
        names.push(fields.string().unwrap_or_default().to_vec());
        let _long = fields.string();
        super::attrs::Attrs::read(&mut fields).ok_or(io::ErrorKind::InvalidData)?;
    }
    assert_eq!(names, [&b"."[..], b"..", name]);
    assert_eq!(status(ask(&mut core, kind::READDIR, |out| put_string(out, &dir))), EOF);
    Ok(())
}

#[test]
fn the_129th_handle_is_no_utf8_and_works() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    fs::write(home.path().join("file"), "content")?;
    let mut core = core(home.path(), |_| {})?;
    let handles: Vec<_> = (0..129).map(|_| handle(open(&mut core, b"file", 1))).collect();
    assert_eq!(handles[128], [0, 0, 0, 0x80]);
    let (answer, rest) = ask(&mut core, kind::READ, |out| {
        put_string(out, &handles[128]);
        out.put_u64(4);
        out.put_u32(100);
    });
    assert_eq!((answer, Fields(&rest).string()), (kind::DATA, Some(&b"ent"[..])));
    Ok(())
}

#[test]
fn only_posix_rename_replaces_and_only_when_offered() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    fs::write(home.path().join("new"), "new")?;
    fs::write(home.path().join("old"), "old")?;
    let posix_rename = |core: &mut Core| {
        ask(core, kind::EXTENDED, |out| {
            put_string(out, b"posix-rename@openssh.com");
            paths(b"new", b"old")(out);
        })
    };
    let mut without = core(home.path(), |config| config.extensions = Extensions::NONE)?;
    assert_eq!(status(ask(&mut without, kind::RENAME, paths(b"new", b"old"))), FAILURE);
    assert_eq!(status(posix_rename(&mut without)), UNSUPPORTED);
    assert_eq!(fs::read(home.path().join("old"))?, b"old");
    assert_eq!(status(posix_rename(&mut core(home.path(), |_| {})?)), OK);
    assert_eq!(fs::read(home.path().join("old"))?, b"new");
    Ok(())
}

#[test]
fn symlink_takes_its_arguments_in_the_order_of_the_server_that_it_claims_to_be() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let mut openssh = core(home.path(), |_| {})?;
    assert_eq!(status(ask(&mut openssh, kind::SYMLINK, paths(b"target", b"link"))), OK);
    let mut other = core(home.path(), |config| config.banner = "SSH-2.0-mod_sftp".into())?;
    assert_eq!(status(ask(&mut other, kind::SYMLINK, paths(b"link2", b"target"))), OK);
    for link in ["link", "link2"] {
        assert_eq!(fs::read_link(home.path().join(link))?, Path::new("target"));
    }
    Ok(())
}

#[test]
fn modes_and_times_are_set_and_a_missing_file_has_its_own_status() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    fs::write(home.path().join("file"), "")?;
    let mut core = core(home.path(), |_| {})?;
    let set = |core: &mut Core, name: &[u8]| {
        status(ask(core, kind::SETSTAT, |out| {
            put_string(out, name);
            out.put_u32(4 | 8);
            out.put_u32(0o100640);
            out.put_u32(1);
            out.put_u32(u32::MAX);
        }))
    };
    assert_eq!(set(&mut core, b"file"), OK);
    let meta = fs::metadata(home.path().join("file"))?;
    assert_eq!((meta.mode() & 0o7777, meta.atime(), meta.mtime()), (0o640, 1, u32::MAX.into()));
    assert_eq!(set(&mut core, b"nothing"), NO_SUCH_FILE);
    Ok(())
}

#[test]
fn what_is_no_packet_ends_the_channel() {
    for length in [0, 256 * 1024 + 1, u32::MAX] {
        let mut input = BytesMut::from(&length.to_be_bytes()[..]);
        assert_eq!(take_packet(&mut input), None);
    }
}
