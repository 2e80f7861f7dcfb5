//! Python's builtins: what is there without any import, and the methods of the built-in types.
//!
//! One file per idea. Each has a `fill` function that adds its natives to the module `builtins`.

mod arguments;
mod attributes;
pub mod bytearray;
mod bytes;
mod call_style;
mod constants;
mod containers;
mod dict_methods;
mod exceptions;
mod formatting;
mod forward;
mod functional;
mod interpolation;
mod iteration;
mod limits;
mod list_methods;
mod list_operators;
mod list_sections;
mod numbers;
mod objects;
mod plain;
mod print;
pub mod range;
mod rounding;
mod strings;
mod testing;
mod write_back;

use rhai::{FnNamespace, FuncRegistration};

use super::native::NativeModule;

pub use forward::{MissingMethod, forward, on_missing_method};
pub use iteration::iterate;
pub use limits::check as check_size;
pub use testing::testing_module;

/// Everything that is there without an import, but for [`testing_module`].
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("builtins");
    constants::fill(&mut module);
    print::fill(&mut module);
    objects::fill(&mut module);
    attributes::fill(&mut module);
    numbers::fill(&mut module);
    rounding::fill(&mut module);
    range::fill(&mut module);
    containers::fill(&mut module);
    iteration::fill(&mut module);
    functional::fill(&mut module);
    bytearray::fill(&mut module);
    list_methods::fill(&mut module);
    list_sections::fill(&mut module);
    list_operators::fill(&mut module);
    dict_methods::fill(&mut module);
    plain::fill(&mut module);
    strings::fill(&mut module);
    formatting::fill(&mut module);
    interpolation::fill(&mut module);
    bytes::fill(&mut module);
    exceptions::fill(&mut module);
    limits::fill(&mut module);
    module
}

/// The registration of a native with exact parameter types: an operator, an indexer, or a method that must win
/// over rhai's own for those types. It may be called on constants, and it is never folded at compile time.
fn exactly(name: &str) -> FuncRegistration {
    FuncRegistration::new(name).with_namespace(FnNamespace::Global).with_purity(true).with_volatility(true)
}
