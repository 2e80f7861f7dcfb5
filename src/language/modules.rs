//! Which modules exist and which names they define.

use std::collections::HashMap;

use super::native::NativeModule;

/// The names that each module defines, by the module's dotted name.
#[derive(Default)]
pub struct ModuleNames(HashMap<&'static str, Vec<&'static str>>);

impl ModuleNames {
    /// Adds a module.
    pub fn add(&mut self, module: &NativeModule) {
        let mut names = module.names.clone();
        names.sort_unstable();
        names.dedup();
        self.0.insert(module.name, names);
    }

    /// The names that a module defines; nothing if there is no such module.
    pub fn names(&self, module: &str) -> Option<&[&'static str]> {
        self.0.get(module).map(Vec::as_slice)
    }

    /// Is there a module, or a package of modules, of that name?
    pub fn contains(&self, module: &str) -> bool {
        self.0.keys().any(|known| {
            *known == module || known.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
        })
    }

    /// All modules' names.
    pub fn all(&self) -> Vec<&'static str> {
        let mut all: Vec<_> = self.0.keys().copied().collect();
        all.sort_unstable();
        all
    }
}
