//! Exceptions as values: a class, a message, arguments, a traceback and a cause.

mod arrival;
mod class;
mod from_rhai;
mod traceback;

use std::cell::RefCell;
use std::fmt;
use std::sync::OnceLock;

use rhai::{Dynamic, EvalAltResult, Position};

use crate::language::disposal::Nested;
use crate::language::nesting::{Level, note_cut};
use crate::language::value;
use crate::runtime::Interrupt;
use crate::runtime::sync::{Arc, Mutex};

pub use arrival::{arrived, overtake};
pub use class::{CLASSES, Class};
pub use from_rhai::{exception_of, is_stop};
pub use traceback::{Frame, Traceback, blanks_under, shown_name};

/// What native functions return: a value, or an error that carries an [`Exception`].
pub type Outcome<T> = Result<T, Box<EvalAltResult>>;

struct Data {
    class: &'static Class,
    /// What printing shows, made when it is asked for if it is just that of the arguments.
    message: OnceLock<String>,
    args: Vec<Dynamic>,
    /// Further attributes: `errno`, `exitcode`, …
    attributes: Mutex<Vec<(String, Dynamic)>>,
    traceback: Mutex<Traceback>,
    cause: Mutex<Option<Exception>>,
}

/// A Python exception. Clones are the same exception.
#[derive(Clone)]
pub struct Exception(Arc<Nested<Data>>);

impl fmt::Debug for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repr())
    }
}

impl Exception {
    /// An exception with a message as its one argument, or with none if the message is empty.
    pub fn new(class: &'static Class, message: impl Into<String>) -> Self {
        let message = message.into();
        let args = if message.is_empty() { vec![] } else { vec![message.clone().into()] };
        Self::with_args(class, message, args)
    }

    /// An exception with arguments of its own beside the message that printing it shows.
    pub fn with_args(class: &'static Class, message: impl Into<String>, args: Vec<Dynamic>) -> Self {
        Self(Arc::new(Nested::new(Data {
            class,
            message: message.into().into(),
            args,
            attributes: Mutex::default(),
            traceback: Mutex::default(),
            cause: Mutex::default(),
        })))
    }

    /// An exception as a script makes it, `ValueError(1, 2)`: its arguments are what printing it shows.
    pub fn from_args(class: &'static Class, args: Vec<Dynamic>) -> Self {
        if class.is_subclass_of(Class::known("OSError"))
            && let [number, text, path @ ..] = &args[..]
            && path.len() <= 1
        {
            return Self::of_system_call(class, number, text, path.first());
        }
        Self(Arc::new(Nested::new(Data {
            class,
            message: OnceLock::new(),
            args,
            attributes: Mutex::default(),
            traceback: Mutex::default(),
            cause: Mutex::default(),
        })))
    }

    /// `OSError(2, "No such file or directory", "x")`: of the class that CPython has for the number.
    fn of_system_call(
        class: &'static Class,
        number: &Dynamic,
        text: &Dynamic,
        path: Option<&Dynamic>,
    ) -> Self {
        let class = match number.as_int().ok().and_then(|n| i32::try_from(n).ok()) {
            Some(number) if class.name == "OSError" => {
                Class::known(class_of_io(&std::io::Error::from_raw_os_error(number)))
            }
            _ => class,
        };
        let path = path.filter(|path| !path.is_unit());
        let suffix = path.map(|path| format!(": {}", value::repr(path))).unwrap_or_default();
        let message = format!("[Errno {}] {}{suffix}", value::str(number), value::str(text));
        let exception = Self::with_args(class, message, vec![number.clone(), text.clone()]);
        if let Some(path) = path {
            exception.set_attribute("filename", path.clone());
        }
        exception
    }

    /// An `OSError` or the subclass that CPython has for the error number.
    pub fn from_io(error: &std::io::Error, path: Option<&str>) -> Self {
        let class = Class::known(class_of_io(error));
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let suffix = path.map(|path| format!(": '{path}'")).unwrap_or_default();
        let exception = match error.raw_os_error() {
            Some(number) => Self::numbered(class, number, text, &suffix),
            None => Self::new(class, format!("{text}{suffix}")),
        };
        if let Some(path) = path {
            exception.set_attribute("filename", path.to_string().into());
        }
        exception
    }

    /// An exception whose arguments are a number and its text, as those of OSError are; `suffix` follows in the
    /// message.
    pub fn numbered(class: &'static Class, number: i32, text: &str, suffix: &str) -> Self {
        let args = vec![i64::from(number).into(), text.to_string().into()];
        let exception = Self::with_args(class, format!("[Errno {number}] {text}{suffix}"), args);
        exception.set_attribute("errno", i64::from(number).into());
        exception.set_attribute("strerror", text.to_string().into());
        exception
    }

    /// The class.
    pub fn class(&self) -> &'static Class {
        self.0.class
    }

    /// What printing the exception shows.
    pub fn message(&self) -> &str {
        self.0.message.get_or_init(|| self.message_of_args())
    }

    fn message_of_args(&self) -> String {
        // An exception of an exception of … shows what the inmost one does: a loop, for they may be many.
        let mut inmost = self.clone();
        while let Some(inner) = inmost.only_exception() {
            inmost = inner;
        }
        if let Some(message) = inmost.0.message.get() {
            return message.clone();
        }
        match inmost.args() {
            [] => String::new(),
            [one] if inmost.0.class.name == "KeyError" => value::repr(one),
            [one] => value::str(one),
            many => value::repr_sequence(many, inmost.identity()),
        }
    }

    /// The exception that is the only argument, and thereby all that printing this one shows.
    fn only_exception(&self) -> Option<Self> {
        match self.args() {
            [one] if self.0.message.get().is_none() && self.0.class.name != "KeyError" => {
                one.read_lock::<Self>().map(|inner| inner.clone())
            }
            _ => None,
        }
    }

    /// The arguments it was made with.
    pub fn args(&self) -> &[Dynamic] {
        &self.0.args
    }

    /// The address that tells this exception from others.
    pub fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// A further attribute, such as `errno`.
    pub fn attribute(&self, name: &str) -> Option<Dynamic> {
        self.0.attributes.lock().iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }

    /// All further attributes.
    pub fn attributes(&self) -> Vec<(String, Dynamic)> {
        self.0.attributes.lock().clone()
    }

    /// Sets a further attribute.
    pub fn set_attribute(&self, name: &str, value: Dynamic) {
        let mut attributes = self.0.attributes.lock();
        attributes.retain(|(n, _)| n != name);
        attributes.push((name.to_string(), value));
    }

    /// Where it was raised, outermost call first.
    pub fn traceback(&self) -> Traceback {
        self.0.traceback.lock().clone()
    }

    /// Replaces the traceback if the new one says more.
    pub fn set_traceback(&self, traceback: Traceback) {
        let mut own = self.0.traceback.lock();
        if traceback.len() >= own.len() {
            *own = traceback;
        }
    }

    /// Drops the traceback: the exception came from another process, and is about to be raised in this one.
    pub fn forget_traceback(&self) {
        *self.0.traceback.lock() = Traceback::default();
    }

    /// The exception that this one was raised from.
    pub fn cause(&self) -> Option<Self> {
        self.0.cause.lock().clone()
    }

    /// Says which exception this one was raised from.
    pub fn set_cause(&self, cause: Self) {
        *self.0.cause.lock() = Some(cause);
    }

    /// Is it an instance of `class`?
    pub fn is_instance(&self, class: &Class) -> bool {
        self.0.class.is_subclass_of(class)
    }

    /// `ValueError('bad')`.
    pub fn repr(&self) -> String {
        let Some(_level) = Level::enter() else {
            note_cut();
            return "...".into();
        };
        let args: Vec<String> = self.0.args.iter().map(value::repr).collect();
        format!("{}({})", self.0.class.name, args.join(", "))
    }

    /// The last line of a traceback: `ValueError: bad`.
    pub fn summary(&self) -> String {
        let name = self.0.class.qualified_name();
        if self.message().is_empty() { name } else { format!("{name}: {}", self.message()) }
    }

    /// The exception as an error that a script may catch.
    pub fn into_error(self) -> Box<EvalAltResult> {
        EvalAltResult::ErrorRuntime(Dynamic::from(self), Position::NONE).into()
    }
}

impl From<Exception> for Box<EvalAltResult> {
    fn from(exception: Exception) -> Self {
        exception.into_error()
    }
}

/// An error of the named class, to be returned from a native function.
///
/// # Panics
/// When there is no such class.
pub fn raise(class: &str, message: impl Into<String>) -> Box<EvalAltResult> {
    Exception::new(Class::known(class), message).into_error()
}

/// An error for a failed system call, of the class that CPython has for its number.
pub fn raise_io(error: &std::io::Error, path: Option<&str>) -> Box<EvalAltResult> {
    Exception::from_io(error, path).into_error()
}

/// Marks the error that stops a thread at a safepoint. No script can catch it.
#[derive(Clone, Debug)]
pub struct StopMarker;

thread_local! {
    /// What a call raised that the runtime made in the middle of something else.
    static RAISED: RefCell<Option<Box<EvalAltResult>>> = const { RefCell::new(None) };
}

/// What a pending call returns to the runtime when it fails: the error is kept until [`interrupted`] asks for it.
pub fn raise_later(error: Box<EvalAltResult>) -> Interrupt {
    if is_stop(&error) {
        return Interrupt::Stop;
    }
    // At a safepoint only exceptions can be raised, and no other error of rhai's.
    let error = exception_of(&error, "", "<module>").into_error();
    RAISED.with_borrow_mut(|raised| *raised = Some(error));
    Interrupt::Raised
}

/// What an interrupted wait or computation raises.
pub fn interrupted(interrupt: Interrupt) -> Box<EvalAltResult> {
    match interrupt {
        Interrupt::KeyboardInterrupt => raise("KeyboardInterrupt", ""),
        Interrupt::Raised | Interrupt::Call => {
            let raised = RAISED.with_borrow_mut(Option::take);
            raised.unwrap_or_else(|| raise("InterruptedError", "[Errno 4] Interrupted system call"))
        }
        Interrupt::MemoryExhausted => {
            raise("MemoryError", "one operation may allocate 1024 MiB at most: this one took more")
        }
        Interrupt::StackExhausted => {
            raise("RecursionError", "maximum recursion depth exceeded: the stack is used up")
        }
        Interrupt::Stop => EvalAltResult::ErrorTerminated(Dynamic::from(StopMarker), Position::NONE).into(),
    }
}

/// The exception for a panic in a native function, which is a defect of the native and not of the script.
pub fn panicked(panic: &(dyn std::any::Any + Send)) -> Box<EvalAltResult> {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    raise("RuntimeError", format!("internal error (a panic in a native function): {text}"))
}

fn class_of_io(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound => "FileNotFoundError",
        Kind::PermissionDenied => "PermissionError",
        Kind::AlreadyExists => "FileExistsError",
        Kind::BrokenPipe => "BrokenPipeError",
        Kind::ConnectionRefused => "ConnectionRefusedError",
        Kind::ConnectionReset => "ConnectionResetError",
        Kind::ConnectionAborted => "ConnectionAbortedError",
        Kind::Interrupted => "InterruptedError",
        Kind::IsADirectory => "IsADirectoryError",
        Kind::NotADirectory => "NotADirectoryError",
        Kind::TimedOut => "TimeoutError",
        Kind::WouldBlock => "BlockingIOError",
        _ => match error.raw_os_error() {
            Some(libc::ECHILD) => "ChildProcessError",
            Some(libc::EINPROGRESS | libc::EALREADY) => "BlockingIOError",
            Some(libc::ESHUTDOWN) => "BrokenPipeError",
            Some(libc::ESRCH) => "ProcessLookupError",
            _ => "OSError",
        },
    }
}
