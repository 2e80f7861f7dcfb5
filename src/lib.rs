//! A Rhai interpreter with Python's concurrency library behind an optional global interpreter lock.

mod error;
mod interpreter;
pub mod ipc;
pub mod language;
pub mod modules;
pub mod observe;
pub mod runtime;
mod stats;

pub use error::{Error, SyntaxError};
pub use interpreter::{Builder, Interpreter, InterruptHandle, read_script};
pub use language::exception::Exception;
pub use language::program::Evaluator;
pub use modules::multiprocessing::StartMethod;
pub use runtime::{GilMode, OnDeadlock};
pub use stats::{Stats, ThreadStats};
