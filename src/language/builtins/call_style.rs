//! Whether a call is written as a method or as a function.
//!
//! Rhai runs the same native for `x.round()` and `round(x)`. For the few names that mean something else in Python
//! as functions than in rhai as methods, the script's text tells them apart.

use std::cell::RefCell;
use std::collections::HashMap;

use rhai::NativeCallContext;

use crate::language::realm;
use crate::runtime::sync::Arc;

/// A place of a script: the address of the text, line, column.
type Place = (usize, usize, usize);

/// What was found at a place. The text is kept, so that its address is nobody else's.
type Style = (Arc<str>, Option<bool>);

thread_local! {
    static STYLES: RefCell<HashMap<Place, Style>> = RefCell::default();
}

/// Is the call that `context` belongs to written as a method, `x.name()`, and not as `name(x)`? Nothing if the
/// script has no such call there, as when a native calls the function.
pub(super) fn written_as_method(context: &NativeCallContext, name: &str) -> Option<bool> {
    let (source, position) = (context.call_source()?, context.call_position());
    let (line, column) = (position.line()?, position.position()?);
    let text = realm::current()?.sources.read().get(source).cloned()?;
    let place = (text.as_ptr() as usize, line, column);
    STYLES.with_borrow_mut(|styles| {
        if let Some((_, is_method)) = styles.get(&place) {
            return *is_method;
        }
        let is_method = text.lines().nth(line - 1).and_then(|line| {
            let before: String = line.chars().take(column - 1).collect();
            let called = line.chars().skip(column - 1).take(name.chars().count());
            called.eq(name.chars()).then(|| before.trim_end().ends_with('.'))
        });
        if styles.len() > 1000 {
            styles.clear();
        }
        styles.insert(place, (Arc::clone(&text), is_method));
        is_method
    })
}
