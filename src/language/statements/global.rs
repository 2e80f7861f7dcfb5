//! `global n = 100;` makes a module-level variable that every function and thread sees; `global n;` and
//! `global a, b;` declare, as in Python, and change nothing. `global::NAME` stays Rhai's.

use rhai::{Array, Dynamic, Engine, EvalAltResult, EvalContext};

use crate::language::exception::raise;
use crate::language::{realm, tokens};

pub(super) fn register(engine: &mut Engine) {
    engine.register_custom_syntax_with_state_raw(tokens::GLOBAL, parse, false, evaluate);
}

type Symbols = [rhai::ImmutableString];

fn parse(
    symbols: &Symbols,
    look_ahead: &str,
    state: &mut Dynamic,
) -> Result<Option<rhai::ImmutableString>, rhai::ParseError> {
    // The names declared so far; the last one may get a value.
    if state.is_unit() {
        *state = Array::new().into();
    }
    let last = symbols.last().map_or("", |symbol| symbol.as_str());
    Ok(match (symbols.len(), last) {
        (1, _) if look_ahead == "::" => Some("::".into()),
        (1, _) | (_, "," | "::") => Some("$ident$".into()),
        (_, "=") => Some("$expr$".into()),
        (_, "$expr$") => None,
        (_, name) => {
            if let Ok(mut names) = state.as_array_mut() {
                names.push(name.to_string().into());
            }
            match look_ahead {
                "=" => Some("=".into()),
                "," => Some(",".into()),
                _ => None,
            }
        }
    })
}

fn evaluate(
    context: &mut EvalContext,
    inputs: &[rhai::Expression],
    state: &Dynamic,
) -> Result<Dynamic, Box<EvalAltResult>> {
    let names: Vec<String> = state.clone().into_typed_array().unwrap_or_default();
    let realm = realm::current().ok_or_else(|| raise("RuntimeError", "no interpreter"))?;
    // inputs: the names, then the value; `global::NAME` has one name and no statement to make.
    let value = match inputs.len().checked_sub(names.len()) {
        Some(1) => Some(context.eval_expression_tree(&inputs[names.len()])?.flatten()),
        _ => None,
    };
    match (value, names.last()) {
        (Some(value), Some(name)) => realm.globals.declare(name, value),
        (None, Some(name)) if !realm.globals.contains(name) => {
            if let Some(constant) = rhai_constant(context, name) {
                return Ok(constant);
            }
            // One that could not be sent to this process stays without a value: using it says why.
            let is_new =
                |name: &&String| !realm.globals.contains(name) && realm.globals.unsent(name).is_none();
            for name in names.iter().filter(is_new) {
                realm.globals.declare_unset(name);
            }
        }
        _ => {}
    }
    Ok(Dynamic::UNIT)
}

/// `global::NAME` at the head of a statement: a constant of the script's top level.
fn rhai_constant(context: &mut EvalContext, name: &str) -> Option<Dynamic> {
    let constants = context.global_runtime_state_mut().constants.clone()?;
    let constants = constants.read().ok()?;
    constants.get(name).cloned()
}
