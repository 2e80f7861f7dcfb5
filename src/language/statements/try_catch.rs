//! `try { … } catch (e) { … } finally { … }`.
//!
//! Rhai's own `try` hands its own errors to the script as maps and forgets where they came from. Here every
//! error reaches `e` as an [`Exception`](crate::language::exception::Exception) with its traceback, Ctrl-C in
//! the middle of a computation included, and `finally` runs on every way out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rhai::{Dynamic, Engine, EvalAltResult, EvalContext, Expression};

use super::bind;
use crate::language::exception::{arrived, exception_of, is_stop, panicked};

pub(super) fn register(engine: &mut Engine) {
    engine.disable_symbol("try");
    engine.disable_symbol("catch");
    engine.register_custom_syntax_with_state_raw(
        "try",
        |symbols, look_ahead, state| {
            let last = symbols.last().map_or("", |symbol| symbol.as_str());
            Ok(match (symbols.len(), last) {
                (1, _) | (_, "catch" | "finally") => Some("$block$".into()),
                (2, _) if look_ahead == "finally" => {
                    *state = FINALLY.into();
                    Some("finally".into())
                }
                (2, _) => Some("catch".into()),
                (4, _) if state.is_unit() && look_ahead == "finally" => {
                    *state = CATCH_FINALLY.into();
                    Some("finally".into())
                }
                _ => None,
            })
        },
        false,
        |context, inputs, state| match state.as_int() {
            Ok(FINALLY) => {
                let result = attempt(context, &inputs[0]);
                finish(context, &inputs[1], result)
            }
            Ok(_) => {
                let result = try_catch(context, &inputs[0], &inputs[1]);
                finish(context, &inputs[2], result)
            }
            Err(_) => try_catch(context, &inputs[0], &inputs[1]),
        },
    );
}

const FINALLY: i64 = 1;
const CATCH_FINALLY: i64 = 2;

type Evaluated = Result<Dynamic, Box<EvalAltResult>>;

/// Evaluates a block; a panic in a native function becomes an exception.
fn attempt(context: &mut EvalContext, block: &Expression) -> Evaluated {
    catch_unwind(AssertUnwindSafe(|| context.eval_expression_tree(block)))
        .unwrap_or_else(|panic| Err(panicked(&*panic)))
        .map_err(arrived)
}

fn try_catch(context: &mut EvalContext, block: &Expression, handler: &Expression) -> Evaluated {
    let error = match attempt(context, block) {
        Err(error) if is_catchable(&error) => error,
        result => return result,
    };
    let file = context.source().unwrap_or_default().to_string();
    let depth = bind::depth();
    bind::offer(Dynamic::from(exception_of(&error, &file, "<module>")));
    let result = context.eval_expression_tree(handler);
    bind::withdraw(depth);
    result
}

fn finish(context: &mut EvalContext, block: &Expression, result: Evaluated) -> Evaluated {
    match &result {
        Err(error) if is_stop(error) => result,
        _ => {
            let _ = context.eval_expression_tree(block)?;
            result
        }
    }
}

fn is_catchable(error: &EvalAltResult) -> bool {
    !matches!(error, EvalAltResult::Return(..) | EvalAltResult::LoopBreak(..) | EvalAltResult::Exit(..))
        && !is_stop(error)
}
