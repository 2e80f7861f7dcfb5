//! What happens to an exception that ends a thread.

use rhai::{Dynamic, ImmutableString};

use super::thread::ThreadHandle;
use crate::language::exception::{Exception, raise};
use crate::language::function::Function;
use crate::language::identity::Handle;
use crate::language::native::NativeModule;
use crate::language::realm::Realm;
use crate::language::types::Type;
use crate::runtime::sync::{Arc, Mutex};

/// The hook that the script set, if it did.
#[derive(Default)]
struct Hook(Mutex<Option<Arc<Function>>>);

/// What a hook is called with: `exc_type`, `exc_value`, `exc_traceback`, `thread`.
#[derive(Clone)]
struct HookArgs(Arc<(Exception, ThreadHandle)>);

impl Handle for HookArgs {
    const NAME: &'static str = "ExceptHookArgs";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

/// Prints an exception with its traceback, after a first line such as `Exception in thread Thread-1 (task):`.
pub fn report_uncaught(realm: &Realm, heading: &str, exception: &Exception) {
    let mut text = render(realm, exception);
    if !heading.is_empty() {
        text.insert_str(0, &format!("{heading}\n"));
    }
    // Nobody is left to tell if standard error is closed.
    let _ = realm.stderr.write(&text);
}

/// The traceback, those of its causes first, and the last line.
pub fn render(realm: &Realm, exception: &Exception) -> String {
    let mut text = String::new();
    if let Some(cause) = exception.cause() {
        text = render(realm, &cause);
        text.push_str("\nThe above exception was the direct cause of the following exception:\n\n");
    }
    let traceback = exception.traceback();
    if !traceback.is_empty() {
        text.push_str(&traceback.render(|file, line| realm.source_line(file, line)));
    }
    text.push_str(&exception.summary());
    text.push('\n');
    text
}

/// Deals with the exception that ended `thread`.
pub(super) fn handle(realm: &Arc<Realm>, thread: &ThreadHandle, exception: &Exception) {
    if exception.class().name == "SystemExit" {
        return;
    }
    let hook = realm.extension::<Hook>().0.lock().clone();
    let Some(hook) = hook else { return default(realm, thread, exception) };
    let args = HookArgs(Arc::new((exception.clone(), thread.clone())));
    if let Err(error) = hook.call(vec![Dynamic::from(args)]) {
        let failed = crate::language::exception::exception_of(&error, "", "");
        report_uncaught(realm, "Exception in threading.excepthook:", &failed);
        default(realm, thread, exception);
    }
}

fn default(realm: &Realm, thread: &ThreadHandle, exception: &Exception) {
    report_uncaught(realm, &format!("Exception in thread {}:", thread.record().name()), exception);
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .function(
            "excepthook(args)",
            "The default hook: prints the exception that ended a thread, with its traceback, to stderr.",
            |call| {
                let args = call.required(0)?;
                let Some(args) = args.read_lock::<HookArgs>() else {
                    return Err(raise(
                        "TypeError",
                        "excepthook(): 'args' must be what a hook is called with",
                    ));
                };
                default(&call.realm(), &args.0.1, &args.0.0);
                Ok(Dynamic::UNIT)
            },
        )
        .function(
            "set_excepthook(hook)",
            "Replaces threading.excepthook; None brings the default back.",
            |call| {
                let hook = call.required(0)?;
                let realm = call.realm();
                let hook = if hook.is_unit() { None } else { Some(Function::new(call.context(), &hook)?) };
                *realm.extension::<Hook>().0.lock() = hook;
                Ok(Dynamic::UNIT)
            },
        )
        .handle::<HookArgs>()
        .attribute::<HookArgs, _>("exc_type", "The exception's class.", |args| {
            Ok(Dynamic::from(Type::Exception(args.0.0.class())))
        })
        .attribute::<HookArgs, _>("exc_value", "The exception.", |args| Ok(Dynamic::from(args.0.0.clone())))
        .attribute::<HookArgs, _>("exc_traceback", "The traceback as text.", |args| {
            let text = args.0.0.traceback().render(|_, _| None);
            Ok(ImmutableString::from(text).into())
        })
        .attribute::<HookArgs, _>("thread", "The thread that ended.", |args| {
            Ok(Dynamic::from(args.0.1.clone()))
        });
}
