//! `Process`: a child process as an object.

use std::collections::HashMap;

use rhai::{Dynamic, ImmutableString, Map};
use rustix::process::Signal;

use super::children::Children;
use super::context::StartMethod;
use super::current::{Identity, current};
use super::launch;
use crate::ipc::Child;
use crate::language::callable::{CallSite, Callable, apply_keywords, as_function};
use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::realm::Realm;
use crate::language::value;
use crate::language::variables::{to_local, to_shared};
use crate::modules::os::descriptors;
use crate::runtime::Site;
use crate::runtime::sync::{Arc, Mutex};

/// What a process is to call.
#[derive(Clone, Default)]
pub(super) struct Target {
    /// The function, in the form for several threads; nothing: the process does nothing.
    pub(super) function: Option<Dynamic>,
    pub(super) args: Vec<Dynamic>,
    /// The function stands for a subclass's `run`, and `this` in it is the process.
    pub(super) is_run: bool,
    /// The process will be told later what else to call.
    pub(super) is_worker: bool,
}

/// How far a process has come.
enum Stage {
    /// It has not been started.
    Initial(Target),
    /// It was started, and may have ended.
    Started(Arc<Child>),
    /// The process that runs.
    Itself,
    /// Its parent.
    Parent(u32),
    /// `close()` was called.
    Closed,
}

struct Object {
    identity: Identity,
    name: Mutex<String>,
    daemon: Mutex<Option<bool>>,
    authkey: Mutex<Option<Vec<u8>>>,
    method: Option<StartMethod>,
    stage: Mutex<Stage>,
    /// The process that made the object.
    creator: u32,
    /// The parent's number: the creator's, but for the object of the current process.
    parent: u32,
    attributes: Mutex<HashMap<ImmutableString, Dynamic>>,
}

/// A script's reference to a process.
#[derive(Clone)]
pub struct ProcessHandle(Arc<Object>);

impl Handle for ProcessHandle {
    const NAME: &'static str = "Process";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let name = value::repr(&self.name().into());
        let parent = self.0.parent;
        let (pid, state) = match &*self.0.stage.lock() {
            Stage::Closed => return format!("<Process name={name} parent={parent} closed>"),
            Stage::Initial(_) => (None, "initial".into()),
            Stage::Itself => (Some(std::process::id()), "started".into()),
            Stage::Parent(pid) => (Some(*pid), "started".into()),
            Stage::Started(child) => {
                let state = match child.exit_code() {
                    None => "started".to_string(),
                    Some(code) if code < 0 => match Signal::from_named_raw(-code).map(signal_name) {
                        Some(name) => format!("stopped exitcode=-{name}"),
                        None => format!("stopped exitcode={code}"),
                    },
                    Some(code) => format!("stopped exitcode={code}"),
                };
                (Some(pid_of(child)), state)
            }
        };
        let pid = pid.map_or_else(String::new, |pid| format!(" pid={pid}"));
        let daemon = if self.is_daemon() { " daemon" } else { "" };
        format!("<Process name={name}{pid} parent={parent} {state}{daemon}>")
    }
}

fn pid_of(child: &Child) -> u32 {
    child.pid().as_raw_nonzero().get().unsigned_abs()
}

pub(super) fn signal_name(signal: Signal) -> String {
    // `Signal::TERM` prints with its name inside of something that depends on the version.
    let shown = format!("{signal:?}");
    let name = shown.split(|c: char| !c.is_ascii_alphanumeric()).rfind(|part| !part.is_empty());
    let name = name.unwrap_or(&shown);
    if name.starts_with("SIG") { name.to_string() } else { format!("SIG{}", name.to_uppercase()) }
}

/// How a process began, for the object that stands for it in itself.
pub(super) struct Origin {
    pub(super) identity: Identity,
    pub(super) name: String,
    pub(super) daemon: bool,
    pub(super) authkey: Vec<u8>,
    pub(super) parent: u32,
    pub(super) attributes: Vec<(ImmutableString, Dynamic)>,
}

impl ProcessHandle {
    /// A process that has not been started. Without a name it gets `Process-N`.
    pub(super) fn new(
        realm: &Arc<Realm>,
        name: Option<String>,
        daemon: Option<bool>,
        method: Option<StartMethod>,
        target: Target,
    ) -> Self {
        let identity = current(realm).0.identity.next();
        let pid = std::process::id();
        Self(Arc::new(Object {
            name: Mutex::new(name.unwrap_or_else(|| identity.default_name())),
            identity,
            daemon: Mutex::new(daemon),
            authkey: Mutex::default(),
            method,
            stage: Mutex::new(Stage::Initial(target)),
            creator: pid,
            parent: pid,
            attributes: Mutex::default(),
        }))
    }

    /// The object of the process that runs.
    pub(super) fn of_itself(origin: Origin) -> Self {
        Self::of(Stage::Itself, origin)
    }

    /// The object of the parent, whose number is `pid`.
    pub(super) fn of_parent(pid: u32, origin: Origin) -> Self {
        Self::of(Stage::Parent(pid), origin)
    }

    fn of(stage: Stage, origin: Origin) -> Self {
        Self(Arc::new(Object {
            identity: origin.identity,
            name: Mutex::new(origin.name),
            daemon: Mutex::new(Some(origin.daemon)),
            authkey: Mutex::new(Some(origin.authkey)),
            method: None,
            stage: Mutex::new(stage),
            creator: std::process::id(),
            parent: origin.parent,
            attributes: Mutex::new(origin.attributes.into_iter().collect()),
        }))
    }

    /// The process's name.
    pub fn name(&self) -> String {
        self.0.name.lock().clone()
    }

    /// Changes the name.
    pub(super) fn rename(&self, change: impl FnOnce(&str) -> String) {
        let mut name = self.0.name.lock();
        *name = change(&name);
    }

    /// Is it ended with its parent instead of waited for?
    pub fn is_daemon(&self) -> bool {
        self.0.daemon.lock().unwrap_or(false)
    }

    /// The key that connections of its family are authenticated with.
    pub fn authkey(&self, realm: &Arc<Realm>) -> Vec<u8> {
        let own = self.0.authkey.lock().clone();
        own.unwrap_or_else(|| current(realm).0.authkey.lock().clone().unwrap_or_default())
    }

    /// The child, once it was started.
    pub fn child(&self) -> Option<Arc<Child>> {
        match &*self.0.stage.lock() {
            Stage::Started(child) => Some(Arc::clone(child)),
            _ => None,
        }
    }

    /// Its process number; nothing before it was started.
    pub fn pid(&self) -> Option<u32> {
        match &*self.0.stage.lock() {
            Stage::Started(child) => Some(pid_of(child)),
            Stage::Itself => Some(std::process::id()),
            Stage::Parent(pid) => Some(*pid),
            Stage::Initial(_) | Stage::Closed => None,
        }
    }

    pub(super) fn process_identity(&self) -> &Identity {
        &self.0.identity
    }

    pub(super) fn attributes(&self) -> Vec<(ImmutableString, Dynamic)> {
        let mut all: Vec<_> =
            self.0.attributes.lock().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn check_open(&self) -> Outcome<()> {
        match &*self.0.stage.lock() {
            Stage::Closed => Err(raise("ValueError", "process object is closed")),
            _ => Ok(()),
        }
    }

    fn check_creator(&self, verb: &str) -> Outcome<()> {
        if self.0.creator == std::process::id() {
            return Ok(());
        }
        Err(raise("AssertionError", format!("can only {verb} a child process")))
    }

    /// Starts the process; returns when it exists.
    ///
    /// # Errors
    /// AssertionError when it was started before, by another process, or by a daemon; TypeError for what cannot
    /// travel; OSError when the system has no room for it.
    pub fn start(&self, realm: &Arc<Realm>, site: Site) -> Outcome<()> {
        self.check_open()?;
        let assertion = |text: &str| Err(raise("AssertionError", text));
        let target = match &*self.0.stage.lock() {
            Stage::Initial(target) => target.clone(),
            _ => return assertion("cannot start a process twice"),
        };
        if self.0.creator != std::process::id() {
            return assertion("can only start a process object created by current process");
        }
        if current(realm).is_daemon() {
            return assertion("daemonic processes are not allowed to have children");
        }
        realm.extension::<Children>().reap();
        let child = Arc::new(launch::launch(realm, self, &target, self.0.method, site)?);
        *self.0.stage.lock() = Stage::Started(child);
        realm.extension::<Children>().add(self.clone());
        Ok(())
    }

    #[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
    fn run(&self, call: &Call) -> Outcome<Dynamic> {
        let target = match &*self.0.stage.lock() {
            Stage::Initial(target) => target.clone(),
            _ => Target::default(),
        };
        let callable = self.callable(call.context().store_data(), &call.realm(), target);
        callable.map_or(Ok(Dynamic::UNIT), |callable| Box::new(callable).call())
    }

    /// What the process is to call, if anything, to be called in the calling process.
    pub(super) fn callable(&self, context: CallSite, realm: &Realm, target: Target) -> Option<Callable> {
        let mut callable = Callable::received(context, realm.engine(), target.function?, target.args);
        if target.is_run {
            callable.set_this(Dynamic::from(self.clone()));
        }
        Some(callable)
    }

    fn join(&self, call: &mut Call) -> Outcome<Dynamic> {
        self.check_open()?;
        let timeout = call.seconds(0)?;
        self.check_creator("join")?;
        let Some(child) = self.child() else {
            return Err(raise("AssertionError", "can only join a started process"));
        };
        child.wait(call.wait_for(timeout).deadline, call.site()).map_err(interrupted)?;
        if child.exit_code().is_some() {
            call.realm().extension::<Children>().remove(self);
        }
        Ok(Dynamic::UNIT)
    }

    fn is_alive(&self, realm: &Arc<Realm>) -> Outcome<bool> {
        self.check_open()?;
        let stage = self.0.stage.lock();
        match &*stage {
            Stage::Itself => return Ok(true),
            // It is alive while it is still the parent.
            Stage::Parent(pid) => return Ok(std::os::unix::process::parent_id() == *pid),
            Stage::Initial(_) | Stage::Started(_) | Stage::Closed => {}
        }
        let child = match &*stage {
            Stage::Started(child) => Some(Arc::clone(child)),
            _ => None,
        };
        drop(stage);
        self.check_creator("test")?;
        let alive = child.as_ref().is_some_and(|child| child.exit_code().is_none());
        if child.is_some() && !alive {
            realm.extension::<Children>().remove(self);
        }
        Ok(alive)
    }

    fn signal(&self, signal: Signal, method: &str) -> Outcome<Dynamic> {
        self.check_open()?;
        match self.child() {
            Some(child) => {
                child.signal(signal).map_err(|error| raise_io(&error, None))?;
                Ok(Dynamic::UNIT)
            }
            None => Err(raise(
                "AttributeError",
                format!("'NoneType' object has no attribute '{method}': start the process first"),
            )),
        }
    }

    fn close(&self, realm: &Arc<Realm>) -> Outcome<Dynamic> {
        if self.child().is_some_and(|child| child.exit_code().is_none()) {
            return Err(raise(
                "ValueError",
                "Cannot close a process while it is still running. You should first call join() or terminate().",
            ));
        }
        realm.extension::<Children>().remove(self);
        *self.0.stage.lock() = Stage::Closed;
        Ok(Dynamic::UNIT)
    }

    fn exit_code(&self, realm: &Arc<Realm>) -> Outcome<Dynamic> {
        self.check_open()?;
        let Some(child) = self.child() else { return Ok(Dynamic::UNIT) };
        match child.exit_code() {
            None => Ok(Dynamic::UNIT),
            Some(code) => {
                realm.extension::<Children>().remove(self);
                Ok(i64::from(code).into())
            }
        }
    }

    fn set_daemon(&self, value: &Dynamic) -> Outcome<()> {
        self.check_open()?;
        if !matches!(*self.0.stage.lock(), Stage::Initial(_)) {
            return Err(raise("AssertionError", "process has already started"));
        }
        *self.0.daemon.lock() = Some(value::is_true(value));
        Ok(())
    }

    pub(super) fn set_attribute(&self, name: &str, value: Dynamic) {
        let old = self.0.attributes.lock().insert(name.into(), to_shared(value));
        drop(old);
    }
}

/// Reads a constructor's arguments: `Process(target, args, kwargs, name, daemon, group, run)`.
pub(super) fn construct(call: &mut Call, method: Option<StartMethod>) -> Outcome<Dynamic> {
    // Python's own order has the group in front: `Process(None, task, "name", [1])`.
    let [target, args, keywords, name] =
        if call.is_none(0) && call.positional() > 1 { [1, 3, 4, 2] } else { [0, 1, 2, 3] };
    if call.argument(5).is_some_and(|group| !group.is_unit()) {
        return Err(raise("AssertionError", "group argument must be None for now"));
    }
    let realm = call.realm();
    let function = call.argument(target).filter(|target| !target.is_unit());
    let name = call.optional_text(name)?.map(|name| name.to_string());
    let args = call.sequence(args)?;
    let keywords: Map = call.mapping(keywords)?;
    let inherited = current(&realm).is_daemon().then_some(true);
    let daemon = call.argument(4).filter(|daemon| !daemon.is_unit()).map(|daemon| value::is_true(&daemon));
    let run = call.argument(6).filter(|run| !run.is_unit());
    let is_run = run.is_some();
    let target = match run.or(function) {
        None => Target::default(),
        Some(function) => {
            let function = as_function(&function)?;
            let args = match keywords.is_empty() {
                true => args,
                false => apply_keywords(&realm.functions, &function, args, keywords)?,
            };
            let args = args.into_iter().map(Dynamic::flatten).collect();
            Target { function: Some(to_shared(function.into())), args, is_run, is_worker: false }
        }
    };
    Ok(Dynamic::from(ProcessHandle::new(&realm, name, daemon.or(inherited), method, target)))
}

/// The parameters of [`construct`].
pub(super) const SIGNATURE: &str =
    "Process(target=None, args=(), kwargs=None, name=None, daemon=None, group=None, run=None)";

pub(super) fn define(module: &mut NativeModule) {
    module
        .handle::<ProcessHandle>()
        .class(
            SIGNATURE,
            "A process that calls target(*args, **kwargs) once it is started; `run` stands for a subclass's method.",
            |call| construct(call, None),
        )
        .method::<ProcessHandle, _>("start()", "Starts the process.", |process, call| {
            process.start(&call.realm(), call.site()).map(|()| Dynamic::UNIT)
        })
        .method::<ProcessHandle, _>("run()", "Calls the target in the calling process.", |process, call| {
            process.run(call)
        })
        .method::<ProcessHandle, _>(
            "join(timeout=None)",
            "Waits until the process has ended, or for so many seconds; its exitcode tells which it was.",
            |process, call| process.join(call),
        )
        .method::<ProcessHandle, _>("is_alive()", "Has it been started, and has it not ended?", |process, call| {
            process.is_alive(&call.realm()).map(Dynamic::from)
        })
        .method::<ProcessHandle, _>("terminate()", "Sends it SIGTERM.", |process, _| {
            process.signal(Signal::TERM, "terminate")
        })
        .method::<ProcessHandle, _>("kill()", "Sends it SIGKILL.", |process, _| process.signal(Signal::KILL, "kill"))
        .method::<ProcessHandle, _>(
            "close()",
            "Gives back what the object holds; ValueError while the process runs.",
            |process, call| process.close(&call.realm()),
        );
    attributes(module);
}

fn attributes(module: &mut NativeModule) {
    let number = |pid: Option<u32>| pid.map_or(Dynamic::UNIT, |pid| i64::from(pid).into());
    module
        .attribute::<ProcessHandle, _>("name", "The process's name.", |process| Ok(process.name().into()))
        .assignable::<ProcessHandle, _>("name", |process, name| {
            let Some(name) = name.read_lock::<ImmutableString>() else {
                return Err(raise("AssertionError", "name must be a string"));
            };
            *process.0.name.lock() = name.to_string();
            Ok(())
        })
        .attribute::<ProcessHandle, _>("daemon", "Is it ended with its parent?", |process| {
            process.check_open()?;
            Ok(process.is_daemon().into())
        })
        .assignable::<ProcessHandle, _>("daemon", |process, daemon| process.set_daemon(&daemon))
        .attribute::<ProcessHandle, _>(
            "pid",
            "The process's number, None before it is started.",
            move |process| {
                process.check_open()?;
                Ok(number(process.pid()))
            },
        )
        .attribute::<ProcessHandle, _>("ident", "The same as pid.", move |process| {
            process.check_open()?;
            Ok(number(process.pid()))
        })
        .attribute::<ProcessHandle, _>(
            "exitcode",
            "None while it runs, its status, or -N when signal N ended it.",
            |process| process.exit_code(&crate::language::engine::current_realm()),
        )
        .attribute::<ProcessHandle, _>(
            "authkey",
            "The key of its family's connections, as bytes.",
            |process| Ok(Dynamic::from_blob(process.authkey(&crate::language::engine::current_realm()))),
        )
        .assignable::<ProcessHandle, _>("authkey", |process, key| {
            let Ok(key) = key.flatten().into_blob() else {
                return Err(raise("TypeError", "authkey must be bytes: use a blob, or text.encode()"));
            };
            *process.0.authkey.lock() = Some(key);
            Ok(())
        })
        .attribute::<ProcessHandle, _>(
            "sentinel",
            "A file descriptor that can be read once the process has ended.",
            |process| {
                process.check_open()?;
                match process.child() {
                    Some(child) => Ok(descriptors::lend(child.sentinel()).into()),
                    None => Err(raise("ValueError", "process not started")),
                }
            },
        );
    rhai::FuncRegistration::new_index_getter().with_purity(true).set_into_module(
        &mut module.builtins,
        |this: &mut ProcessHandle, name: &str| {
            let value = this.0.attributes.lock().get(name).cloned();
            value
                .map(to_local)
                .ok_or_else(|| raise("AttributeError", format!("'Process' object has no attribute '{name}'")))
        },
    );
    rhai::FuncRegistration::new_index_setter()
        .with_purity(true)
        .set_into_module(&mut module.builtins, |this: &mut ProcessHandle, name: &str, value: Dynamic| {
            this.set_attribute(name, value)
        });
}
