//! `Thread`.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rhai::{Dynamic, EvalAltResult, ImmutableString, Map};

use super::excepthook;
use crate::language::callable::Callable;
use crate::language::disposal::Nested;
use crate::language::exception::{Outcome, exception_of, interrupted, is_stop, panicked, raise};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::realm::{self, Realm};
use crate::language::{value, variables};
use crate::runtime::primitives::Event;
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{self, Interrupt, Site, ThreadId};

/// What a thread runs.
pub(super) enum Body {
    /// Nothing: `Thread()`.
    Nothing,
    /// A script function with its arguments.
    Script(Box<Callable>),
    /// A function of this crate.
    Native(Box<dyn FnOnce() -> Outcome<Dynamic> + Send + Sync>),
}

type Attributes = HashMap<ImmutableString, Dynamic>;

struct Object {
    class: &'static str,
    record: Arc<runtime::Thread>,
    realm: std::sync::Weak<Realm>,
    body: Nested<Mutex<Option<Box<Body>>>>,
    /// Most threads have none.
    attributes: Nested<Mutex<Option<Box<Attributes>>>>,
    finished: Mutex<Option<Arc<Event>>>,
    /// For a process of `multiprocessing.dummy`: the thread that made it, which counts as its parent.
    parent: Option<ThreadId>,
}

/// The class of a process of `multiprocessing.dummy`.
const DUMMY_PROCESS: &str = "DummyProcess";

/// A script's reference to a thread.
#[derive(Clone)]
pub struct ThreadHandle(Arc<Object>);

impl Handle for ThreadHandle {
    const NAME: &'static str = "Thread";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let record = &self.0.record;
        let state = match (record.was_started(), record.is_alive()) {
            (false, _) => "initial",
            (true, true) => "started",
            (true, false) => "stopped",
        };
        let daemon = if record.is_daemon() { " daemon" } else { "" };
        let ident = if record.was_started() { format!(" {}", record.id().ident()) } else { String::new() };
        format!("<{}({}, {state}{daemon}{ident})>", self.0.class, record.name())
    }
}

/// The script's objects of the threads that are alive, so that `current_thread()` is the object that was started.
#[derive(Default)]
struct Alive(Mutex<HashMap<ThreadId, ThreadHandle>>);

impl ThreadHandle {
    /// A thread that has not started. Without a name it gets `Thread-N`, or `Thread-N (function)`.
    pub(super) fn new(
        realm: &Arc<Realm>,
        class: &'static str,
        name: Option<String>,
        daemon: Option<bool>,
        body: Body,
    ) -> Outcome<Self> {
        let name = name.unwrap_or_else(|| {
            let number = realm.runtime.next_thread_number();
            match &body {
                Body::Script(callable) if matches!(class, "Thread" | DUMMY_PROCESS) => {
                    format!("Thread-{number} ({})", callable.name())
                }
                _ => format!("Thread-{number}"),
            }
        });
        let daemon = daemon.unwrap_or_else(|| runtime::current().is_some_and(|current| current.is_daemon()));
        let record = runtime::Thread::new(&realm.runtime, &name, daemon);
        Ok(Self::of(realm, class, record, Some(body)))
    }

    fn of(realm: &Arc<Realm>, class: &'static str, record: Arc<runtime::Thread>, body: Option<Body>) -> Self {
        Self(Arc::new(Object {
            class,
            record,
            realm: Arc::downgrade(realm),
            body: Nested::new(Mutex::new(body.map(Box::new))),
            attributes: Nested::default(),
            finished: Mutex::default(),
            parent: runtime::current().filter(|_| class == DUMMY_PROCESS).map(|parent| parent.id()),
        }))
    }

    /// The object of a running thread; threads that no script made get one here.
    pub(super) fn of_record(realm: &Arc<Realm>, record: &Arc<runtime::Thread>) -> Self {
        let alive = realm.extension::<Alive>();
        let mut alive = alive.0.lock();
        let make = || {
            let is_main = realm.runtime.main_thread().is_some_and(|main| Arc::ptr_eq(&main, record));
            Self::of(realm, if is_main { "_MainThread" } else { "_DummyThread" }, Arc::clone(record), None)
        };
        alive.entry(record.id()).or_insert_with(make).clone()
    }

    /// Starts a thread of this crate: `body` runs as a script's function would.
    ///
    /// # Errors
    /// RuntimeError when the system has no room for another thread; an interrupt of the caller.
    pub fn spawn(
        realm: &Arc<Realm>,
        name: Option<String>,
        daemon: bool,
        site: Site,
        body: impl FnOnce() -> Outcome<Dynamic> + Send + Sync + 'static,
    ) -> Outcome<Self> {
        let thread = Self::new(realm, "Thread", name, Some(daemon), Body::Native(Box::new(body)))?;
        thread.start(site)?;
        Ok(thread)
    }

    /// The runtime's record of the thread.
    pub fn record(&self) -> &Arc<runtime::Thread> {
        &self.0.record
    }

    /// The processes of `multiprocessing.dummy` that the calling thread made and that are alive.
    pub fn children(realm: &Arc<Realm>) -> Vec<Self> {
        let own = runtime::current().map(|current| current.id());
        let alive = realm.extension::<Alive>();
        let alive = alive.0.lock();
        let is_child = |thread: &&Self| thread.0.parent.is_some() && thread.0.parent == own;
        let mut children: Vec<Self> = alive.values().filter(is_child).cloned().collect();
        children.retain(|child| child.0.record.is_alive());
        children.sort_by_key(|child| child.0.record.id());
        children
    }

    /// The exit code of a process of `multiprocessing.dummy`: 0 once it is over.
    fn exitcode(&self) -> Outcome<Dynamic> {
        if self.0.parent.is_none() {
            return Err(raise("AttributeError", "'Thread' object has no attribute 'exitcode'"));
        }
        let record = &self.0.record;
        Ok(if record.was_started() && !record.is_alive() { 0.into() } else { Dynamic::UNIT })
    }

    pub(super) fn set_attribute(&self, name: &str, value: Dynamic) {
        let value = variables::to_shared(value);
        let old = self.0.attributes.lock().get_or_insert_default().insert(name.into(), value);
        drop(old);
    }

    fn attribute(&self, name: &str) -> Option<Dynamic> {
        let value = self.0.attributes.lock().as_ref().and_then(|own| own.get(name).cloned());
        value.map(variables::to_local)
    }

    pub(super) fn set_finished(&self, finished: Arc<Event>) {
        *self.0.finished.lock() = Some(finished);
    }

    pub(super) fn finished(&self) -> Option<Arc<Event>> {
        self.0.finished.lock().clone()
    }

    /// Runs the body on the calling thread; `this` in it is the thread.
    fn run(&self) -> Outcome<Dynamic> {
        let body = self.0.body.lock().take();
        match body.map(|body| *body) {
            None | Some(Body::Nothing) => Ok(Dynamic::UNIT),
            Some(Body::Native(body)) => body(),
            Some(Body::Script(callable)) => callable.call(),
        }
    }

    fn start(&self, site: Site) -> Outcome<()> {
        let realm = self.0.realm.upgrade().ok_or_else(|| raise("RuntimeError", "the interpreter is gone"))?;
        let record = &self.0.record;
        if record.was_started() {
            return Err(raise("RuntimeError", "threads can only be started once"));
        }
        if let (Some(parent), Some(current)) = (self.0.parent, runtime::current())
            && parent != current.id()
        {
            let current = current.name();
            return Err(raise(
                "RuntimeError",
                format!("only the thread that made it may start it, not {current}"),
            ));
        }
        variables::synchronise();
        realm.extension::<Alive>().0.lock().insert(record.id(), self.clone());
        let this = self.clone();
        let in_thread = Arc::clone(&realm);
        let started = realm.runtime.start(record, move || this.live(&in_thread), site);
        match started {
            Ok(started) => started.map_err(interrupted),
            Err(error) => {
                realm.extension::<Alive>().0.lock().remove(&record.id());
                Err(raise("RuntimeError", format!("can't start new thread: {error}")))
            }
        }
    }

    /// The whole life of the thread, on its own OS thread.
    fn live(self, realm: &Arc<Realm>) {
        let entered = realm::enter(realm);
        let result =
            catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|panic| Err(panicked(&*panic)));
        if let Err(error) = result {
            self.report(realm, &error);
        }
        variables::unbind_all();
        super::local::forget_locals();
        realm.extension::<Alive>().0.lock().remove(&self.0.record.id());
        // The body's captured values go while the thread still counts as alive and holds the lock.
        drop(self);
        drop(entered);
    }

    #[inline(never)]
    fn report(&self, realm: &Arc<Realm>, error: &EvalAltResult) {
        if !is_stop(error) {
            let exception = exception_of(error, "", "");
            // A hook of the script may panic or fail as well; the thread ends all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| excepthook::handle(realm, self, &exception)));
        }
    }

    fn join(&self, call: &mut Call) -> Outcome<Dynamic> {
        let timeout = call.seconds(0)?;
        let record = &self.0.record;
        if !record.was_started() {
            return Err(raise("RuntimeError", "cannot join thread before it is started"));
        }
        if runtime::current().is_some_and(|current| Arc::ptr_eq(&current, record)) {
            return Err(raise("RuntimeError", "cannot join current thread"));
        }
        let wait = call.wait_for(timeout);
        let joined: Result<bool, Interrupt> = record.runtime().join(record, &wait);
        joined.map(|_| Dynamic::UNIT).map_err(interrupted)
    }

    fn set_daemon(&self, value: &Dynamic) -> Outcome<()> {
        if self.0.record.was_started() {
            let text = if self.0.record.is_alive() {
                "cannot set daemon status of active thread"
            } else {
                "cannot set daemon status of a finished thread"
            };
            return Err(raise("RuntimeError", text));
        }
        self.0.record.set_daemon(value::is_true(value));
        Ok(())
    }
}

/// `multiprocessing.dummy.Process`.
///
/// # Errors
/// As for a Thread.
pub fn new_dummy_process(call: &mut Call) -> Outcome<Dynamic> {
    construct(call, DUMMY_PROCESS)
}

fn new(call: &mut Call) -> Outcome<Dynamic> {
    construct(call, "Thread")
}

fn construct(call: &mut Call, class: &'static str) -> Outcome<Dynamic> {
    // Python's own order has the group in front: `Thread(None, task, "name", [1])`.
    let [target, args, keywords, name] =
        if call.is_none(0) && call.positional() > 1 { [1, 3, 4, 2] } else { [0, 1, 2, 3] };
    if call.argument(5).is_some_and(|group| !group.is_unit()) {
        return Err(raise("AssertionError", "group argument must be None for now"));
    }
    let realm = call.realm();
    let target = call.argument(target).filter(|target| !target.is_unit());
    let name = call.optional_text(name)?.map(|name| name.to_string());
    let args = call.sequence(args)?;
    let keywords: Map = call.mapping(keywords)?;
    let daemon = call.argument(4).filter(|daemon| !daemon.is_unit()).map(|daemon| value::is_true(&daemon));
    let run = call.argument(6).filter(|run| !run.is_unit());
    // A script's `Thread(#{ run: || … })` stands for Python's subclass with a `run` method.
    let is_subclass = run.is_some();
    let function = run.or(target);
    let body = match function {
        None => Body::Nothing,
        Some(function) => Body::Script(Box::new(Callable::new(call.context(), &function, args, keywords)?)),
    };
    let name = match (name, is_subclass) {
        (None, true) => Some(format!("Thread-{}", realm.runtime.next_thread_number())),
        (name, _) => name,
    };
    let name = match (&name, &body) {
        (None, Body::Nothing) => Some(format!("Thread-{}", realm.runtime.next_thread_number())),
        _ => name,
    };
    let thread = ThreadHandle::new(&realm, class, name, daemon, body)?;
    if is_subclass {
        let mut body = thread.0.body.lock();
        if let Some(Body::Script(callable)) = body.as_deref_mut() {
            callable.set_this(Dynamic::from(thread.clone()));
        }
    }
    Ok(Dynamic::from(thread))
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .handle::<ThreadHandle>()
        .class(
            "Thread(target=None, args=(), kwargs=None, name=None, daemon=None, group=None, run=None)",
            "A thread that calls target(*args, **kwargs) once it is started; `run` stands for a subclass's method.",
            new,
        )
        .method::<ThreadHandle, _>(
            "start()",
            "Starts the thread and returns when it has taken its first step.",
            |thread, call| thread.start(call.site()).map(|()| Dynamic::UNIT),
        )
        .method::<ThreadHandle, _>("run()", "Calls the target on the calling thread.", |thread, _| thread.run())
        .method::<ThreadHandle, _>(
            "join(timeout=None)",
            "Waits until the thread is over, or for so many seconds; ask is_alive() which it was.",
            |thread, call| thread.join(call),
        )
        .attribute::<ThreadHandle, _>("ident", "The thread's identifier, None before it is started.", |thread| {
            let record = thread.record();
            Ok(if record.was_started() { record.id().ident().into() } else { Dynamic::UNIT })
        })
        .attribute::<ThreadHandle, _>("native_id", "The kernel's number of the thread, None before.", |thread| {
            let record = thread.record();
            Ok(if record.was_started() { i64::from(record.native_id()).into() } else { Dynamic::UNIT })
        })
        .attribute::<ThreadHandle, _>("name", "The thread's name.", |t| Ok(t.record().name().to_string().into()))
        .assignable::<ThreadHandle, _>("name", |thread, name| {
            thread.record().set_name(&value::str(&name));
            Ok(())
        })
        .attribute::<ThreadHandle, _>("daemon", "Is the thread dropped at the end of the program?", |thread| {
            Ok(thread.record().is_daemon().into())
        })
        .assignable::<ThreadHandle, _>("daemon", |thread, daemon| thread.set_daemon(&daemon))
        .attribute::<ThreadHandle, _>(
            "exitcode",
            "Of a process of multiprocessing.dummy: None before its end, then 0.",
            ThreadHandle::exitcode,
        )
        .method::<ThreadHandle, _>("getName()", "An old form of the attribute name.", |thread, _| {
            Ok(thread.record().name().to_string().into())
        })
        .method::<ThreadHandle, _>("setName(name)", "An old form of setting the attribute name.", |thread, call| {
            let name = call.required(0)?;
            thread.record().set_name(&value::str(&name));
            Ok(Dynamic::UNIT)
        })
        .method::<ThreadHandle, _>("isDaemon()", "An old form of the attribute daemon.", |thread, _| {
            Ok(thread.record().is_daemon().into())
        })
        .method::<ThreadHandle, _>("setDaemon(daemonic)", "An old form of setting daemon.", |thread, call| {
            let daemon = call.required(0)?;
            thread.set_daemon(&daemon).map(|()| Dynamic::UNIT)
        });
    for (signature, doc) in [
        ("is_alive()", "Has it been started, and is it not over?"),
        ("isAlive()", "An old name of is_alive()."),
    ] {
        module.method::<ThreadHandle, _>(signature, doc, |thread, _| Ok(thread.record().is_alive().into()));
    }
    rhai::FuncRegistration::new_index_getter().with_purity(true).set_into_module(
        &mut module.builtins,
        |this: &mut ThreadHandle, name: &str| {
            this.attribute(name)
                .ok_or_else(|| raise("AttributeError", format!("'Thread' object has no attribute '{name}'")))
        },
    );
    rhai::FuncRegistration::new_index_setter()
        .with_purity(true)
        .set_into_module(&mut module.builtins, |this: &mut ThreadHandle, name: &str, value: Dynamic| {
            this.set_attribute(name, value)
        });
}
