//! Places in a script, and the names of objects in reports.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use super::sync::{Arc, Mutex};

/// A line of a script, for reports. Line 0 stands for "not known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The script's name as it was given, empty for a line that was typed in.
    pub file: &'static str,
    /// The line, from 1 on.
    pub line: u32,
}

/// The names of scripts, each kept once and for ever: there are few, and a site must cost nothing to copy.
static FILES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

thread_local! {
    static LAST: Cell<&'static str> = const { Cell::new("") };
}

fn intern(file: &str) -> &'static str {
    let last = LAST.get();
    if last == file {
        return last;
    }
    let mut files = FILES.lock();
    let files = files.get_or_insert_default();
    let known = files.get(file).copied().unwrap_or_else(|| {
        let kept: &'static str = Box::leak(file.into());
        files.insert(kept);
        kept
    });
    LAST.set(known);
    known
}

impl Site {
    /// A line of a script.
    pub fn new(file: &str, line: u32) -> Self {
        Self { file: intern(file), line }
    }

    /// Is the line known?
    pub fn is_known(self) -> bool {
        self.line > 0
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file, self.line) {
            (_, 0) => f.write_str("an unknown line"),
            ("", line) => write!(f, "line {line}"),
            (file, line) => write!(f, "{file}, line {line}"),
        }
    }
}

/// What a report calls an object: its class, the variable it was first given to, and where it was made.
#[derive(Clone, Debug, Default)]
pub struct Label {
    /// `Lock`, `Queue`, …
    pub class: &'static str,
    /// The variable, if the script gave the object to one.
    pub name: Option<Arc<str>>,
    /// Where it was made.
    pub made: Site,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class)?;
        if let Some(name) = &self.name {
            write!(f, " `{name}`")?;
        }
        if self.made.is_known() {
            write!(f, " (made at {})", self.made)?;
        }
        Ok(())
    }
}
