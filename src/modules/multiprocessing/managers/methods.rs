//! The methods of the proxies' classes: each is a request to the server.

use std::any::TypeId;
use std::time::{Duration, Instant};

use rhai::{Dynamic, FuncRegistration, ImmutableString};

use super::proxy::{
    Acquirer, Array, Auto, Barrier, Condition, Dict, Event, Iterator, Kind, List, Namespace, Pool, Proxy,
    Value, register_all,
};
use crate::language::builtins::on_missing_method;
use crate::language::exception::{Exception, Outcome};
use crate::language::function::Function;
use crate::language::generator::set_iterator;
use crate::language::native::{Call, Keywords, NativeModule};
use crate::language::value;
use crate::runtime::Site;

/// All arguments of a call; keywords come last.
pub fn arguments(call: &mut Call) -> Vec<Dynamic> {
    let mut args = call.rest(0);
    let keywords = call.keywords();
    if !keywords.is_empty() {
        args.push(Dynamic::from(Keywords(keywords)));
    }
    args
}

/// Defines methods that are called in the server as they are called here.
fn remote<K: Kind>(module: &mut NativeModule, methods: &'static [(&'static str, &'static str)]) {
    for (signature, doc) in methods {
        let name = signature.split('(').next().unwrap_or(signature);
        module.method::<Proxy<K>, _>(signature, doc, move |this, call| {
            let args = arguments(call);
            this.call(name, args, call.site())
        });
    }
}

fn here() -> Site {
    Site::default()
}

/// `p[i]`, `p[i] = x`, `x in p`, `len(p)`.
fn items<K: Kind>(module: &mut NativeModule) {
    let natives = &mut module.builtins;
    let exactly = |name: &str| FuncRegistration::new(name).with_purity(true).with_volatility(true);
    exactly("index$get$").set_into_module(natives, |this: &mut Proxy<K>, index: Dynamic| {
        this.call("__getitem__", vec![index], here())
    });
    exactly("index$set$").set_into_module(
        natives,
        |this: &mut Proxy<K>, index: Dynamic, new: Dynamic| -> Outcome<()> {
            this.call("__setitem__", vec![index, new], here()).map(drop)
        },
    );
    exactly("contains").set_into_module(natives, |this: &mut Proxy<K>, item: Dynamic| {
        this.call("__contains__", vec![item], here()).map(|found| value::is_true(&found))
    });
    for name in ["len", "get$len"] {
        exactly(name).set_into_module(natives, |this: &mut Proxy<K>| this.call("__len__", vec![], here()));
    }
}

/// `for x in p`: over what `method` returns at that moment.
fn iterable<K: Kind>(module: &mut NativeModule, method: &'static str) {
    module.builtins.set_iter_result(TypeId::of::<Proxy<K>>(), move |proxy| {
        let all = proxy.cast::<Proxy<K>>().call(method, Vec::new(), here());
        let (items, error) = match all {
            Ok(all) => (value::sequence(&all).unwrap_or_default(), None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Box::new(error.into_iter().map(Err).chain(items.into_iter().map(Ok)))
    });
}

fn list(module: &mut NativeModule) {
    remote::<List>(
        module,
        &[
            ("append(*args)", "Adds an item at the end."),
            ("count(*args)", "How often an item is there."),
            ("extend(*args)", "Adds several items at the end."),
            ("index(*args)", "Where an item is first."),
            ("insert(*args)", "Inserts an item before an index."),
            ("pop(*args)", "Takes out an item, the last one by default."),
            ("remove(*args)", "Takes out the first equal item."),
            ("reverse(*args)", "Turns the order round."),
            ("sort(*args, **kwargs)", "Sorts the items."),
            ("__delitem__(*args)", "Takes out the item at an index."),
        ],
    );
    items::<List>(module);
    iterable::<List>(module, "#GETVALUE");
    let natives = &mut module.builtins;
    for (operator, method) in [("+", "__add__"), ("*", "__mul__")] {
        FuncRegistration::new(operator).set_into_module(natives, move |this: Proxy<List>, other: Dynamic| {
            let other = match other.read_lock::<Proxy<List>>() {
                Some(list) => list.call("#GETVALUE", Vec::new(), here())?,
                None => other.clone(),
            };
            this.call(method, vec![other], here())
        });
    }
    FuncRegistration::new("+=").set_into_module(
        natives,
        |this: &mut Proxy<List>, more: Dynamic| -> Outcome<()> {
            this.call("extend", vec![more], here()).map(drop)
        },
    );
}

fn dict(module: &mut NativeModule) {
    remote::<Dict>(
        module,
        &[
            ("clear(*args)", "Takes out everything."),
            ("copy(*args)", "A plain dict with the same entries."),
            ("get(*args)", "The value of a key, or a default."),
            ("items(*args)", "The entries."),
            ("keys(*args)", "The keys."),
            ("pop(*args)", "Takes out a key and returns its value."),
            ("popitem(*args)", "Takes out the newest entry."),
            ("setdefault(*args)", "The value of a key, which is set first if it is not there."),
            ("update(*args, **kwargs)", "Sets several keys."),
            ("values(*args)", "The values."),
            ("__delitem__(*args)", "Takes out a key."),
        ],
    );
    items::<Dict>(module);
    iterable::<Dict>(module, "keys");
}

fn namespace(module: &mut NativeModule) {
    let natives = &mut module.builtins;
    FuncRegistration::new_index_getter()
        .with_purity(true)
        .with_volatility(true)
        .set_into_module(natives, |this: &mut Proxy<Namespace>, name: &str| {
            this.call("__getattribute__", vec![name.into()], here())
        });
    FuncRegistration::new_index_setter().with_purity(true).with_volatility(true).set_into_module(
        natives,
        |this: &mut Proxy<Namespace>, name: &str, new: Dynamic| -> Outcome<()> {
            this.call("__setattr__", vec![name.into(), new], here()).map(drop)
        },
    );
    FuncRegistration::new("delattr").set_into_module(
        natives,
        |this: &mut Proxy<Namespace>, name: ImmutableString| -> Outcome<()> {
            this.call("__delattr__", vec![name.into()], here()).map(drop)
        },
    );
}

fn cells(module: &mut NativeModule) {
    remote::<Value>(module, &[("get(*args)", "The value."), ("set(*args)", "Replaces the value.")]);
    module
        .attribute::<Proxy<Value>, _>("value", "The value.", |this| this.call("get", vec![], here()))
        .assignable::<Proxy<Value>, _>("value", |this, new| this.call("set", vec![new], here()).map(drop));
    items::<Array>(module);
    iterable::<Array>(module, "__iter__");
}

const ACQUIRE: (&str, &str) =
    ("acquire(*args, **kwargs)", "Takes the lock; false when the wait was over first.");
const RELEASE: (&str, &str) = ("release(*args)", "Frees the lock.");

/// `with`: enters by calling the one method and leaves by calling the other.
fn manager<K: Kind>(module: &mut NativeModule, enter: Option<&'static str>, leave: &'static str) {
    module
        .method::<Proxy<K>, _>("__enter__()", "What `with` does first.", move |this, call| match enter {
            Some(enter) => this.call(enter, Vec::new(), call.site()),
            None => Ok(Dynamic::from(this.clone())),
        })
        .method::<Proxy<K>, _>("__exit__(error=None)", "What `with` does last.", move |this, call| {
            this.call(leave, Vec::new(), call.site())
        });
}

fn locks(module: &mut NativeModule) {
    remote::<Acquirer>(module, &[ACQUIRE, RELEASE]);
    manager::<Acquirer>(module, Some("acquire"), "release");
    remote::<Condition>(
        module,
        &[
            ACQUIRE,
            RELEASE,
            ("wait(*args, **kwargs)", "Waits until it is notified; false when the timeout was over first."),
            ("notify(*args, **kwargs)", "Wakes one who waits, or so many."),
            ("notify_all(*args)", "Wakes all who wait."),
        ],
    );
    manager::<Condition>(module, Some("acquire"), "release");
    module.method::<Proxy<Condition>, _>(
        "wait_for(predicate, timeout=None)",
        "Waits until the predicate, which is asked here, is true; returns its last answer.",
        |this, call| {
            let function = Function::new(call.context(), &call.required(0)?)?;
            let timeout = call.seconds(1)?.map(|seconds| Duration::from_secs_f64(seconds.max(0.0)));
            let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            let site = call.site();
            loop {
                let result = function.call(Vec::new())?;
                let left = end.map(|end| end.saturating_duration_since(Instant::now()));
                if value::is_true(&result) || left.is_some_and(|left| left.is_zero()) {
                    return Ok(result);
                }
                let left = left.map_or(Dynamic::UNIT, |left| left.as_secs_f64().into());
                drop(this.call("wait", vec![left], site)?);
            }
        },
    );
    remote::<Event>(
        module,
        &[
            ("is_set(*args)", "Is it set?"),
            ("set(*args)", "Sets it and wakes all who wait."),
            ("clear(*args)", "Takes that back."),
            ("wait(*args, **kwargs)", "Waits until it is set; false when the timeout was over first."),
        ],
    );
    remote::<Barrier>(
        module,
        &[
            ("wait(*args, **kwargs)", "Waits until all parties wait; returns which of them this is."),
            ("abort(*args)", "Breaks the barrier."),
            ("reset(*args)", "Makes it as new."),
        ],
    );
    for (name, doc) in
        [("parties", "How many must wait."), ("n_waiting", "How many wait."), ("broken", "Is it broken?")]
    {
        module.attribute::<Proxy<Barrier>, _>(name, doc, move |this| {
            this.call("__getattribute__", vec![name.into()], here())
        });
    }
}

fn pools(module: &mut NativeModule) {
    remote::<Pool>(
        module,
        &[
            ("apply(*args, **kwargs)", "Calls a function in a worker and waits for the result."),
            ("apply_async(*args, **kwargs)", "Has a function called in a worker."),
            ("map(*args, **kwargs)", "Calls a function for every item and waits for the results."),
            ("map_async(*args, **kwargs)", "Has a function called for every item."),
            ("starmap(*args, **kwargs)", "Calls a function with the items of every item."),
            ("starmap_async(*args, **kwargs)", "Has a function called with the items of every item."),
            ("imap(*args, **kwargs)", "Calls a function for every item; an iterator over the results."),
            ("imap_unordered(*args, **kwargs)", "The same, in the order in which the results come."),
            ("close(*args)", "No more jobs."),
            ("terminate(*args)", "Ends the workers at once."),
            ("join(*args)", "Waits for the workers to end."),
        ],
    );
    manager::<Pool>(module, None, "terminate");
    remote::<Iterator>(module, &[("__next__(*args)", "The next item; StopIteration at the end.")]);
    module.method::<Proxy<Iterator>, _>(
        "next()",
        "The next item; StopIteration at the end.",
        |this, call| this.call("__next__", Vec::new(), call.site()),
    );
    set_iterator::<Proxy<Iterator>>(module, |this| match this.call("__next__", Vec::new(), here()) {
        Ok(item) => Ok(Some(item)),
        Err(error) => match &*error {
            rhai::EvalAltResult::ErrorRuntime(thrown, _)
                if thrown.read_lock::<Exception>().is_some_and(|e| e.class().name == "StopIteration") =>
            {
                Ok(None)
            }
            _ => Err(error),
        },
    });
}

fn common<K: Kind>(module: &mut NativeModule) {
    module.handle::<Proxy<K>>();
    module
        .method::<Proxy<K>, _>(
            "_callmethod(methodname, args=None, kwds=None)",
            "Calls a method of the object by its name.",
            |this, call| {
                let method = call.text(0)?;
                let given = call.argument(1).filter(|args| !args.is_unit());
                let mut args = given.as_ref().and_then(value::sequence).unwrap_or_default();
                let keywords = call.argument(2).filter(|keywords| !keywords.is_unit());
                if let Some(keywords) = keywords.as_ref().and_then(value::mapping) {
                    let named = keywords.into_iter().map(|(name, value)| (value::str(&name).into(), value));
                    args.push(Dynamic::from(Keywords(named.collect())));
                }
                this.call(&method, args, call.site())
            },
        )
        .method::<Proxy<K>, _>("_getvalue()", "A copy of the object.", |this, call| {
            this.call("#GETVALUE", Vec::new(), call.site())
        });
}

/// Defines all classes of proxies.
pub fn define(module: &mut NativeModule) {
    common::<Auto>(module);
    common::<List>(module);
    common::<Dict>(module);
    common::<Namespace>(module);
    common::<Value>(module);
    common::<Array>(module);
    common::<Acquirer>(module);
    common::<Condition>(module);
    common::<Event>(module);
    common::<Barrier>(module);
    common::<Pool>(module);
    common::<Iterator>(module);
    list(module);
    dict(module);
    namespace(module);
    cells(module);
    locks(module);
    pools(module);
    on_missing_method::<Proxy<Auto>>(|receiver, name, args| match receiver.read_lock::<Proxy<Auto>>() {
        Some(proxy) => proxy.call_exposed(name, args).map(Some),
        None => Ok(None),
    });
    register_all();
}
