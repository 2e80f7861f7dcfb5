//! `multiprocessing.dummy`: the interface of `multiprocessing`, on threads.

mod connection;
mod shared;

use rhai::Dynamic;

use super::pool::new_thread_pool;
use crate::language::exception::Outcome;
use crate::language::identity::Handle;
use crate::language::list::List;
use crate::language::native::{Call, Keywords, NativeModule};
use crate::modules::threading::{ThreadHandle, new_dummy_process};
use crate::runtime::sync::Arc;

/// What `Manager()` returns: CPython returns the module itself.
#[derive(Clone)]
struct DummyManager(Arc<u8>);

impl Handle for DummyManager {
    const NAME: &'static str = "DummyManager";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        "<module 'multiprocessing.dummy'>".into()
    }
}

type Constructor = fn(&mut Call) -> Outcome<Dynamic>;

/// What both the module and its manager make.
const CONSTRUCTORS: &[(&str, &str, Constructor)] = &[
    ("Queue(maxsize=0)", "queue.Queue.", |call| forward(call, "queue.Queue")),
    ("JoinableQueue(maxsize=0)", "queue.Queue.", |call| forward(call, "queue.Queue")),
    ("Lock()", "threading.Lock.", |call| forward(call, "threading.Lock")),
    ("RLock()", "threading.RLock.", |call| forward(call, "threading.RLock")),
    ("Semaphore(value=1)", "threading.Semaphore.", |call| forward(call, "threading.Semaphore")),
    ("BoundedSemaphore(value=1)", "threading.BoundedSemaphore.", |call| {
        forward(call, "threading.BoundedSemaphore")
    }),
    ("Condition(lock=None)", "threading.Condition.", |call| forward(call, "threading.Condition")),
    ("Event()", "threading.Event.", |call| forward(call, "threading.Event")),
    ("Barrier(parties, action=None, timeout=None)", "threading.Barrier.", |call| {
        forward(call, "threading.Barrier")
    }),
    ("Namespace(**kwds)", "An object with any attributes.", shared::new_namespace),
    ("Value(typecode, value, lock=True)", "An object with the attribute `value`.", shared::new_value),
    ("Array(typecode, sequence, lock=True)", "A list of the sequence's items.", shared::new_array),
    ("list(iterable=())", "list.", |call| forward(call, "list")),
    ("dict(mapping=None)", "dict.", |call| forward(call, "dict")),
    (
        "Pool(processes=None, initializer=None, initargs=(), maxtasksperchild=None)",
        "A multiprocessing.pool.ThreadPool.",
        new_thread_pool,
    ),
    (
        "Process(target=None, args=(), kwargs=None, name=None, daemon=None, group=None, run=None)",
        "A thread with the interface of a process.",
        new_dummy_process,
    ),
    ("current_process()", "threading.current_thread().", |call| forward(call, "threading.current_thread")),
    (
        "active_children()",
        "The processes of this module that the calling thread started and that run.",
        |call| {
            let children = ThreadHandle::children(&call.realm());
            Ok(Dynamic::from(List::new(children.into_iter().map(Dynamic::from).collect())))
        },
    ),
    ("freeze_support()", "Does nothing.", |_| Ok(Dynamic::UNIT)),
    ("Pipe(duplex=True)", "Two connections; what one sends the other receives.", connection::new_pipe),
];

/// Hands the arguments on to another native.
fn forward(call: &mut Call, target: &str) -> Outcome<Dynamic> {
    let mut args = call.rest(0);
    let keywords = call.keywords();
    if !keywords.is_empty() {
        args.push(Dynamic::from(Keywords(keywords)));
    }
    let mut args: Vec<&mut Dynamic> = args.iter_mut().collect();
    call.context().call_native_fn_raw(target, false, &mut args)
}

/// The modules `multiprocessing.dummy` and `multiprocessing.dummy.connection`.
pub fn modules() -> Vec<NativeModule> {
    let mut module = NativeModule::new("multiprocessing.dummy");
    module.handle::<DummyManager>();
    for (signature, doc, constructor) in CONSTRUCTORS {
        module.function(signature, doc, constructor);
        module.method::<DummyManager, _>(signature, doc, |_, call| constructor(call));
    }
    module
        .function("Manager()", "An object that makes what this module makes.", |_| {
            Ok(Dynamic::from(DummyManager(Arc::new(0))))
        })
        .function("shutdown()", "Does nothing.", |_| Ok(Dynamic::UNIT))
        .method::<DummyManager, _>("shutdown()", "Does nothing.", |_, _| Ok(Dynamic::UNIT));
    shared::define(&mut module);
    vec![module, connection::module()]
}
