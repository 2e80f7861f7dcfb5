//! What the REPL's help, the reference and the error messages know of the natives.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};

use crate::runtime::sync::RwLock;

/// What the REPL's help and the reference know of a native.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The module, or the class for a method or attribute.
    pub owner: &'static str,
    /// `put(item, block=True, timeout=None)`, or the bare name of an attribute or constant.
    pub signature: &'static str,
    /// What it does.
    pub doc: &'static str,
}

static ENTRIES: RwLock<BTreeMap<(&'static str, &'static str), &'static str>> = RwLock::new(BTreeMap::new());

/// Everything that is documented, by owner and signature.
pub fn entries() -> Vec<Entry> {
    ENTRIES.read().iter().map(|(&(owner, signature), &doc)| Entry { owner, signature, doc }).collect()
}

/// The signature of a native function or method called `name`.
pub fn signature_of(name: &str) -> Option<&'static str> {
    let name = name.rsplit(['.', ':']).next().unwrap_or(name);
    let entries = ENTRIES.read();
    entries
        .keys()
        .map(|(_, signature)| *signature)
        .find(|s| s.split('(').next() == Some(name) && s.contains('('))
}

/// Have objects of the class a method or attribute called `name`?
pub fn has_method(class: &str, name: &str) -> bool {
    let entries = ENTRIES.read();
    entries.keys().any(|(owner, signature)| *owner == class && signature.split('(').next() == Some(name))
}

/// Which types define a method: classes of different modules may have the same name.
static METHODS: RwLock<BTreeMap<(&'static str, &'static str), BTreeSet<TypeId>>> =
    RwLock::new(BTreeMap::new());

/// Have objects of this very type, which is called `class`, a method or attribute called `name`?
pub fn is_method_of(kind: TypeId, class: &str, name: &str) -> bool {
    let methods = METHODS.read();
    let types = methods.iter().find(|((owner, method), _)| *owner == class && *method == name);
    types.map_or_else(|| has_method(class, name), |(_, types)| types.contains(&kind))
}

pub(super) fn document_method(kind: TypeId, class: &'static str, signature: &'static str, doc: &'static str) {
    let name = signature.split('(').next().unwrap_or(signature);
    METHODS.write().entry((class, name)).or_default().insert(kind);
    document(class, signature, doc);
}

/// Is there a native function, and not only a method, called `name`?
pub fn is_function(name: &str) -> bool {
    let entries = ENTRIES.read();
    entries.keys().any(|(owner, signature)| {
        signature.split_once('(').is_some_and(|(own, _)| own == name) && MODULES.read().contains(owner)
    })
}

/// Is the owner of an entry a module, and not a class?
pub fn is_module(owner: &str) -> bool {
    MODULES.read().contains(owner)
}

/// The owners that are modules.
static MODULES: RwLock<BTreeSet<&'static str>> = RwLock::new(BTreeSet::new());

pub(super) fn document(owner: &'static str, signature: &'static str, doc: &'static str) {
    ENTRIES.write().insert((owner, signature), doc);
}

/// Makes a name known as a module's, and not a class's.
pub(super) fn add_module(name: &'static str) {
    MODULES.write().insert(name);
}
