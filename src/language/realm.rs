//! What the threads of one interpreter share beside the runtime: module-level variables, output, the program.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::Write;

use rhai::{Engine, ImmutableString, Position, Shared};

use super::call_limit;
use super::callable::FunctionTable;
use super::compiled::Compiled;
use super::modules::ModuleNames;
use super::output::Output;
use super::program::Program;
use super::session::{SESSION, Session};
use super::variables::Globals;
use crate::runtime::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, RwLock};
use crate::runtime::{Runtime, Site};
use std::sync::OnceLock;

/// A script's name, a line and a column.
type Place = (&'static str, u32, u32);

/// The state of one interpreter.
pub struct Realm {
    /// Threads and the lock.
    pub runtime: Arc<Runtime>,
    /// Module-level variables.
    pub globals: Globals,
    /// Where `print` writes.
    pub stdout: Output,
    /// Where tracebacks go.
    pub stderr: Output,
    /// `sys.argv`.
    pub argv: Mutex<Vec<String>>,
    /// Is this a child that runs the script once more, so that `__name__` is `"__mp_main__"`?
    is_rerun: AtomicBool,
    /// The program that was read last.
    program: RwLock<Option<Arc<Program>>>,
    /// The functions of all programs that were loaded, for their parameters' names.
    pub functions: FunctionTable,
    /// The script files that were compiled to bytecode.
    pub compiled: Compiled,
    /// The text of every script that was loaded, for excerpts in tracebacks.
    pub sources: RwLock<HashMap<String, Arc<str>>>,
    /// The inputs of a session.
    pub session: Session,
    /// Names of the variables that objects were first given to, by the place of the constructor's call.
    object_names: RwLock<HashMap<Place, Arc<str>>>,
    /// Names that were imported under another one, with the qualified name.
    pub imported: Mutex<HashMap<String, String>>,
    /// The variables of every `catch` and `with` that was read.
    pub bound: RwLock<HashSet<String>>,
    /// Variables that a callback captured which is given to one of their own methods, and whether there are any.
    self_captured: RwLock<HashSet<ImmutableString>>,
    pub(super) has_self_captured: Arc<AtomicBool>,
    /// The script that was read last uses nothing that Rhai alone does not have: `print` shows values its way.
    pub plain_rhai: AtomicBool,
    /// The modules that exist.
    modules: OnceLock<Arc<ModuleNames>>,
    /// Modules that hold their state per interpreter keep it here, by the type of the state.
    pub extensions: Mutex<HashMap<std::any::TypeId, Arc<dyn std::any::Any + Send + Sync>>>,
    /// How deeply calls may nest, as `sys.setrecursionlimit` says.
    recursion_limit: AtomicUsize,
    engine: OnceLock<Shared<Engine>>,
}

/// CPython's default recursion limit.
pub const RECURSION_LIMIT: usize = 1000;

/// How deeply calls may nest in the calling thread's interpreter.
pub fn recursion_limit() -> usize {
    CURRENT.with_borrow(|realm| realm.as_ref().map_or(RECURSION_LIMIT, |realm| realm.recursion_limit()))
}

impl Realm {
    /// The state of an interpreter that has loaded nothing.
    pub fn new(
        runtime: Arc<Runtime>,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
        argv: Vec<String>,
    ) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            globals: Globals::default(),
            stdout: Output::new(stdout),
            stderr: Output::new(stderr),
            argv: Mutex::new(argv),
            is_rerun: AtomicBool::new(false),
            program: RwLock::default(),
            functions: FunctionTable::default(),
            compiled: Compiled::default(),
            sources: RwLock::default(),
            session: Session::default(),
            object_names: RwLock::default(),
            imported: Mutex::default(),
            bound: RwLock::default(),
            self_captured: RwLock::default(),
            has_self_captured: Arc::default(),
            plain_rhai: AtomicBool::new(false),
            modules: OnceLock::new(),
            extensions: Mutex::default(),
            recursion_limit: AtomicUsize::new(RECURSION_LIMIT),
            engine: OnceLock::new(),
        })
    }

    /// How deeply calls may nest.
    pub fn recursion_limit(&self) -> usize {
        self.recursion_limit.load(Ordering::Relaxed)
    }

    /// Changes how deeply calls may nest, in natives and in scripts.
    pub fn set_recursion_limit(&self, calls: usize) {
        self.recursion_limit.store(calls, Ordering::Relaxed);
        call_limit::set(self.engine(), calls);
    }

    /// The engine, once it is built.
    ///
    /// # Panics
    /// Before that.
    pub fn engine(&self) -> &Shared<Engine> {
        self.engine.get().expect("the engine is built before anything runs")
    }

    /// Hands the realm its engine, once.
    pub fn set_engine(&self, engine: Shared<Engine>) {
        let _ = self.engine.set(engine);
    }

    /// `__name__`.
    pub fn name(&self) -> &'static str {
        if self.is_rerun.load(Ordering::Relaxed) { "__mp_main__" } else { "__main__" }
    }

    /// From now on the script is run once more in a child.
    pub fn begin_rerun(&self) {
        self.is_rerun.store(true, Ordering::Relaxed);
    }

    /// The program that was read last.
    pub fn program(&self) -> Option<Arc<Program>> {
        self.program.read().clone()
    }

    /// Tells the realm which program is about to run.
    pub fn set_program(&self, program: Arc<Program>) {
        *self.program.write() = Some(program);
    }

    /// Adds variables that a callback captured which is given to one of their own methods.
    pub fn set_self_captured(&self, names: Vec<ImmutableString>) {
        if !names.is_empty() {
            self.self_captured.write().extend(names);
            self.has_self_captured.store(true, Ordering::Relaxed);
        }
    }

    /// Is the local variable one that a callback captured which is given to one of its own methods?
    pub fn is_self_captured(&self, name: &str) -> bool {
        self.has_self_captured.load(Ordering::Relaxed) && self.self_captured.read().contains(name)
    }

    /// Tells the realm which modules there are, once.
    pub fn set_modules(&self, modules: Arc<ModuleNames>) {
        let _ = self.modules.set(modules);
    }

    /// Is there a module of that name?
    pub fn is_module(&self, name: &str) -> bool {
        self.modules.get().is_some_and(|modules| modules.contains(name))
    }

    /// The state that a module keeps per interpreter, made on first use.
    pub fn extension<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut extensions = self.extensions.lock();
        let state = extensions.entry(std::any::TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(state).downcast().expect("stored under its own type")
    }

    /// Drops the state that a module keeps; it is made anew on its next use.
    pub fn forget<T: 'static>(&self) {
        let state = self.extensions.lock().remove(&std::any::TypeId::of::<T>());
        drop(state);
    }

    /// A line of a script that was loaded.
    pub fn source_line(&self, file: &str, line: usize) -> Option<String> {
        let sources = self.sources.read();
        sources.get(file)?.lines().nth(line.checked_sub(1)?).map(str::to_string)
    }

    /// Remembers which variable each constructor's call is given to.
    pub fn name_objects(&self, file: &str, names: impl IntoIterator<Item = (Position, String)>) {
        let file = Site::new(file, 0).file;
        let mut known = self.object_names.write();
        for (position, name) in names {
            if let (Some(line), Some(column)) = (position.line(), position.position()) {
                known.insert((file, line as u32, column as u32), name.as_str().into());
            }
        }
    }

    /// The variable that the object made at `position` is given to, if one is.
    pub fn object_name(&self, file: Option<&str>, position: Position) -> Option<Arc<str>> {
        let file = Site::new(file.unwrap_or(""), 0).file;
        let place = (file, position.line()? as u32, position.position()? as u32);
        self.object_names.read().get(&place).cloned()
    }

    /// Why a call by `name` found no function: no function has that name, or none takes these arguments.
    pub fn explain_call(&self, name: &str, argument_types: &str) -> (&'static str, String) {
        let given = if argument_types.is_empty() { 0 } else { argument_types.split(',').count() };
        if let Some(message) = self.functions.explain_count(name, given) {
            return ("TypeError", message);
        }
        if let Some(signature) = super::native::signature_of(name) {
            return ("TypeError", format!("{name}() does not take ({argument_types}): use {signature}"));
        }
        match argument_types.split(',').next() {
            Some(receiver) if !receiver.is_empty() => {
                ("NameError", format!("name '{name}' is not defined for ({argument_types})"))
            }
            _ => ("NameError", format!("name '{name}' is not defined")),
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Realm>>> = const { RefCell::new(None) };
}

/// A place for reports, from what rhai knows of it.
pub fn site(file: &str, line: u32) -> Site {
    CURRENT.with_borrow(|realm| match realm {
        Some(realm) if file == SESSION => realm.session.site(line),
        _ => Site::new(file, line),
    })
}

/// The realm whose script the calling thread runs.
pub fn current() -> Option<Arc<Realm>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Makes `realm` the calling thread's for as long as the guard lives.
pub fn enter(realm: &Arc<Realm>) -> Entered {
    Entered(CURRENT.replace(Some(Arc::clone(realm))))
}

/// The calling thread is inside a realm; dropping this brings back the one before.
pub struct Entered(Option<Arc<Realm>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}
