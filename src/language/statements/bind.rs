//! The variable of `catch (e)` and `with x as y`: see [`super::super::tokens`].

use std::cell::RefCell;

use rhai::{Dynamic, Engine};

use crate::language::tokens;

thread_local! {
    static VALUES: RefCell<Vec<Dynamic>> = const { RefCell::new(Vec::new()) };
}

/// Hands a value to the `BIND` statement at the head of the block that is evaluated next.
pub(super) fn offer(value: Dynamic) {
    VALUES.with_borrow_mut(|values| values.push(value));
}

/// Takes back a value that no `BIND` statement took, because its block has no variable.
pub(super) fn withdraw(depth: usize) {
    VALUES.with_borrow_mut(|values| values.truncate(depth));
}

/// How many values are on offer.
pub(super) fn depth() -> usize {
    VALUES.with_borrow(Vec::len)
}

pub(super) fn register(engine: &mut Engine) {
    engine.register_custom_syntax_with_state_raw(
        tokens::BIND,
        |_, _, state| {
            *state = tokens::bound_name().into();
            Ok(None)
        },
        true,
        |context, _, state| {
            let value = VALUES.with_borrow_mut(Vec::pop).unwrap_or_default();
            let name = state.clone().into_immutable_string().unwrap_or_default();
            context.scope_mut().push_dynamic(name, value);
            Ok(Dynamic::UNIT)
        },
    );
}
