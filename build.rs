//! Links the command so that its processes are cheap to fork (see `ipc::compact`): its parts can consist of large pages,
//! and, where the system has glibc as an archive, there are no shared libraries, each of which has five areas of memory
//! that every fork copies and every end takes down again.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The libraries with which rustc links a program for glibc, and which archive holds the same.
const LIBRARIES: [(&str, &str); 7] = [
    ("gcc_s", "gcc_eh"),
    ("util", "util"),
    ("rt", "rt"),
    ("pthread", "pthread"),
    ("m", "m"),
    ("dl", "dl"),
    ("c", "c"),
];

/// What Rust's standard library uses if it is there, which alone brings nothing out of an archive. Without the first one
/// the main thread's thread-local values are never dropped.
const WEAK: [&str; 4] =
    ["__cxa_thread_atexit_impl", "gettid", "statx", "posix_spawn_file_actions_addchdir_np"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|is| is == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") {
        return;
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-z,max-page-size=0x200000");
    let is_cross = env::var_os("HOST") != env::var_os("TARGET");
    let is_static = env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|all| all.contains("crt-static"));
    if is("CARGO_CFG_TARGET_ENV", "gnu")
        && !is_cross
        && !is_static
        && let Ok(archives) = archives()
    {
        println!("cargo:rustc-link-arg-bins=-static-pie");
        println!("cargo:rustc-link-arg-bins=-L{}", archives.display());
        println!("cargo:rustc-link-arg-bins=-Wl,--start-group,-lc,-lgcc_s,-lgcc,--end-group");
        for function in WEAK {
            println!("cargo:rustc-link-arg-bins=-Wl,--undefined={function}");
        }
    }
}

/// A folder with the archives of [`LIBRARIES`] under the names of the libraries: the linker takes what it finds first.
/// `cargo` can ask for a static glibc in settings for a whole target only, and not where macros are compiled for it.
fn archives() -> Result<PathBuf, Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("not called by cargo")?);
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| OsString::from("cc"));
    probe(&linker, &out)?;
    let folder = out.join("archives");
    fs::create_dir_all(&folder)?;
    for (library, archive) in LIBRARIES {
        let found = Command::new(&linker).arg(format!("-print-file-name=lib{archive}.a")).output()?;
        let path = PathBuf::from(String::from_utf8(found.stdout)?.trim());
        // What is not found is printed as it was asked for.
        let path = Some(path).filter(|path| path.is_absolute()).ok_or("no such archive")?;
        let link = folder.join(format!("lib{library}.a"));
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(path, link)?;
    }
    Ok(folder)
}

/// Builds a program with such archives, and runs it.
fn probe(linker: &OsString, out: &Path) -> Result<(), Box<dyn Error>> {
    let (source, program) = (out.join("probe.c"), out.join("probe"));
    fs::write(&source, "int main(void) { return 0; }\n")?;
    let built = Command::new(linker).arg("-static-pie").arg("-o").arg(&program).arg(&source).output()?;
    let is_fine = built.status.success() && Command::new(&program).status()?.success();
    if is_fine { Ok(()) } else { Err("no static program".into()) }
}
