//! A manager's server: it holds the objects, and has a thread for each connection.

use std::collections::HashMap;

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
use rhai::NativeCallContextStore;
use rhai::{Dynamic, Engine, NativeCallContext, Shared};

use super::invoke::{construct, invoke};
use super::message::{Client, Reply, Request};
use crate::ipc::codec::{Decoder, Encoder};
use crate::ipc::connection::{Connection, Content, Message};
use crate::language::exception::{Class, Exception, Outcome, exception_of, is_stop, raise};
use crate::language::function::Function;
use crate::language::identity::identity;
use crate::language::native::Keywords;
use crate::language::realm::{self, Realm};
use crate::language::value;
use crate::language::variables::{synchronise, to_local, to_shared};
use crate::modules::multiprocessing::connection::{ConnectionHandle, Listener};
use crate::modules::threading::{ThreadHandle, render_exception};
use crate::runtime::Site;
use crate::runtime::sync::{Arc, Mutex};

/// What is known of a registered type.
#[derive(Clone)]
pub struct Registered {
    /// What makes an object; nothing for the types that every SyncManager has.
    pub callable: Option<Dynamic>,
    /// The name of the proxies' class.
    pub proxytype: String,
    /// What may be called; everything if that is not limited.
    pub exposed: Option<Vec<String>>,
    /// Methods whose results stay in the server, and of which registered type these are.
    pub method_to_typeid: Vec<(String, String)>,
    /// Is there a method of the manager that makes objects?
    pub is_created: bool,
}

/// The registered types of a manager.
pub type Registry = HashMap<String, Registered>;

#[derive(Clone)]
struct Object {
    value: Dynamic,
    exposed: Option<Vec<String>>,
    method_to_typeid: Vec<(String, String)>,
}

/// Those to whom references belong that are on their way.
const UNDER_WAY: Client = [0; 2];

#[derive(Default)]
struct Table {
    last: u64,
    objects: HashMap<u64, (Object, u64)>,
    by_identity: HashMap<usize, u64>,
    /// The references of each client, and how many connections it has.
    clients: HashMap<Client, (usize, HashMap<u64, u64>)>,
}

impl Table {
    fn add(&mut self, client: Client, number: u64) -> Outcome<()> {
        let (_, references) =
            self.objects.get_mut(&number).ok_or_else(|| raise("KeyError", format!("'{number:x}'")))?;
        *references += 1;
        *self.clients.entry(client).or_default().1.entry(number).or_default() += 1;
        Ok(())
    }

    /// Takes references away; returns the object if they were the last ones.
    #[must_use]
    fn subtract(&mut self, client: Client, number: u64, count: u64) -> Option<Object> {
        let held = self.clients.get_mut(&client)?.1.get_mut(&number)?;
        let count = count.min(*held);
        *held -= count;
        if *held == 0 {
            self.clients.get_mut(&client)?.1.remove(&number);
        }
        let (_, references) = self.objects.get_mut(&number)?;
        *references -= count;
        if *references > 0 {
            return None;
        }
        let (object, _) = self.objects.remove(&number)?;
        if let Some(identity) = identity(&object.value) {
            self.by_identity.remove(&identity);
        }
        Some(object)
    }
}

/// A manager's server, in the process where it runs.
#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
pub struct Server {
    registry: Registry,
    listener: Listener,
    table: Mutex<Table>,
    context: NativeCallContextStore,
    engine: Shared<Engine>,
}

/// The servers of this process, by their addresses.
static SERVERS: Mutex<Option<HashMap<String, Arc<Server>>>> = Mutex::new(None);

/// The server at an address, if it is one of this process.
pub fn of_this_process(address: &str) -> Option<Arc<Server>> {
    SERVERS.lock().as_ref()?.get(address).cloned()
}

/// In a forked process: they are the parent's.
pub fn after_fork() {
    if let Some(servers) = SERVERS.lock().take() {
        std::mem::forget(servers);
    }
}

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
impl Server {
    /// A server that listens, but does not serve yet.
    ///
    /// # Errors
    /// OSError.
    pub fn new(
        context: &NativeCallContext,
        registry: Registry,
        address: Option<Dynamic>,
        key: Vec<u8>,
    ) -> Outcome<Arc<Self>> {
        let realm = realm::current().ok_or_else(|| raise("RuntimeError", "no interpreter"))?;
        Ok(Arc::new(Self {
            registry,
            listener: Listener::new(address, None, 16, Some(key))?,
            table: Mutex::default(),
            context: context.store_data(),
            engine: realm.engine().clone(),
        }))
    }

    /// What clients connect to.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Serves until somebody shuts the server down.
    ///
    /// # Errors
    /// KeyboardInterrupt; OSError when the system has no room for another connection or thread.
    pub fn serve(self: &Arc<Self>, realm: &Arc<Realm>, site: Site) -> Outcome<()> {
        let name = value::repr(self.listener.address());
        SERVERS.lock().get_or_insert_default().insert(name.clone(), Arc::clone(self));
        let result = self.accept(realm, site);
        if let Some(servers) = &mut *SERVERS.lock() {
            servers.remove(&name);
        }
        result
    }

    fn accept(self: &Arc<Self>, realm: &Arc<Realm>, site: Site) -> Outcome<()> {
        loop {
            let connection = match self.listener.accept_unproved(site) {
                Ok(connection) => connection,
                Err(_) if self.listener.is_closed() => return Ok(()),
                Err(error) => return Err(error),
            };
            let server = Arc::clone(self);
            ThreadHandle::spawn(realm, None, true, site, move || {
                server.serve_client(connection, site);
                Ok(Dynamic::UNIT)
            })?;
        }
    }

    fn serve_client(&self, connection: Connection, site: Site) {
        // Whoever does not know the key, or goes away, has learnt that already.
        let Ok(connection) = self.listener.authenticate(connection, site) else { return };
        let mut client = None;
        let context = self.context.create_context(&self.engine);
        let read = |message: Message<'_>| {
            let mut decoder = match message.content {
                Content::Value => Decoder::new(message.bytes, message.fds),
                Content::Bytes => Decoder::from_anybody(message.bytes),
            };
            let request = Request::read(&mut decoder)?;
            decoder.finish()?;
            Ok::<_, Box<rhai::EvalAltResult>>(request)
        };
        while let Ok(request) = connection.connection().receive(None, site, read) {
            let reply = match request {
                Ok(Request::Hello(who, name)) => {
                    self.arrived(who, &mut client);
                    if let Some(thread) = crate::runtime::current().filter(|_| !name.is_empty()) {
                        thread.set_name(&name);
                    }
                    continue;
                }
                Ok(Request::Shutdown) => {
                    self.reply(&connection, &Reply::Value(Dynamic::UNIT), site);
                    self.listener.close();
                    break;
                }
                Ok(request) => {
                    synchronise();
                    let reply = self.perform(&context, client.unwrap_or(UNDER_WAY), &request);
                    match reply {
                        Err(error) if is_stop(&error) => break,
                        _ if !request.is_answered() => continue,
                        Ok(reply) => reply,
                        Err(error) => Reply::Traceback(traceback(&error)),
                    }
                }
                Err(error) => Reply::Traceback(traceback(&error)),
            };
            if !self.reply(&connection, &reply, site) {
                break;
            }
        }
        if let Some(client) = client {
            self.left(client);
        }
    }

    /// Sends an answer; false if the client is gone.
    fn reply(&self, connection: &ConnectionHandle, reply: &Reply, site: Site) -> bool {
        match send(connection, reply, site) {
            Ok(sent) => sent,
            Err(error) => send(connection, &Reply::Unserializable(traceback(&error)), site).unwrap_or(false),
        }
    }

    fn arrived(&self, who: Client, client: &mut Option<Client>) {
        if client.is_none() && who != UNDER_WAY {
            self.table.lock().clients.entry(who).or_default().0 += 1;
            *client = Some(who);
        }
    }

    /// One of the client's connections is over; with the last one go all its references.
    fn left(&self, client: Client) {
        let mut table = self.table.lock();
        let Some((connections, references)) = table.clients.get_mut(&client) else { return };
        *connections -= 1;
        if *connections > 0 {
            return;
        }
        let references: Vec<(u64, u64)> =
            references.iter().map(|(object, count)| (*object, *count)).collect();
        let dropped: Vec<_> = references
            .into_iter()
            .filter_map(|(object, count)| table.subtract(client, object, count))
            .collect();
        table.clients.remove(&client);
        drop(table);
        drop(dropped);
    }

    /// A proxy of this very process is gone.
    pub fn drop_own(&self, number: u64) {
        let last = self.table.lock().subtract(UNDER_WAY, number, 1);
        drop(last);
    }

    /// Answers a request of this very process.
    ///
    /// # Errors
    /// What is no answer.
    pub fn answer(&self, request: &Request) -> Outcome<Reply> {
        let context = self.context.create_context(&self.engine);
        self.perform(&context, UNDER_WAY, request)
    }

    fn perform(&self, context: &NativeCallContext, client: Client, request: &Request) -> Outcome<Reply> {
        match request {
            Request::Call(number, method, args) => self.call(context, client, *number, method, args),
            Request::Create(typeid, args) => self.create(context, client, typeid, args),
            Request::Lend(number) => {
                self.table.lock().add(UNDER_WAY, *number)?;
                Ok(Reply::Value(Dynamic::UNIT))
            }
            Request::Adopt(number) => {
                let mut table = self.table.lock();
                table.add(client, *number)?;
                let none = table.subtract(UNDER_WAY, *number, 1);
                drop(table);
                drop(none);
                Ok(Reply::Value(Dynamic::UNIT))
            }
            Request::TakeBack(number) => {
                let last = self.table.lock().subtract(UNDER_WAY, *number, 1);
                drop(last);
                Ok(Reply::Value(Dynamic::UNIT))
            }
            Request::Drop(number) => {
                let last = self.table.lock().subtract(client, *number, 1);
                drop(last);
                Ok(Reply::Value(Dynamic::UNIT))
            }
            Request::Count => Ok(Reply::Value((self.table.lock().objects.len() as i64).into())),
            Request::Describe => Ok(Reply::Value(self.describe().into())),
            Request::Nothing | Request::Shutdown | Request::Hello(..) => Ok(Reply::Value(Dynamic::UNIT)),
        }
    }

    fn describe(&self) -> String {
        let mut all: Vec<_> = {
            let table = self.table.lock();
            table.objects.iter().map(|(id, (object, refs))| (*id, object.value.clone(), *refs)).collect()
        };
        all.sort_by_key(|(number, ..)| *number);
        let lines = all.iter().map(|(number, object, references)| {
            let shown: String = value::str(object).chars().take(75).collect();
            format!("  {number:x}:       refcount={references}\n    {shown}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn call(
        &self,
        context: &NativeCallContext,
        client: Client,
        number: u64,
        method: &str,
        args: &[Dynamic],
    ) -> Outcome<Reply> {
        let object = self.table.lock().objects.get(&number).map(|(object, _)| object.clone());
        let object = object.ok_or_else(|| raise("KeyError", format!("'{number:x}'")))?;
        let is_always = matches!(method, "__str__" | "__repr__" | "#GETVALUE");
        if let Some(exposed) = object.exposed.as_ref().filter(|_| !is_always)
            && !exposed.iter().any(|name| name == method)
        {
            let (kind, shown) = (value::type_name(&object.value), exposed.join("', '"));
            let text = format!("method '{method}' of '{kind}' object is not in exposed={{'{shown}'}}");
            return Err(raise("AttributeError", text));
        }
        let result = match invoke(context, &to_local(object.value.clone()), method, args.to_vec()) {
            Ok(result) => result,
            Err(error) if is_stop(&error) => return Err(error),
            Err(error) => return Ok(Reply::Raised(Dynamic::from(exception_of(&error, "", "")))),
        };
        let typeid =
            object.method_to_typeid.iter().find(|(name, _)| name == method).map(|(_, id)| id.clone());
        match typeid {
            None => Ok(Reply::Value(result)),
            Some(typeid) => self.keep(client, &typeid, result),
        }
    }

    fn create(
        &self,
        context: &NativeCallContext,
        client: Client,
        typeid: &str,
        args: &[Dynamic],
    ) -> Outcome<Reply> {
        let known = self.registry.get(typeid).ok_or_else(|| raise("KeyError", format!("'{typeid}'")))?;
        let made = match &known.callable {
            None => construct(context, typeid, args.to_vec())?,
            Some(callable) => {
                let (mut args, mut keywords) = (args.to_vec(), rhai::Map::new());
                if let Some(last) = args.pop_if(|last| last.is::<Keywords>()) {
                    keywords = last.cast::<Keywords>().0;
                }
                let function = Function::new(context, callable)?;
                let args = function.arguments(args, keywords)?;
                let made = function.call(args)?;
                synchronise();
                made
            }
        };
        self.keep(client, typeid, made)
    }

    /// Puts a value among the objects, unless it is there already.
    fn keep(&self, client: Client, typeid: &str, value: Dynamic) -> Outcome<Reply> {
        let known = self.registry.get(typeid).ok_or_else(|| raise("KeyError", format!("'{typeid}'")))?;
        let value = to_shared(value);
        let mut table = self.table.lock();
        let identity = identity(&value);
        let number = match identity.and_then(|identity| table.by_identity.get(&identity).copied()) {
            Some(number) => number,
            None => {
                table.last += 1;
                let number = table.last;
                let object = Object {
                    value,
                    exposed: known.exposed.clone(),
                    method_to_typeid: known.method_to_typeid.clone(),
                };
                table.objects.insert(number, (object, 0));
                if let Some(identity) = identity {
                    table.by_identity.insert(identity, number);
                }
                number
            }
        };
        table.add(client, number)?;
        Ok(Reply::Object(number, typeid.to_string(), known.exposed.clone()))
    }
}

fn send(connection: &ConnectionHandle, reply: &Reply, site: Site) -> Outcome<bool> {
    let connection = connection.connection();
    let mut encoder = Encoder::onto(connection.frame(Vec::with_capacity(64)), connection.purpose());
    reply.write(&mut encoder)?;
    let mut encoded = encoder.finish();
    let mut bytes = std::mem::take(&mut encoded.bytes);
    let sent = connection.send_framed(Content::Value, &mut bytes, &encoded.fds, site).is_ok();
    if sent {
        encoded.sent();
    }
    Ok(sent)
}

/// An error as CPython's traceback module formats it.
fn traceback(error: &rhai::EvalAltResult) -> String {
    let exception = exception_of(error, "", "");
    match realm::current() {
        Some(realm) => render_exception(&realm, &exception),
        None => format!("{}\n", exception.summary()),
    }
}

/// The registry as a value that travels to the server.
pub fn registry_to_value(registry: &Registry) -> Dynamic {
    let texts = |texts: &[String]| -> Dynamic {
        texts.iter().map(|text| Dynamic::from(text.clone())).collect::<Vec<_>>().into()
    };
    let entries = registry.iter().map(|(typeid, known)| -> Dynamic {
        let methods: Vec<String> =
            known.method_to_typeid.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        vec![
            typeid.clone().into(),
            known.callable.clone().unwrap_or_default(),
            known.proxytype.clone().into(),
            known.exposed.as_deref().map_or(Dynamic::UNIT, texts),
            texts(&methods),
            known.is_created.into(),
        ]
        .into()
    });
    entries.collect::<Vec<_>>().into()
}

/// Reads what [`registry_to_value`] made.
///
/// # Errors
/// TypeError for anything else.
pub fn registry_from_value(value: &Dynamic) -> Outcome<Registry> {
    let wrong = || raise("TypeError", "a manager's server needs a registry");
    let texts = |value: &Dynamic| -> Vec<String> {
        value::sequence(value).unwrap_or_default().iter().map(value::str).collect()
    };
    let mut registry = Registry::new();
    for entry in value::sequence(value).ok_or_else(wrong)? {
        let entry = value::sequence(&entry).ok_or_else(wrong)?;
        let [typeid, callable, proxytype, exposed, methods, is_created] = &entry[..] else {
            return Err(wrong());
        };
        let methods = texts(methods);
        let (pairs, _) = methods.as_chunks::<2>();
        let known = Registered {
            callable: Some(callable.clone()).filter(|callable| !callable.is_unit()),
            proxytype: value::str(proxytype),
            exposed: (!exposed.is_unit()).then(|| texts(exposed)),
            method_to_typeid: pairs.iter().cloned().map(|[a, b]| (a, b)).collect(),
            is_created: value::is_true(is_created),
        };
        registry.insert(value::str(typeid), known);
    }
    Ok(registry)
}

/// The SystemExit with which a server's process ends.
pub fn system_exit() -> Box<rhai::EvalAltResult> {
    Exception::with_args(Class::known("SystemExit"), "0", vec![0_i64.into()]).into_error()
}
