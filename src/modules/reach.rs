//! Which modules a script can reach: what it does not name it cannot use, and need not wait for at its start.

use std::collections::HashSet;

/// Modules that are left out unless a script names them or something of theirs that is there unqualified.
pub(super) struct OnDemand {
    /// The module, or the package of modules.
    pub root: &'static str,
    /// What of it scripts may use unqualified.
    pub unqualified: &'static [&'static str],
}

/// Each brings itself only.
pub(super) const SINGLE: [OnDemand; 3] = [
    OnDemand { root: "os", unqualified: &[] },
    OnDemand { root: "random", unqualified: &["Random"] },
    OnDemand { root: "json", unqualified: &["JSONDecodeError"] },
];

/// Each may bring objects of any module, from other processes or from what was saved, so it takes all of them along.
const BRINGS_ALL: [OnDemand; 7] = [
    OnDemand {
        root: "multiprocessing",
        unqualified: &[
            "Process",
            "Pool",
            "ThreadPool",
            "current_process",
            "parent_process",
            "active_children",
            "cpu_count",
            "freeze_support",
            "ProcessError",
            "BufferTooShort",
            "AuthenticationError",
            "JoinableQueue",
            "Pipe",
            "Manager",
            "Value",
            "Array",
            "RawValue",
            "RawArray",
            "RemoteError",
            "MaybeEncodingError",
            "RemoteTraceback",
        ],
    },
    OnDemand {
        root: "concurrent",
        unqualified: &[
            "Future",
            "Executor",
            "ThreadPoolExecutor",
            "ProcessPoolExecutor",
            "Error",
            "CancelledError",
            "BrokenExecutor",
            "InvalidStateError",
            "BrokenThreadPool",
            "BrokenProcessPool",
            "_RemoteTraceback",
        ],
    },
    OnDemand { root: "socket", unqualified: &["gaierror", "herror"] },
    OnDemand {
        root: "subprocess",
        unqualified: &["SubprocessError", "CalledProcessError", "TimeoutExpired", "Popen"],
    },
    OnDemand { root: "signal", unqualified: &[] },
    OnDemand { root: "requests", unqualified: &[] },
    OnDemand { root: "pickle", unqualified: &["PickleError", "UnpicklingError"] },
];

/// Always there.
const ALWAYS: [&str; 6] = ["threading", "queue", "time", "sys", "gil", "io"];

/// With these a script may reach what it does not name: text that it evaluates, functions by computed names.
const DYNAMIC: [&str; 3] = ["eval", "Fn", "globals"];

/// What a script names.
pub(super) struct Reach<'s> {
    words: HashSet<&'s str>,
    is_all: bool,
}

impl<'s> Reach<'s> {
    pub(super) fn of(source: &'s str) -> Self {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words: HashSet<&str> = source.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
        let is_all = DYNAMIC.iter().any(|word| words.contains(word))
            || BRINGS_ALL.iter().any(|module| module.is_named(&words))
            || imports(source).any(|module| !is_known(module));
        Self { words, is_all }
    }

    pub(super) fn all(&self) -> bool {
        self.is_all
    }

    pub(super) fn includes(&self, root: &str) -> bool {
        self.is_all || SINGLE.iter().any(|module| module.root == root && module.is_named(&self.words))
    }
}

impl OnDemand {
    fn is_named(&self, words: &HashSet<&str>) -> bool {
        words.contains(self.root) || self.unqualified.iter().any(|name| words.contains(name))
    }
}

fn is_known(module: &str) -> bool {
    ALWAYS.contains(&module) || SINGLE.iter().chain(&BRINGS_ALL).any(|known| known.root == module)
}

/// The first names of the modules that a script imports: `x` in `import "x"` and `from x.y import z`, and what
/// is no name of a module for an import of something computed.
fn imports(source: &str) -> impl Iterator<Item = &str> {
    let statements = source.split(['\n', ';', '{', '}']);
    statements.filter_map(|statement| {
        let (before, imported) = statement.split_once("import")?;
        let module = match before.split_once("from") {
            Some((_, module)) => module.trim(),
            None => imported.trim_start().strip_prefix(['"', '\'', '`']).unwrap_or("(computed)"),
        };
        let end = module.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(module.len());
        Some(&module[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::realm::Realm;
    use crate::modules;
    use crate::runtime::{GilMode, OnDeadlock, Runtime};

    #[test]
    fn what_a_script_names_is_there() {
        assert!(Reach::of("let p = Process(#{ target: f });").all());
        assert!(Reach::of("import \"socket\" as s; s::socket()").all());
        assert!(Reach::of("import \"my_own_file\" as mine;").all(), "which may name anything");
        assert!(Reach::of("import path as mine;").all());
        assert!(Reach::of("from my_own_file import f;").all());
        assert!(Reach::of("eval(\"1\")").all());
        let threads = Reach::of("from threading import Thread;\nimport 'queue' as q;");
        assert!(!threads.all() && !threads.includes("json"));
        let json = Reach::of("print(json::dumps([1]))");
        assert!(!json.all() && json.includes("json") && !json.includes("os"));
    }

    /// A script that names something unqualified gets it, whichever module defines it.
    #[test]
    fn no_name_is_missed() {
        let runtime = Runtime::new(GilMode::Off, OnDeadlock::Exit, || ());
        let realm = Realm::new(runtime, Box::new(std::io::sink()), Box::new(std::io::sink()), Vec::new());
        let mut missed = Vec::new();
        for module in modules::all(&realm, None) {
            for name in module.unqualified {
                let reached = modules::all(&realm, Some(name));
                if !reached.iter().any(|reached| reached.name == module.name) {
                    missed.push((module.name, name));
                }
            }
        }
        assert!(missed.is_empty(), "not there unqualified: {missed:?}");
    }
}
