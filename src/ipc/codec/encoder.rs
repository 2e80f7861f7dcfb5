//! Writing a message.

use std::any::TypeId;
use std::collections::HashMap;
use std::ops::{Range as Slice, RangeInclusive};
use std::os::fd::OwnedFd;

use rhai::{Dynamic, EvalAltResult, FnPtr};

use super::super::deposits;
use super::super::shared::{Shared, Zeroed};
use super::{DEPTH, Encoded, Purpose, Undo, tag, travel};
use crate::language::builtins::bytearray::ByteArray;
use crate::language::builtins::range::Range;
use crate::language::cell::{Cell, cell_of};
use crate::language::dict::Dict;
use crate::language::exception::{Exception, Outcome, raise, raise_io};
use crate::language::list::List;
use crate::language::native::Keywords;
use crate::language::pointer::Name;
use crate::language::types::Type;
use crate::language::variables::{Captured, synchronise};
use crate::language::{realm, value};
use crate::runtime::stack_is_low;
use crate::runtime::sync::Arc;

/// What cannot travel, and the way to it, its last step first.
struct Fault {
    text: String,
    shown: String,
    path: Vec<String>,
}

/// Writes one message.
pub struct Encoder {
    out: Vec<u8>,
    fds: Vec<Arc<OwnedFd>>,
    undo: Vec<Undo>,
    purpose: Purpose,
    /// The objects that the message contains already, by their type and address.
    objects: HashMap<(TypeId, usize), u64>,
    /// Those objects: as long as they live no other one gets their address.
    kept: Vec<Dynamic>,
    depth: u32,
    fault: Option<Fault>,
}

impl Encoder {
    /// An empty message.
    pub fn new(purpose: Purpose) -> Self {
        Self::onto(Vec::new(), purpose)
    }

    /// A message that is written behind what is in `buffer` already, a header for instance.
    pub fn onto(buffer: Vec<u8>, purpose: Purpose) -> Self {
        // What this thread's script wrote to shared variables before is part of their values.
        synchronise();
        Self {
            out: buffer,
            fds: Vec::new(),
            undo: Vec::new(),
            purpose,
            objects: HashMap::new(),
            kept: Vec::new(),
            depth: 0,
            fault: None,
        }
    }

    /// The message.
    pub fn finish(mut self) -> Encoded {
        Encoded {
            bytes: std::mem::take(&mut self.out),
            fds: std::mem::take(&mut self.fds),
            undo: std::mem::take(&mut self.undo),
        }
    }

    /// What the message is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Writes a number.
    pub fn u64(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.out.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.out.push(n as u8);
    }

    /// Writes bytes and how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Writes a text.
    pub fn str(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Sends a file descriptor along, or says where the receiver can fetch it.
    ///
    /// # Errors
    /// TypeError if the message is for anybody; OSError when the system has no descriptor left.
    pub fn fd(&mut self, fd: Arc<OwnedFd>) -> Outcome<()> {
        if self.purpose.carries_descriptors() {
            self.fds.push(fd);
            self.u64(self.fds.len() as u64);
            return Ok(());
        }
        if !self.purpose.shares_memory() {
            let text = "file descriptors cannot travel this way: pass the object when the process is started, \
                        or send it over a Pipe or a Queue";
            return Err(raise("TypeError", text));
        }
        let receipt = deposits::leave(fd).map_err(|error| raise_io(&error, None))?;
        self.u64(0);
        self.bytes(&receipt.name);
        self.bytes(&receipt.ticket);
        self.on_discard(move || deposits::withdraw(&receipt));
        Ok(())
    }

    /// Writes the place of an object in shared memory, with a reference that the receiver takes over
    /// ([`Decoder::shared`](super::Decoder::shared)).
    ///
    /// # Errors
    /// TypeError if the receiver may be a process that does not share memory with this one.
    pub fn shared<T: Zeroed>(&mut self, object: &Shared<T>) -> Outcome<()> {
        if !self.purpose.shares_memory() {
            let text = "objects in shared memory can only be passed to processes that this program started";
            return Err(raise("TypeError", text));
        }
        self.u64(object.lend());
        let object = object.clone();
        self.on_discard(move || object.unlend());
        Ok(())
    }

    /// What to do if the message is not sent after all.
    pub fn on_discard(&mut self, undo: impl FnOnce() + Send + 'static) {
        self.undo.push(Box::new(undo));
    }

    /// Writes a value.
    ///
    /// # Errors
    /// TypeError for what cannot travel; RecursionError when too many containers are inside of each other.
    #[inline]
    pub fn value(&mut self, value: &Dynamic) -> Outcome<()> {
        self.write(value).map_err(|error| self.explain(error))
    }

    /// Writes a value that errors call by a name: `callback`.
    ///
    /// # Errors
    /// As [`Encoder::value`].
    pub fn named(&mut self, name: impl FnOnce() -> String, value: &Dynamic) -> Outcome<()> {
        self.write(value).map_err(|error| {
            let error = self.within(error, name);
            self.explain(error)
        })
    }

    /// The error with its path, once it has come to the outermost value.
    #[cold]
    fn explain(&mut self, error: Box<EvalAltResult>) -> Box<EvalAltResult> {
        if self.depth > 0 {
            return error;
        }
        let Some(mut fault) = self.fault.take() else { return error };
        if fault.path.is_empty() {
            return raise("TypeError", fault.text);
        }
        fault.path.reverse();
        let path = fault.path.concat();
        raise("TypeError", format!("{}: {} is {}", fault.text, path.trim_start_matches('.'), fault.shown))
    }

    /// Adds a step to the path of what cannot travel.
    #[cold]
    fn within(&mut self, error: Box<EvalAltResult>, step: impl FnOnce() -> String) -> Box<EvalAltResult> {
        if let Some(fault) = &mut self.fault {
            fault.path.push(step());
        }
        error
    }

    #[cold]
    fn cannot(&mut self, value: &Dynamic) -> Box<EvalAltResult> {
        let text = format!("cannot pickle '{}' object", value::type_name(value));
        self.fault = Some(Fault { text: text.clone(), shown: shorten(value::repr(value)), path: Vec::new() });
        raise("TypeError", text)
    }

    #[inline]
    fn write(&mut self, value: &Dynamic) -> Outcome<()> {
        if value.is_shared() {
            return self.of_variable(value);
        }
        if let Ok(n) = value.as_int() {
            self.int(n);
            return Ok(());
        }
        if value.is_unit() {
            self.out.push(tag::UNIT);
            return Ok(());
        }
        if let Ok(b) = value.as_bool() {
            self.out.push(if b { tag::TRUE } else { tag::FALSE });
            return Ok(());
        }
        if let Ok(x) = value.as_float() {
            self.out.push(tag::FLOAT);
            self.out.extend_from_slice(&x.to_le_bytes());
            return Ok(());
        }
        if value.is_string() {
            if let Ok(text) = value.as_immutable_string_ref() {
                self.tagged(tag::TEXT, text.as_bytes());
            }
            return Ok(());
        }
        if let Ok(c) = value.as_char() {
            self.out.push(tag::CHAR);
            self.u64(u64::from(u32::from(c)));
            return Ok(());
        }
        if value.is_blob() {
            if let Ok(bytes) = value.as_blob_ref() {
                self.tagged(tag::BLOB, &bytes);
            }
            return Ok(());
        }
        self.container(value)
    }

    fn int(&mut self, n: i64) {
        match i8::try_from(n) {
            Ok(n) => self.out.extend_from_slice(&[tag::SMALL, n as u8]),
            Err(_) => {
                let mut bytes = [tag::INT; 9];
                bytes[1..].copy_from_slice(&n.to_le_bytes());
                self.out.extend_from_slice(&bytes);
            }
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 10);
        self.out.push(tag);
        self.bytes(bytes);
    }

    fn text(&mut self, tag: u8, text: &str) {
        self.tagged(tag, text.as_bytes());
    }

    /// One level deeper, for the length of `write`.
    fn deeper(&mut self, write: impl FnOnce(&mut Self) -> Outcome<()>) -> Outcome<()> {
        if self.depth >= DEPTH || stack_is_low() {
            let text = "maximum recursion depth exceeded while pickling an object";
            return Err(raise("RecursionError", text));
        }
        self.depth += 1;
        let result = write(self);
        self.depth -= 1;
        result
    }

    fn container(&mut self, value: &Dynamic) -> Outcome<()> {
        if let Ok(items) = value.as_array_ref() {
            return self.deeper(|this| {
                this.out.push(tag::ARRAY);
                this.items(&items)
            });
        }
        if let Ok(map) = value.as_map_ref() {
            return self.deeper(|this| {
                this.out.push(tag::MAP);
                this.entries(&map)
            });
        }
        let id = value.type_id();
        if id == TypeId::of::<List>() {
            return self.list(value);
        }
        if id == TypeId::of::<Dict>() {
            return self.dict(value);
        }
        if let Some(function) = value.read_lock::<FnPtr>() {
            return self.function(&function);
        }
        if let Some(exception) = value.read_lock::<Exception>() {
            return self.exception(value, &exception);
        }
        if let Some(buffer) = value.read_lock::<ByteArray>() {
            if self.is_new::<ByteArray>(tag::BYTEARRAY, value, address_of(&*buffer)) {
                buffer.change(|bytes| self.bytes(bytes));
            }
            return Ok(());
        }
        self.plain(value)
    }

    /// Values of further types that have no identity, and objects of registered types.
    fn plain(&mut self, value: &Dynamic) -> Outcome<()> {
        if let Some(range) = value.read_lock::<Range>() {
            self.out.push(tag::RANGE);
            range.arguments().into_iter().for_each(|n| self.int(n));
            return Ok(());
        }
        if let Some(slice) = value.read_lock::<Slice<i64>>() {
            self.out.push(tag::SLICE);
            [slice.start, slice.end].into_iter().for_each(|n| self.int(n));
            return Ok(());
        }
        if let Some(slice) = value.read_lock::<RangeInclusive<i64>>() {
            self.out.push(tag::INCLUSIVE_SLICE);
            [*slice.start(), *slice.end()].into_iter().for_each(|n| self.int(n));
            return Ok(());
        }
        if let Some(class) = value.read_lock::<Type>() {
            match &*class {
                Type::Named(name) => self.text(tag::CLASS, name),
                Type::Exception(class) => {
                    self.text(tag::EXCEPTION_CLASS, class.module);
                    self.str(class.name);
                }
            }
            return Ok(());
        }
        if let Some(keywords) = value.read_lock::<Keywords>() {
            return self.deeper(|this| {
                this.out.push(tag::KEYWORDS);
                this.entries(&keywords.0)
            });
        }
        if let Some(captured) = value.read_lock::<Captured>() {
            let variable = Captured::clone(&captured);
            return self.shared_variable(value, &variable);
        }
        self.registered(value)
    }

    fn registered(&mut self, value: &Dynamic) -> Outcome<()> {
        let Some(traveller) = travel::of_value(value) else { return Err(self.cannot(value)) };
        if !self.is_new_of(value.type_id(), tag::OBJECT, value, (traveller.identity)(value)) {
            return Ok(());
        }
        self.str(traveller.tag);
        let result = self.deeper(|this| (traveller.pack)(value, this));
        result.map_err(|error| {
            // An object that refuses to travel says why; the path to it is ours to tell.
            if self.fault.is_none()
                && let EvalAltResult::ErrorRuntime(thrown, _) = &*error
                && let Some(exception) = thrown.read_lock::<Exception>()
                && exception.class().name == "TypeError"
            {
                let (text, shown) = (exception.message().to_string(), shorten(value::repr(value)));
                self.fault = Some(Fault { text, shown, path: Vec::new() });
            }
            error
        })
    }

    /// Begins an object: true if its contents must follow, false if the message has it already.
    fn is_new<T: 'static>(&mut self, tag: u8, value: &Dynamic, address: usize) -> bool {
        self.is_new_of(TypeId::of::<T>(), tag, value, address)
    }

    fn is_new_of(&mut self, id: TypeId, tag: u8, value: &Dynamic, address: usize) -> bool {
        let next = self.objects.len() as u64;
        match self.objects.entry((id, address)) {
            std::collections::hash_map::Entry::Occupied(known) => {
                let before = *known.get();
                self.out.push(tag::AGAIN);
                self.u64(before);
                false
            }
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(next);
                self.kept.push(value.clone());
                self.out.push(tag);
                true
            }
        }
    }

    fn items(&mut self, items: &[Dynamic]) -> Outcome<()> {
        self.u64(items.len() as u64);
        for (index, item) in items.iter().enumerate() {
            self.write(item).map_err(|error| self.within(error, || format!("[{index}]")))?;
        }
        Ok(())
    }

    fn entries(&mut self, map: &rhai::Map) -> Outcome<()> {
        self.u64(map.len() as u64);
        for (name, value) in map {
            self.str(name);
            self.write(value).map_err(|error| self.within(error, || format!(".{name}")))?;
        }
        Ok(())
    }

    fn list(&mut self, value: &Dynamic) -> Outcome<()> {
        let Some(list) = value.read_lock::<List>().map(|list| list.clone()) else { return Ok(()) };
        if !self.is_new::<List>(tag::LIST, value, address_of(&list)) {
            return Ok(());
        }
        // As the threads share them: what closures among them captured keeps its identity.
        let items = list.change(|items| items.clone());
        self.deeper(|this| this.items(&items))
    }

    fn dict(&mut self, value: &Dynamic) -> Outcome<()> {
        let Some(dict) = value.read_lock::<Dict>().map(|dict| dict.clone()) else { return Ok(()) };
        if !self.is_new::<Dict>(tag::DICT, value, address_of(&dict)) {
            return Ok(());
        }
        let entries = dict.entries_as_shared();
        self.deeper(|this| {
            this.u64(entries.len() as u64);
            for (key, value) in &entries {
                let step = || format!("[{}]", value::repr(key));
                this.write(key).map_err(|error| this.within(error, || format!(".keys(){}", step())))?;
                this.write(value).map_err(|error| this.within(error, step))?;
            }
            Ok(())
        })
    }

    /// A variable as a value: what it holds.
    fn of_variable(&mut self, variable: &Dynamic) -> Outcome<()> {
        let value = cell_of(variable).map(|cell| contents(&cell)).transpose()?.unwrap_or_default();
        self.write(&value)
    }

    fn function(&mut self, function: &FnPtr) -> Outcome<()> {
        let name = Name::of(function);
        match &name {
            Name::Plain(name) => self.text(tag::FUNCTION, name),
            Name::Closure(name) => self.text(tag::CLOSURE, name),
            Name::Native(name) => self.text(tag::NATIVE, name),
        }
        self.u64(function.curry().len() as u64);
        if !function.is_curried() {
            return Ok(());
        }
        let captured: Vec<Dynamic> = function.iter_curry().cloned().collect();
        self.deeper(|this| {
            for (index, value) in captured.iter().enumerate() {
                this.captured(value)
                    .map_err(|error| this.within(error, || captured_name(function, index)))?;
            }
            Ok(())
        })
    }

    /// What a function pointer captured: the same variable in two closures stays one.
    fn captured(&mut self, value: &Dynamic) -> Outcome<()> {
        let Some(cell) = cell_of(value) else { return self.write(value) };
        if let Some(variable) = Captured::of_cell(&cell) {
            return self.shared_variable(value, &variable);
        }
        if !self.is_new::<Cell>(tag::VARIABLE, value, Arc::as_ptr(&cell) as usize) {
            return Ok(());
        }
        let held = contents(&cell)?;
        self.deeper(|this| this.write(&held))
    }

    fn shared_variable(&mut self, value: &Dynamic, variable: &Captured) -> Outcome<()> {
        if !self.is_new::<Captured>(tag::VARIABLE, value, variable.identity()) {
            return Ok(());
        }
        let held = variable.value();
        self.deeper(|this| this.write(&held))
    }

    fn exception(&mut self, value: &Dynamic, exception: &Exception) -> Outcome<()> {
        if !self.is_new::<Exception>(tag::EXCEPTION, value, exception.identity()) {
            return Ok(());
        }
        self.deeper(|this| {
            this.str(exception.class().module);
            this.str(exception.class().name);
            this.str(exception.message());
            this.u64(exception.args().len() as u64);
            for (index, arg) in exception.args().iter().enumerate() {
                this.write(arg).map_err(|error| this.within(error, || format!(".args[{index}]")))?;
            }
            let attributes = exception.attributes();
            this.u64(attributes.len() as u64);
            for (name, value) in &attributes {
                this.str(name);
                this.write(value).map_err(|error| this.within(error, || format!(".{name}")))?;
            }
            let traceback = exception.traceback();
            this.u64(traceback.len() as u64);
            for frame in traceback.frames() {
                this.str(&frame.file);
                this.u64(frame.line as u64);
                this.u64(frame.column as u64);
                this.str(&frame.function);
            }
            let cause = exception.cause().map_or(Dynamic::UNIT, Dynamic::from);
            this.write(&cause).map_err(|error| this.within(error, || ".__cause__".into()))
        })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        for undo in self.undo.drain(..).rev() {
            undo();
        }
    }
}

fn address_of<T: crate::language::identity::Handle>(object: &T) -> usize {
    object.identity()
}

/// What a variable holds. The thread that is in the middle of a method of its value has taken it.
fn contents(cell: &Cell) -> Outcome<Dynamic> {
    match cell.try_read() {
        Ok(value) => Ok(value.clone()),
        Err(_) => {
            let text = "cannot pickle a variable while one of its methods runs: copy it to another one first";
            Err(raise("RuntimeError", text))
        }
    }
}

/// What a closure captured, by the variable's name.
fn captured_name(function: &FnPtr, index: usize) -> String {
    let known = realm::current().map(|realm| realm.functions.parameters(function.fn_name()));
    let name = known.and_then(|known| known.first()?.get(index).cloned());
    match name {
        Some(name) if function.is_anonymous() => format!(".{name} (captured)"),
        _ => format!(".captured[{index}]"),
    }
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
