//! `StringIO` and `BytesIO`: a text and bytes that are like files.

use std::any::TypeId;

use rhai::Dynamic;

use super::bytes_of;
use super::methods::{lines_argument, no_bytes, size_argument, unsupported};
use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::runtime::sync::{Arc, Mutex};

/// A content, of characters or bytes, with a place in it; nothing once it is closed.
struct Content<T>(Mutex<Option<Tape<T>>>);

#[derive(Default)]
struct Tape<T> {
    cells: Vec<T>,
    at: usize,
}

impl<T: Copy + Default + PartialEq> Tape<T> {
    fn read(&mut self, size: Option<usize>) -> Vec<T> {
        let start = self.at.min(self.cells.len());
        let end = size.map_or(self.cells.len(), |size| start.saturating_add(size).min(self.cells.len()));
        self.at = self.at.max(end);
        self.cells[start..end].to_vec()
    }

    fn read_line(&mut self, line_feed: T, limit: Option<usize>) -> Vec<T> {
        let rest = self.cells.get(self.at..).unwrap_or_default();
        let line = rest.iter().position(|cell| *cell == line_feed).map_or(rest.len(), |at| at + 1);
        self.read(Some(limit.map_or(line, |limit| limit.min(line))))
    }

    fn write(&mut self, cells: &[T]) {
        if cells.is_empty() {
            return;
        }
        // Behind the end there is nothing yet, and zeros fill the gap.
        let end = self.at + cells.len();
        if end > self.cells.len() {
            self.cells.resize(end, T::default());
        }
        self.cells[self.at..end].copy_from_slice(cells);
        self.at = end;
    }
}

/// What differs between text and bytes.
trait Memory: Handle {
    type Cell: Copy + Default + PartialEq + Send + Sync + 'static;
    const LINE_FEED: Self::Cell;

    fn content(&self) -> &Content<Self::Cell>;

    /// Cells as a script sees them.
    fn shown(cells: Vec<Self::Cell>) -> Dynamic;

    /// What a script wrote, as cells.
    fn written(value: &Dynamic) -> Outcome<Vec<Self::Cell>>;

    fn with<R>(&self, act: impl FnOnce(&mut Tape<Self::Cell>) -> R) -> Outcome<R> {
        let mut tape = self.content().0.lock();
        let result = tape.as_mut().map(act);
        drop(tape);
        result.ok_or_else(|| raise("ValueError", "I/O operation on closed file."))
    }
}

/// `io.StringIO`.
#[derive(Clone)]
struct StringIO(Arc<Content<char>>);

impl Handle for StringIO {
    const NAME: &'static str = "StringIO";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<_io.StringIO object at {:#x}>", self.identity())
    }
}

impl Memory for StringIO {
    type Cell = char;
    const LINE_FEED: char = '\n';

    fn content(&self) -> &Content<char> {
        &self.0
    }

    fn shown(cells: Vec<char>) -> Dynamic {
        cells.into_iter().collect::<String>().into()
    }

    fn written(value: &Dynamic) -> Outcome<Vec<char>> {
        if value.is_string() || value.is_char() {
            return Ok(value::str(value).chars().collect());
        }
        let (kind, shown) = (value::type_name(value), value::repr(value));
        Err(raise("TypeError", format!("string argument expected, got '{kind}': use str({shown})")))
    }
}

/// `io.BytesIO`.
#[derive(Clone)]
struct BytesIO(Arc<Content<u8>>);

impl Handle for BytesIO {
    const NAME: &'static str = "BytesIO";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<_io.BytesIO object at {:#x}>", self.identity())
    }
}

impl Memory for BytesIO {
    type Cell = u8;
    const LINE_FEED: u8 = b'\n';

    fn content(&self) -> &Content<u8> {
        &self.0
    }

    fn shown(cells: Vec<u8>) -> Dynamic {
        Dynamic::from_blob(cells)
    }

    fn written(value: &Dynamic) -> Outcome<Vec<u8>> {
        bytes_of(value).ok_or_else(|| no_bytes(value))
    }
}

/// Adds the classes to the module.
pub(super) fn register(module: &mut NativeModule) {
    module.class("StringIO(initial_value='')", "A text that is like a file.", |call| {
        Ok(Dynamic::from(StringIO(initial::<StringIO>(call)?)))
    });
    module.class("BytesIO(initial_bytes=b'')", "Bytes that are like a file.", |call| {
        Ok(Dynamic::from(BytesIO(initial::<BytesIO>(call)?)))
    });
    methods::<StringIO>(module);
    methods::<BytesIO>(module);
}

fn initial<M: Memory>(call: &mut Call) -> Outcome<Arc<Content<M::Cell>>> {
    let cells = match call.argument(0).filter(|initial| !initial.is_unit()) {
        None => Vec::new(),
        Some(initial) => M::written(&initial)?,
    };
    Ok(Arc::new(Content(Mutex::new(Some(Tape { cells, at: 0 })))))
}

fn methods<M: Memory>(module: &mut NativeModule) {
    module
        .handle::<M>()
        .attribute::<M, _>("closed", "Is it closed?", |this| Ok(this.content().0.lock().is_none().into()))
        .method::<M, _>("getvalue()", "Everything, wherever the place in it is.", |this, _| {
            this.with(|tape| M::shown(tape.cells.clone()))
        })
        .method::<M, _>("read(size=-1)", "Reads so much, or everything that is left.", |this, call| {
            let size = size_argument(call, 0)?;
            this.with(|tape| M::shown(tape.read(size)))
        })
        .method::<M, _>("readline(size=-1)", "Reads a line; empty at the end.", |this, call| {
            let limit = size_argument(call, 0)?;
            this.with(|tape| M::shown(tape.read_line(M::LINE_FEED, limit)))
        })
        .method::<M, _>("readlines()", "Reads all lines that are left.", |this, _| {
            let lines = this.with(|tape| {
                let mut next = || Some(tape.read_line(M::LINE_FEED, None)).filter(|line| !line.is_empty());
                std::iter::from_fn(&mut next).map(M::shown).collect()
            })?;
            Ok(Dynamic::from(List::new(lines)))
        })
        .method::<M, _>("write(s)", "Writes; returns how much that was.", |this, call| {
            let cells = M::written(&call.required(0)?)?;
            this.with(|tape| tape.write(&cells))?;
            Ok((cells.len() as i64).into())
        })
        .method::<M, _>("writelines(lines)", "Writes several times, and adds nothing.", |this, call| {
            for line in lines_argument(call)? {
                let cells = M::written(&line)?;
                this.with(|tape| tape.write(&cells))?;
            }
            Ok(Dynamic::UNIT)
        })
        .method::<M, _>("seek(offset, whence=0)", "Goes to a place; returns it.", seek)
        .method::<M, _>("tell()", "The place of what is read or written next.", |this, _| {
            this.with(|tape| (tape.at as i64).into())
        })
        .method::<M, _>("truncate(size=None)", "Cuts it off at a size, or here.", truncate)
        .method::<M, _>("flush()", "Does nothing.", |this, _| this.with(|_| Dynamic::UNIT))
        .method::<M, _>("fileno()", "There is none.", |_, _| Err(unsupported("fileno")))
        .method::<M, _>("isatty()", "Never.", |this, _| this.with(|_| false.into()))
        .method::<M, _>("readable()", "Always.", |this, _| this.with(|_| true.into()))
        .method::<M, _>("writable()", "Always.", |this, _| this.with(|_| true.into()))
        .method::<M, _>("seekable()", "Always.", |this, _| this.with(|_| true.into()))
        .method::<M, _>("close()", "Forgets the content.", close)
        .method::<M, _>("__enter__()", "Enters `with`: the object itself.", |this, _| {
            this.with(|_| Dynamic::from(this.clone()))
        })
        .method::<M, _>("__exit__(error=None)", "Leaves `with`: closes it.", close);
    module.builtins.set_iter_result(TypeId::of::<M>(), |this: Dynamic| {
        let this = this.cast::<M>();
        Box::new(std::iter::from_fn(move || {
            let line = this.with(|tape| tape.read_line(M::LINE_FEED, None));
            line.map(|line| (!line.is_empty()).then(|| M::shown(line))).transpose()
        }))
    });
}

fn close<M: Memory>(this: &M, _: &mut Call) -> Outcome<Dynamic> {
    drop(this.content().0.lock().take());
    Ok(Dynamic::UNIT)
}

fn seek<M: Memory>(this: &M, call: &mut Call) -> Outcome<Dynamic> {
    let (offset, whence) = (call.int(0)?, call.int_or(1, 0)?);
    let place = this.with(|tape| match whence {
        0 => Ok(offset),
        1 => Ok((tape.at as i64).saturating_add(offset)),
        2 => Ok((tape.cells.len() as i64).saturating_add(offset)),
        _ => Err(raise("ValueError", format!("Invalid whence ({whence}, should be 0, 1 or 2)"))),
    })??;
    let place = match usize::try_from(place) {
        Ok(place) => place,
        Err(_) if whence == 0 => return Err(raise("ValueError", format!("Negative seek position {place}"))),
        Err(_) => 0,
    };
    this.with(|tape| tape.at = place)?;
    Ok((place as i64).into())
}

fn truncate<M: Memory>(this: &M, call: &mut Call) -> Outcome<Dynamic> {
    let size = call.argument(0).filter(|size| !size.is_unit());
    let size = match size {
        None => this.with(|tape| tape.at)?,
        Some(size) => size
            .as_int()
            .ok()
            .and_then(|size| usize::try_from(size).ok())
            .ok_or_else(|| raise("ValueError", format!("Negative size value {}", value::repr(&size))))?,
    };
    this.with(|tape| tape.cells.truncate(size))?;
    Ok((size as i64).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_reads_lines_and_overwrites() {
        let mut tape = Tape { cells: "abc\ndef\n".chars().collect(), at: 0 };
        assert_eq!(tape.read(Some(2)), ['a', 'b']);
        assert_eq!(tape.read_line('\n', None), ['c', '\n']);
        assert_eq!(tape.read_line('\n', Some(2)), ['d', 'e']);
        tape.at = 1;
        tape.write(&['X', 'Y']);
        assert_eq!(tape.cells[..4], ['a', 'X', 'Y', '\n']);
    }

    #[test]
    fn writing_behind_the_end_fills_the_gap() {
        let mut tape = Tape { cells: vec![1_u8, 2], at: 5 };
        tape.write(&[9]);
        assert_eq!(tape.cells, [1, 2, 0, 0, 0, 9]);
        tape.at = 10;
        assert!(tape.read(None).is_empty());
        assert_eq!(tape.at, 10);
    }
}
