//! Proxies: objects that stand for objects in a manager's server.

use std::marker::PhantomData;

use rhai::Dynamic;

use super::client::{self, Server, ask, value_of};
use super::manager::ManagerHandle;
use super::message::{Reply, Request, read_exposed, write_exposed};
use crate::ipc::codec::{Decoder, Encoder, Travel};
use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::value;
use crate::runtime::Site;
use crate::runtime::sync::Arc;

/// A class of proxies.
pub trait Kind: Clone + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its name in messages.
    const TAG: &'static str;
}

/// Declares the classes.
macro_rules! kinds {
    ($($kind:ident $name:literal,)*) => {
        $(
            #[doc = concat!("`", $name, "`.")]
            #[derive(Clone)]
            pub struct $kind;

            impl Kind for $kind {
                const NAME: &'static str = $name;
                const TAG: &'static str = concat!("multiprocessing.managers.", $name);
            }
        )*

        /// The names of all classes.
        pub const CLASSES: &[&str] = &[$($name),*];

        /// A proxy of the class called `class`.
        pub fn make(class: &str, parts: Parts) -> Dynamic {
            match class {
                $($name => Dynamic::from(Proxy::<$kind>::new(parts)),)*
                _ => Dynamic::from(Proxy::<Auto>::new(parts)),
            }
        }

        /// Lets them all travel.
        pub fn register_all() {
            $(crate::ipc::codec::register::<Proxy<$kind>>();)*
        }
    };
}

kinds! {
    Auto "AutoProxy",
    List "ListProxy",
    Dict "DictProxy",
    Namespace "NamespaceProxy",
    Value "ValueProxy",
    Array "ArrayProxy",
    Acquirer "AcquirerProxy",
    Condition "ConditionProxy",
    Event "EventProxy",
    Barrier "BarrierProxy",
    Pool "PoolProxy",
    Iterator "IteratorProxy",
}

/// The class of the proxies of a type that every SyncManager has.
pub fn class_of(typeid: &str) -> &'static str {
    match typeid {
        "list" => List::NAME,
        "dict" => Dict::NAME,
        "Namespace" => Namespace::NAME,
        "Value" => Value::NAME,
        "Array" => Array::NAME,
        "Lock" | "RLock" | "Semaphore" | "BoundedSemaphore" => Acquirer::NAME,
        "Condition" => Condition::NAME,
        "Event" => Event::NAME,
        "Barrier" => Barrier::NAME,
        "Pool" => Pool::NAME,
        "Iterator" => Iterator::NAME,
        _ => Auto::NAME,
    }
}

/// What a proxy knows.
pub struct Parts {
    /// The server that has the object.
    pub server: Arc<Server>,
    /// The object's number there.
    pub object: u64,
    /// What it was registered as.
    pub typeid: String,
    /// What may be called, if that is limited.
    pub exposed: Option<Vec<String>>,
    /// The manager, whose server lives for as long as somebody refers to it; nothing in a process that got the proxy
    /// from another one.
    pub manager: Option<ManagerHandle>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        client::dropped(&self.server, self.object);
    }
}

/// A script's reference to an object in a manager's server. Clones are the same proxy.
pub struct Proxy<K: Kind> {
    parts: Arc<Parts>,
    kind: PhantomData<K>,
}

impl<K: Kind> Clone for Proxy<K> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts), kind: PhantomData }
    }
}

impl<K: Kind> Handle for Proxy<K> {
    const NAME: &'static str = K::NAME;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.parts) as usize
    }

    fn repr(&self) -> String {
        let typeid = &self.parts.typeid;
        let class = if K::NAME == Auto::NAME { format!("AutoProxy[{typeid}]") } else { K::NAME.into() };
        format!("<{class} object, typeid '{typeid}' at {:#x}>", self.identity())
    }

    fn str(&self) -> String {
        match self.call("__repr__", Vec::new(), Site::default()) {
            Ok(text) => value::str(&text),
            Err(_) => format!("{}; '__str__()' failed>", self.repr().trim_end_matches('>')),
        }
    }
}

impl<K: Kind> Travel for Proxy<K> {
    const TAG: &'static str = K::TAG;

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        let parts = &*self.parts;
        // The object must not go before the proxy has arrived.
        drop(value_of(ask(&parts.server, &Request::Lend(parts.object), Site::default())?)?);
        let (server, object) = (Arc::clone(&parts.server), parts.object);
        out.on_discard(move || {
            // The server may be gone, and with it the object.
            let _ = ask(&server, &Request::TakeBack(object), Site::default());
        });
        out.value(&parts.server.address)?;
        out.bytes(&parts.server.key);
        out.u64(parts.object);
        out.str(&parts.typeid);
        write_exposed(out, parts.exposed.as_deref());
        Ok(())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let (address, key) = (input.value()?, input.bytes()?.to_vec());
        let server = Server::new(address, key);
        let (object, typeid) = (input.u64()?, input.str()?.to_string());
        let exposed = read_exposed(input)?;
        drop(value_of(ask(&server, &Request::Adopt(object), Site::default())?)?);
        Ok(Self::new(Parts { server, object, typeid, exposed, manager: None }))
    }
}

impl<K: Kind> Proxy<K> {
    /// A proxy that has a reference to its object.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts), kind: PhantomData }
    }

    /// Calls a method of the object and returns a copy of the result, or a proxy of it.
    ///
    /// # Errors
    /// What the method raises; RemoteError; EOFError, ConnectionError and OSError when the server is gone.
    pub fn call(&self, method: &str, args: Vec<Dynamic>, site: Site) -> Outcome<Dynamic> {
        let parts = &*self.parts;
        let reply = ask(&parts.server, &Request::Call(parts.object, method.into(), args), site)?;
        let (object, typeid, exposed) = match reply {
            Reply::Object(object, typeid, exposed) => (object, typeid, exposed),
            reply => return value_of(reply),
        };
        let registered = parts.manager.as_ref().and_then(|manager| manager.proxytype(&typeid));
        let class = registered.unwrap_or_else(|| class_of(&typeid).to_string());
        let (server, manager) = (Arc::clone(&parts.server), parts.manager.clone());
        Ok(make(&class, Parts { server, object, typeid, exposed, manager }))
    }

    /// Calls a method that only an AutoProxy's object is known to have.
    ///
    /// # Errors
    /// As [`Proxy::call`]; AttributeError for what is not exposed.
    pub fn call_exposed(&self, method: &str, args: Vec<Dynamic>) -> Outcome<Dynamic> {
        let parts = &*self.parts;
        if method.starts_with('_')
            || parts.exposed.as_ref().is_some_and(|names| !names.iter().any(|name| name == method))
        {
            let text = format!("'AutoProxy[{}]' object has no attribute '{method}'", parts.typeid);
            return Err(raise("AttributeError", text));
        }
        self.call(method, args, Site::default())
    }
}
