//! `setsockopt` and `getsockopt`, for any option: numbers or bytes go to the system as they are.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an option to the bytes of its value.
///
/// # Errors
/// The system's.
pub fn set(fd: BorrowedFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the system reads `length` bytes from `value`, which are there, and keeps no pointer.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The bytes of an option's value, `size` at most.
///
/// # Errors
/// The system's.
pub fn get(fd: BorrowedFd, level: i32, option: i32, size: usize) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; size];
    let mut length = libc::socklen_t::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the system writes no more than `length` bytes to `value`, which has that many, and the number
    // that it wrote to `length`.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, value.as_mut_ptr().cast(), &mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    value.truncate(length as usize);
    Ok(value)
}
