//! Rhai's own errors as Python exceptions.

use rhai::{Dynamic, EvalAltResult as Error, ParseErrorType};

use super::{Class, Exception, StopMarker, Traceback};
use crate::language::types::Type;
use crate::language::value::python_name;
use crate::runtime::forget_large_block;

/// Is this the error that stops a thread at a safepoint?
pub fn is_stop(error: &Error) -> bool {
    match error {
        Error::ErrorTerminated(token, _) => token.read_lock::<StopMarker>().is_some(),
        Error::ErrorInFunctionCall(_, _, inner, _) | Error::ErrorInModule(_, inner, _) => is_stop(inner),
        _ => false,
    }
}

/// The exception that an error stands for, with the traceback that the error carries.
///
/// `file` and `outermost` are the script and the function in which it surfaced.
pub fn exception_of(error: &Error, file: &str, outermost: &str) -> Exception {
    // The operation may have taken much memory before it failed: one exception for it is enough.
    forget_large_block();
    let exception = match error.unwrap_inner() {
        Error::ErrorRuntime(value, _) | Error::ErrorTerminated(value, _) => exception_of_value(value),
        other => translate(other),
    };
    exception.set_traceback(Traceback::of(error, file, outermost));
    exception
}

/// What a thrown value stands for: itself if it is an exception, else an `Exception` with the value as argument.
fn exception_of_value(value: &Dynamic) -> Exception {
    if let Some(exception) = value.read_lock::<Exception>() {
        return exception.clone();
    }
    if let Some(class) = value.read_lock::<Type>()
        && let Some(class) = class.exception_class()
    {
        return Exception::new(class, "");
    }
    let message = crate::language::value::str(value);
    Exception::with_args(Class::known("Exception"), message, vec![value.clone()])
}

fn translate(error: &Error) -> Exception {
    let (class, message) = match error {
        Error::ErrorArithmetic(text, _) => arithmetic(text),
        Error::ErrorVariableNotFound(name, _) => ("NameError", name_not_defined(name)),
        Error::ErrorModuleNotFound(name, _) => ("ModuleNotFoundError", format!("No module named '{name}'")),
        Error::ErrorFunctionNotFound(signature, _) => function_not_found(signature),
        Error::ErrorUnboundThis(_) => ("NameError", "name 'this' is not bound here".into()),
        Error::ErrorArrayBounds(length, index, _) => {
            ("IndexError", format!("list index out of range: index {index} of {length} items"))
        }
        Error::ErrorStringBounds(length, index, _) => {
            ("IndexError", format!("string index out of range: index {index} of {length} characters"))
        }
        Error::ErrorBitFieldBounds(length, index, _) => {
            ("IndexError", format!("bit index out of range: bit {index} of {length}"))
        }
        Error::ErrorIndexNotFound(index, _) => ("KeyError", crate::language::value::repr(index)),
        Error::ErrorPropertyNotFound(name, _) => ("AttributeError", format!("no attribute '{name}'")),
        Error::ErrorDotExpr(text, _) => ("AttributeError", text.clone()),
        Error::ErrorIndexingType(text, _) => ("TypeError", format!("not subscriptable: {text}")),
        Error::ErrorMismatchDataType(wanted, got, _) if wanted.is_empty() => {
            ("TypeError", format!("unexpected type {}", python_name(got)))
        }
        Error::ErrorMismatchDataType(wanted, got, _) => {
            ("TypeError", format!("expected {}, got {}", python_name(wanted), python_name(got)))
        }
        Error::ErrorMismatchOutputType(wanted, got, _) => {
            ("TypeError", format!("expected {}, got {}", python_name(wanted), python_name(got)))
        }
        Error::ErrorFor(_) => ("TypeError", "the value of 'in' is not iterable".into()),
        Error::ErrorAssignmentToConstant(name, _) => {
            ("TypeError", format!("'{name}' is a constant and cannot be assigned to"))
        }
        Error::ErrorNonPureMethodCallOnConstant(name, _) => {
            ("TypeError", format!("'{name}' changes its object, which is a constant"))
        }
        Error::ErrorStackOverflow(_) => ("RecursionError", "maximum recursion depth exceeded".into()),
        Error::ErrorTooManyOperations(_)
        | Error::ErrorTooManyVariables(_)
        | Error::ErrorTooManyModules(_) => ("RuntimeError", error.to_string()),
        Error::ErrorDataTooLarge(what, _) => ("MemoryError", format!("{what} is too large")),
        Error::ErrorParsing(ParseErrorType::FnMissingParams(name), _) => {
            ("TypeError", format!("{name}() has no parameters"))
        }
        Error::ErrorParsing(kind, _) => ("SyntaxError", kind.to_string()),
        Error::ErrorForbiddenVariable(name, _) | Error::ErrorVariableExists(name, _) => {
            ("NameError", format!("the name '{name}' cannot be used here"))
        }
        Error::ErrorSystem(_, inner) => ("RuntimeError", inner.to_string()),
        other => ("RuntimeError", other.to_string()),
    };
    Exception::new(Class::known(class), message)
}

fn name_not_defined(name: &str) -> String {
    format!("name '{name}' is not defined")
}

fn arithmetic(text: &str) -> (&'static str, String) {
    let lower = text.to_lowercase();
    let is_overflow = lower.contains("by zero or overflow") && !text.trim_end().ends_with(" 0");
    if lower.contains("by zero") && !is_overflow {
        let what = if lower.contains("modulo") { "integer modulo by zero" } else { "division by zero" };
        ("ZeroDivisionError", what.into())
    } else if lower.contains("overflow") || lower.contains("too large") || lower.contains("too many bits") {
        ("OverflowError", text.into())
    } else {
        ("ArithmeticError", text.into())
    }
}

/// Rhai says "not found" of a name that no function has and of arguments that fit none of them. Its message is
/// a signature: `task (i64, string)`, or `+ (i64, string)` for an operator.
fn function_not_found(signature: &str) -> (&'static str, String) {
    let (name, arguments) = match signature.split_once(" (") {
        Some((name, arguments)) => (name.trim(), arguments.strip_suffix(')').unwrap_or(arguments)),
        None => (signature, ""),
    };
    let types: Vec<&str> = arguments.split(',').map(|name| python_name(name.trim())).collect();
    let is_name = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    if is_name {
        return match crate::language::realm::current() {
            Some(realm) => realm.explain_call(name, &types.join(", ")),
            None => ("NameError", name_not_defined(name)),
        };
    }
    let message = match types[..] {
        [left, right] => format!("unsupported operand type(s) for {name}: '{left}' and '{right}'"),
        [operand] => format!("bad operand type for unary {name}: '{operand}'"),
        _ => format!("unsupported operand type(s) for {name}"),
    };
    ("TypeError", message)
}
