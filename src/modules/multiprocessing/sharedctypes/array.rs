//! `Array` and `RawArray`.

use std::any::TypeId;
use std::ops::{Range, RangeInclusive};

use rhai::{Dynamic, FnNamespace, FuncRegistration, NativeCallContext};

use super::cell::Cell;
use super::guard::Guard;
use crate::ipc::CType;
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::language::builtins::iterate;
use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::list::position;
use crate::language::native::NativeModule;
use crate::language::value;
use crate::language::variables::synchronise;
use crate::modules::multiprocessing::synchronize::{block_and_timeout, check_purpose};
use crate::runtime::sync::Arc;
use crate::runtime::{Site, Wait};

/// A script's reference to an array without a lock.
#[derive(Clone)]
pub struct RawArrayHandle(pub Cell);

/// A script's reference to an array with a lock.
#[derive(Clone)]
pub struct ArrayHandle(Arc<(RawArrayHandle, Guard)>);

/// What the two have in common: cells, and perhaps a lock that each operation takes.
trait Cells: Handle {
    /// What errors call it.
    fn class(&self) -> String;
    /// Runs `f` on the cells, under the lock if there is one.
    fn with<R>(&self, f: impl FnOnce(&Cell) -> Outcome<R>) -> Outcome<R>;
    /// The same for something of a few instructions.
    fn with_one<R>(&self, f: impl Fn(&Cell) -> Outcome<R>) -> Outcome<R> {
        self.with(f)
    }
}

impl Handle for RawArrayHandle {
    const NAME: &'static str = "RawArray";

    fn identity(&self) -> usize {
        self.0.place()
    }

    fn repr(&self) -> String {
        format!("<multiprocessing.sharedctypes.{} object at {:#x}>", self.class(), self.identity())
    }

    fn length(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl Handle for ArrayHandle {
    const NAME: &'static str = "SynchronizedArray";

    fn identity(&self) -> usize {
        // Apart from that of the bare array inside.
        self.0.0.identity() + 1
    }

    fn repr(&self) -> String {
        format!("<{} wrapper for {}>", self.class(), self.0.0.repr())
    }

    fn length(&self) -> Option<usize> {
        self.0.0.length()
    }

    fn enter(&self, site: Site) -> Option<Outcome<Dynamic>> {
        Some(self.guard().acquire(&Wait::forever(site)).map(Dynamic::from))
    }

    fn exit(&self) -> Option<Outcome<Dynamic>> {
        Some(self.guard().release())
    }
}

impl Cells for RawArrayHandle {
    fn class(&self) -> String {
        format!("{}_Array_{}", self.0.code().name, self.0.len())
    }

    fn with<R>(&self, f: impl FnOnce(&Cell) -> Outcome<R>) -> Outcome<R> {
        synchronise();
        f(&self.0)
    }
}

impl Cells for ArrayHandle {
    fn class(&self) -> String {
        if self.0.0.0.is_bytes() { "SynchronizedString".into() } else { Self::NAME.into() }
    }

    fn with<R>(&self, f: impl FnOnce(&Cell) -> Outcome<R>) -> Outcome<R> {
        synchronise();
        self.guard().with(Site::default(), || f(&self.0.0.0))
    }

    fn with_one<R>(&self, f: impl Fn(&Cell) -> Outcome<R>) -> Outcome<R> {
        synchronise();
        self.guard().with_cell(Site::default, || f(&self.0.0.0))
    }
}

impl Travel for RawArrayHandle {
    const TAG: &'static str = "multiprocessing.RawArray";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, &self.class())?;
        self.0.pack(out)
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        Cell::unpack(input).map(Self)
    }
}

impl Travel for ArrayHandle {
    const TAG: &'static str = "multiprocessing.Array";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, &self.class())?;
        self.0.0.0.pack(out)?;
        self.0.1.pack(out)
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let raw = RawArrayHandle::unpack(input)?;
        Ok(Self::new(raw, Guard::unpack(input)?))
    }
}

impl ArrayHandle {
    pub(super) fn new(raw: RawArrayHandle, guard: Guard) -> Self {
        Self(Arc::new((raw, guard)))
    }

    fn guard(&self) -> &Guard {
        &self.0.1
    }
}

/// The items that an array is to begin with.
pub(super) fn items_of(context: &NativeCallContext, init: &Dynamic) -> Outcome<Vec<Dynamic>> {
    if value::number(init).is_some() || init.is_unit() {
        let kind = value::type_name(init);
        return Err(raise("TypeError", format!("object of type '{kind}' has no len()")));
    }
    iterate(context, init)
}

fn invalid_index() -> Box<rhai::EvalAltResult> {
    raise("IndexError", "invalid index")
}

/// What an index means.
enum Place {
    One(usize),
    Some(Range<usize>),
}

fn place(index: &Dynamic, length: usize) -> Outcome<Place> {
    if let Ok(index) = index.as_int() {
        return position(index, length).map(Place::One).ok_or_else(invalid_index);
    }
    let clamp = |index: i64| -> usize {
        let length = length as i64;
        if index < 0 { index.saturating_add(length).max(0) as usize } else { index.min(length) as usize }
    };
    let (start, end) = if let Some(range) = index.read_lock::<Range<i64>>() {
        (clamp(range.start), clamp(range.end))
    } else if let Some(range) = index.read_lock::<RangeInclusive<i64>>() {
        // `a..=-1` ends with the last item.
        let end = if *range.end() == -1 { length } else { clamp(range.end().saturating_add(1)) };
        (clamp(*range.start()), end)
    } else {
        return Err(raise("TypeError", "indices must be integers"));
    };
    Ok(Place::Some(start..end.max(start)))
}

/// Several items at once: `bytes` of bytes, a text of letters, an array of anything else.
fn section(cell: &Cell, range: Range<usize>) -> Outcome<Dynamic> {
    match cell.code().ctype {
        CType::Char => Ok(Dynamic::from_blob(cell.bytes()[range].to_vec())),
        CType::WideChar => {
            let letters = range.map(|index| cell.get(index).map(|letter| value::str(&letter)));
            letters.collect::<Outcome<String>>().map(Dynamic::from)
        }
        _ => range.map(|index| cell.get(index)).collect::<Outcome<rhai::Array>>().map(Dynamic::from),
    }
}

fn get<T: Cells>(array: &T, index: &Dynamic) -> Outcome<Dynamic> {
    if let Ok(index) = index.as_int() {
        return array.with_one(|cell| cell.get(position(index, cell.len()).ok_or_else(invalid_index)?));
    }
    array.with(|cell| match place(index, cell.len())? {
        Place::One(at) => cell.get(at),
        Place::Some(range) => section(cell, range),
    })
}

fn set<T: Cells>(context: &NativeCallContext, array: &T, index: &Dynamic, new: &Dynamic) -> Outcome<()> {
    if let Ok(index) = index.as_int() {
        return array.with_one(|cell| cell.set(position(index, cell.len()).ok_or_else(invalid_index)?, new));
    }
    // Gone through before the lock is taken: it may run a script's iterator.
    let items = items_of(context, new)?;
    array.with(|cell| match place(index, cell.len())? {
        Place::One(at) => cell.set(at, new),
        Place::Some(range) if range.len() != items.len() => {
            Err(raise("ValueError", "Can only assign sequence of same size"))
        }
        Place::Some(range) => range.zip(&items).try_for_each(|(at, item)| cell.set(at, item)),
    })
}

fn no_attribute<T: Cells>(array: &T, name: &str) -> Box<rhai::EvalAltResult> {
    raise("AttributeError", format!("'{}' object has no attribute '{name}'", array.class()))
}

/// `value`: the bytes up to the first that is 0.
fn text<T: Cells>(array: &T) -> Outcome<Dynamic> {
    array.with(|cell| match cell.code().ctype {
        CType::Char => {
            let mut bytes = cell.bytes();
            bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
            Ok(Dynamic::from_blob(bytes))
        }
        CType::WideChar if T::NAME == RawArrayHandle::NAME => {
            let text = value::str(&section(cell, 0..cell.len())?);
            Ok(text.split('\0').next().unwrap_or_default().to_string().into())
        }
        _ => Err(no_attribute(array, "value")),
    })
}

fn set_text<T: Cells>(array: &T, new: &Dynamic, name: &str) -> Outcome<()> {
    array.with(|cell| {
        if !cell.is_bytes() {
            return Err(no_attribute(array, name));
        }
        let mut bytes = value::bytes(new).ok_or_else(|| {
            raise("TypeError", format!("bytes expected instead of {} instance", value::type_name(new)))
        })?;
        if name == "value" && bytes.len() < cell.len() {
            bytes.push(0);
        }
        cell.set_bytes(&bytes)
    })
}

fn raw_bytes<T: Cells>(array: &T) -> Outcome<Dynamic> {
    array.with(|cell| match cell.is_bytes() {
        true => Ok(Dynamic::from_blob(cell.bytes())),
        false => Err(no_attribute(array, "raw")),
    })
}

/// What both kinds of arrays can do.
fn define_cells<T: Cells>(module: &mut NativeModule) {
    module
        .handle::<T>()
        .attribute::<T, _>("value", "The bytes of a 'c' array up to the first that is 0.", text)
        .assignable::<T, _>("value", |array, new| set_text(array, &new, "value"))
        .attribute::<T, _>("raw", "All bytes of a 'c' array.", raw_bytes)
        .assignable::<T, _>("raw", |array, new| set_text(array, &new, "raw"));
    let exactly = |name: &str| {
        FuncRegistration::new(name)
            .with_namespace(FnNamespace::Global)
            .with_purity(true)
            .with_volatility(true)
    };
    let natives = &mut module.builtins;
    // Not for indices of any type: a name that is no attribute would come as one.
    exactly("index$get$").set_into_module(natives, |array: &mut T, index: i64| get(array, &index.into()));
    exactly("index$get$")
        .set_into_module(natives, |array: &mut T, index: Range<i64>| get(array, &Dynamic::from(index)));
    exactly("index$get$").set_into_module(natives, |array: &mut T, index: RangeInclusive<i64>| {
        get(array, &Dynamic::from(index))
    });
    exactly("index$set$").set_into_module(
        natives,
        |context: NativeCallContext, array: &mut T, index: i64, new: Dynamic| {
            set(&context, array, &index.into(), &new)
        },
    );
    exactly("index$set$").set_into_module(
        natives,
        |context: NativeCallContext, array: &mut T, index: Range<i64>, new: Dynamic| {
            set(&context, array, &Dynamic::from(index), &new)
        },
    );
    exactly("index$set$").set_into_module(
        natives,
        |context: NativeCallContext, array: &mut T, index: RangeInclusive<i64>, new: Dynamic| {
            set(&context, array, &Dynamic::from(index), &new)
        },
    );
    exactly("contains").set_into_module(natives, |array: &mut T, item: Dynamic| {
        let items = array.with(|cell| (0..cell.len()).map(|at| cell.get(at)).collect::<Outcome<Vec<_>>>())?;
        for own in &items {
            if value::equals(own, &item)? {
                return Ok(true);
            }
        }
        Ok::<_, Box<rhai::EvalAltResult>>(false)
    });
    exactly("get$len").set_into_module(natives, |array: &mut T| array.length().unwrap_or(0) as i64);
    natives.set_iter_result(TypeId::of::<T>(), |array| {
        let array = array.cast::<T>();
        let count = array.length().unwrap_or(0);
        Box::new((0..count).map(move |at| array.with_one(|cell| cell.get(at))))
    });
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<RawArrayHandle>();
    codec::register::<ArrayHandle>();
    define_cells::<RawArrayHandle>(module);
    define_cells::<ArrayHandle>(module);
    module
        .method::<ArrayHandle, _>("get_obj()", "The array without its lock.", |array, _| {
            Ok(Dynamic::from(array.0.0.clone()))
        })
        .method::<ArrayHandle, _>("get_lock()", "The lock.", |array, _| Ok(array.guard().to_value()))
        .method::<ArrayHandle, _>("acquire(block=True, timeout=None)", "Takes the lock.", |array, call| {
            let wait = block_and_timeout(call)?;
            array.guard().acquire(&wait).map(Dynamic::from)
        })
        .method::<ArrayHandle, _>("release()", "Frees the lock.", |array, _| array.guard().release())
        .method::<ArrayHandle, _>("__enter__()", "What `with` does first: acquire().", |array, call| {
            array.guard().acquire(&Wait::forever(call.site())).map(Dynamic::from)
        })
        .method::<ArrayHandle, _>("__exit__(error=None)", "What `with` does last: release().", |array, _| {
            array.guard().release()
        });
}
