//! Exceptions as scripts see them: `e.type`, `e.message`, `e.args`, `e.errno`, the cause, and what they print.

use rhai::{Dynamic, EvalAltResult, ImmutableString};

use super::exactly;
use crate::language::exception::{Class, Exception, raise};
use crate::language::native::NativeModule;
use crate::language::nesting::cut_is_fine;
use crate::language::realm;
use crate::language::types::Type;
use crate::language::value;

pub(super) fn fill(module: &mut NativeModule) {
    module.named::<Exception>("Exception");
    let natives = &mut module.builtins;
    exactly("to_string").set_into_module(natives, |e: &mut Exception| e.message().to_string());
    exactly("to_debug").set_into_module(natives, |e: &mut Exception| cut_is_fine(|| e.repr()));
    exactly("==").set_into_module(natives, |a: Exception, b: Exception| a.identity() == b.identity());
    exactly("!=").set_into_module(natives, |a: Exception, b: Exception| a.identity() != b.identity());
    get(module, "type", |e| e.class().name.into());
    get(module, "module", |e| e.class().module.into());
    get(module, "message", |e| e.message().to_string().into());
    get(module, "args", |e| e.args().to_vec().into());
    get(module, "traceback", |e| traceback(e).into());
    for name in ["cause", "__cause__"] {
        get(module, name, |e| e.cause().map(Dynamic::from).unwrap_or_default());
    }
    get(module, "__class__", |e| Dynamic::from(Type::Exception(e.class())));
    let natives = &mut module.builtins;
    // Rhai asks the indexer for properties that have no function: `e.errno`, `e.exitcode`, ….
    exactly("index$get$").set_into_module(natives, |e: &mut Exception, name: ImmutableString| {
        attribute(e, &name).ok_or_else(|| missing(e, &name))
    });
    exactly("index$set$").set_into_module(
        natives,
        |e: &mut Exception, name: ImmutableString, value: Dynamic| {
            e.set_attribute(&name, value);
        },
    );
    exactly("with_cause").set_into_module(natives, |e: &mut Exception, cause: Exception| {
        e.set_cause(cause);
        e.clone()
    });
    exactly("with_traceback").set_into_module(natives, |e: &mut Exception, _: Dynamic| e.clone());
    for name in ["cause", "__cause__"] {
        exactly(&format!("set${name}")).set_into_module(natives, |e: &mut Exception, cause: Exception| {
            e.set_cause(cause);
        });
    }
}

fn get(module: &mut NativeModule, name: &str, get: fn(&Exception) -> Dynamic) {
    exactly(&format!("get${name}")).set_into_module(&mut module.builtins, move |e: &mut Exception| get(e));
}

fn missing(exception: &Exception, name: &str) -> Box<EvalAltResult> {
    let class = exception.class().name;
    raise("AttributeError", format!("'{class}' object has no attribute '{name}'"))
}

/// The frames, as CPython prints them, and the exception itself.
fn traceback(exception: &Exception) -> String {
    let realm = realm::current();
    let frames = exception
        .traceback()
        .render(|file, line| realm.as_ref().and_then(|realm| realm.source_line(file, line)));
    format!("{frames}{}\n", exception.summary())
}

/// An attribute that only some classes have, or that a script has set.
fn attribute(exception: &Exception, name: &str) -> Option<Dynamic> {
    if let Some(value) = exception.attribute(name) {
        return Some(value);
    }
    let is = |class: &str| exception.is_instance(Class::known(class));
    let arg = |index: usize| exception.args().get(index).cloned().unwrap_or_default();
    match name {
        // OSError(2, "No such file or directory", path)
        "errno" if is("OSError") => Some(if exception.args().len() > 1 { arg(0) } else { Dynamic::UNIT }),
        "strerror" if is("OSError") && exception.args().len() > 1 => Some(arg(1)),
        "strerror" if is("OSError") => Some(strerror(exception).map(Dynamic::from).unwrap_or_default()),
        "filename" if is("OSError") => Some(arg(2)),
        "code" if is("SystemExit") => Some(arg(0)),
        "value" if is("StopIteration") => Some(arg(0)),
        "name" if is("NameError") || is("AttributeError") => Some(Dynamic::UNIT),
        _ => None,
    }
}

/// The system's text in `[Errno 2] No such file or directory: 'x'`.
fn strerror(exception: &Exception) -> Option<String> {
    let (_, text) = exception.message().strip_prefix("[Errno ")?.split_once("] ")?;
    let path = exception.attribute("filename").map(|path| format!(": {}", value::repr(&path)));
    let text = path.and_then(|path| text.strip_suffix(path.as_str())).unwrap_or(text);
    Some(text.to_string())
}
