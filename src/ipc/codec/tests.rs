use std::os::fd::{AsRawFd, OwnedFd};

use rhai::{Dynamic, FnPtr, Map};

use super::*;
use crate::ipc::parts::Head;
use crate::ipc::shared::{Shared, Zeroed};
use crate::language::builtins::bytearray::ByteArray;
use crate::language::builtins::range::Range;
use crate::language::cell::{cell_of, new_cell};
use crate::language::dict::Dict;
use crate::language::exception::{Class, Exception, Frame, Traceback, exception_of, raise};
use crate::language::identity::{self, Handle, identity};
use crate::language::list::List;
use crate::language::types::Type;
use crate::language::value;
use crate::runtime::sync::{Arc, AtomicU64, Ordering};

fn prepare() {
    identity::register::<List>();
    identity::register::<Dict>();
    identity::register::<ByteArray>();
    identity::register::<Range>();
    identity::register::<Counter>();
    register::<Counter>();
    identity::register::<Stuck>();
    identity::register::<Door>();
    register::<Door>();
}

fn there_and_back(value: &Dynamic) -> Dynamic {
    let encoded = encode(value, Purpose::Message).expect("it travels").sent();
    decode(&encoded, Vec::new()).expect("it arrives")
}

fn message(error: Box<rhai::EvalAltResult>) -> String {
    let exception = exception_of(&error, "", "");
    format!("{}: {}", exception.class().name, exception.message())
}

fn failure<T>(result: Outcome<T>) -> String {
    message(result.err().expect("it fails"))
}

fn list(items: Vec<Dynamic>) -> Dynamic {
    Dynamic::from(List::new(items))
}

/// An object in shared memory, for the tests.
#[derive(Default)]
struct Number(AtomicU64);

// SAFETY: an atomic.
unsafe impl Zeroed for Number {
    const KIND: u32 = 0x7e57;
}

#[derive(Clone)]
struct Counter(Shared<Number>);

impl Handle for Counter {
    const NAME: &'static str = "Counter";

    fn identity(&self) -> usize {
        self.0.place() as usize
    }
}

impl Travel for Counter {
    const TAG: &'static str = "test.Counter";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        out.shared(&self.0)
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        input.shared().map(Self)
    }
}

/// An object that stays where it is.
#[derive(Clone)]
struct Stuck;

impl Handle for Stuck {
    const NAME: &'static str = "Thread";

    fn identity(&self) -> usize {
        1
    }

    fn repr(&self) -> String {
        "<Thread(Thread-1)>".into()
    }
}

/// A file descriptor with a value beside it.
#[derive(Clone)]
struct Door(Arc<OwnedFd>, Dynamic);

impl Handle for Door {
    const NAME: &'static str = "Door";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl Travel for Door {
    const TAG: &'static str = "test.Door";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        out.fd(Arc::clone(&self.0))?;
        out.named(|| ".label".into(), &self.1)
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        Ok(Self(Arc::new(input.fd()?), input.value()?))
    }
}

/// One of everything that has no identity.
fn plain_values() -> Vec<Dynamic> {
    let mut values = vec![Dynamic::UNIT, true.into(), false.into(), 'ü'.into(), '\u{10ffff}'.into()];
    let ints = [0, 1, -1, 127, 128, -128, -129, 1 << 31, i64::MAX, i64::MIN];
    values.extend(ints.map(Dynamic::from));
    values.extend([0.0, -0.0, 1.5, f64::INFINITY, f64::MIN_POSITIVE].map(Dynamic::from));
    values.extend(["", "text", "grüße 进程"].map(Dynamic::from));
    values.push("x".repeat(100_000).into());
    values.push(Dynamic::from_blob(vec![]));
    values.push(Dynamic::from_blob((0..100_000).map(|i| i as u8).collect()));
    values.push(vec![1.into(), "two".into(), Dynamic::from_array(vec![])].into());
    let map: Map = [("a".into(), 1.into()), ("".into(), Dynamic::from_map(Map::new()))].into();
    values.push(map.into());
    values.push(Dynamic::from(Range::new(1, 10, 3).unwrap()));
    values
}

#[test]
fn values_arrive_as_they_were() {
    prepare();
    for value in plain_values() {
        let back = there_and_back(&value);
        assert_eq!(back.type_id(), value.type_id(), "{value:?}");
        assert_eq!(value::repr(&back), value::repr(&value));
        assert!(value::equals(&back, &value).unwrap() || value.is::<Range>(), "{value:?}");
    }
    assert!(there_and_back(&f64::NAN.into()).as_float().unwrap().is_nan());
    assert!(there_and_back(&(-0.0).into()).as_float().unwrap().is_sign_negative());
    assert_eq!(there_and_back(&Dynamic::from(1..4_i64)).cast::<std::ops::Range<i64>>(), 1..4);
    assert_eq!(there_and_back(&Dynamic::from(1..=4_i64)).cast::<std::ops::RangeInclusive<i64>>(), 1..=4);
    let all = plain_values();
    let back = decode_all(&encode_all(&all, Purpose::Start, "args").unwrap().sent(), vec![]).unwrap();
    assert_eq!(value::repr(&all.into()), value::repr(&back.into()));
}

/// Those that need no encoder have the same form as if they had had one.
#[test]
fn plain_values_have_one_form() {
    prepare();
    let mut count = 0;
    for value in plain_values() {
        let encoded = encode(&value, Purpose::Message).unwrap().sent();
        let head = Head::of(7);
        let plain =
            with_plain(&value, head, |parts| [&parts.head.bytes()[..parts.head.len()], parts.body].concat());
        if let Some(plain) = plain {
            assert_eq!(plain, [&[7], &encoded[..]].concat(), "{value:?}");
            assert_eq!(value::repr(&plain::plain(&encoded).unwrap()), value::repr(&value));
            count += 1;
        }
        let decoded = Decoder::new(&encoded, vec![]).value().unwrap();
        assert_eq!(value::repr(&decoded), value::repr(&value));
        let is_long = matches!(encoded[0], tag::TEXT | tag::BLOB);
        assert_eq!(scalar(&encoded).is_some(), plain::plain(&encoded).is_some() && !is_long, "{value:?}");
    }
    assert_eq!(count, 24);
    let bad: [&[u8]; 7] = [&[], &[3], &[3, 1, 2], &[4, 1], &[7, 2, b'x'], &[7, 1, 0xff], &[8, 1, 1, 1]];
    for bytes in bad {
        assert!(scalar(bytes).is_none() && plain::plain(bytes).is_none(), "{bytes:?}");
        assert!(decode(bytes, vec![]).is_err(), "{bytes:?}");
    }
}

#[test]
fn classes_arrive_as_themselves() {
    let empty = Type::Exception(Class::in_module("queue", "Empty").unwrap());
    for class in [empty, Type::Named("int".into())] {
        assert_eq!(there_and_back(&Dynamic::from(class.clone())).cast::<Type>(), class);
    }
}

#[test]
fn objects_keep_their_identity_within_a_message() {
    prepare();
    let inner = list(vec![1.into()]);
    let bytes = Dynamic::from(ByteArray::new(vec![1, 2, 3]));
    let dict = Dict::default();
    dict.set("a".into(), inner.clone()).unwrap();
    dict.set(2.into(), inner.clone()).unwrap();
    let outer = list(vec![inner.clone(), Dynamic::from(dict), inner.clone(), bytes.clone(), bytes]);
    let back = there_and_back(&outer).cast::<List>().snapshot();
    let dict = back[1].clone().cast::<Dict>();
    let one = identity(&back[0]);
    assert!(one.is_some() && one != identity(&inner), "a copy");
    assert_eq!(identity(&back[2]), one);
    assert_eq!(identity(&dict.index(&"a".into()).unwrap()), one);
    assert_eq!(identity(&dict.index(&2.into()).unwrap()), one);
    assert_eq!(identity(&back[3]), identity(&back[4]));
    back[3].clone().cast::<ByteArray>().change(|bytes| bytes[0] = 9);
    assert_eq!(back[4].clone().cast::<ByteArray>().to_vec(), [9, 2, 3]);
    let both = decode_all(&encode_all(&[inner.clone(), inner], Purpose::Message, "").unwrap().sent(), vec![]);
    let both = both.unwrap();
    assert_eq!(identity(&both[0]), identity(&both[1]));
}

#[test]
fn a_list_that_contains_itself_travels() {
    prepare();
    let (outer, dict) = (List::default(), Dict::default());
    dict.set("list".into(), Dynamic::from(outer.clone())).unwrap();
    outer.append(Dynamic::from(outer.clone()));
    outer.append(Dynamic::from(dict));
    let back = there_and_back(&Dynamic::from(outer)).cast::<List>();
    let items = back.snapshot();
    assert_eq!(identity(&items[0]), Some(back.identity()));
    let inside = items[1].clone().cast::<Dict>().index(&"list".into()).unwrap();
    assert_eq!(identity(&inside), Some(back.identity()));
}

#[test]
fn deep_nesting_is_an_error_both_ways() {
    prepare();
    let nested = |depth| (0..depth).fold(Dynamic::UNIT, |inner, _| list(vec![inner]));
    let back = there_and_back(&nested(500));
    assert_eq!(value::repr(&back).len(), 500 * 2 + 4);
    let text = failure(encode(&nested(1001), Purpose::Message));
    assert_eq!(text, "RecursionError: maximum recursion depth exceeded while pickling an object");
    let deep = [tag::ARRAY, 1].repeat(1001);
    let text = failure(decode(&deep, vec![]));
    assert_eq!(text, "RecursionError: maximum recursion depth exceeded while unpickling an object");
}

#[test]
fn exceptions_behave_alike() {
    prepare();
    let cause = Exception::new(Class::known("ValueError"), "bad");
    let class = Class::in_module("multiprocessing", "BufferTooShort").unwrap();
    let exception = Exception::with_args(class, "shown", vec![Dynamic::from_blob(vec![1, 2]), 7.into()]);
    exception.set_attribute("errno", 11.into());
    exception.set_cause(cause.clone());
    let frame = |line| Frame { file: "x.rhai".into(), line, column: 4, function: "task".into() };
    exception.set_traceback(Traceback::from_frames(vec![frame(3), frame(8)]));
    let pair = vec![Dynamic::from(exception.clone()), Dynamic::from(cause)];
    let back = there_and_back(&pair.into()).into_array().unwrap();
    let (copy, cause) = (back[0].clone().cast::<Exception>(), back[1].clone().cast::<Exception>());
    assert!(std::ptr::eq(copy.class(), class));
    assert_eq!((copy.message(), copy.repr()), ("shown", exception.repr()));
    assert_eq!(copy.traceback(), exception.traceback());
    assert_eq!(copy.attribute("errno").unwrap().as_int(), Ok(11));
    assert_eq!(copy.cause().unwrap().identity(), cause.identity());
    assert_eq!(cause.repr(), "ValueError('bad')");
}

#[test]
fn functions_bring_what_they_captured() {
    prepare();
    let (_, counter) = new_cell(5.into());
    let mut first = FnPtr::new("work").unwrap();
    first.set_curry([counter.clone(), "x".into()]);
    let mut second = FnPtr::new("other").unwrap();
    second.set_curry([counter]);
    let back = there_and_back(&vec![Dynamic::from(first), Dynamic::from(second)].into());
    let back: Vec<FnPtr> = back.into_array().unwrap().into_iter().map(Dynamic::cast).collect();
    assert_eq!((back[0].fn_name(), back[1].fn_name()), ("work", "other"));
    assert_eq!(back[0].curry()[1].clone().into_string().unwrap(), "x");
    let cell = cell_of(&back[0].curry()[0]).expect("a variable");
    *cell.write().unwrap() = 6.into();
    assert_eq!(back[1].curry()[0].as_int(), Ok(6), "one variable in both");
}

#[test]
fn a_function_may_capture_itself() {
    prepare();
    let (cell, variable) = new_cell(Dynamic::UNIT);
    let mut function = FnPtr::new("again").unwrap();
    function.set_curry([variable]);
    *cell.write().unwrap() = function.clone().into();
    let back = there_and_back(&function.into()).cast::<FnPtr>();
    let cell = cell_of(&back.curry()[0]).unwrap();
    let inner = cell.read().unwrap().clone().cast::<FnPtr>();
    assert!(Arc::ptr_eq(&cell, &cell_of(&inner.curry()[0]).unwrap()));
}

#[test]
fn what_cannot_travel_is_named() {
    prepare();
    let stuck = || Dynamic::from(Stuck);
    assert_eq!(failure(encode(&stuck(), Purpose::Start)), "TypeError: cannot pickle 'Thread' object");
    let map: Map = [("callback".into(), stuck())].into();
    let args = [1.into(), map.into()];
    assert_eq!(
        failure(encode_all(&args, Purpose::Start, "args")),
        "TypeError: cannot pickle 'Thread' object: args[1].callback is <Thread(Thread-1)>"
    );
    let dict = Dict::from_pairs([("k".into(), list(vec![0.into(), stuck()]))]).unwrap();
    assert_eq!(
        failure(encode(&Dynamic::from(dict), Purpose::Message)),
        "TypeError: cannot pickle 'Thread' object: ['k'][1] is <Thread(Thread-1)>"
    );
    let exception = Exception::with_args(Class::known("ValueError"), "m", vec![stuck()]);
    assert_eq!(
        failure(encode(&Dynamic::from(exception), Purpose::Message)),
        "TypeError: cannot pickle 'Thread' object: args[0] is <Thread(Thread-1)>"
    );
    let mut function = FnPtr::new("work").unwrap();
    function.set_curry([stuck()]);
    assert_eq!(
        failure(encode(&function.into(), Purpose::Message)),
        "TypeError: cannot pickle 'Thread' object: captured[0] is <Thread(Thread-1)>"
    );
    let instant = Dynamic::from(std::time::Instant::now());
    assert!(failure(encode(&instant, Purpose::Message)).starts_with("TypeError: cannot pickle '"));
}

#[test]
fn an_object_may_refuse_its_way() {
    prepare();
    let fd = Arc::new(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap());
    let door = Dynamic::from(Door(Arc::clone(&fd), 5.into()));
    let text = failure(encode_all(&[vec![door.clone()].into()], Purpose::Anybody, "args"));
    assert!(text.starts_with("TypeError: file descriptors cannot travel this way"), "{text}");
    assert!(text.contains("args[0][0] is <Door object"), "{text}");
    let bad = Dynamic::from(Door(fd, Dynamic::from(Stuck)));
    let text = failure(encode_all(&[bad], Purpose::Start, "args"));
    assert_eq!(text, "TypeError: cannot pickle 'Thread' object: args[0].label is <Thread(Thread-1)>");
    let encoded = encode(&vec![door.clone(), door].into(), Purpose::Connection).unwrap();
    assert_eq!(encoded.fds.len(), 1, "the same object once");
    let copy = rustix::io::dup(&encoded.fds[0]).unwrap();
    let number = copy.as_raw_fd();
    let back = decode(&encoded.sent(), vec![copy]).unwrap().into_array().unwrap();
    assert_eq!(identity(&back[0]), identity(&back[1]));
    assert_eq!(back[0].clone().cast::<Door>().0.as_raw_fd(), number);
}

#[test]
fn a_descriptor_is_fetched_where_it_cannot_come_along() {
    prepare();
    let (ours, theirs) = rustix::pipe::pipe().unwrap();
    let door = Dynamic::from(Door(Arc::new(theirs), 5.into()));
    let lost = encode(&door, Purpose::Message).unwrap();
    assert!(lost.fds.is_empty());
    let encoded = encode(&door, Purpose::Message).unwrap();
    drop((door, lost));
    let bytes = encoded.sent();
    let back = decode(&bytes, Vec::new()).unwrap();
    rustix::io::write(&back.read_lock::<Door>().unwrap().0, b"x").unwrap();
    drop(back);
    assert_eq!(rustix::io::read(&ours, &mut [0; 8]).unwrap(), 1);
    assert_eq!(rustix::io::read(&ours, &mut [0; 8]).unwrap(), 0, "nothing of the lost message is left");
    assert_eq!(failure(decode(&bytes, Vec::new())), "OSError: a file descriptor was fetched already");
    assert!(failure(decode_from_anybody(&bytes)).contains("UnpicklingError"));
}

#[test]
fn shared_objects_bring_a_reference_unless_the_message_is_lost() {
    prepare();
    let counter = Counter(Shared::<Number>::new().unwrap());
    counter.0.0.store(3, Ordering::Relaxed);
    let value = Dynamic::from(counter.clone());
    let back = there_and_back(&value).cast::<Counter>();
    back.0.0.fetch_add(1, Ordering::Relaxed);
    assert_eq!(counter.0.0.load(Ordering::Relaxed), 4);
    assert_eq!(back.identity(), counter.identity());
    drop(back);

    let lost = encode(&value, Purpose::Message).unwrap();
    let text = failure(encode(&vec![value.clone(), Dynamic::from(Stuck)].into(), Purpose::Message));
    assert_eq!(text, "TypeError: cannot pickle 'Thread' object: [1] is <Thread(Thread-1)>");
    let place = counter.0.place();
    drop((value, counter));
    drop(decode(&lost.sent(), vec![]).expect("the message keeps it"));
    assert!(Shared::<Number>::adopt(place).is_none(), "nobody keeps it");

    let counter = Counter(Shared::<Number>::new().unwrap());
    let place = counter.0.place();
    drop(encode(&Dynamic::from(counter), Purpose::Message).unwrap());
    assert!(Shared::<Number>::adopt(place).is_none(), "a message that was not sent keeps nothing");
}

#[test]
fn strangers_get_no_shared_memory() {
    prepare();
    let value = Dynamic::from(Counter(Shared::<Number>::new().unwrap()));
    let text = failure(encode(&value, Purpose::Anybody));
    assert!(text.starts_with("TypeError: objects in shared memory can only be passed"), "{text}");
    let bytes = encode(&value, Purpose::Message).unwrap();
    assert!(failure(decode_from_anybody(&bytes.bytes)).starts_with("UnpicklingError"));
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
}

#[test]
fn torn_messages_are_errors() {
    prepare();
    let inner = list(vec![1.into(), "text".into()]);
    let mut function = FnPtr::new("work").unwrap();
    function.set_curry([new_cell(5.into()).1]);
    let exception = Exception::new(Class::known("KeyError"), "bad");
    exception.set_cause(Exception::new(Class::known("OSError"), "worse"));
    let dict = Dict::from_pairs([(1.into(), inner.clone())]).unwrap();
    let mut values = vec![inner, Dynamic::from(dict), function.into(), Dynamic::from(exception)];
    values.extend(plain_values().into_iter().filter(|value| {
        value.as_blob_ref().map_or(true, |b| b.len() < 1000) && value.to_string().len() < 1000
    }));
    let whole = encode(&values.into(), Purpose::Message).unwrap().sent();
    for length in 0..whole.len() {
        assert!(decode(&whole[..length], vec![]).is_err(), "cut to {length}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(failure(decode(&longer, vec![])).contains("more bytes"));
    for seed in 0..20_000 {
        let mut dice = Dice(seed);
        let mut torn = whole.clone();
        for _ in 0..=dice.next() % 4 {
            let at = dice.next() as usize % torn.len();
            torn[at] = dice.next() as u8;
        }
        // Whatever it means now: no panic, no endless loop, no memory for what is not there.
        let _ = decode_from_anybody(&torn);
        let noise: Vec<u8> = (0..dice.next() % 40).map(|_| (dice.next() % 48) as u8).collect();
        let _ = decode_from_anybody(&noise);
    }
}

#[test]
fn lies_about_lengths_cost_nothing() {
    for tag in [tag::TEXT, tag::BLOB, tag::ARRAY, tag::MAP, tag::LIST, tag::DICT, tag::BYTEARRAY] {
        let lie = [&[tag][..], &[0xff; 9], &[1]].concat();
        let text = failure(decode(&lie, vec![]));
        assert!(text.starts_with("UnpicklingError: pickle data was truncated"), "{text}");
    }
    assert!(decode(&[], vec![]).is_err());
    assert!(decode(&[tag::AGAIN, 0], vec![]).is_err());
    assert!(decode(&[tag::TEXT, 1, 0xff], vec![]).is_err());
    assert!(message(raise("UnpicklingError", "x")).starts_with("UnpicklingError"));
}
