//! Telling rhai's write-back of an element from an assignment.
//!
//! After `workers[i].daemon = true` or `d["jobs"].append(1)` rhai puts the element back where it came from, by
//! the index setter, in case the method has changed it. For a handle that is useless, as the method worked on
//! the object itself, and between threads it is wrong: if another thread has replaced `d["jobs"]` meanwhile,
//! the write-back, which nobody wrote, would undo it.
//!
//! So the index getters note which handle they gave out, for which container and index, and at which place of
//! the script. A setter that is called for the very same handle, index and place is the write-back, since no
//! place of a script is both read from and assigned to but by it and by `x[i] += …`, which changes a handle in
//! place as well. It is skipped.
//!
//! That makes the statement linearizable: it is a read of the element, which takes effect in the getter, and an
//! operation on the object, which takes effect where the object says; there is no third step that another
//! thread's store could come in between.

use std::cell::RefCell;

use rhai::{Dynamic, ImmutableString, NativeCallContext};

use crate::language::identity::identity;
use crate::runtime::Site;

/// Where in a container an element is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At an index, or under a number.
    Number(i64),
    /// Under a name.
    Name(ImmutableString),
}

impl Place {
    /// The place that an index or key means; nothing for keys that are rare.
    pub(super) fn of(key: &Dynamic) -> Option<Self> {
        if let Ok(n) = key.as_int() {
            return Some(Self::Number(n));
        }
        key.read_lock::<ImmutableString>().map(|name| Self::Name(name.clone()))
    }
}

/// A handle that a getter gave out.
#[derive(PartialEq, Eq)]
struct Given {
    container: usize,
    place: Place,
    element: usize,
    file: usize,
    line: u32,
    column: usize,
}

/// How many are remembered: as deep as one chain of indexes goes, `a[1][2].b.c`.
const REMEMBERED: usize = 8;

#[derive(Default)]
struct Ring {
    /// Grows to [`REMEMBERED`]: most threads need none, and what is thread-local they all have.
    given: Vec<Option<Given>>,
    next: usize,
}

thread_local! {
    static RING: RefCell<Ring> = RefCell::default();
}

fn given(
    context: &NativeCallContext,
    container: usize,
    place: Option<Place>,
    element: &Dynamic,
) -> Option<Given> {
    // Most elements are plain values, and asking them for their identity costs more than this.
    if !element.is_variant() {
        return None;
    }
    let element = identity(element)?;
    let position = context.call_position();
    let (line, column) = (position.line()?, position.position().unwrap_or(0));
    let site = Site::new(context.call_source().unwrap_or_default(), line as u32);
    Some(Given {
        container,
        place: place?,
        element,
        file: site.file.as_ptr() as usize,
        line: site.line,
        column,
    })
}

/// Notes that a getter gives out `element`.
pub(super) fn note(context: &NativeCallContext, container: usize, place: Option<Place>, element: &Dynamic) {
    let Some(given) = given(context, container, place, element) else { return };
    RING.with_borrow_mut(|ring| {
        if ring.given.len() < REMEMBERED {
            ring.given.push(Some(given));
        } else {
            let next = ring.next;
            ring.given[next] = Some(given);
            ring.next = (next + 1) % REMEMBERED;
        }
    });
}

/// Is the setter called to put back what its getter gave out?
pub(super) fn is_write_back(
    context: &NativeCallContext,
    container: usize,
    place: Option<Place>,
    element: &Dynamic,
) -> bool {
    let Some(given) = given(context, container, place, element) else { return false };
    RING.with_borrow_mut(|ring| match ring.given.iter_mut().find(|known| known.as_ref() == Some(&given)) {
        Some(known) => {
            *known = None;
            true
        }
        None => false,
    })
}
