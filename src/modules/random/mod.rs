//! `random`: numbers and choices that a seed makes repeatable, with CPython's results for the same seed.
//!
//! The functions of the module draw from one generator per interpreter, the methods of `Random(seed)` from one
//! of their own. Both are made from the same table.

pub mod distributions;
pub mod mersenne_twister;

use std::any::TypeId;
use std::ops::{Range, RangeInclusive};

use rhai::{
    Array, Dynamic, FnNamespace, FuncRegistration, ImmutableString, NativeCallContext, RhaiFunc, Shared,
};

use crate::language::builtins::range::Range as PythonRange;
use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::realm::{self, Realm};
use crate::language::value;
use crate::modules::io::bytes_of;
use crate::modules::os::fill_randomly;
use crate::runtime::sync::{Arc, Mutex};
use distributions::{Random, RandomError, Weights};
use mersenne_twister::MersenneTwister;

/// A generator that several threads may draw from; each draw is one atomic operation.
struct Generator(Mutex<Random>);

impl Default for Generator {
    fn default() -> Self {
        Self(Mutex::new(Random::new(from_system())))
    }
}

/// `random.Random`.
#[derive(Clone)]
struct RandomObject(Arc<Generator>);

impl Handle for RandomObject {
    const NAME: &'static str = "Random";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

/// A generator that the system's random numbers seed.
fn from_system() -> MersenneTwister {
    let mut bytes = [0; 624 * 4];
    if fill_randomly(&mut bytes).is_err() {
        // No /dev/urandom, as in a bare chroot: the time and the process have to do.
        let now = crate::modules::time::clock::Clock::Realtime.nanoseconds();
        return MersenneTwister::from_key(&[now as u32, (now >> 32) as u32, std::process::id()]);
    }
    let key: Vec<u32> =
        bytes.chunks_exact(4).map(|word| word.iter().fold(0, |n, byte| n << 8 | u32::from(*byte))).collect();
    MersenneTwister::from_key(&key)
}

/// Makes the interpreter seed its generator anew when it is next used: a forked child must not draw what its
/// parent draws.
pub fn reseed(realm: &Realm) {
    realm.forget::<Generator>();
}

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("random");
    module.handle::<RandomObject>();
    module.class("Random(x=None)", "A generator of its own, seeded with x.", |call| {
        let twister = seed(call.argument(0))?;
        Ok(Dynamic::from(RandomObject(Arc::new(Generator(Mutex::new(Random::new(twister)))))))
    });
    for &(signature, doc, draw) in FUNCTIONS {
        module.function(signature, doc, move |call| draw(&call.realm().extension::<Generator>(), call));
        module.method::<RandomObject, _>(signature, doc, move |this, call| draw(&this.0, call));
    }
    shuffle_arrays(&mut module);
    module
}

type Draw = fn(&Generator, &mut Call) -> Outcome<Dynamic>;

/// What both the module and `Random` have.
const FUNCTIONS: &[(&str, &str, Draw)] = &[
    (
        "seed(a=None, version=2)",
        "Starts the generator anew, from a number, a text or the system's chance.",
        |own, call| {
            *own.0.lock() = Random::new(seed(call.argument(0))?);
            Ok(Dynamic::UNIT)
        },
    ),
    ("random()", "A float from 0 to 1, without 1.", |own, _| Ok(own.0.lock().random().into())),
    ("getrandbits(k)", "A number of k random bits, at most 63.", |own, call| {
        let k = call.int(0)?;
        let bits = u32::try_from(k).map_err(|_| {
            raise("ValueError", format!("number of bits must be non-negative: getrandbits({k})"))
        })?;
        if bits > 63 {
            let text = format!("getrandbits({k}) does not fit into an integer: use at most 63 bits");
            return Err(raise("OverflowError", text));
        }
        let number = own.0.lock().getrandbits(bits);
        Ok(i64::try_from(number).unwrap_or(i64::MAX).into())
    }),
    ("randint(a, b)", "A whole number from a to b, both included.", |own, call| {
        let (a, b) = (call.int(0)?, call.int(1)?);
        drawn(own.0.lock().randint(a, b))
    }),
    ("randrange(start, stop=None, step=1)", "An element of range(start, stop, step).", |own, call| {
        let start = call.int(0)?;
        let stop = optional_int(call, 1)?;
        let step = optional_int(call, 2)?.filter(|step| stop.is_some() || *step != 1);
        drawn(own.0.lock().randrange(start, stop, step))
    }),
    ("choice(seq)", "An element of a sequence.", |own, call| {
        let items = population(call)?;
        let at = own.0.lock().choice(items.len()).map_err(failed)?;
        Ok(items.get(at))
    }),
    (
        "choices(population, weights=None, *, cum_weights=None, k=1)",
        "k elements, each drawn from all.",
        choices,
    ),
    ("sample(population, k, *, counts=None)", "k different elements.", sample),
    ("shuffle(x)", "Puts a list into random order.", |own, call| {
        let value = call.required(0)?;
        match value.read_lock::<List>() {
            Some(list) => {
                list.change(|items| own.0.lock().shuffle(items.len(), |i, j| items.swap(i, j)));
                Ok(Dynamic::UNIT)
            }
            None => Err(cannot_shuffle(&value)),
        }
    }),
    ("uniform(a, b)", "A float from a to b.", |own, call| {
        let (a, b) = (call.float(0)?, call.float(1)?);
        Ok(own.0.lock().uniform(a, b).into())
    }),
    (
        "triangular(low=0.0, high=1.0, mode=None)",
        "A float from low to high, most often near mode.",
        |own, call| {
            let (low, high) = (float_or(call, 0, 0.0)?, float_or(call, 1, 1.0)?);
            let mode = optional_float(call, 2)?;
            Ok(own.0.lock().triangular(low, high, mode).into())
        },
    ),
    ("gauss(mu=0.0, sigma=1.0)", "A float of the normal distribution.", |own, call| {
        let (mu, sigma) = (float_or(call, 0, 0.0)?, float_or(call, 1, 1.0)?);
        Ok(own.0.lock().gauss(mu, sigma).into())
    }),
    ("normalvariate(mu=0.0, sigma=1.0)", "A float of the normal distribution.", |own, call| {
        let (mu, sigma) = (float_or(call, 0, 0.0)?, float_or(call, 1, 1.0)?);
        Ok(own.0.lock().normalvariate(mu, sigma).into())
    }),
    (
        "expovariate(lambd)",
        "A float of the exponential distribution with the mean 1 / lambd.",
        |own, call| {
            let lambd = call.float(0)?;
            drawn(own.0.lock().expovariate(lambd))
        },
    ),
    ("gammavariate(alpha, beta)", "A float of the gamma distribution.", |own, call| {
        let (alpha, beta) = (call.float(0)?, call.float(1)?);
        drawn(own.0.lock().gammavariate(alpha, beta))
    }),
    ("betavariate(alpha, beta)", "A float of the beta distribution.", |own, call| {
        let (alpha, beta) = (call.float(0)?, call.float(1)?);
        drawn(own.0.lock().betavariate(alpha, beta))
    }),
];

fn failed(error: RandomError) -> Box<rhai::EvalAltResult> {
    raise(error.class(), error.to_string())
}

fn drawn(result: Result<impl Into<Dynamic>, RandomError>) -> Outcome<Dynamic> {
    result.map(Into::into).map_err(failed)
}

fn seed(seed: Option<Dynamic>) -> Outcome<MersenneTwister> {
    let Some(seed) = seed.filter(|seed| !seed.is_unit()) else { return Ok(from_system()) };
    if let Ok(number) = seed.as_int() {
        return Ok(MersenneTwister::from_int(number));
    }
    if let Ok(truth) = seed.as_bool() {
        return Ok(MersenneTwister::from_int(truth.into()));
    }
    if let Ok(number) = seed.as_float() {
        return Ok(MersenneTwister::from_float(number));
    }
    if seed.is_string() || seed.is_char() {
        return Ok(MersenneTwister::from_text(&value::str(&seed)));
    }
    if let Some(bytes) = bytes_of(&seed) {
        return Ok(MersenneTwister::from_bytes(&bytes));
    }
    let (kind, shown) = (value::type_name(&seed), value::repr(&seed));
    let text = format!(
        "The only supported seed types are: None, int, float, str, bytes, and bytearray, not {kind}: {shown}"
    );
    Err(raise("TypeError", text))
}

fn choices(own: &Generator, call: &mut Call) -> Outcome<Dynamic> {
    let items = population(call)?;
    let weights = call.argument(1).filter(|weights| !weights.is_unit());
    let cumulative = call.argument(2).filter(|weights| !weights.is_unit());
    let k = call.int_or(3, 1)?;
    let indices = match (weights, cumulative) {
        (Some(_), Some(_)) => {
            return Err(raise("TypeError", "Cannot specify both weights and cumulative weights"));
        }
        (None, None) => own.0.lock().choices(items.len(), Weights::Equal, k),
        (Some(weights), None) => {
            if weights.is_int() {
                let text = format!("The number of choices must be a keyword argument: #{{ k: {weights} }}");
                return Err(raise("TypeError", text));
            }
            let weights = numbers(&weights)?;
            own.0.lock().choices(items.len(), Weights::Relative(&weights), k)
        }
        (None, Some(cumulative)) => {
            let cumulative = numbers(&cumulative)?;
            own.0.lock().choices(items.len(), Weights::Cumulative(&cumulative), k)
        }
    };
    items.pick(indices)
}

fn sample(own: &Generator, call: &mut Call) -> Outcome<Dynamic> {
    let items = Population::of(&call.required(0)?).ok_or_else(|| {
        raise("TypeError", "Population must be a sequence.  For dicts or sets, use sorted(d).")
    })?;
    let k = call.int(1)?;
    let indices = match call.argument(2).filter(|counts| !counts.is_unit()) {
        None => own.0.lock().sample(items.len(), k),
        Some(counts) => {
            let counts = value::sequence(&counts).ok_or_else(|| no_length(&counts))?;
            let counts: Option<Vec<i64>> = counts.iter().map(|count| count.as_int().ok()).collect();
            let counts = counts.ok_or_else(|| raise("TypeError", "Counts must be integers"))?;
            own.0.lock().sample_counts(items.len(), &counts, k)
        }
    };
    items.pick(indices)
}

/// What is drawn from.
enum Population {
    Items(Vec<Dynamic>),
    /// A range, of which only the numbers that are drawn are made.
    Numbers(PythonRange),
}

impl Population {
    /// The elements of an array, a list, a text, bytes or a range.
    fn of(value: &Dynamic) -> Option<Self> {
        if let Some(items) = value::sequence(value) {
            return Some(Self::Items(items));
        }
        if let Some(text) = value.read_lock::<ImmutableString>() {
            return Some(Self::Items(text.chars().map(|c| c.to_string().into()).collect()));
        }
        if let Some(bytes) = bytes_of(value) {
            return Some(Self::Items(bytes.iter().map(|byte| i64::from(*byte).into()).collect()));
        }
        if let Some(range) = value.read_lock::<PythonRange>() {
            return Some(Self::Numbers(*range));
        }
        let (start, stop) = if let Some(range) = value.read_lock::<Range<i64>>() {
            (range.start, range.end)
        } else if let Some(range) = value.read_lock::<RangeInclusive<i64>>() {
            (*range.start(), range.end().saturating_add(1))
        } else {
            return None;
        };
        PythonRange::new(start, stop, 1).ok().map(Self::Numbers)
    }

    fn len(&self) -> usize {
        match self {
            Self::Items(items) => items.len(),
            Self::Numbers(range) => range.len(),
        }
    }

    fn get(&self, at: usize) -> Dynamic {
        match self {
            Self::Items(items) => items[at].clone(),
            Self::Numbers(range) => range.get(at as i64).map_or(Dynamic::UNIT, Dynamic::from),
        }
    }

    fn pick(&self, indices: Result<Vec<usize>, RandomError>) -> Outcome<Dynamic> {
        let picked = indices.map_err(failed)?.into_iter().map(|at| self.get(at)).collect();
        Ok(Dynamic::from(List::new(picked)))
    }
}

fn population(call: &mut Call) -> Outcome<Population> {
    let value = call.required(0)?;
    Population::of(&value).ok_or_else(|| no_length(&value))
}

fn no_length(value: &Dynamic) -> Box<rhai::EvalAltResult> {
    let (kind, shown) = (value::type_name(value), value::repr(value));
    raise("TypeError", format!("object of type '{kind}' is no sequence: {shown}"))
}

fn numbers(weights: &Dynamic) -> Outcome<Vec<f64>> {
    let weights = value::sequence(weights).ok_or_else(|| no_length(weights))?;
    let number = |weight: &Dynamic| {
        value::number(weight).ok_or_else(|| {
            let (kind, shown) = (value::type_name(weight), value::repr(weight));
            raise("TypeError", format!("weights must be numbers, not {kind}: {shown}"))
        })
    };
    weights.iter().map(number).collect()
}

fn optional_int(call: &mut Call, index: usize) -> Outcome<Option<i64>> {
    let Some(value) = call.argument(index).filter(|value| !value.is_unit()) else { return Ok(None) };
    value.as_int().map(Some).map_err(|_| {
        let (kind, shown) = (value::type_name(&value), value::repr(&value));
        raise("TypeError", format!("'{kind}' object cannot be interpreted as an integer: {shown}"))
    })
}

fn optional_float(call: &mut Call, index: usize) -> Outcome<Option<f64>> {
    let Some(value) = call.argument(index).filter(|value| !value.is_unit()) else { return Ok(None) };
    value::number(&value).map(Some).ok_or_else(|| {
        let (kind, shown) = (value::type_name(&value), value::repr(&value));
        raise("TypeError", format!("must be real number, not {kind}: {shown}"))
    })
}

fn float_or(call: &mut Call, index: usize, default: f64) -> Outcome<f64> {
    Ok(optional_float(call, index)?.unwrap_or(default))
}

fn cannot_shuffle(value: &Dynamic) -> Box<rhai::EvalAltResult> {
    if value.is_array() {
        return raise(
            "TypeError",
            "shuffle() got a copy of an array, and cannot change yours: make it a list([…])",
        );
    }
    let (kind, shown) = (value::type_name(value), value::repr(value));
    raise(
        "TypeError",
        format!("'{kind}' object does not support item assignment: shuffle a list, not {shown}"),
    )
}

/// Lets `shuffle` change a plain array, which reaches a native function by reference if it is in a variable that
/// no closure has captured.
fn shuffle_arrays(module: &mut NativeModule) {
    let shuffle = |_: Option<NativeCallContext>, args: &mut [&mut Dynamic]| -> Outcome<Dynamic> {
        let realm = realm::current().ok_or_else(|| raise("RuntimeError", "shuffle() outside a script"))?;
        let own = realm.extension::<Generator>();
        let mut items =
            args[0].write_lock::<Array>().ok_or_else(|| raise("TypeError", "shuffle() needs a list"))?;
        own.0.lock().shuffle(items.len(), |i, j| items.swap(i, j));
        Ok(Dynamic::UNIT)
    };
    for (target, name) in [(&mut module.module, "shuffle"), (&mut module.builtins, "random.shuffle")] {
        let func = Shared::new(shuffle);
        FuncRegistration::new(name).with_namespace(FnNamespace::Global).set_into_module_raw(
            target,
            [TypeId::of::<Array>()],
            RhaiFunc::Method { func, has_context: true, is_pure: false, is_volatile: true },
        );
    }
}
