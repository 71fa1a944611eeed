//! The names of this machine's users and groups, as the system knows them (nsswitch: files, LDAP and so on).

use std::ffi::{CStr, CString};

/// Room for one entry; large groups need more than `sysconf` suggests.
const ROOM: usize = 1 << 20;

pub fn user_name(uid: u32) -> Option<Vec<u8>> {
    with_room(|room| {
        let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: all pointers are to live memory of the lengths given; `found` is null or points to `entry`, whose name
        // lies within `room`.
        unsafe {
            libc::getpwuid_r(uid, entry.as_mut_ptr(), room.as_mut_ptr().cast(), room.len(), &mut found);
            (!found.is_null()).then(|| CStr::from_ptr((*found).pw_name).to_bytes().to_vec())
        }
    })
}

pub fn user_id(name: &[u8]) -> Option<u32> {
    let name = CString::new(name).ok()?;
    with_room(|room| {
        let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: as above; `name` ends with a NUL.
        unsafe {
            libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), room.as_mut_ptr().cast(), room.len(), &mut found);
            (!found.is_null()).then(|| (*found).pw_uid)
        }
    })
}

pub fn group_name(gid: u32) -> Option<Vec<u8>> {
    with_room(|room| {
        let mut entry = std::mem::MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: as above.
        unsafe {
            libc::getgrgid_r(gid, entry.as_mut_ptr(), room.as_mut_ptr().cast(), room.len(), &mut found);
            (!found.is_null()).then(|| CStr::from_ptr((*found).gr_name).to_bytes().to_vec())
        }
    })
}

pub fn group_id(name: &[u8]) -> Option<u32> {
    let name = CString::new(name).ok()?;
    with_room(|room| {
        let mut entry = std::mem::MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: as above; `name` ends with a NUL.
        unsafe {
            libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), room.as_mut_ptr().cast(), room.len(), &mut found);
            (!found.is_null()).then(|| (*found).gr_gid)
        }
    })
}

fn with_room<T>(ask: impl FnOnce(&mut [u8]) -> Option<T>) -> Option<T> {
    ask(&mut vec![0; ROOM])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_the_number_zero() {
        assert_eq!(user_name(0).as_deref().and_then(user_id), Some(0));
        assert_eq!(group_name(0).as_deref().and_then(group_id), Some(0));
        assert_eq!(user_id(b"no such user here"), None);
        assert_eq!(user_id(b"a\0b"), None);
    }
}
