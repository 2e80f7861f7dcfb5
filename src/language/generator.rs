//! Iterators that make their items one by one, and may wait for each: what CPython writes as generators.

use std::any::TypeId;

use rhai::{Dynamic, EvalAltResult, Variant};

use super::exception::{Class, Exception, Outcome};
use super::identity::Handle;
use super::native::NativeModule;
use crate::runtime::Site;
use crate::runtime::sync::Arc;

/// A source of items. Threads may share it.
pub trait Items: Send + Sync + 'static {
    /// The function that made it, for its `repr`.
    fn name(&self) -> &'static str;

    /// The next item, nothing at the end. May block; `site` is the script line that asks.
    ///
    /// # Errors
    /// What making the item raises.
    fn next(&self, site: Site) -> Outcome<Option<Dynamic>>;
}

/// A script's reference to such a source.
#[derive(Clone)]
pub struct Generator(Arc<dyn Items>);

impl Generator {
    /// The reference to `items`.
    pub fn new(items: impl Items) -> Self {
        Self(Arc::new(items))
    }
}

impl Handle for Generator {
    const NAME: &'static str = "generator";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<()>() as usize
    }

    fn repr(&self) -> String {
        format!("<generator object {} at {:#x}>", self.0.name(), self.identity())
    }
}

/// The item, or StopIteration at the end.
///
/// # Errors
/// StopIteration.
pub fn item_or_stop(item: Option<Dynamic>) -> Outcome<Dynamic> {
    item.ok_or_else(|| Exception::new(Class::known("StopIteration"), "").into_error())
}

/// Lets `for` go through the values of a handle type, asking `next` for each item.
pub fn set_iterator<T: Handle + Variant>(
    module: &mut NativeModule,
    next: fn(&T) -> Outcome<Option<Dynamic>>,
) {
    module.builtins.set_iter_result(TypeId::of::<T>(), move |value| {
        let iterator = value.cast::<T>();
        let mut over = false;
        Box::new(std::iter::from_fn(move || -> Option<Result<Dynamic, Box<EvalAltResult>>> {
            if over {
                return None;
            }
            let item = next(&iterator).transpose();
            // An error ends the loop that meets it.
            over = !matches!(item, Some(Ok(_)));
            item
        }))
    });
}

/// Defines the type for scripts.
pub fn define(module: &mut NativeModule) {
    module.handle::<Generator>().method::<Generator, _>(
        "__next__()",
        "The next item, once it is there; StopIteration at the end.",
        |generator, call| item_or_stop(generator.0.next(call.site())?),
    );
    set_iterator::<Generator>(module, |generator| generator.0.next(Site::default()));
}
