//! Variables that threads share: module-level ones, and those that a thread's closure captured.
//!
//! # Slots and cells
//!
//! The truth of a shared variable is in a [`Slot`], behind a lock that is held for one load or store. Rhai,
//! however, wants to read and write variables in cells of its own, and it gives up ("Data race detected") when
//! two threads meet in one. So no cell is ever seen by two threads: each thread gets a private cell that holds
//! the slot's value, and [`synchronise`] carries changes over, from the cell to the slot if the script wrote,
//! and from the slot to the cell if somebody else did.
//!
//! `n += 1` is thereby a load from the slot, an addition in the private cell, and a store at the thread's next
//! safepoint. If the interpreter lock changes hands in between, the other thread's update is lost: exactly what
//! CPython's LOAD, ADD, STORE do.
//!
//! # When
//!
//! [`synchronise`] runs after every tick (after a switch, if the tick leads to one), before and after whatever
//! blocks, and before every operation on an object that threads share, so that a store is seen before anything
//! that comes after it.

use std::cell::{Cell as Flag, RefCell};
use std::collections::HashMap;

use rhai::{Dynamic, EvalAltResult, FnPtr, ImmutableString};

use super::cell::{Cell, cell_of, new_cell};
use super::dict::Dict;
use super::disposal::Nested;
use super::exception::raise;
use super::identity::identity;
use super::list::List;
use crate::runtime::sync::{Arc, Mutex, RwLock};

/// The true value of one shared variable.
#[derive(Default)]
pub struct Slot(Nested<Mutex<Dynamic>>);

impl Slot {
    /// A slot with a value, which must be one that threads may share: see [`to_shared`].
    fn new(value: Dynamic) -> Arc<Self> {
        Arc::new(Self(Nested::new(Mutex::new(value))))
    }

    fn load(&self) -> Dynamic {
        self.0.lock().clone()
    }

    fn store(&self, value: Dynamic) {
        let old = std::mem::replace(&mut *self.0.lock(), value);
        // It may be the last reference to something whose end runs code: not under the lock.
        drop(old);
    }
}

/// A captured variable inside a function pointer that is on its way between threads.
#[derive(Clone)]
pub struct Captured(Arc<Slot>);

impl Captured {
    /// The address that tells the variable from others.
    pub fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// The variable's value, in the form for several threads.
    pub fn value(&self) -> Dynamic {
        self.0.load()
    }

    /// The variable that one of the calling thread's cells stands for, if it stands for a shared one.
    pub fn of_cell(cell: &Cell) -> Option<Self> {
        BINDINGS.with_borrow(|bindings| {
            bindings.iter().find(|b| Arc::ptr_eq(&b.cell, cell)).map(|b| Self(Arc::clone(&b.slot)))
        })
    }
}

/// A private cell of this thread and the slot that it stands for.
struct Binding {
    cell: Cell,
    slot: Arc<Slot>,
    /// What the cell held when it was last compared with the slot.
    seen: Dynamic,
    /// What the slot held then: the same, in the form for several threads.
    loaded: Dynamic,
}

thread_local! {
    static BINDINGS: RefCell<Vec<Binding>> = const { RefCell::new(Vec::new()) };
    static BOUND: Flag<bool> = const { Flag::new(false) };
    static SYNCHRONISING: Flag<bool> = const { Flag::new(false) };
}

/// Carries changes between this thread's private cells and the slots.
#[inline]
pub fn synchronise() {
    if BOUND.get() {
        synchronise_bound();
    }
}

/// What is to be done about one binding.
enum Step {
    Nothing,
    /// Nobody but the binding refers to the cell any more.
    Finished,
    /// The script wrote this into the cell; with it, whether the binding is finished.
    Written(Dynamic, bool),
    /// Somebody else stored this in the slot.
    Stored(Dynamic),
}

#[cold]
#[inline(never)]
fn synchronise_bound() {
    if SYNCHRONISING.replace(true) {
        return;
    }
    let mut index = 0;
    // One binding at a time, and none borrowed while a value is converted: a closure that is the value of one
    // variable may add bindings for others, which come at the end.
    while let Some(step) = BINDINGS.with_borrow(|all| all.get(index).map(Binding::examine)) {
        let finished = match step {
            Step::Nothing => false,
            Step::Finished => true,
            Step::Written(value, finished) => {
                let shared = to_shared(value.clone());
                BINDINGS.with_borrow_mut(|all| all[index].written(value, shared));
                finished
            }
            Step::Stored(value) => {
                let local = to_local(value.clone());
                BINDINGS.with_borrow_mut(|all| all[index].stored(value, local));
                false
            }
        };
        if finished {
            drop(BINDINGS.with_borrow_mut(|all| all.swap_remove(index)));
        } else {
            index += 1;
        }
    }
    BOUND.set(index > 0);
    SYNCHRONISING.set(false);
}

impl Binding {
    fn examine(&self) -> Step {
        // Taken: this thread is in the middle of an operation on the variable, and will come again.
        let Ok(guard) = self.cell.try_read() else { return Step::Nothing };
        let finished = Arc::strong_count(&self.cell) == 1;
        if !is_same(&guard, &self.seen) {
            return Step::Written(guard.clone(), finished);
        }
        if finished {
            return Step::Finished;
        }
        // Kept beyond one expression, as by a closure that captured it: others' stores must reach it too.
        let current = self.slot.load();
        if is_same(&current, &self.loaded) { Step::Nothing } else { Step::Stored(current) }
    }

    fn written(&mut self, value: Dynamic, shared: Dynamic) {
        self.slot.store(shared.clone());
        // A plain array or map has become a list or dict: the variable must be that very one.
        if value.is_array() || value.is_map() {
            self.stored(shared.clone(), shared);
        } else {
            self.seen = value;
            self.loaded = shared;
        }
    }

    fn stored(&mut self, shared: Dynamic, local: Dynamic) {
        if let Ok(mut guard) = self.cell.try_write() {
            *guard = local.clone();
            self.seen = local;
            self.loaded = shared;
        }
    }
}

fn bind(binding: Binding) {
    BINDINGS.with_borrow_mut(|bindings| bindings.push(binding));
    BOUND.set(true);
}

/// Ends all bindings of the calling thread, which has finished its script.
pub fn unbind_all() {
    synchronise();
    let bindings = BINDINGS.with_borrow_mut(std::mem::take);
    BOUND.set(false);
    drop(bindings);
}

/// Is it the same value, so that nobody can have written the variable in between? Compound values that are no
/// handles count as changed.
fn is_same(a: &Dynamic, b: &Dynamic) -> bool {
    if let (Ok(a), Ok(b)) = (a.as_int(), b.as_int()) {
        return a == b;
    }
    if a.type_id() != b.type_id() {
        return false;
    }
    if a.is_unit() {
        return true;
    }
    if let (Ok(a), Ok(b)) = (a.as_float(), b.as_float()) {
        return a.to_bits() == b.to_bits();
    }
    if let (Ok(a), Ok(b)) = (a.as_bool(), b.as_bool()) {
        return a == b;
    }
    if let (Ok(a), Ok(b)) = (a.as_char(), b.as_char()) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (a.read_lock::<ImmutableString>(), b.read_lock::<ImmutableString>()) {
        return *a == *b;
    }
    if let (Some(a), Some(b)) = (a.read_lock::<FnPtr>(), b.read_lock::<FnPtr>()) {
        return is_same_function(&a, &b);
    }
    identity(a).is_some_and(|address| identity(b) == Some(address))
}

/// Do both pointers lead to the same function, with the same captured variables?
pub fn is_same_function(a: &FnPtr, b: &FnPtr) -> bool {
    a.fn_name() == b.fn_name()
        && a.curry().len() == b.curry().len()
        && a.iter_curry().zip(b.iter_curry()).all(|(a, b)| is_same_capture(a, b))
}

fn is_same_capture(a: &Dynamic, b: &Dynamic) -> bool {
    match (cell_of(a), cell_of(b)) {
        (Some(a), Some(b)) => Arc::ptr_eq(&a, &b),
        (None, None) => match (a.read_lock::<Captured>(), b.read_lock::<Captured>()) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.0, &b.0),
            _ => is_same(a, b),
        },
        _ => false,
    }
}

/// The form in which a value may be seen by several threads: arrays and maps become lists and dicts, and what a
/// closure captured becomes slots.
pub fn to_shared(value: Dynamic) -> Dynamic {
    if value.is_shared() {
        return to_shared(value.flatten_clone());
    }
    if value.is_array() {
        let items = value.into_array().unwrap_or_default();
        return Dynamic::from(List::new(items));
    }
    if value.is_map() {
        return Dynamic::from(Dict::from_map(value.cast()));
    }
    if value.is_fnptr() {
        let mut function = value.cast::<FnPtr>();
        if function.is_curried() {
            let constant = constants_among_captured(&function);
            let share = |(index, value): (usize, &Dynamic)| match constant.get(index) {
                Some(true) => share_constant(value),
                _ => share_captured(value),
            };
            let curry: Vec<Dynamic> = function.iter_curry().enumerate().map(share).collect();
            function.set_curry(curry);
        }
        return function.into();
    }
    value
}

/// Which of the variables that a closure captured are never assigned to by any statement. A closure's first
/// parameters are what it captured, under the variables' own names.
fn constants_among_captured(function: &FnPtr) -> Vec<bool> {
    let Some(realm) = super::realm::current() else { return Vec::new() };
    let captured = function.curry().len();
    let Some(names) =
        realm.functions.parameters(function.fn_name()).into_iter().find(|names| names.len() >= captured)
    else {
        return Vec::new();
    };
    let assigned = realm.globals.assigned.read();
    names
        .iter()
        .take(captured)
        .map(|name| function.is_anonymous() && !assigned.contains(name.as_str()))
        .collect()
}

/// A captured variable that nobody assigns to needs no slot: its value will do.
fn share_constant(value: &Dynamic) -> Dynamic {
    let Some(cell) = cell_of(value) else { return to_shared(value.clone()) };
    let Ok(guard) = cell.try_read() else { return share_captured(value) };
    let current = guard.clone();
    drop(guard);
    let shared = to_shared(current.clone());
    if current.is_array() || current.is_map() {
        // From now on the variable is a reference to the one list or dict.
        if let Ok(mut guard) = cell.try_write() {
            *guard = shared.clone();
        }
    }
    shared
}

/// The form in which the calling thread may use a shared value: captured variables get cells of its own.
pub fn to_local(value: Dynamic) -> Dynamic {
    if !value.is_fnptr() {
        return value;
    }
    let mut function = value.cast::<FnPtr>();
    if function.is_curried() {
        let curry: Vec<Dynamic> = function.iter_curry().map(localise_captured).collect();
        function.set_curry(curry);
    }
    function.into()
}

fn share_captured(value: &Dynamic) -> Dynamic {
    match cell_of(value) {
        Some(cell) => Dynamic::from(Captured(slot_of(&cell))),
        None => to_shared(value.clone()),
    }
}

fn localise_captured(value: &Dynamic) -> Dynamic {
    let Some(captured) = value.read_lock::<Captured>() else {
        return to_local(value.clone());
    };
    let slot = Arc::clone(&captured.0);
    let loaded = slot.load();
    let seen = to_local(loaded.clone());
    let (cell, variable) = new_cell(seen.clone());
    bind(Binding { cell, slot, seen, loaded });
    variable
}

/// The slot that one of this thread's cells stands for; made on the first call for that cell.
fn slot_of(cell: &Cell) -> Arc<Slot> {
    let bound = BINDINGS.with_borrow(|bindings| {
        bindings.iter().find(|b| Arc::ptr_eq(&b.cell, cell)).map(|b| Arc::clone(&b.slot))
    });
    if let Some(slot) = bound {
        synchronise();
        return slot;
    }
    // Bound first: a closure may hold the very variable that it is the value of. The first comparison then
    // finds the cell changed, and moves its value to the slot.
    let slot = Arc::<Slot>::default();
    bind(Binding {
        cell: Arc::clone(cell),
        slot: Arc::clone(&slot),
        seen: Dynamic::UNIT,
        loaded: Dynamic::UNIT,
    });
    synchronise();
    slot
}

/// The module-level variables of one interpreter, by name.
#[derive(Default)]
pub struct Globals {
    slots: RwLock<HashMap<ImmutableString, Arc<Slot>>>,
    /// Names that some statement of a program assigns to; all others can be answered with the plain value.
    assigned: RwLock<std::collections::HashSet<ImmutableString>>,
    /// Variables of the parent process that could not be sent to this one, with the reason.
    unsent: RwLock<HashMap<ImmutableString, Unsent>>,
}

/// What stands for a variable of the parent process that could not be sent to this one, if the program assigns to
/// it somewhere: it can be replaced, and every call with it is an error that says why it is not there.
#[derive(Clone, Debug)]
pub struct Unsent(Arc<str>);

impl Unsent {
    /// The error for using the variable.
    pub fn error(&self) -> Box<EvalAltResult> {
        raise("NameError", &*self.0)
    }
}

/// A name that this thread has looked up before.
struct Remembered {
    name: ImmutableString,
    globals: usize,
    slot: Arc<Slot>,
    is_assigned: bool,
}

const REMEMBERED: usize = 64;

thread_local! {
    /// Names by their address: the same identifier of a program is the same string.
    static LOOKED_UP: RefCell<Vec<Option<Remembered>>> = const { RefCell::new(Vec::new()) };
}

impl Globals {
    /// Makes a module-level variable or replaces its value (`global n = 100`).
    pub fn declare(&self, name: &str, value: Dynamic) {
        synchronise();
        let value = to_shared(value);
        let slot = self.slots.read().get(name).cloned();
        match slot {
            Some(slot) => slot.store(value),
            None => {
                self.slots.write().insert(name.into(), Slot::new(value));
            }
        }
    }

    /// Makes a module-level variable that has no value yet (`global n;` in a function, before anybody set it).
    pub fn declare_unset(&self, name: &str) {
        self.slots.write().entry(name.into()).or_default();
    }

    /// Makes a variable known as one that the parent process could not send, of the given type, and why.
    pub fn declare_unsent(&self, name: &str, kind: &str, reason: &str) {
        let text = format!(
            "name '{name}' is not defined in this process: the parent's variable, of type {kind}, could not be sent \
             to it ({reason}): make such an object in the process that uses it"
        );
        let unsent = Unsent(text.into());
        if self.assigned.read().contains(name) {
            self.declare(name, Dynamic::from(unsent.clone()));
        }
        self.unsent.write().insert(name.into(), unsent);
    }

    /// Could the parent process not send the variable of this name?
    pub fn unsent(&self, name: &str) -> Option<Unsent> {
        self.unsent.read().get(name).cloned()
    }

    /// Removes every variable: the script is about to be run once more.
    pub fn clear(&self) {
        let slots = std::mem::take(&mut *self.slots.write());
        LOOKED_UP.with_borrow_mut(Vec::clear);
        drop(slots);
    }

    /// Does the variable exist?
    pub fn contains(&self, name: &str) -> bool {
        self.slots.read().contains_key(name)
    }

    /// The variables' names and values.
    pub fn snapshot(&self) -> Vec<(ImmutableString, Dynamic)> {
        synchronise();
        let mut all: Vec<_> =
            self.slots.read().iter().map(|(name, slot)| (name.clone(), slot.load())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Adds names that a program assigns to. Called before the program runs.
    pub fn add_assigned(&self, names: impl IntoIterator<Item = ImmutableString>) {
        self.assigned.write().extend(names);
        LOOKED_UP.with_borrow_mut(Vec::clear);
    }

    /// What rhai's variable resolver answers for a free name.
    pub fn resolve(&self, name: &str) -> Option<Dynamic> {
        synchronise();
        let (slot, is_assigned) = self.look_up(name)?;
        let value = slot.load();
        if !is_assigned {
            return Some(to_local(value));
        }
        let seen = to_local(value.clone());
        let (cell, variable) = new_cell(seen.clone());
        bind(Binding { cell, slot, seen, loaded: value });
        Some(variable)
    }

    fn look_up(&self, name: &str) -> Option<(Arc<Slot>, bool)> {
        LOOKED_UP.with_borrow_mut(|remembered| {
            if remembered.is_empty() {
                remembered.resize_with(REMEMBERED, || None);
            }
            let this = std::ptr::from_ref(self) as usize;
            let entry = &mut remembered[(name.as_ptr() as usize >> 3) % REMEMBERED];
            if let Some(known) = entry
                && known.globals == this
                && known.name == name
            {
                return Some((Arc::clone(&known.slot), known.is_assigned));
            }
            let slot = self.slots.read().get(name).cloned()?;
            let is_assigned = self.assigned.read().contains(name);
            let slot_again = Arc::clone(&slot);
            *entry = Some(Remembered { name: name.into(), globals: this, slot, is_assigned });
            Some((slot_again, is_assigned))
        })
    }
}
