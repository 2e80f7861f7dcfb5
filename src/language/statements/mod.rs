//! The statements that Rhai does not have: `global`, `with`, `from … import`, and a `try` that knows exceptions.

mod bind;
mod from_import;
mod global;
mod round;
mod try_catch;
mod with;

use rhai::Engine;
pub(super) use round::enter;

use super::modules::ModuleNames;
use crate::runtime::sync::Arc;

/// Adds the statements to an engine.
pub fn register(engine: &mut Engine, modules: &Arc<ModuleNames>) {
    bind::register(engine);
    global::register(engine);
    with::register(engine);
    round::register(engine);
    try_catch::register(engine);
    from_import::register(engine, modules);
}
