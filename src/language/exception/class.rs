//! The exception classes and their hierarchy, which is CPython's.

use std::fmt;

/// An exception class: its name, the module that defines it, and its parent.
#[derive(Debug, PartialEq, Eq)]
pub struct Class {
    /// `ValueError`.
    pub name: &'static str,
    /// The Python module: `builtins`, `queue`, `threading`, …
    pub module: &'static str,
    /// The parent's name, nothing for `BaseException`. Where several modules have a class of that name, the parent
    /// is the one of the same module, or else that of `builtins`; `json.JSONDecodeError` says which.
    pub parent: Option<&'static str>,
    /// The second parent's name, of the few that have one.
    pub second_parent: Option<&'static str>,
}

const fn builtin(name: &'static str, parent: &'static str) -> Class {
    Class { name, module: "builtins", parent: Some(parent), second_parent: None }
}

const fn of(module: &'static str, name: &'static str, parent: &'static str) -> Class {
    Class { name, module, parent: Some(parent), second_parent: None }
}

const fn of_two(
    module: &'static str,
    name: &'static str,
    parent: &'static str,
    second: &'static str,
) -> Class {
    Class { name, module, parent: Some(parent), second_parent: Some(second) }
}

const REQUESTS: &str = "requests.exceptions";

/// Every class that exists, those of `builtins` first.
pub static CLASSES: &[Class] = &[
    Class { name: "BaseException", module: "builtins", parent: None, second_parent: None },
    builtin("Exception", "BaseException"),
    builtin("KeyboardInterrupt", "BaseException"),
    builtin("SystemExit", "BaseException"),
    builtin("ArithmeticError", "Exception"),
    builtin("OverflowError", "ArithmeticError"),
    builtin("ZeroDivisionError", "ArithmeticError"),
    builtin("AssertionError", "Exception"),
    builtin("AttributeError", "Exception"),
    builtin("BufferError", "Exception"),
    builtin("EOFError", "Exception"),
    builtin("ImportError", "Exception"),
    builtin("ModuleNotFoundError", "ImportError"),
    builtin("LookupError", "Exception"),
    builtin("IndexError", "LookupError"),
    builtin("KeyError", "LookupError"),
    builtin("MemoryError", "Exception"),
    builtin("NameError", "Exception"),
    builtin("OSError", "Exception"),
    builtin("BlockingIOError", "OSError"),
    builtin("ChildProcessError", "OSError"),
    builtin("ConnectionError", "OSError"),
    builtin("BrokenPipeError", "ConnectionError"),
    builtin("ConnectionAbortedError", "ConnectionError"),
    builtin("ConnectionRefusedError", "ConnectionError"),
    builtin("ConnectionResetError", "ConnectionError"),
    builtin("FileExistsError", "OSError"),
    builtin("FileNotFoundError", "OSError"),
    builtin("InterruptedError", "OSError"),
    builtin("IsADirectoryError", "OSError"),
    builtin("NotADirectoryError", "OSError"),
    builtin("PermissionError", "OSError"),
    builtin("ProcessLookupError", "OSError"),
    builtin("TimeoutError", "OSError"),
    builtin("RuntimeError", "Exception"),
    builtin("NotImplementedError", "RuntimeError"),
    builtin("RecursionError", "RuntimeError"),
    builtin("StopIteration", "Exception"),
    builtin("SyntaxError", "Exception"),
    builtin("TypeError", "Exception"),
    builtin("ValueError", "Exception"),
    builtin("UnicodeError", "ValueError"),
    builtin("UnicodeDecodeError", "UnicodeError"),
    builtin("UnicodeEncodeError", "UnicodeError"),
    of_two("io", "UnsupportedOperation", "OSError", "ValueError"),
    of("json", "JSONDecodeError", "ValueError"),
    of("pickle", "PickleError", "Exception"),
    of("pickle", "UnpicklingError", "PickleError"),
    of("queue", "Empty", "Exception"),
    of("queue", "Full", "Exception"),
    of("socket", "gaierror", "OSError"),
    of("socket", "herror", "OSError"),
    of("subprocess", "SubprocessError", "Exception"),
    of("subprocess", "CalledProcessError", "SubprocessError"),
    of("subprocess", "TimeoutExpired", "SubprocessError"),
    of("threading", "BrokenBarrierError", "RuntimeError"),
    of("multiprocessing", "ProcessError", "Exception"),
    of("multiprocessing", "BufferTooShort", "ProcessError"),
    of("multiprocessing", "AuthenticationError", "ProcessError"),
    of("multiprocessing", "TimeoutError", "ProcessError"),
    of("multiprocessing.pool", "MaybeEncodingError", "Exception"),
    of("multiprocessing.pool", "RemoteTraceback", "Exception"),
    of("multiprocessing.managers", "RemoteError", "Exception"),
    of("concurrent.futures", "Error", "Exception"),
    of("concurrent.futures", "CancelledError", "Error"),
    of("concurrent.futures", "BrokenExecutor", "RuntimeError"),
    of("concurrent.futures", "InvalidStateError", "Error"),
    of("concurrent.futures.process", "BrokenProcessPool", "BrokenExecutor"),
    of("concurrent.futures.process", "_RemoteTraceback", "Exception"),
    of("concurrent.futures.thread", "BrokenThreadPool", "BrokenExecutor"),
    of(REQUESTS, "RequestException", "OSError"),
    of(REQUESTS, "ConnectionError", "RequestException"),
    of(REQUESTS, "Timeout", "RequestException"),
    of_two(REQUESTS, "ConnectTimeout", "ConnectionError", "Timeout"),
    of(REQUESTS, "ReadTimeout", "Timeout"),
    of(REQUESTS, "HTTPError", "RequestException"),
    of(REQUESTS, "ChunkedEncodingError", "RequestException"),
    of(REQUESTS, "ContentDecodingError", "RequestException"),
    of_two(REQUESTS, "InvalidHeader", "RequestException", "ValueError"),
    of(REQUESTS, "InvalidJSONError", "RequestException"),
    of_two(REQUESTS, "JSONDecodeError", "InvalidJSONError", "json.JSONDecodeError"),
    of_two(REQUESTS, "InvalidSchema", "RequestException", "ValueError"),
    of_two(REQUESTS, "InvalidURL", "RequestException", "ValueError"),
    of_two(REQUESTS, "MissingSchema", "RequestException", "ValueError"),
    of(REQUESTS, "TooManyRedirects", "RequestException"),
    of(REQUESTS, "URLRequired", "RequestException"),
];

impl Class {
    /// The class that is called `name` in any module, that of `builtins` if several are.
    pub fn named(name: &str) -> Option<&'static Self> {
        CLASSES.iter().find(|class| class.name == name)
    }

    /// The class `name` of `module`, `builtins` included.
    pub fn in_module(module: &str, name: &str) -> Option<&'static Self> {
        CLASSES.iter().find(|class| class.name == name && class.module == module)
    }

    /// A class that is known to exist.
    ///
    /// # Panics
    /// When it does not: the name is one written in this crate.
    pub fn known(name: &str) -> &'static Self {
        Self::named(name).unwrap_or_else(|| panic!("no exception class {name}"))
    }

    /// The class this one derives from.
    pub fn parent(&self) -> Option<&'static Self> {
        self.parent.map(|name| self.find(name))
    }

    /// The class that this one means by the name of a parent.
    fn find(&self, name: &str) -> &'static Self {
        match name.rsplit_once('.') {
            Some((module, name)) => Self::in_module(module, name).unwrap_or_else(|| Self::known(name)),
            None => Self::in_module(self.module, name).unwrap_or_else(|| Self::known(name)),
        }
    }

    /// Is this `ancestor` or derived from it?
    pub fn is_subclass_of(&'static self, ancestor: &Self) -> bool {
        let mut class = Some(self);
        while let Some(at) = class {
            if at == ancestor {
                return true;
            }
            if at.second_parent.is_some_and(|name| at.find(name).is_subclass_of(ancestor)) {
                return true;
            }
            class = at.parent();
        }
        false
    }

    /// The name as tracebacks show it: `ValueError`, `queue.Empty`, `multiprocessing.context.TimeoutError`.
    pub fn qualified_name(&self) -> String {
        match self.module {
            "builtins" => self.name.to_string(),
            // CPython's queue module takes Empty from its C half.
            "queue" if self.name == "Empty" => "_queue.Empty".to_string(),
            "json" => format!("json.decoder.{}", self.name),
            "concurrent.futures" => format!("concurrent.futures._base.{}", self.name),
            "multiprocessing" => format!("multiprocessing.context.{}", self.name),
            module => format!("{module}.{}", self.name),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parent_exists() {
        for class in CLASSES {
            if let Some(parent) = class.parent {
                assert!(Class::named(parent).is_some(), "{} has no parent {parent}", class.name);
                assert!(class.parent() != Some(class), "{} is its own parent", class.name);
            }
            assert!(class.is_subclass_of(Class::known("BaseException")), "{}", class.name);
        }
    }

    #[test]
    fn hierarchy_is_that_of_cpython() {
        let is = |a: &str, b: &str| Class::known(a).is_subclass_of(Class::known(b));
        assert!(is("ConnectionRefusedError", "OSError"));
        assert!(is("BrokenThreadPool", "RuntimeError"));
        assert!(is("BufferTooShort", "ProcessError"));
        assert!(is("Empty", "Exception"));
        assert!(is("UnsupportedOperation", "OSError") && is("UnsupportedOperation", "ValueError"));
        assert!(is("JSONDecodeError", "ValueError"));
        assert_eq!(Class::known("JSONDecodeError").qualified_name(), "json.decoder.JSONDecodeError");
        assert!(!is("KeyboardInterrupt", "Exception"));
        let of_requests = |name| Class::in_module("requests.exceptions", name).unwrap();
        let timeout = of_requests("ConnectTimeout");
        assert!(timeout.is_subclass_of(of_requests("ConnectionError")));
        assert!(timeout.is_subclass_of(of_requests("Timeout")));
        assert!(timeout.is_subclass_of(Class::known("OSError")));
        assert!(!timeout.is_subclass_of(Class::known("ConnectionError")), "the builtin one");
        assert!(of_requests("JSONDecodeError").is_subclass_of(Class::known("JSONDecodeError")));
        assert!(of_requests("JSONDecodeError").is_subclass_of(of_requests("RequestException")));
        assert!(!is("Exception", "KeyError"));
        assert!(
            Class::in_module("multiprocessing", "TimeoutError")
                .is_some_and(|c| !c.is_subclass_of(Class::known("OSError")))
        );
    }
}
