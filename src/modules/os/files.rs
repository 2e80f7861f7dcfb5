//! The part of `os` that makes, renames, lists and removes files and directories.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;

use rhai::Dynamic;

use super::path::{current_directory, path_argument, reject_null};
use crate::language::exception::{Exception, Outcome, raise_io};
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::runtime::detached;

/// Adds the functions to the module.
pub(super) fn register(module: &mut NativeModule) {
    for signature in ["remove(path)", "unlink(path)"] {
        module.function(signature, "Removes a file.", |call| on_path(call, |path| fs::remove_file(path)));
    }
    module
        .function(
            "rename(src, dst)",
            "Renames a file or directory; a file that has the new name is replaced.",
            rename,
        )
        .function("replace(src, dst)", "As rename().", rename)
        .function("mkdir(path, mode=0o777)", "Makes a directory.", |call| {
            let mode = call.int_or(1, 0o777)?;
            on_path(call, |path| fs::DirBuilder::new().mode(mode as u32).create(path))
        })
        .function(
            "makedirs(name, mode=0o777, exist_ok=False)",
            "Makes a directory and those above it.",
            |call| {
                let mode = call.int_or(1, 0o777)?;
                let exist_ok = call.bool_or(2, false);
                on_path(call, |path| make_directories(path, mode as u32, exist_ok))
            },
        )
        .function("rmdir(path)", "Removes an empty directory.", |call| {
            on_path(call, |path| fs::remove_dir(path))
        })
        .function(
            "listdir(path='.')",
            "The names of what is in a directory, in no particular order.",
            |call| {
                let path = call.optional_text(0)?.unwrap_or_else(|| ".".into());
                reject_null(&path)?;
                let names = detached(|| list(&path)).map_err(|error| raise_io(&error, Some(&path)))?;
                Ok(Dynamic::from(List::new(names.into_iter().map(Dynamic::from).collect())))
            },
        )
        .function("getcwd()", "The working directory.", |_| {
            Ok(current_directory().map_err(|error| raise_io(&error, None))?.into())
        })
        .function("chdir(path)", "Changes the working directory, of the whole process.", |call| {
            on_path(call, |path| std::env::set_current_dir(path))
        });
}

/// Runs a system call on the path that is the first argument.
fn on_path(call: &mut Call, act: impl FnOnce(&str) -> io::Result<()>) -> Outcome<Dynamic> {
    let path = path_argument(call, 0)?;
    detached(|| act(&path)).map_err(|error| raise_io(&error, Some(&path)))?;
    Ok(Dynamic::UNIT)
}

fn rename(call: &mut Call) -> Outcome<Dynamic> {
    let (from, to) = (path_argument(call, 0)?, path_argument(call, 1)?);
    detached(|| fs::rename(&from, &to)).map_err(|error| {
        let plain = Exception::from_io(&error, None);
        let message = format!("{}: '{from}' -> '{to}'", plain.message());
        let exception = Exception::with_args(plain.class(), message, plain.args().to_vec());
        if let Some(number) = plain.attribute("errno") {
            exception.set_attribute("errno", number);
        }
        exception.set_attribute("filename", from.clone().into());
        exception.set_attribute("filename2", to.clone().into());
        exception
    })?;
    Ok(Dynamic::UNIT)
}

fn make_directories(path: &str, mode: u32, exist_ok: bool) -> io::Result<()> {
    let above = path.trim_end_matches('/').rsplit_once('/').map_or("", |(above, _)| above);
    if !above.is_empty() && fs::metadata(above).is_err() {
        // Only the last directory gets the mode; somebody else may be making the same ones.
        make_directories(above, 0o777, true)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(_) if exist_ok && fs::metadata(path).is_ok_and(|found| found.is_dir()) => Ok(()),
        result => result,
    }
}

fn list(path: &str) -> io::Result<Vec<String>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
