//! The script's handlers, and how they are called.

use std::collections::HashMap;
use std::io;
use std::sync::OnceLock;

use rhai::{Dynamic, FnPtr};
use signal_hook::SigId;

use super::action::{self, Action};
use crate::language::callable::{Callable, as_function};
use crate::language::exception::{Outcome, raise, raise_io, raise_later};
use crate::language::native::Call;
use crate::language::pointer::{self, Name};
use crate::language::realm::{self, Realm};
use crate::language::variables::synchronise;
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{self, Interrupt, Runtime, Waiter};

/// `SIG_DFL`.
pub const DEFAULT: i64 = 0;
/// `SIG_IGN`.
pub const IGNORE: i64 = 1;
/// The function that raises KeyboardInterrupt.
const DEFAULT_INT_HANDLER: &str = "signal.default_int_handler";

/// A function of the script's that handles a signal.
struct Handler {
    /// As it was given.
    given: Dynamic,
    /// Nothing for the one that raises KeyboardInterrupt.
    function: Option<Callable>,
    /// Made anew in a forked child, whose main thread is another one.
    hook: Mutex<SigId>,
}

/// The handlers of one interpreter.
#[derive(Default)]
pub struct Handlers {
    functions: Mutex<HashMap<i32, Arc<Handler>>>,
    /// Threads in `pause()`.
    paused: Mutex<Vec<Arc<Waiter>>>,
}

impl Drop for Handlers {
    fn drop(&mut self) {
        for handler in self.functions.get_mut().values() {
            signal_hook::low_level::unregister(*handler.hook.lock());
        }
    }
}

/// What a script wants to be done with a signal.
enum Wanted {
    Default,
    Ignore,
    Interrupt,
    Function(Dynamic),
}

fn wanted(handler: Dynamic) -> Outcome<Wanted> {
    if let Some(function) = handler.read_lock::<FnPtr>() {
        return Ok(match Name::of(&function) {
            Name::Native(name) if name == DEFAULT_INT_HANDLER => Wanted::Interrupt,
            _ => Wanted::Function(function.clone().into()),
        });
    }
    match handler.as_int() {
        Ok(DEFAULT) => Ok(Wanted::Default),
        Ok(IGNORE) => Ok(Wanted::Ignore),
        _ if handler.is_string() => Ok(Wanted::Function(as_function(&handler)?.into())),
        _ => {
            let text = "signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object";
            Err(raise("TypeError", text))
        }
    }
}

fn is_main_thread(realm: &Realm) -> bool {
    let (current, main) = (runtime::current(), realm.runtime.main_thread());
    matches!((current, main), (Some(current), Some(main)) if Arc::ptr_eq(&current, &main))
}

impl Handlers {
    /// `signal(signalnum, handler)`: returns the handler before.
    pub fn set(&self, call: &Call, number: i32, handler: Dynamic) -> Outcome<Dynamic> {
        let realm = call.realm();
        if !is_main_thread(&realm) {
            let text = "signal only works in main thread of the main interpreter";
            return Err(raise("ValueError", text));
        }
        let wanted = wanted(handler)?;
        let before = self.get(number)?;
        let system = |error: io::Error| raise_io(&error, None);
        let runtime = &realm.runtime;
        match wanted {
            Wanted::Function(given) => {
                let function = Callable::new(call.context(), &given, Vec::new(), rhai::Map::new())?;
                self.install(runtime, number, given, Some(function)).map_err(system)?;
            }
            Wanted::Interrupt if number == libc::SIGINT => {
                self.install(runtime, number, default_int_handler(), None).map_err(system)?;
            }
            Wanted::Interrupt => {
                let text =
                    "default_int_handler is for SIGINT: write a function that raises KeyboardInterrupt";
                return Err(raise("ValueError", text));
            }
            Wanted::Default => {
                action::set(number, Action::Default).map_err(system)?;
                self.replace(runtime, number, None);
            }
            Wanted::Ignore => {
                action::set(number, Action::Ignore).map_err(system)?;
                self.replace(runtime, number, None);
            }
        }
        Ok(before)
    }

    fn install(
        &self,
        runtime: &Arc<Runtime>,
        number: i32,
        given: Dynamic,
        function: Option<Callable>,
    ) -> io::Result<()> {
        runtime.listen_for_signals(handle_pending)?;
        let main = runtime.main_thread().expect("the calling thread is it");
        let hook = action::hook(number, main)?;
        action::put_back(number)?;
        self.replace(runtime, number, Some(Handler { given, function, hook: Mutex::new(hook) }));
        Ok(())
    }

    fn replace(&self, runtime: &Runtime, number: i32, handler: Option<Handler>) {
        let mut functions = self.functions.lock();
        let any = |all: &HashMap<i32, Arc<Handler>>| all.values().any(|handler| handler.function.is_some());
        let had_any = any(&functions);
        if number == libc::SIGINT {
            runtime.own_interrupt();
        }
        let old = match handler {
            Some(handler) => functions.insert(number, Arc::new(handler)),
            None => functions.remove(&number),
        };
        if had_any != any(&functions) {
            // A handler may set an event, or release a lock, that everybody waits for.
            runtime.expect_signals(!had_any);
        }
        drop(functions);
        if let Some(old) = old {
            signal_hook::low_level::unregister(*old.hook.lock());
        }
    }

    /// `getsignal(signalnum)`.
    pub fn get(&self, number: i32) -> Outcome<Dynamic> {
        if let Some(handler) = self.functions.lock().get(&number) {
            return Ok(handler.given.clone());
        }
        match action::current(number).map_err(|error| raise_io(&error, None))? {
            Action::Default => Ok(DEFAULT.into()),
            Action::Ignore => Ok(IGNORE.into()),
            Action::Handler if number == libc::SIGINT => Ok(default_int_handler()),
            Action::Handler => Ok(Dynamic::UNIT),
        }
    }

    /// The process was just forked: signals that its parent had not handled are the parent's, and those to come are
    /// for another thread, the one that has become the main thread.
    pub fn after_fork(&self, runtime: &Runtime) {
        runtime.take_signals();
        self.paused.lock().clear();
        let Some(main) = runtime.main_thread() else { return };
        for (number, handler) in self.functions.lock().iter() {
            // A signal that could be hooked can be hooked again.
            let Ok(hook) = action::hook(*number, Arc::clone(&main)) else { continue };
            let old = std::mem::replace(&mut *handler.hook.lock(), hook);
            signal_hook::low_level::unregister(old);
        }
    }

    /// A wait that ends when a handler was called.
    pub fn pause(&self) -> Arc<Waiter> {
        let waiter = Waiter::new();
        self.paused.lock().push(Arc::clone(&waiter));
        waiter
    }

    /// The wait is over for another reason.
    pub fn resume(&self, waiter: &Arc<Waiter>) {
        self.paused.lock().retain(|other| !Arc::ptr_eq(other, waiter));
    }
}

/// `default_int_handler` as a value: always the same one.
pub fn default_int_handler() -> Dynamic {
    static POINTER: OnceLock<Option<FnPtr>> = OnceLock::new();
    let pointer = POINTER.get_or_init(|| pointer::native(DEFAULT_INT_HANDLER));
    pointer.clone().map(Dynamic::from).unwrap_or_default()
}

/// Calls the handlers of the signals that have come, in the order of their numbers, on the main thread.
fn handle_pending() -> Result<(), Interrupt> {
    let Some(realm) = realm::current() else { return Ok(()) };
    let handlers = realm.extension::<Handlers>();
    let mut pending = realm.runtime.take_signals();
    while pending != 0 {
        let number = pending.trailing_zeros() as i32;
        pending &= pending - 1;
        let handler = handlers.functions.lock().get(&number).cloned();
        let Some(handler) = handler else { continue };
        synchronise();
        let result = match &handler.function {
            Some(function) => function.call_with(vec![i64::from(number).into(), Dynamic::UNIT]),
            None => Err(raise("KeyboardInterrupt", "")),
        };
        synchronise();
        handlers.paused.lock().drain(..).for_each(|waiter| waiter.wake());
        if let Err(error) = result {
            realm.runtime.put_signals_back(pending);
            return Err(raise_later(error));
        }
    }
    Ok(())
}
