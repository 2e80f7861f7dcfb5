//! The operators of numbers, text and functions as natives.
//!
//! Rhai has those of numbers and text built in, but its bytecode machine looks only at plain operands there; an
//! operand that is a captured or module-level variable comes in a shared cell, and then a native is asked for.

use std::cmp::Ordering;

use rhai::{FnNamespace, FnPtr, FuncRegistration, ImmutableString};

use super::exception::{Outcome, raise};
use super::native::NativeModule;
use super::variables::is_same_function;

type IntOperation = fn(i64, i64) -> Option<i64>;
type FloatOperation = fn(f64, f64) -> f64;
type Test = fn(Option<Ordering>) -> bool;

fn power(a: i64, b: i64) -> Option<i64> {
    a.checked_pow(u32::try_from(b).ok()?)
}

const INTEGERS: &[(&str, IntOperation)] = &[
    ("+", i64::checked_add),
    ("-", i64::checked_sub),
    ("*", i64::checked_mul),
    ("/", i64::checked_div),
    ("%", i64::checked_rem),
    ("**", power),
    ("&", |a, b| Some(a & b)),
    ("|", |a, b| Some(a | b)),
    ("^", |a, b| Some(a ^ b)),
];

const FLOATS: &[(&str, FloatOperation)] = &[
    ("+", |a, b| a + b),
    ("-", |a, b| a - b),
    ("*", |a, b| a * b),
    ("/", |a, b| a / b),
    ("%", |a, b| a % b),
    ("**", f64::powf),
];

const COMPARISONS: &[(&str, Test)] = &[
    ("<", |o| o == Some(Ordering::Less)),
    ("<=", |o| matches!(o, Some(Ordering::Less | Ordering::Equal))),
    (">", |o| o == Some(Ordering::Greater)),
    (">=", |o| matches!(o, Some(Ordering::Greater | Ordering::Equal))),
    ("==", |o| o == Some(Ordering::Equal)),
    ("!=", |o| o != Some(Ordering::Equal)),
];

fn exactly(name: &str) -> FuncRegistration {
    FuncRegistration::new(name).with_namespace(FnNamespace::Global).with_purity(true).with_volatility(true)
}

fn integers(a: i64, name: &str, b: i64, operation: IntOperation) -> Outcome<i64> {
    match name {
        "/" if b == 0 => Err(raise("ZeroDivisionError", "division by zero")),
        "%" if b == 0 => Err(raise("ZeroDivisionError", "integer modulo by zero")),
        _ => operation(a, b)
            .ok_or_else(|| raise("OverflowError", format!("{a} {name} {b} does not fit a 64-bit integer"))),
    }
}

/// The operators.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("operator");
    let builtins = &mut module.builtins;
    for &(name, operation) in INTEGERS {
        exactly(name).set_into_module(builtins, move |a: i64, b: i64| integers(a, name, b, operation));
        exactly(&format!("{name}=")).set_into_module(builtins, move |a: &mut i64, b: i64| {
            integers(*a, name, b, operation).map(|result| *a = result)
        });
    }
    for &(name, operation) in FLOATS {
        exactly(name).set_into_module(builtins, operation);
        exactly(name).set_into_module(builtins, move |a: i64, b: f64| operation(a as f64, b));
        exactly(name).set_into_module(builtins, move |a: f64, b: i64| operation(a, b as f64));
        let assigned = format!("{name}=");
        exactly(&assigned).set_into_module(builtins, move |a: &mut f64, b: f64| *a = operation(*a, b));
        exactly(&assigned).set_into_module(builtins, move |a: &mut f64, b: i64| *a = operation(*a, b as f64));
    }
    for &(name, test) in COMPARISONS {
        exactly(name).set_into_module(builtins, move |a: i64, b: i64| test(a.partial_cmp(&b)));
        exactly(name).set_into_module(builtins, move |a: f64, b: f64| test(a.partial_cmp(&b)));
        exactly(name).set_into_module(builtins, move |a: i64, b: f64| test((a as f64).partial_cmp(&b)));
        exactly(name).set_into_module(builtins, move |a: f64, b: i64| test(a.partial_cmp(&(b as f64))));
        exactly(name).set_into_module(builtins, move |a: bool, b: bool| test(a.partial_cmp(&b)));
        exactly(name).set_into_module(builtins, move |a: char, b: char| test(a.partial_cmp(&b)));
        exactly(name)
            .set_into_module(builtins, move |a: ImmutableString, b: ImmutableString| test(a.partial_cmp(&b)));
    }
    exactly("==").set_into_module(builtins, |a: FnPtr, b: FnPtr| is_same_function(&a, &b));
    exactly("!=").set_into_module(builtins, |a: FnPtr, b: FnPtr| !is_same_function(&a, &b));
    exactly("+").set_into_module(builtins, |a: ImmutableString, b: ImmutableString| a + b);
    exactly("+=").set_into_module(builtins, |a: &mut ImmutableString, b: ImmutableString| *a += b);
    exactly("-").set_into_module(builtins, |a: i64| {
        a.checked_neg().ok_or_else(|| raise("OverflowError", format!("-({a}) does not fit a 64-bit integer")))
    });
    exactly("-").set_into_module(builtins, |a: f64| -a);
    exactly("!").set_into_module(builtins, |a: bool| !a);
    module
}
