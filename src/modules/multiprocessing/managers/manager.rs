//! `BaseManager` and `SyncManager`: a server process and the making of objects in it.

use std::sync::Weak;
use std::time::{Duration, Instant};

use rhai::{Dynamic, FnPtr};
use rustix::process::Signal;

use super::client::{Server as Remote, ask, reconnect, value_of};
use super::message::{Reply, Request};
use super::methods::arguments;
use super::proxy::{Parts, class_of, make};
use super::server::{Registered, Registry, Server, registry_from_value, registry_to_value, system_exit};
use crate::ipc::connection::Connection;
use crate::ipc::ignore_interrupts;
use crate::language::builtins::on_missing_method;
use crate::language::callable::as_function;
use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::function::Function;
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::pointer::Name;
use crate::language::realm::Realm;
use crate::language::types::Type;
use crate::language::value;
use crate::language::variables::to_shared;
use crate::modules::multiprocessing::connection::{ConnectionHandle, Listener};
use crate::modules::multiprocessing::process::{ProcessHandle, Target};
use crate::modules::multiprocessing::{authkey, launch};
use crate::modules::threading::ThreadHandle;
use crate::runtime::Site;
use crate::runtime::sync::{Arc, Mutex};

/// The types that every SyncManager has.
const STANDARD: [&str; 15] = [
    "Queue",
    "JoinableQueue",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
    "BoundedSemaphore",
    "Condition",
    "Barrier",
    "Pool",
    "list",
    "dict",
    "Value",
    "Array",
    "Namespace",
];

/// What a pool's methods return that stays in the server.
const POOL_RESULTS: [(&str, &str); 5] = [
    ("apply_async", "AsyncResult"),
    ("map_async", "AsyncResult"),
    ("starmap_async", "AsyncResult"),
    ("imap", "Iterator"),
    ("imap_unordered", "Iterator"),
];

fn standard(typeid: &str, is_created: bool) -> Registered {
    let methods = if typeid == "Pool" { &POOL_RESULTS[..] } else { &[] };
    Registered {
        callable: None,
        proxytype: class_of(typeid).into(),
        exposed: None,
        method_to_typeid: methods.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
        is_created,
    }
}

enum State {
    Initial,
    Started(Arc<Remote>),
    Shutdown,
}

struct Inner {
    class: &'static str,
    registry: Mutex<Arc<Registry>>,
    address: Mutex<Dynamic>,
    key: Vec<u8>,
    state: Mutex<State>,
    process: Mutex<Option<ProcessHandle>>,
    /// The server ends when nobody has this end any more.
    lifeline: Mutex<Option<ConnectionHandle>>,
}

/// A script's reference to a manager.
#[derive(Clone)]
pub struct ManagerHandle(Arc<Inner>);

impl Handle for ManagerHandle {
    const NAME: &'static str = "BaseManager";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<multiprocessing.managers.{} object at {:#x}>", self.0.class, self.identity())
    }
}

/// The managers whose servers this process started.
#[derive(Default)]
struct Managers(Mutex<Vec<Weak<Inner>>>);

/// At the end of the process: shuts down the managers that are still there.
pub fn shut_down_all(realm: &Arc<Realm>) {
    let all = std::mem::take(&mut *realm.extension::<Managers>().0.lock());
    for manager in all.iter().filter_map(Weak::upgrade) {
        // Whoever cannot be asked to end is ended.
        let _ = ManagerHandle(manager).shut_down(Site::default());
    }
}

/// In a forked process: the servers are the parent's.
pub fn forget(realm: &Realm) {
    realm.extension::<Managers>().0.lock().clear();
}

impl ManagerHandle {
    fn new(class: &'static str, address: Option<Dynamic>, key: Vec<u8>) -> Self {
        let mut registry = Registry::new();
        if class == "SyncManager" {
            for typeid in STANDARD {
                registry.insert(typeid.into(), standard(typeid, true));
            }
            for typeid in ["Iterator", "AsyncResult"] {
                registry.insert(typeid.into(), standard(typeid, false));
            }
        }
        Self(Arc::new(Inner {
            class,
            registry: Mutex::new(Arc::new(registry)),
            address: Mutex::new(address.unwrap_or_default()),
            key,
            state: Mutex::new(State::Initial),
            process: Mutex::default(),
            lifeline: Mutex::default(),
        }))
    }

    /// A started SyncManager.
    ///
    /// # Errors
    /// As [`ManagerHandle::start`].
    pub fn started(call: &Call) -> Outcome<Self> {
        let manager = Self::new("SyncManager", None, authkey(&call.realm()));
        manager.start(call, None, Vec::new())?;
        Ok(manager)
    }

    fn check_initial(&self) -> Outcome<()> {
        match &*self.0.state.lock() {
            State::Initial => Ok(()),
            State::Started(_) => Err(raise("ProcessError", "Already started server")),
            State::Shutdown => Err(raise("ProcessError", "Manager has shut down")),
        }
    }

    fn given_address(&self) -> Option<Dynamic> {
        Some(self.0.address.lock().clone()).filter(|address| !address.is_unit())
    }

    fn start(&self, call: &Call, initializer: Option<Dynamic>, initargs: Vec<Dynamic>) -> Outcome<()> {
        self.check_initial()?;
        let initializer = match initializer {
            Some(initializer) if as_function(&initializer).is_err() => {
                return Err(raise("TypeError", "initializer must be a callable"));
            }
            initializer => initializer,
        };
        let (realm, site) = (call.realm(), call.site());
        launch::prepare(&realm);
        let pair = || Connection::pair().map_err(|error| raise_io(&error, None));
        let ((reader, writer), (ours, theirs)) = (pair()?, pair()?);
        let reader = ConnectionHandle::new(reader, true, false);
        let writer = ConnectionHandle::new(writer, false, true);
        let theirs = ConnectionHandle::new(theirs, true, true);
        let args: Vec<Dynamic> = vec![
            self.given_address().unwrap_or_default(),
            Dynamic::from_blob(self.0.key.clone()),
            registry_to_value(&self.0.registry.lock()),
            Dynamic::from(writer.clone()),
            Dynamic::from(theirs.clone()),
            initializer.map(to_shared).unwrap_or_default(),
            initargs.into(),
        ];
        let function = Name::Native(RUN_SERVER.into()).resolve()?;
        let target = Target { function: Some(function.into()), args, is_run: false, is_worker: true };
        let process = ProcessHandle::new(&realm, None, Some(false), None, target);
        process.rename(|name| name.replace("Process", self.0.class));
        process.start(&realm, site)?;
        writer.connection().close();
        theirs.connection().close();
        let address = reader.recv(|| site)?;
        *self.0.address.lock() = address.clone();
        *self.0.state.lock() = State::Started(Remote::new(address, self.0.key.clone()));
        *self.0.process.lock() = Some(process);
        *self.0.lifeline.lock() = Some(ConnectionHandle::new(ours, true, true));
        realm.extension::<Managers>().0.lock().push(Arc::downgrade(&self.0));
        Ok(())
    }

    fn connect(&self, site: Site) -> Outcome<()> {
        let remote = Remote::new(self.0.address.lock().clone(), self.0.key.clone());
        reconnect(&remote, site)?;
        drop(value_of(ask(&remote, &Request::Nothing, site)?)?);
        *self.0.state.lock() = State::Started(remote);
        Ok(())
    }

    fn remote(&self) -> Outcome<Arc<Remote>> {
        match &*self.0.state.lock() {
            State::Started(remote) => Ok(Arc::clone(remote)),
            State::Initial | State::Shutdown => Err(raise("AssertionError", "server not yet started")),
        }
    }

    fn create(&self, typeid: &str, args: Vec<Dynamic>, site: Site) -> Outcome<Dynamic> {
        let server = self.remote()?;
        match ask(&server, &Request::Create(typeid.into(), args), site)? {
            Reply::Object(object, typeid, exposed) => {
                let class = self.proxytype(&typeid).unwrap_or_default();
                Ok(make(&class, Parts { server, object, typeid, exposed, manager: Some(self.clone()) }))
            }
            reply => value_of(reply),
        }
    }

    /// The name of the proxies' class of a registered type.
    pub fn proxytype(&self, typeid: &str) -> Option<String> {
        self.0.registry.lock().get(typeid).map(|known| known.proxytype.clone())
    }

    fn no_attribute(&self, name: &str) -> Box<rhai::EvalAltResult> {
        raise("AttributeError", format!("'{}' object has no attribute '{name}'", self.0.class))
    }

    fn shut_down(&self, site: Site) -> Outcome<()> {
        let Some(process) = self.0.process.lock().take() else {
            return match &*self.0.state.lock() {
                State::Shutdown => Ok(()),
                State::Initial | State::Started(_) => Err(self.no_attribute("shutdown")),
            };
        };
        let state = std::mem::replace(&mut *self.0.state.lock(), State::Shutdown);
        let Some(child) = process.child() else { return Ok(()) };
        if let State::Started(remote) = state
            && child.exit_code().is_none()
        {
            // A server that does not answer is ended below.
            let _ = ask(&remote, &Request::Shutdown, site);
        }
        *self.0.lifeline.lock() = None;
        for signal in [Some(Signal::TERM), Some(Signal::KILL), None] {
            let deadline = signal.map(|_| Instant::now() + Duration::from_secs(1));
            if child.wait(deadline, site).map_err(interrupted)? {
                break;
            }
            if let Some(signal) = signal {
                child.signal(signal).map_err(|error| raise_io(&error, None))?;
            }
        }
        Ok(())
    }

    fn register(&self, call: &mut Call) -> Outcome<Dynamic> {
        let typeid = call.text(0)?.to_string();
        let given = |value: Option<Dynamic>| value.filter(|value| !value.is_unit());
        let callable = match given(call.argument(1)) {
            Some(callable) => Some(to_shared(as_function(&callable)?.into())),
            None => None,
        };
        let proxytype = match given(call.argument(2)) {
            None => "AutoProxy".to_string(),
            Some(class) => match (class.read_lock::<Type>(), class.read_lock::<FnPtr>()) {
                (Some(class), _) => class.name().to_string(),
                (_, Some(function)) => function.fn_name().to_string(),
                _ => value::str(&class),
            },
        };
        let texts = |value: &Dynamic| -> Vec<String> {
            value::sequence(value).unwrap_or_default().iter().map(value::str).collect()
        };
        let exposed = given(call.argument(3)).map(|exposed| texts(&exposed));
        let methods =
            given(call.argument(4)).and_then(|methods| value::mapping(&methods)).unwrap_or_default();
        let method_to_typeid: Vec<(String, String)> =
            methods.iter().map(|(method, typeid)| (value::str(method), value::str(typeid))).collect();
        let exposed = exposed.map(|mut exposed| {
            exposed.extend(method_to_typeid.iter().map(|(method, _)| method.clone()));
            exposed
        });
        let is_created = call.bool_or(5, true);
        let known = Registered { callable, proxytype, exposed, method_to_typeid, is_created };
        let mut registry = self.0.registry.lock();
        Arc::make_mut(&mut registry).insert(typeid, known);
        Ok(Dynamic::UNIT)
    }
}

/// The qualified name of what a server's process runs.
const RUN_SERVER: &str = "multiprocessing.managers._run_server";

fn run_server(call: &mut Call) -> Outcome<Dynamic> {
    // Ctrl-C is the business of those who use the manager.
    ignore_interrupts();
    let address = call.argument(0).filter(|address| !address.is_unit());
    let key = call.required(1)?.into_blob().unwrap_or_default();
    let registry = registry_from_value(&call.required(2)?)?;
    let connection = |value: Dynamic| {
        let wrong = || raise("TypeError", "a manager's server needs a connection");
        value.try_cast::<ConnectionHandle>().ok_or_else(wrong)
    };
    let (writer, lifeline) = (connection(call.required(3)?)?, connection(call.required(4)?)?);
    let (realm, site) = (call.realm(), call.site());
    let initializer = call.argument(5).filter(|initializer| !initializer.is_unit());
    let initargs = call.argument(6).as_ref().and_then(value::sequence).unwrap_or_default();
    if let Some(initializer) = initializer {
        drop(Function::new(call.context(), &initializer)?.call(initargs)?);
    }
    let server = Server::new(call.context(), registry, address, key)?;
    writer.send(server.listener().address(), || site)?;
    writer.connection().close();
    let listener = server.listener().clone();
    ThreadHandle::spawn(&realm, None, true, site, move || {
        // Nothing is ever sent: it ends when the owner does.
        let _ = lifeline.recv(|| site);
        listener.close();
        Ok(Dynamic::UNIT)
    })?;
    server.serve(&realm, site)?;
    Ok(Dynamic::UNIT)
}

/// A script's reference to a server that it runs itself.
#[derive(Clone)]
pub struct ServerHandle(Arc<Server>);

impl Handle for ServerHandle {
    const NAME: &'static str = "Server";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<multiprocessing.managers.Server object at {:#x}>", self.identity())
    }
}

fn construct(call: &mut Call, class: &'static str) -> Outcome<Dynamic> {
    let address = call.argument(0).filter(|address| !address.is_unit());
    let key = match call.argument(1).filter(|key| !key.is_unit()) {
        None => authkey(&call.realm()),
        Some(key) => match key.as_blob_ref() {
            Ok(key) => key.clone(),
            Err(_) => {
                let (kind, shown) = (value::type_name(&key), value::repr(&key));
                return Err(raise("TypeError", format!("Authkey {shown} is type {kind}, not bytes")));
            }
        },
    };
    Ok(Dynamic::from(ManagerHandle::new(class, address, key)))
}

/// Methods that make objects, of managers that have the type.
const MAKERS: [(&str, &str, &str); 15] = [
    ("list", "list(*args)", "A list in the server."),
    ("dict", "dict(*args, **kwargs)", "A dict in the server."),
    ("Namespace", "Namespace(*args, **kwargs)", "An object with attributes in the server."),
    ("Value", "Value(*args, **kwargs)", "A value in the server."),
    ("Array", "Array(*args, **kwargs)", "Numbers of one type in the server."),
    ("Queue", "Queue(*args, **kwargs)", "A queue in the server."),
    ("JoinableQueue", "JoinableQueue(*args, **kwargs)", "A queue in the server."),
    ("Lock", "Lock(*args)", "A lock in the server."),
    ("RLock", "RLock(*args)", "A lock that its owner may take again, in the server."),
    ("Semaphore", "Semaphore(*args, **kwargs)", "A semaphore in the server."),
    ("BoundedSemaphore", "BoundedSemaphore(*args, **kwargs)", "A semaphore with a bound, in the server."),
    ("Condition", "Condition(*args, **kwargs)", "A condition in the server."),
    ("Event", "Event(*args)", "An event in the server."),
    ("Barrier", "Barrier(*args, **kwargs)", "A barrier in the server."),
    ("Pool", "Pool(*args, **kwargs)", "A pool of processes of the server's."),
];

/// Defines managers and their servers.
pub fn define(module: &mut NativeModule) {
    module
        .handle::<ManagerHandle>()
        .handle::<ServerHandle>()
        .function(
            "BaseManager(address=None, authkey=None)",
            "A manager without any types: register them first.",
            |call| construct(call, "BaseManager"),
        )
        .function(
            "SyncManager(address=None, authkey=None)",
            "A manager with the types that multiprocessing has.",
            |call| construct(call, "SyncManager"),
        )
        .function(
            "_run_server(address, authkey, registry, writer, lifeline, initializer, initargs)",
            "What a manager's process runs.",
            run_server,
        );
    for (typeid, signature, doc) in MAKERS {
        module.method::<ManagerHandle, _>(signature, doc, move |this, call| {
            if !this.0.registry.lock().get(typeid).is_some_and(|known| known.is_created) {
                return Err(this.no_attribute(typeid));
            }
            let args = arguments(call);
            this.create(typeid, args, call.site())
        });
    }
    module
        .method::<ManagerHandle, _>(
            "register(typeid, callable=None, proxytype=None, exposed=None, method_to_typeid=None, create_method=True)",
            "Adds a type: a method of that name makes an object in the server by calling the function there.",
            |this, call| this.register(call),
        )
        .method::<ManagerHandle, _>(
            "start(initializer=None, initargs=[])",
            "Starts the server's process, which calls the initializer first.",
            |this, call| {
                let initializer = call.argument(0).filter(|initializer| !initializer.is_unit());
                let initargs = call.argument(1).as_ref().and_then(value::sequence).unwrap_or_default();
                this.start(call, initializer, initargs).map(|()| Dynamic::UNIT)
            },
        )
        .method::<ManagerHandle, _>("connect()", "Uses the server that is at the address.", |this, call| {
            this.connect(call.site()).map(|()| Dynamic::UNIT)
        })
        .method::<ManagerHandle, _>("shutdown()", "Ends the server that start() started.", |this, call| {
            this.shut_down(call.site()).map(|()| Dynamic::UNIT)
        })
        .method::<ManagerHandle, _>(
            "join(timeout=None)",
            "Waits until the server's process has ended.",
            |this, call| {
                let process = this.0.process.lock().clone();
                let seconds = call.seconds(0)?;
                let wait = call.wait_for(seconds);
                if let Some(child) = process.and_then(|process| process.child()) {
                    child.wait(wait.deadline, wait.site).map_err(interrupted)?;
                }
                Ok(Dynamic::UNIT)
            },
        )
        .method::<ManagerHandle, _>("get_server()", "A server to be run by this process.", |this, call| {
            this.check_initial()?;
            let registry = Registry::clone(&this.0.registry.lock());
            let server = Server::new(call.context(), registry, this.given_address(), this.0.key.clone())?;
            Ok(Dynamic::from(ServerHandle(server)))
        })
        .method::<ManagerHandle, _>("_number_of_objects()", "How many objects the server has.", |this, call| {
            value_of(ask(&*this.remote()?, &Request::Count, call.site())?)
        })
        .method::<ManagerHandle, _>("_debug_info()", "What objects the server has.", |this, call| {
            value_of(ask(&*this.remote()?, &Request::Describe, call.site())?)
        })
        .method::<ManagerHandle, _>("__enter__()", "What `with` does first: start().", |this, call| {
            let state = match &*this.0.state.lock() {
                State::Initial => true,
                State::Started(_) => false,
                State::Shutdown => return Err(raise("ProcessError", "Manager has shut down")),
            };
            if state {
                this.start(call, None, Vec::new())?;
            }
            Ok(Dynamic::from(this.clone()))
        })
        .method::<ManagerHandle, _>("__exit__(error=None)", "What `with` does last: shutdown().", |this, call| {
            this.shut_down(call.site()).map(|()| Dynamic::UNIT)
        })
        .attribute::<ManagerHandle, _>("address", "Where the server is.", |this| {
            Ok(this.0.address.lock().clone())
        })
        .method::<ServerHandle, _>(
            "serve_forever()",
            "Serves until somebody shuts the server down, and ends the program then.",
            |this, call| {
                this.0.serve(&call.realm(), call.site())?;
                Err(system_exit())
            },
        )
        .attribute::<ServerHandle, _>("address", "Where the server is.", |this| {
            Ok(this.0.listener().address().clone())
        })
        .attribute::<ServerHandle, _>("listener", "What clients connect to.", |this| {
            Ok(Dynamic::from(Listener::clone(this.0.listener())))
        });
    on_missing_method::<ManagerHandle>(|receiver, name, args| {
        let Some(this) = receiver.read_lock::<ManagerHandle>().map(|this| this.clone()) else {
            return Ok(None);
        };
        let is_created = this.0.registry.lock().get(name).is_some_and(|known| known.is_created);
        match is_created && !STANDARD.contains(&name) {
            true => this.create(name, args, Site::default()).map(Some),
            false => Ok(None),
        }
    });
}
