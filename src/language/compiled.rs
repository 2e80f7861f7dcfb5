//! A thread's function called on the bytecode machine itself.
//!
//! `FnPtr::call_raw` reaches a compiled function through two layers that keep some 3.5 KB on the stack for as
//! long as it runs. A thread that sleeps in its function needs little more than that altogether, and ten thousand
//! of them are worth the short cut. It is taken only where both ways lead to the same function: the libraries that
//! the call would search have one function of that name, and the script file that made it is compiled.

use std::collections::HashMap;
use std::mem::discriminant;

use rhai::grain::{SharedProgram, Vm};
use rhai::{Engine, FnPtr, GlobalRuntimeState, Module};

use super::pointer;
use super::session::SESSION;
use crate::runtime::sync::RwLock;

/// The compiled script files of an interpreter, by name.
#[derive(Default)]
pub struct Compiled(RwLock<HashMap<String, SharedProgram>>);

impl Compiled {
    /// Notes what a script file was compiled to, if it was. A session's inputs share one name and may define a
    /// function again, so they are left out.
    pub fn note(&self, file: &str, program: Option<&SharedProgram>) {
        // Made now, it need not be made in every child.
        pointer::definition();
        let mut programs = self.0.write();
        match program {
            Some(program) if file != SESSION => programs.insert(file.to_string(), program.clone()),
            _ => programs.remove(file),
        };
    }

    /// The program whose function a call of `function` with `count` arguments finds, captured variables among
    /// them, if it is one of these.
    pub fn program_of(
        &self,
        function: &FnPtr,
        count: usize,
        global: &GlobalRuntimeState,
    ) -> Option<SharedProgram> {
        // The last library is that of the compiled functions, if there are any. Before it stand the same ones
        // uncompiled, if some part of the file could not be compiled; the pointer would lead to those.
        let (library, others) = global.lib.split_last()?;
        let (name, file) = (function.fn_name(), library.id()?);
        let definition = library.get_script_fn(name, count)?;
        let is_another =
            |other: &Module| other.id() != Some(file) && other.get_script_fn(name, count).is_some();
        let is_compiled = discriminant(&definition.body) != discriminant(&pointer::definition().body);
        if !is_compiled || definition.this_type.is_some() || others.iter().any(|other| is_another(other)) {
            return None;
        }
        self.0.read().get(file).cloned()
    }
}

/// A machine for one call, on the heap, where it takes no more room than it needs.
// Not inlined: it is built on the stack, which is free again when the function runs.
#[inline(never)]
pub fn machine<'e>(engine: &'e Engine, global: &GlobalRuntimeState) -> Box<Vm<'e>> {
    Box::new(Vm::with_global_state(engine, global.clone()))
}
