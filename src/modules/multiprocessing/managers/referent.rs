//! What lives in a manager's server beside lists, dicts and the classes of `threading` and `queue`.

use indexmap::IndexMap;
use rhai::{Dynamic, ImmutableString, Map};

use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::list::position;
use crate::language::value;
use crate::language::variables::{to_local, to_shared};
use crate::runtime::sync::{Arc, Mutex};

/// An object with whatever attributes it is given.
#[derive(Clone, Default)]
pub struct Namespace(Arc<Mutex<IndexMap<String, Dynamic>>>);

impl Handle for Namespace {
    const NAME: &'static str = "Namespace";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let attributes = self.0.lock().clone();
        let public = attributes.iter().filter(|(name, _)| !name.starts_with('_'));
        let mut shown: Vec<_> = public.map(|(name, v)| format!("{name}={}", value::repr(v))).collect();
        shown.sort();
        format!("Namespace({})", shown.join(", "))
    }
}

impl Namespace {
    /// A namespace with these attributes.
    pub fn new(attributes: Map) -> Self {
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_string(), to_shared(value)));
        Self(Arc::new(Mutex::new(attributes.collect())))
    }

    fn missing(name: &str) -> Box<rhai::EvalAltResult> {
        raise("AttributeError", format!("'Namespace' object has no attribute '{name}'"))
    }

    /// An attribute.
    ///
    /// # Errors
    /// AttributeError.
    pub fn get(&self, name: &str) -> Outcome<Dynamic> {
        let value = self.0.lock().get(name).cloned();
        value.map(to_local).ok_or_else(|| Self::missing(name))
    }

    /// Sets an attribute.
    pub fn set(&self, name: &str, value: Dynamic) {
        let old = self.0.lock().insert(name.to_string(), to_shared(value));
        drop(old);
    }

    /// Takes an attribute away.
    ///
    /// # Errors
    /// AttributeError.
    pub fn remove(&self, name: &str) -> Outcome<()> {
        let old = self.0.lock().shift_remove(name);
        old.map(drop).ok_or_else(|| Self::missing(name))
    }
}

/// A value that can be replaced; its typecode says nothing, as in CPython.
#[derive(Clone)]
pub struct Value(Arc<(String, Mutex<Dynamic>)>);

impl Handle for Value {
    const NAME: &'static str = "Value";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let typecode = value::repr(&ImmutableString::from(self.0.0.as_str()).into());
        format!("Value({typecode}, {})", value::repr(&self.get()))
    }
}

impl Value {
    /// A value.
    pub fn new(typecode: String, value: Dynamic) -> Self {
        Self(Arc::new((typecode, Mutex::new(to_shared(value)))))
    }

    /// The value.
    pub fn get(&self) -> Dynamic {
        to_local(self.0.1.lock().clone())
    }

    /// Replaces it.
    pub fn set(&self, value: Dynamic) {
        let old = std::mem::replace(&mut *self.0.1.lock(), to_shared(value));
        drop(old);
    }
}

/// `array.array`: numbers of one type.
#[derive(Clone)]
pub struct Array(Arc<(char, Mutex<Vec<Dynamic>>)>);

impl Handle for Array {
    const NAME: &'static str = "array";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let items = self.0.1.lock().clone();
        match items.is_empty() {
            true => format!("array('{}')", self.0.0),
            false => format!("array('{}', {})", self.0.0, value::repr_sequence(&items, self.identity())),
        }
    }

    fn length(&self) -> Option<usize> {
        Some(self.0.1.lock().len())
    }
}

/// The whole numbers that a typecode can hold, with C's name of the type; nothing for floats and unknown ones.
fn bounds(typecode: char) -> Option<(i128, i128, &'static str)> {
    let signed = |bits: u32, name| Some((-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1, name));
    let unsigned = |bits: u32, name| Some((0, (1_i128 << bits) - 1, name));
    match typecode {
        'b' => signed(8, "signed char"),
        'B' => unsigned(8, "unsigned byte integer"),
        'h' => signed(16, "signed short integer"),
        'H' => unsigned(16, "unsigned short"),
        'i' => signed(32, "signed integer"),
        'I' => unsigned(32, "unsigned int"),
        'l' | 'q' => signed(64, "int"),
        'L' | 'Q' => unsigned(64, "int"),
        _ => None,
    }
}

fn convert(typecode: char, item: &Dynamic) -> Outcome<Dynamic> {
    let kind = value::type_name(item);
    if matches!(typecode, 'f' | 'd') {
        let number = value::number(item)
            .ok_or_else(|| raise("TypeError", format!("must be real number, not {kind}")))?;
        return Ok(if typecode == 'f' { f64::from(number as f32).into() } else { number.into() });
    }
    let number = match (item.as_int(), item.as_bool()) {
        (Ok(number), _) => number,
        (_, Ok(flag)) => flag.into(),
        _ => {
            let text = format!("'{kind}' object cannot be interpreted as an integer");
            return Err(raise("TypeError", text));
        }
    };
    let (least, most, name) = bounds(typecode).unwrap_or((i128::MIN, i128::MAX, "int"));
    if i128::from(number) < least {
        return Err(raise("OverflowError", format!("{name} is less than minimum")));
    }
    if i128::from(number) > most {
        return Err(raise("OverflowError", format!("{name} is greater than maximum")));
    }
    Ok(number.into())
}

impl Array {
    /// An array of these numbers.
    ///
    /// # Errors
    /// ValueError for an unknown typecode, TypeError and OverflowError for what does not fit.
    pub fn new(typecode: &str, items: &[Dynamic]) -> Outcome<Self> {
        let typecode = match typecode.chars().next() {
            Some(c) if typecode.len() == 1 && "bBhHiIlLqQfd".contains(c) => c,
            _ => {
                let text = "bad typecode (must be b, B, u, h, H, i, I, l, L, q, Q, f or d)";
                return Err(raise("ValueError", text));
            }
        };
        let items = items.iter().map(|item| convert(typecode, item)).collect::<Outcome<_>>()?;
        Ok(Self(Arc::new((typecode, Mutex::new(items)))))
    }

    fn out_of_range(what: &str) -> Box<rhai::EvalAltResult> {
        raise("IndexError", format!("array {what}index out of range"))
    }

    /// A number of the array, or an array of a part of it.
    ///
    /// # Errors
    /// IndexError, TypeError.
    pub fn get(&self, index: &Dynamic) -> Outcome<Dynamic> {
        let items = self.0.1.lock();
        if let Ok(index) = index.as_int() {
            let at = position(index, items.len()).ok_or_else(|| Self::out_of_range(""))?;
            return Ok(items[at].clone());
        }
        match index.read_lock::<std::ops::Range<i64>>() {
            Some(part) => {
                let at = |n: i64| usize::try_from(n).unwrap_or(0).min(items.len());
                let (start, end) = (at(part.start), at(part.end));
                Ok(items.get(start..end).unwrap_or_default().to_vec().into())
            }
            None => Err(raise("TypeError", "array indices must be integers")),
        }
    }

    /// Replaces a number.
    ///
    /// # Errors
    /// IndexError, TypeError, OverflowError.
    pub fn set(&self, index: &Dynamic, item: &Dynamic) -> Outcome<()> {
        let Ok(index) = index.as_int() else {
            return Err(raise("TypeError", "array indices must be integers"));
        };
        let item = convert(self.0.0, item)?;
        let mut items = self.0.1.lock();
        let length = items.len();
        let at = position(index, length).ok_or_else(|| Self::out_of_range("assignment "))?;
        items[at] = item;
        Ok(())
    }
}
