//! `os.path`: file names as text, and questions about files.

use std::fs;
use std::io;

use rhai::Dynamic;

use crate::language::exception::{Outcome, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::runtime::detached;

/// A file's name, given as argument `index`.
///
/// # Errors
/// TypeError for anything but text, ValueError for a text with a NUL, which no file's name can have.
pub fn path_argument(call: &mut Call, index: usize) -> Outcome<String> {
    let path = call.text(index)?;
    reject_null(&path)?;
    Ok(path.into())
}

/// # Errors
/// ValueError for a text with a NUL, which no file's name can have.
pub fn reject_null(path: &str) -> Outcome<()> {
    if path.contains('\0') {
        let shown = value::repr(&path.to_string().into());
        return Err(raise("ValueError", format!("embedded null byte in the file name {shown}")));
    }
    Ok(())
}

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("os.path");
    module.constant("sep", "What stands between the parts of a path.", "/");
    names(&mut module);
    files(&mut module);
    module
}

fn names(module: &mut NativeModule) {
    module
        .function("join(path, *paths)", "Puts parts of a path together.", |call| {
            let parts = call.rest(0);
            if parts.is_empty() {
                return Err(raise("TypeError", "join() missing 1 required positional argument: 'a'"));
            }
            let parts = parts.iter().map(part).collect::<Outcome<Vec<String>>>()?;
            Ok(join(&parts).into())
        })
        .function("split(path)", "The directory and the last part of a path.", |call| {
            let path = call.text(0)?;
            Ok(pair(split(&path)))
        })
        .function("splitext(path)", "A path without its extension, and the extension.", |call| {
            let path = call.text(0)?;
            Ok(pair(splitext(&path)))
        })
        .function("basename(path)", "The last part of a path.", |call| {
            Ok(split(&call.text(0)?).1.to_string().into())
        })
        .function("dirname(path)", "The directory of a path.", |call| {
            Ok(split(&call.text(0)?).0.to_string().into())
        })
        .function("isabs(path)", "Does the path start at the root?", |call| {
            Ok(call.text(0)?.starts_with('/').into())
        })
        .function("normpath(path)", "The path without `.`, `..` and doubled separators.", |call| {
            Ok(normpath(&call.text(0)?).into())
        })
        .function("abspath(path)", "The path from the root on.", |call| {
            let path = path_argument(call, 0)?;
            let here = match path.starts_with('/') {
                true => String::new(),
                false => current_directory().map_err(|error| raise_io(&error, None))?,
            };
            Ok(normpath(&join(&[here, path])).into())
        });
}

fn files(module: &mut NativeModule) {
    module
        .function("exists(path)", "Is there such a file or directory?", |call| {
            Ok(inspect(call)?.is_ok().into())
        })
        .function("isfile(path)", "Is it a regular file?", |call| {
            Ok(inspect(call)?.is_ok_and(|found| found.is_file()).into())
        })
        .function("isdir(path)", "Is it a directory?", |call| {
            Ok(inspect(call)?.is_ok_and(|found| found.is_dir()).into())
        })
        .function("getsize(path)", "The size of a file, in bytes.", |call| {
            let path = path_argument(call, 0)?;
            let found = detached(|| fs::metadata(&path)).map_err(|error| raise_io(&error, Some(&path)))?;
            Ok((found.len() as i64).into())
        });
}

/// What the system knows of the file; a name that no file can have is the name of none.
fn inspect(call: &mut Call) -> Outcome<io::Result<fs::Metadata>> {
    let path = call.text(0)?;
    Ok(detached(|| fs::metadata(path.as_str())))
}

fn part(part: &Dynamic) -> Outcome<String> {
    if part.is_string() || part.is_char() {
        return Ok(value::str(part));
    }
    let (kind, shown) = (value::type_name(part), value::repr(part));
    Err(raise("TypeError", format!("join() argument must be str, not '{kind}': {shown}")))
}

fn pair((first, second): (&str, &str)) -> Dynamic {
    Dynamic::from_array(vec![first.to_string().into(), second.to_string().into()])
}

/// The working directory.
pub(super) fn current_directory() -> io::Result<String> {
    Ok(std::env::current_dir()?.to_string_lossy().into_owned())
}

fn join(parts: &[String]) -> String {
    let mut path = String::new();
    for part in parts {
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(part);
    }
    path
}

fn split(path: &str) -> (&str, &str) {
    let (head, tail) = path.split_at(path.rfind('/').map_or(0, |at| at + 1));
    let stripped = head.trim_end_matches('/');
    // A head of nothing but separators is the root.
    (if stripped.is_empty() { head } else { stripped }, tail)
}

fn splitext(path: &str) -> (&str, &str) {
    let start = path.rfind('/').map_or(0, |at| at + 1);
    let name = &path[start..];
    // Dots at the beginning make a hidden file, not an extension.
    let visible = name.len() - name.trim_start_matches('.').len();
    match name.rfind('.').filter(|dot| *dot > visible) {
        Some(dot) => path.split_at(start + dot),
        None => (path, ""),
    }
}

fn normpath(path: &str) -> String {
    // Two separators at the beginning mean something else to POSIX than one or three.
    let root = match path.len() - path.trim_start_matches('/').len() {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if root.is_empty() && parts.last().is_none_or(|last| *last == "..") => parts.push(part),
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let path = format!("{root}{}", parts.join("/"));
    if path.is_empty() { ".".into() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined() {
        let joined = |parts: &[&str]| join(&parts.iter().map(|part| part.to_string()).collect::<Vec<_>>());
        assert_eq!(joined(&["a", "b", "c.txt"]), "a/b/c.txt");
        assert_eq!(joined(&["a/", "/b", "c"]), "/b/c");
        assert_eq!(joined(&["", "b"]), "b");
        assert_eq!(joined(&["a", ""]), "a/");
    }

    #[test]
    fn paths_are_taken_apart() {
        for (path, parts) in [
            ("a/b", ("a", "b")),
            ("/a", ("/", "a")),
            ("//a", ("//", "a")),
            ("a//b/", ("a//b", "")),
            ("a//b", ("a", "b")),
            ("a", ("", "a")),
            ("/", ("/", "")),
        ] {
            assert_eq!(split(path), parts, "{path}");
        }
        for (path, parts) in [
            ("a.txt", ("a", ".txt")),
            ("a.tar.gz", ("a.tar", ".gz")),
            (".bashrc", (".bashrc", "")),
            ("..a.b", ("..a", ".b")),
            ("...", ("...", "")),
            ("d.d/a", ("d.d/a", "")),
            ("a.", ("a", ".")),
        ] {
            assert_eq!(splitext(path), parts, "{path}");
        }
    }

    #[test]
    fn paths_are_normalised() {
        for (path, normal) in [
            ("", "."),
            ("a/../..", ".."),
            ("/../a", "/a"),
            ("//a", "//a"),
            ("///a", "/a"),
            ("a/./b//c/..", "a/b"),
            ("../../a", "../../a"),
        ] {
            assert_eq!(normpath(path), normal, "{path}");
        }
    }
}
