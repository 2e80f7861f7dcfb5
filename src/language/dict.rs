//! `dict`: Python's, with reference semantics and insertion order. Every operation is atomic.

use indexmap::IndexMap;
use rhai::{Dynamic, ImmutableString, Map};

use super::disposal::Nested;
use super::exception::{Outcome, raise};
use super::identity::{Handle, Rank, identity};
use super::nesting::Level;
use super::value;
use super::variables::{synchronise, to_local, to_shared};
use crate::runtime::sync::{Arc, Mutex, MutexGuard};

/// What a dict's key is compared by. `1`, `1.0` and `True` are one key, as in Python.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Unit,
    Int(i64),
    Float(u64),
    Text(ImmutableString),
    Char(char),
    Tuple(Vec<Key>),
    Object(usize),
}

impl Key {
    fn of(value: &Dynamic) -> Outcome<Self> {
        if value.is_unit() {
            return Ok(Self::Unit);
        }
        if let Ok(n) = value.as_int() {
            return Ok(Self::Int(n));
        }
        if let Ok(b) = value.as_bool() {
            return Ok(Self::Int(b.into()));
        }
        if let Ok(x) = value.as_float() {
            let whole = x as i64;
            return Ok(if whole as f64 == x { Self::Int(whole) } else { Self::Float(x.to_bits()) });
        }
        if let Some(text) = value.read_lock::<ImmutableString>() {
            return Ok(Self::Text(text.clone()));
        }
        if let Ok(c) = value.as_char() {
            return Ok(Self::Char(c));
        }
        if let Ok(items) = value.as_array_ref() {
            let _level = Level::enter_or_raise("")?;
            return items.iter().map(Self::of).collect::<Outcome<_>>().map(Self::Tuple);
        }
        match value::type_name(value).as_str() {
            name @ ("list" | "dict" | "bytearray") => {
                Err(raise("TypeError", format!("unhashable type: '{name}'")))
            }
            name => identity(value)
                .map(Self::Object)
                .ok_or_else(|| raise("TypeError", format!("unhashable type: '{name}'"))),
        }
    }
}

/// The entries, each with its key as the script gave it.
type Entries = IndexMap<Key, (Dynamic, Dynamic)>;

/// A reference to a dict. Clones refer to the same dict.
#[derive(Clone, Default)]
pub struct Dict(Arc<Nested<Mutex<Entries>>>);

impl Handle for Dict {
    const NAME: &'static str = "dict";
    const RANK: Rank = Rank::First;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        value::repr_mapping(&self.items(), self.identity())
    }
}

impl Dict {
    /// A dict of a map's entries, in the order of their names; arrays and maps in it become lists and dicts.
    pub fn from_map(map: Map) -> Self {
        let entries = map.into_iter().map(|(name, value)| {
            let name = ImmutableString::from(name.as_str());
            (Key::Text(name.clone()), (Dynamic::from(name), to_shared(value)))
        });
        Self(Arc::new(Nested::new(Mutex::new(entries.collect()))))
    }

    /// A dict of key and value pairs.
    ///
    /// # Errors
    /// TypeError for a key that cannot be one.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (Dynamic, Dynamic)>) -> Outcome<Self> {
        let dict = Self::default();
        for (key, value) in pairs {
            dict.set(key, value)?;
        }
        Ok(dict)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        synchronise();
        self.0.lock()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of `key`, if it is there.
    ///
    /// # Errors
    /// TypeError for a key that cannot be one.
    pub fn get(&self, key: &Dynamic) -> Outcome<Option<Dynamic>> {
        let key = Key::of(key)?;
        let value = self.entries().get(&key).map(|(_, value)| value.clone());
        Ok(value.map(to_local))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// KeyError; TypeError for a key that cannot be one.
    pub fn index(&self, key: &Dynamic) -> Outcome<Dynamic> {
        self.get(key)?.ok_or_else(|| missing(key))
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// TypeError for a key that cannot be one.
    pub fn set(&self, key: Dynamic, value: Dynamic) -> Outcome<()> {
        let hashed = Key::of(&key)?;
        let value = to_shared(value);
        let mut entries = self.entries();
        let old = match entries.get_mut(&hashed) {
            Some(entry) => Some(std::mem::replace(&mut entry.1, value)),
            None => {
                entries.insert(hashed, (key, value));
                None
            }
        };
        drop(entries);
        drop(old);
        Ok(())
    }

    /// Takes `key` out.
    ///
    /// # Errors
    /// TypeError for a key that cannot be one.
    pub fn remove(&self, key: &Dynamic) -> Outcome<Option<Dynamic>> {
        let key = Key::of(key)?;
        let entry = self.entries().shift_remove(&key);
        Ok(entry.map(|(_, value)| to_local(value)))
    }

    /// Takes out the newest entry.
    ///
    /// # Errors
    /// KeyError when there is none.
    pub fn popitem(&self) -> Outcome<(Dynamic, Dynamic)> {
        let entry = self.entries().pop();
        let (_, (key, value)) = entry.ok_or_else(|| raise("KeyError", "popitem(): dictionary is empty"))?;
        Ok((key, to_local(value)))
    }

    /// The value of `key`, which is set to `default` first if it is not there: one atomic operation.
    ///
    /// # Errors
    /// TypeError for a key that cannot be one.
    pub fn setdefault(&self, key: Dynamic, default: Dynamic) -> Outcome<Dynamic> {
        let hashed = Key::of(&key)?;
        let default = to_shared(default);
        let value = self.entries().entry(hashed).or_insert((key, default)).1.clone();
        Ok(to_local(value))
    }

    /// The entries, in the order in which their keys came.
    pub fn items(&self) -> Vec<(Dynamic, Dynamic)> {
        let items: Vec<_> = self.entries().values().cloned().collect();
        items.into_iter().map(|(key, value)| (key, to_local(value))).collect()
    }

    /// The entries, with the values in the form for several threads.
    pub fn entries_as_shared(&self) -> Vec<(Dynamic, Dynamic)> {
        self.entries().values().cloned().collect()
    }

    /// Does the dict have these entries and no others, in this order, as far as `is_same` can tell of keys and values? It
    /// must not use the dict itself.
    pub fn has_only(
        &self,
        items: &[(Dynamic, Dynamic)],
        is_same: impl Fn(&Dynamic, &Dynamic) -> bool,
    ) -> bool {
        let entries = self.entries();
        let both =
            |((a, x), (b, y)): (&(Dynamic, Dynamic), &(Dynamic, Dynamic))| is_same(a, b) && is_same(x, y);
        entries.len() == items.len() && entries.values().zip(items).all(both)
    }

    /// The keys.
    pub fn keys(&self) -> Vec<Dynamic> {
        self.entries().values().map(|(key, _)| key.clone()).collect()
    }

    /// The values.
    pub fn values(&self) -> Vec<Dynamic> {
        self.items().into_iter().map(|(_, value)| value).collect()
    }

    /// Takes out everything.
    pub fn clear(&self) {
        let old = std::mem::take(&mut *self.entries());
        drop(old);
    }

    /// The entries whose keys are text, as a plain map.
    pub fn to_map(&self) -> Map {
        let text = |(key, value): (Dynamic, Dynamic)| {
            let key = key.into_immutable_string().ok()?;
            Some((key.as_str().into(), value))
        };
        self.items().into_iter().filter_map(text).collect()
    }
}

/// The KeyError for a key that is not there.
pub fn missing(key: &Dynamic) -> Box<rhai::EvalAltResult> {
    super::exception::Exception::with_args(
        super::exception::Class::known("KeyError"),
        value::repr(key),
        vec![key.clone()],
    )
    .into_error()
}
