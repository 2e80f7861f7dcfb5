//! `print`: one write per call, so that a line is never torn.
//!
//! It is defined under its qualified name. Functions that are called just `print` are special to rhai, which
//! prints their result, and the parser reads the name as the qualified one.

use rhai::{Dynamic, NativeCallContext};

use super::interpolation::shown;
use crate::language::exception::{Outcome, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::nesting::uncut;
use crate::language::{callable, value};

pub(super) fn fill(module: &mut NativeModule) {
    module.function(
        "print(*values, sep=' ', end='\\n', file=None, flush=False)",
        "Prints the values, separated by sep and followed by end.",
        print,
    );
}

fn print(call: &mut Call) -> Outcome<Dynamic> {
    let values = call.rest(0);
    let (sep, end) = (call.optional_text(0)?, call.optional_text(1)?);
    let sep = sep.as_deref().unwrap_or(" ");
    let realm = call.realm();
    let mut text = uncut(|| {
        let shown = values.iter().map(|value| shown(call.context(), Some(&realm), value));
        Ok(shown.collect::<Vec<_>>().join(sep))
    })?;
    text.push_str(end.as_deref().unwrap_or("\n"));
    match call.argument(2).filter(|file| !file.is_unit()) {
        None => realm.stdout.write(&text).map_err(|error| raise_io(&error, None))?,
        Some(file) => write_to(call.context(), file, text)?,
    }
    Ok(Dynamic::UNIT)
}

/// Hands the text to an object's `write`, or to a map's function of that name.
fn write_to(context: &NativeCallContext, mut file: Dynamic, text: String) -> Outcome<()> {
    let own = file.as_map_ref().ok().and_then(|map| map.get("write").cloned());
    if let Some(write) = own {
        let write = callable::as_function(&write)?;
        return callable::invoke(context, &write, None, vec![text.into()]).map(drop);
    }
    let kind = value::type_name(&file);
    context.call_fn_raw("write", true, true, &mut [&mut file, &mut text.into()]).map(drop).map_err(|error| {
        match *error {
            rhai::EvalAltResult::ErrorFunctionNotFound(ref name, _) if name.starts_with("write") => raise(
                "AttributeError",
                format!("'{kind}' object has no attribute 'write': print(file=…) needs one"),
            ),
            _ => error,
        }
    })
}
