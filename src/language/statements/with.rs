//! `with lock { … }` and `with open(path) as f { … }`: enters a context manager and leaves it on every way out:
//! the end of the block, an error, `break`, `continue`, `return`, and the stopping of the thread.

use rhai::{Dynamic, Engine, EvalAltResult, EvalContext, Expression, NativeCallContext, Position};

use super::bind;
use crate::language::exception::{arrived, exception_of, is_stop, raise};
use crate::language::identity::{ExitOf, enter_context};
use crate::language::realm;
use crate::language::value;

/// The method that a context manager is entered by; its result is what `as` names.
pub(super) const ENTER: &str = "__enter__";
/// The method that it is left by: with the exception or `()`; a true result swallows the exception.
pub(super) const EXIT: &str = "__exit__";

pub(super) fn register(engine: &mut Engine) {
    engine.register_custom_syntax_with_state_raw(
        "with",
        |symbols, look_ahead, _| {
            Ok(match symbols.last().map(|symbol| symbol.as_str()) {
                Some("with" | ",") => Some("$expr$".into()),
                Some("$expr$") if look_ahead == "," => Some(",".into()),
                Some("$expr$") => Some("$block$".into()),
                _ => None,
            })
        },
        false,
        |context, inputs, _| {
            let (block, managers) = inputs.split_last().expect("the syntax has a block");
            run(context, managers, block)
        },
    );
}

fn run(
    context: &mut EvalContext,
    managers: &[Expression],
    block: &Expression,
) -> Result<Dynamic, Box<EvalAltResult>> {
    let Some((expression, rest)) = managers.split_first() else {
        return context.eval_expression_tree(block);
    };
    let position = expression.position();
    let mut manager = context.eval_expression_tree(expression)?.flatten();
    let (entered, exit) = enter(context, &mut manager, position)?;
    let depth = bind::depth();
    if rest.is_empty() {
        bind::offer(entered);
    }
    let result = run(context, rest, block).map_err(arrived);
    bind::withdraw(depth);
    if let Some(exit) = exit {
        return exit(&manager).map_err(|error| at(error, position)).and(result);
    }
    let mut raised = match &result {
        Err(error) if is_error(error) => Dynamic::from(exception_of(error, "", "")),
        _ => Dynamic::UNIT,
    };
    let was_raised = !raised.is_unit();
    let swallow = call_in(context, EXIT, &mut [&mut manager, &mut raised], position)?;
    match result {
        Err(_) if was_raised && value::is_true(&swallow) => Ok(Dynamic::UNIT),
        result => result,
    }
}

/// Is it an error, and not a `return`, a `break`, or the end of the thread?
fn is_error(error: &EvalAltResult) -> bool {
    !matches!(error, EvalAltResult::Return(..) | EvalAltResult::LoopBreak(..) | EvalAltResult::Exit(..))
        && !is_stop(error)
}

/// Enters a manager: what `as` names, and how to leave it, if its `__exit__` need not be looked for.
fn enter(
    context: &mut EvalContext,
    manager: &mut Dynamic,
    position: Position,
) -> Result<(Dynamic, Option<ExitOf>), Box<EvalAltResult>> {
    let site = || realm::site(context.source().unwrap_or(""), position.line().unwrap_or(0) as u32);
    match enter_context(manager, site) {
        Some(entered) => {
            entered.map(|(entered, exit)| (entered, Some(exit))).map_err(|error| at(error, position))
        }
        None => call_in(context, ENTER, &mut [manager], position).map(|entered| (entered, None)),
    }
}

/// The error with this position, if it has none.
pub(super) fn at(mut error: Box<EvalAltResult>, position: Position) -> Box<EvalAltResult> {
    if error.position().is_none() {
        error.set_position(position);
    }
    error
}

/// Calls a method of the manager.
pub(super) fn call(
    native: &NativeCallContext,
    method: &str,
    args: &mut [&mut Dynamic],
    position: Position,
) -> Result<Dynamic, Box<EvalAltResult>> {
    let result = native.call_native_fn_raw(method, true, &mut *args);
    result.map_err(|error| match *error {
        EvalAltResult::ErrorFunctionNotFound(ref signature, _) if signature.starts_with(method) => {
            let manager = value::type_name(args[0]);
            let text = format!("'{manager}' object does not support the context manager protocol");
            let mut error = raise("TypeError", text);
            error.set_position(position);
            error
        }
        _ => at(error, position),
    })
}

fn call_in(
    context: &mut EvalContext,
    method: &str,
    args: &mut [&mut Dynamic],
    position: Position,
) -> Result<Dynamic, Box<EvalAltResult>> {
    let source = context.source().map(str::to_string);
    let engine = context.engine();
    let global = context.global_runtime_state_mut();
    let native = NativeCallContext::new_with_all_fields(engine, method, source.as_deref(), global, position);
    call(&native, method, args, position)
}
