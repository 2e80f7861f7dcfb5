//! What makes Rhai the language of this project: the engine, its statements, values, exceptions, and calls.

pub mod builtins;
pub mod callable;
pub mod cell;
pub mod compiled;
pub mod dict;
pub mod disposal;
pub mod engine;
pub mod exception;
pub mod function;
pub mod generator;
pub mod identity;
pub mod list;
pub mod modules;
pub mod native;
pub mod nesting;
pub mod operators;
pub mod output;
pub mod pointer;
pub mod program;
pub mod realm;
pub mod session;
mod statements;
pub mod text;
mod tokens;
pub mod types;
pub mod value;
pub mod variables;
