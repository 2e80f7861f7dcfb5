//! What the script tests and the lesson tests share: reading a script's declarations, running it, and checking
//! what it did. A test is a `.rhai` file; there is no Rust to write for one.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod expectations;
pub mod lesson_table;
pub mod run;

use std::path::{Path, PathBuf};

/// The `.rhai` files below `folder`, in order.
pub fn scripts_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rhai") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
