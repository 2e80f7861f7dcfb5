//! The embedding interface: an [`Interpreter`] and how it is built.

use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rhai::{AST, Dynamic, Engine, EvalAltResult, Scope, Stmt, Variant};

use crate::error::{Error, SyntaxError};
use crate::language::engine;
use crate::language::exception::{Exception, exception_of, interrupted, is_stop, panicked};
use crate::language::program::{Evaluator, Program, without_shebang};
use crate::language::realm::{self, Realm};
use crate::language::session::SESSION;
use crate::language::value;
use crate::language::variables::{synchronise, unbind_all};
use crate::modules;
use crate::modules::multiprocessing::StartMethod;
use crate::runtime::sync::Arc;
use crate::runtime::{GilMode, Interrupt, OnDeadlock, Runtime};
use crate::stats::Stats;

type Configure = Box<dyn FnOnce(&mut Engine)>;

/// Collects the settings of an [`Interpreter`].
pub struct Builder {
    gil: GilMode,
    evaluator: Evaluator,
    on_deadlock: OnDeadlock,
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    argv: Vec<String>,
    print_tracebacks: bool,
    start_method: Option<StartMethod>,
    configure: Option<Configure>,
    source: Option<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            gil: GilMode::default(),
            evaluator: Evaluator::default(),
            on_deadlock: OnDeadlock::default(),
            stdout: Box::new(std::io::stdout()),
            stderr: Box::new(std::io::stderr()),
            argv: vec![String::new()],
            print_tracebacks: false,
            start_method: None,
            configure: None,
            source: None,
        }
    }
}

impl Builder {
    /// The mode of the global interpreter lock; by default CPython 3's.
    pub fn gil(mut self, mode: GilMode) -> Self {
        self.gil = mode;
        self
    }

    /// What evaluates scripts; by default the bytecode machine.
    pub fn evaluator(mut self, evaluator: Evaluator) -> Self {
        self.evaluator = evaluator;
        self
    }

    /// What a deadlock leads to; by default to [`Error::Deadlock`].
    pub fn on_deadlock(mut self, policy: OnDeadlock) -> Self {
        self.on_deadlock = policy;
        self
    }

    /// Where `print` writes; by default the process's standard output.
    pub fn stdout(mut self, writer: impl Write + Send + 'static) -> Self {
        self.stdout = Box::new(writer);
        self
    }

    /// Where the tracebacks of threads go; by default the process's standard error.
    pub fn stderr(mut self, writer: impl Write + Send + 'static) -> Self {
        self.stderr = Box::new(writer);
        self
    }

    /// `sys.argv`: the script's name and its arguments.
    pub fn argv(mut self, argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.argv = argv.into_iter().map(Into::into).collect();
        self
    }

    /// Prints the traceback of an exception that ends a script at once, before its threads are waited for, as
    /// CPython does, and of the KeyboardInterrupt that ends that wait. By default it is only returned.
    pub fn print_tracebacks(mut self, print: bool) -> Self {
        self.print_tracebacks = print;
        self
    }

    /// How child processes begin; by default as copies of their parent.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = Some(method);
        self
    }

    /// Adds to the rhai engine: functions, types, modules of the host.
    pub fn configure(mut self, configure: impl FnOnce(&mut Engine) + 'static) -> Self {
        self.configure = Some(Box::new(configure));
        self
    }

    /// Leaves out the modules that a script with this text cannot reach, which makes the start shorter and the
    /// interpreter smaller. By default every module is there. Other texts that the interpreter is given later find
    /// only what this one has named.
    pub fn modules_for(mut self, source: &str) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Builds the interpreter.
    ///
    /// # Errors
    /// None at present; the signature leaves room for those of later settings.
    pub fn build(self) -> Result<Interpreter, Error> {
        let runtime = Runtime::new(self.gil, self.on_deadlock, synchronise);
        let realm = Realm::new(runtime, self.stdout, self.stderr, self.argv);
        let source = self.source.as_deref();
        let build = || engine::build(&realm, modules::all(&realm, source));
        let has_children = source.is_some_and(modules::multiprocessing::is_expected);
        let mut engine = if has_children { crate::ipc::apart(build) } else { build() };
        if let Some(configure) = self.configure {
            configure(&mut engine);
        }
        realm.set_engine(engine.into());
        if let Some(method) = self.start_method {
            modules::multiprocessing::set_start_method(&realm, method);
        }
        Ok(Interpreter {
            realm,
            evaluator: self.evaluator,
            print_tracebacks: self.print_tracebacks,
            scope: Scope::new(),
            library: AST::default(),
            inputs: 0,
        })
    }
}

/// An interpreter: threads, a lock, module-level variables, and a scope that lives from one evaluation to the next.
///
/// ```
/// let mut interpreter = onelock::Interpreter::builder().gil(onelock::GilMode::Off).build()?;
/// assert_eq!(interpreter.eval::<i64>("40 + 2")?, 42);
/// # Ok::<_, onelock::Error>(())
/// ```
pub struct Interpreter {
    realm: Arc<Realm>,
    evaluator: Evaluator,
    print_tracebacks: bool,
    scope: Scope<'static>,
    /// The functions and imports of earlier inputs.
    library: AST,
    inputs: usize,
}

impl fmt::Debug for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interpreter")
            .field("gil", &self.realm.runtime.gil().mode())
            .field("evaluator", &self.evaluator)
            .finish_non_exhaustive()
    }
}

/// Interrupts an interpreter from another thread, as Ctrl-C does.
#[derive(Clone)]
pub struct InterruptHandle(Arc<Runtime>);

impl InterruptHandle {
    /// Raises KeyboardInterrupt in the main thread, wherever it computes or waits. False if no script runs or
    /// if the one before was not delivered yet.
    pub fn interrupt(&self) -> bool {
        self.0.interrupt_main()
    }

    /// Calls `f` in every child process that the interpreter forks from now on: the thread that uses this handle
    /// does not exist there.
    pub fn on_fork(&self, f: fn()) {
        self.0.on_fork(f);
    }
}

impl Interpreter {
    /// Begins to set up an interpreter.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Runs a script file to its end: the statements, then the threads that are no daemons; daemons are stopped.
    /// The calling thread becomes the script's main thread. Blocks until all that is over.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read or is no UTF-8, [`Error::Syntax`], [`Error::Exception`],
    /// [`Error::Exit`] with a status other than 0, [`Error::Deadlock`].
    pub fn run_file(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let source = read_script(path)?;
        self.run_source(&path.to_string_lossy(), &source)
    }

    /// Runs a script's text, as [`Interpreter::run_file`] does a file. `name` is what tracebacks call it.
    ///
    /// # Errors
    /// As [`Interpreter::run_file`], but for [`Error::Io`].
    pub fn run_source(&mut self, name: &str, source: &str) -> Result<(), Error> {
        let realm = Arc::clone(&self.realm);
        realm.runtime.run_main(|| {
            let _entered = realm::enter(&realm);
            let result = self.compile(name, source).and_then(|program| {
                let program = Arc::new(program);
                realm.set_program(Arc::clone(&program));
                modules::multiprocessing::anticipate(&realm, source);
                let result = self.evaluate(&program, name);
                if let (Err(Error::Exception(exception)), true) = (&result, self.print_tracebacks) {
                    modules::threading::report_uncaught(&realm, "", exception);
                }
                result
            });
            let ended = self.end();
            if let (Err(Error::Exception(exception)), true) = (&ended, self.print_tracebacks) {
                modules::threading::report_uncaught(&realm, "", exception);
            }
            unbind_all();
            modules::threading::forget_locals();
            match (realm.runtime.take_deadlock(), ended) {
                (Some(report), _) => Err(Error::Deadlock(report)),
                (None, Err(error)) => Err(error),
                (None, Ok(())) => result.map(drop),
            }
        })
    }

    /// Evaluates a text in the interpreter's own scope, in which variables and functions live on, and returns
    /// the value of its last expression. Threads that it started go on.
    ///
    /// # Errors
    /// As [`Interpreter::run_source`], and [`Error::Exception`] with a TypeError for a value that is no `T`.
    pub fn eval<T: Variant + Clone>(&mut self, source: &str) -> Result<T, Error> {
        let value = self.eval_dynamic(source)?;
        if std::any::TypeId::of::<T>() == std::any::TypeId::of::<Dynamic>() {
            return Ok(Dynamic::from(value).cast());
        }
        let kind = value::type_name(&value);
        value.try_cast::<T>().ok_or_else(|| {
            let wanted = std::any::type_name::<T>();
            let class = crate::language::exception::Class::known("TypeError");
            Error::Exception(Exception::new(class, format!("the value is a {kind}, not a {wanted}")))
        })
    }

    /// [`Interpreter::eval`] without a type.
    ///
    /// # Errors
    /// As [`Interpreter::eval`].
    pub fn eval_dynamic(&mut self, source: &str) -> Result<Dynamic, Error> {
        self.inputs += 1;
        let name = format!("<input {}>", self.inputs);
        let result = self.eval_named(&name, source);
        if matches!(result, Err(Error::Syntax(_))) {
            // It was no input: a prompt may ask for more of it.
            self.inputs -= 1;
        }
        result
    }

    /// [`Interpreter::eval_dynamic`] under a name of its own in tracebacks, such as a file's.
    ///
    /// # Errors
    /// As [`Interpreter::eval`].
    pub fn eval_named(&mut self, name: &str, source: &str) -> Result<Dynamic, Error> {
        let realm = Arc::clone(&self.realm);
        realm.runtime.run_main(|| {
            let _entered = realm::enter(&realm);
            let program = Arc::new(self.compile_input(name, source)?);
            realm.set_program(Arc::clone(&program));
            modules::multiprocessing::anticipate(&realm, source);
            let result = self.evaluate(&program, SESSION);
            // Imports hold for one evaluation, so the next one begins with those that succeeded.
            let imported = if result.is_ok() { &program.ast } else { &self.library };
            let imports = imported.statements().iter().filter(|s| matches!(s, Stmt::Import(..)));
            self.library = AST::new(imports.cloned(), program.ast.shared_lib().clone());
            match realm.runtime.take_deadlock() {
                Some(report) => Err(Error::Deadlock(report)),
                None => result,
            }
        })
    }

    /// Leaves the memory of what is the same for every script to the system: for a process that is about to end.
    /// The script's own objects are dropped with the interpreter as ever.
    pub fn leak_engine(&self) {
        std::mem::forget(self.realm.engine().clone());
    }

    /// Waits for the threads that are no daemons, then stops the daemons: the end of a program, for those who
    /// used [`Interpreter::eval`].
    ///
    /// # Errors
    /// [`Error::Exception`] with a KeyboardInterrupt when Ctrl-C cut the wait short, [`Error::Deadlock`].
    pub fn finish(&mut self) -> Result<(), Error> {
        let realm = Arc::clone(&self.realm);
        realm.runtime.run_main(|| {
            let _entered = realm::enter(&realm);
            let ended = self.end();
            realm.runtime.take_deadlock().map_or(ended, |report| Err(Error::Deadlock(report)))
        })
    }

    /// Calls `f` with the calling thread as the interpreter's main thread, so that what `f` evaluates is one
    /// session: threads that are started meanwhile are not taken for stuck while `f` does something else.
    pub fn session<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let realm = Arc::clone(&self.realm);
        realm.runtime.run_main(|| {
            let _entered = realm::enter(&realm);
            f(self)
        })
    }

    /// A handle that interrupts this interpreter from another thread.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle(Arc::clone(&self.realm.runtime))
    }

    /// What the lock and the threads did so far.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.realm.runtime)
    }

    /// The state that the interpreter's threads share.
    pub fn realm(&self) -> &Arc<Realm> {
        &self.realm
    }

    /// The variables of the interpreter's own scope.
    pub fn scope(&self) -> &Scope<'static> {
        &self.scope
    }

    /// The names of the functions that were defined by [`Interpreter::eval`].
    pub fn functions(&self) -> Vec<String> {
        self.library
            .iter_functions()
            .map(|function| function.name.to_string())
            .filter(|name| !name.starts_with("anon$"))
            .collect()
    }

    fn compile(&self, name: &str, source: &str) -> Result<Program, Error> {
        Program::compile(&self.realm, self.evaluator, name, source, &Scope::new(), None)
            .map_err(|error| Error::Syntax(SyntaxError::new(&error, name, source)))
    }

    /// Compiles one input of a session: it sees the functions and imports of those before.
    fn compile_input(&self, name: &str, source: &str) -> Result<Program, Error> {
        let realm = &*self.realm;
        let (placed, above) = realm.session.add(name, without_shebang(source).as_ref());
        let program =
            Program::compile(realm, self.evaluator, SESSION, &placed, &self.scope, Some(&self.library));
        if program.is_err() {
            realm.session.withdraw();
        }
        let mut sources = realm.sources.write();
        sources.insert(name.into(), source.into());
        sources.insert(SESSION.into(), realm.session.text());
        program.map_err(|error| {
            let mut error = SyntaxError::new(&error, name, &placed);
            error.line = error.line.saturating_sub(above);
            Error::Syntax(error)
        })
    }

    fn evaluate(&mut self, program: &Program, name: &str) -> Result<Dynamic, Error> {
        let realm = Arc::clone(&self.realm);
        let run = AssertUnwindSafe(|| program.run(&realm, &mut self.scope));
        let result = catch_unwind(run).unwrap_or_else(|panic| Err(panicked(&*panic)));
        synchronise();
        result.map_err(|error| self.error_of(&error, name))
    }

    fn error_of(&self, error: &EvalAltResult, name: &str) -> Error {
        if is_stop(error) {
            return Error::Stopped;
        }
        let exception = exception_of(error, name, "<module>");
        if exception.class().name == "SystemExit" {
            Error::exit(&exception)
        } else {
            Error::Exception(exception)
        }
    }

    fn end(&self) -> Result<(), Error> {
        let runtime = &self.realm.runtime;
        modules::pool::end_of_program(&self.realm);
        let joined = runtime.join_non_daemons();
        modules::pool::terminate_pools(&self.realm);
        let children = modules::multiprocessing::at_exit(&self.realm);
        runtime.stop_others();
        modules::pool::begin_run(&self.realm);
        match joined {
            Err(Interrupt::KeyboardInterrupt) => {
                let class = crate::language::exception::Class::known("KeyboardInterrupt");
                Err(Error::Exception(Exception::new(class, "")))
            }
            Err(raised @ (Interrupt::Raised | Interrupt::Call)) => {
                Err(self.error_of(&interrupted(raised), "<module>"))
            }
            Ok(()) | Err(Interrupt::Stop | Interrupt::StackExhausted | Interrupt::MemoryExhausted) => {
                children.map_err(|error| self.error_of(&error, ""))
            }
        }
    }
}

/// Reads a script.
///
/// # Errors
/// [`Error::Io`], also for a file that is no UTF-8.
pub fn read_script(path: &Path) -> Result<String, Error> {
    let io = |error| Error::Io { path: PathBuf::from(path), error };
    let bytes = std::fs::read(path).map_err(io)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        io(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("line {line} is no UTF-8: save the script as UTF-8"),
        ))
    })
}
