//! `from threading import Thread, Lock as L;` and `from queue import *;`.
//!
//! Functions are not values in Rhai, so an import works on names: from here on, the parser reads the imported
//! name as the qualified native's.

use rhai::{Array, Dynamic, Engine};

use crate::language::exception::raise;
use crate::language::modules::ModuleNames;
use crate::language::tokens;
use crate::runtime::sync::Arc;

pub(super) fn register(engine: &mut Engine, modules: &Arc<ModuleNames>) {
    let known = Arc::clone(modules);
    engine.register_custom_syntax_with_state_raw(
        tokens::FROM,
        move |symbols, look_ahead, state| Ok(parse(&known, symbols, look_ahead, state)),
        false,
        |_, _, state| match state.read_lock::<Array>().and_then(|errors| errors.first().cloned()) {
            None => Ok(Dynamic::UNIT),
            Some(problem) => {
                let text = problem.to_string();
                let class = if text.starts_with("No module") { "ModuleNotFoundError" } else { "ImportError" };
                Err(raise(class, text))
            }
        },
    );
}

/// The next symbol of the statement. What is wrong with it goes into `state`, for when it is evaluated.
fn parse(
    modules: &ModuleNames,
    symbols: &[rhai::ImmutableString],
    look_ahead: &str,
    state: &mut Dynamic,
) -> Option<rhai::ImmutableString> {
    if state.is_unit() {
        *state = Array::new().into();
    }
    let last = symbols.last().map_or("", |symbol| symbol.as_str());
    let is_importing = symbols.iter().any(|symbol| symbol == "import");
    let next = match last {
        _ if symbols.len() == 1 => "$ident$",
        "." | "::" | "as" => "$ident$",
        "import" | "," if look_ahead == "*" => "*",
        "import" | "," => "$ident$",
        _ if !is_importing => match look_ahead {
            "." => ".",
            "::" => "::",
            _ => "import",
        },
        "*" => {
            finish(modules, symbols, state);
            return None;
        }
        _ => match look_ahead {
            "as" => "as",
            "," => ",",
            _ => {
                finish(modules, symbols, state);
                return None;
            }
        },
    };
    Some(next.into())
}

fn finish(modules: &ModuleNames, symbols: &[rhai::ImmutableString], state: &mut Dynamic) {
    let import = symbols.iter().position(|symbol| symbol == "import").unwrap_or(symbols.len());
    let module: String =
        symbols[1..import].iter().map(|s| if s == "::" { "." } else { s.as_str() }).collect();
    let mut problems = Array::new();
    match modules.names(&module) {
        None if !modules.contains(&module) => problems.push(format!("No module named '{module}'").into()),
        names => {
            // A package of modules defines nothing itself.
            let names = names.unwrap_or_default();
            let is_known =
                |name: &str| names.contains(&name) || modules.contains(&format!("{module}.{name}"));
            let mut words = symbols[import + 1..].iter();
            while let Some(word) = words.next() {
                match word.as_str() {
                    "," => {}
                    "*" => names.iter().for_each(|name| tokens::import(name, format!("{module}.{name}"))),
                    "as" => {
                        words.next();
                    }
                    name if !is_known(name) => {
                        problems.push(format!("cannot import name '{name}' from '{module}'").into());
                    }
                    name => {
                        let mut ahead = words.clone();
                        let alias = match (ahead.next().map(|w| w.as_str()), ahead.next()) {
                            (Some("as"), Some(alias)) => alias.as_str(),
                            _ => name,
                        };
                        tokens::import(alias, format!("{module}.{name}"));
                    }
                }
            }
        }
    }
    *state = problems.into();
}
