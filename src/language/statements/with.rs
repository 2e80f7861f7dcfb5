//! `with lock { … }` and `with open(path) as f { … }`: enters a context manager and leaves it on every way out:
//! the end of the block, an error, `break`, `continue`, `return`, and the stopping of the thread.

use rhai::{Dynamic, Engine, EvalAltResult, EvalContext, Expression, NativeCallContext, Position};

use super::bind;
use crate::language::exception::{exception_of, is_stop, raise};
use crate::language::value;

/// The method that a context manager is entered by; its result is what `as` names.
const ENTER: &str = "__enter__";
/// The method that it is left by: with the exception or `()`; a true result swallows the exception.
const EXIT: &str = "__exit__";

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
    let entered = call(context, ENTER, &mut [&mut manager], position)?;
    let depth = bind::depth();
    if rest.is_empty() {
        bind::offer(entered);
    }
    let result = run(context, rest, block);
    bind::withdraw(depth);
    let mut raised = match &result {
        Err(error) if is_error(error) => Dynamic::from(exception_of(error, "", "")),
        _ => Dynamic::UNIT,
    };
    let was_raised = !raised.is_unit();
    let swallow = call(context, EXIT, &mut [&mut manager, &mut raised], position)?;
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

fn call(
    context: &mut EvalContext,
    method: &str,
    args: &mut [&mut Dynamic],
    position: Position,
) -> Result<Dynamic, Box<EvalAltResult>> {
    let source = context.source().map(str::to_string);
    let engine = context.engine();
    let manager = value::type_name(args[0]);
    let global = context.global_runtime_state_mut();
    let native = NativeCallContext::new_with_all_fields(engine, method, source.as_deref(), global, position);
    native.call_native_fn_raw(method, true, args).map_err(|mut error| match *error {
        EvalAltResult::ErrorFunctionNotFound(ref signature, _) if signature.starts_with(method) => {
            let text = format!("'{manager}' object does not support the context manager protocol");
            let mut error = raise("TypeError", text);
            error.set_position(position);
            error
        }
        _ => {
            if error.position().is_none() {
                error.set_position(position);
            }
            error
        }
    })
}
