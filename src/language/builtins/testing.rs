//! What scripts test themselves and their lessons with: `assert`, `assert_eq`, `assert_raises`.

use rhai::{Dynamic, NativeCallContext};

use crate::language::callable::{as_function, invoke};
use crate::language::exception::{Class, Exception, Outcome, exception_of, is_stop, raise};
use crate::language::native::{Call, NativeModule};
use crate::language::types::is_instance;
use crate::language::value::{self, is_true};

/// The functions for tests.
pub fn testing_module() -> NativeModule {
    let mut module = NativeModule::new("testing");
    module
        .builtin("assert(condition, *message)", "Raises AssertionError unless the condition is true.", |call| {
            let condition = call.required(0)?;
            if is_true(&condition) {
                return Ok(Dynamic::UNIT);
            }
            let args = call.rest(1);
            let message = args.first().map(value::str).unwrap_or_default();
            Err(Exception::with_args(Class::known("AssertionError"), message, args).into_error())
        })
        .builtin("assert_eq(left, right, *message)", "Raises AssertionError unless both are equal.", assert_eq)
        .builtin(
            "assert_raises(class, function, *args)",
            "Calls the function, and returns the exception, which must be of the class or of one of an array of them.",
            assert_raises,
        );
    module
}

fn assert_eq(call: &mut Call) -> Outcome<Dynamic> {
    let (left, right) = (call.required(0)?, call.required(1)?);
    if value::equals(&left, &right)? || operator_says_equal(call.context(), &left, &right) {
        return Ok(Dynamic::UNIT);
    }
    let mut text = format!("left and right differ: {} is not {}", value::repr(&left), value::repr(&right));
    if let Some(message) = call.rest(2).first() {
        text = format!("{}: {text}", value::str(message));
    }
    Err(raise("AssertionError", text))
}

/// What `left == right` is in a script, for types that have their own.
fn operator_says_equal(context: &NativeCallContext, left: &Dynamic, right: &Dynamic) -> bool {
    let result = context.call_native_fn_raw("==", false, &mut [&mut left.clone(), &mut right.clone()]);
    result.is_ok_and(|equal| equal.as_bool() == Ok(true))
}

fn assert_raises(call: &mut Call) -> Outcome<Dynamic> {
    let (class, function) = (call.required(0)?, call.required(1)?);
    let args = call.rest(2);
    let function = as_function(&function)?;
    let wanted = if class.is_string() { value::str(&class) } else { value::repr(&class) };
    match invoke(call.context(), &function, None, args) {
        Ok(result) => {
            let text = format!("{wanted} was not raised: the function returned {}", value::repr(&result));
            Err(raise("AssertionError", text))
        }
        Err(error) if is_stop(&error) => Err(error),
        Err(error) => {
            let file = call.context().call_source().unwrap_or_default().to_string();
            let exception = exception_of(&error, &file, "<module>");
            let raised = Dynamic::from(exception.clone());
            if is_instance(&raised, &class) {
                return Ok(raised);
            }
            let wrong = Exception::new(
                Class::known("AssertionError"),
                format!("{wanted} was not raised, but {}", exception.repr()),
            );
            wrong.set_cause(exception);
            Err(wrong.into_error())
        }
    }
}
