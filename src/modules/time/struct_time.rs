//! `time.struct_time`: a broken-down time, which is a tuple of nine numbers with names.

use std::any::TypeId;

use rhai::{Dynamic, FuncRegistration};

use super::clock::ZoneNames;
use super::strftime::BrokenDownTime;
use crate::language::exception::{Outcome, raise};
use crate::language::identity::{self, Handle};
use crate::language::list::position;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::runtime::sync::Arc;

/// A `struct_time`.
#[derive(Clone)]
pub struct StructTime(Arc<Data>);

struct Data {
    time: BrokenDownTime,
    /// Did the system tell the zone? What a script made up has none.
    has_zone: bool,
}

/// The names of the numbers, in the tuple's order.
const FIELDS: [(&str, &str); 9] = [
    ("tm_year", "The year, with its century."),
    ("tm_mon", "The month, 1 to 12."),
    ("tm_mday", "The day of the month, 1 to 31."),
    ("tm_hour", "The hour, 0 to 23."),
    ("tm_min", "The minute, 0 to 59."),
    ("tm_sec", "The second, 0 to 61."),
    ("tm_wday", "The day of the week, Monday is 0."),
    ("tm_yday", "The day of the year, 1 to 366."),
    ("tm_isdst", "1 in summer time, 0 in winter time, -1 if it is not known."),
];

impl Handle for StructTime {
    const NAME: &'static str = "struct_time";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let fields: Vec<String> =
            FIELDS.iter().zip(self.numbers()).map(|((name, _), number)| format!("{name}={number}")).collect();
        format!("time.struct_time({})", fields.join(", "))
    }
}

impl StructTime {
    /// What the system's calendar says.
    pub fn new(time: BrokenDownTime) -> Self {
        Self(Arc::new(Data { time, has_zone: true }))
    }

    /// The nine numbers of the tuple.
    pub fn numbers(&self) -> [i64; 9] {
        let t = &self.0.time;
        let rest = [t.month, t.day, t.hour, t.minute, t.second, t.weekday, t.yearday, t.is_dst];
        let mut numbers = [t.year; 9];
        for (number, field) in numbers[1..].iter_mut().zip(rest) {
            *number = field.into();
        }
        numbers
    }

    fn items(&self) -> Vec<Dynamic> {
        self.numbers().into_iter().map(Dynamic::from).collect()
    }

    fn zone(&self, value: impl Into<Dynamic>) -> Dynamic {
        if self.0.has_zone { value.into() } else { Dynamic::UNIT }
    }
}

/// The time that an argument stands for, a `struct_time` or nine numbers; nothing if it was not given.
///
/// # Errors
/// TypeError for anything else.
pub fn time_argument(call: &mut Call, index: usize, function: &str) -> Outcome<Option<BrokenDownTime>> {
    let Some(argument) = call.argument(index).filter(|value| !value.is_unit()) else { return Ok(None) };
    if let Some(time) = argument.read_lock::<StructTime>() {
        return Ok(Some(time.0.time.clone()));
    }
    let items = value::sequence(&argument)
        .ok_or_else(|| raise("TypeError", "Tuple or struct_time argument required"))?;
    let illegal = || raise("TypeError", format!("{function}(): illegal time tuple argument"));
    if items.len() != FIELDS.len() {
        return Err(illegal());
    }
    let mut time = from_numbers(&items)?;
    if time.is_dst >= 0 {
        let zone = ZoneNames::of_this_year();
        time.zone = zone.names[usize::from(time.is_dst > 0)].clone();
    }
    Ok(Some(time))
}

/// Nine numbers as a time without a zone.
fn from_numbers(items: &[Dynamic]) -> Outcome<BrokenDownTime> {
    let number = |at: usize| -> Outcome<i64> {
        items[at].as_int().map_err(|_| {
            let kind = value::type_name(&items[at]);
            raise(
                "TypeError",
                format!("'{kind}' object cannot be interpreted as an integer: {} of a time", FIELDS[at].0),
            )
        })
    };
    let small = |at: usize| -> Outcome<i32> {
        let n = number(at)?;
        i32::try_from(n)
            .map_err(|_| raise("OverflowError", format!("{} of a time is out of range: {n}", FIELDS[at].0)))
    };
    Ok(BrokenDownTime {
        year: i64::from(small(0)?),
        month: small(1)?,
        day: small(2)?,
        hour: small(3)?,
        minute: small(4)?,
        second: small(5)?,
        weekday: small(6)?,
        yearday: small(7)?,
        is_dst: small(8)?,
        zone: String::new(),
        utc_offset: 0,
    })
}

/// Adds the class to the module.
pub fn register(module: &mut NativeModule) {
    module.named::<StructTime>("struct_time");
    identity::register::<StructTime>();
    module.shown::<StructTime>(Handle::repr);
    // A tuple: two are equal if their numbers are.
    FuncRegistration::new("==")
        .set_into_module(&mut module.builtins, |a: StructTime, b: StructTime| a.numbers() == b.numbers());
    FuncRegistration::new("!=")
        .set_into_module(&mut module.builtins, |a: StructTime, b: StructTime| a.numbers() != b.numbers());
    module.function(
        "struct_time(sequence)",
        "A time from nine numbers: year, month, day, hour, minute, second, weekday, day of the year, summer time.",
        |call| {
            let items = call.sequence(0)?;
            if items.len() < FIELDS.len() {
                let given = items.len();
                let text = format!("time.struct_time() takes an at least 9-sequence ({given}-sequence given)");
                return Err(raise("TypeError", text));
            }
            let time = from_numbers(&items)?;
            Ok(Dynamic::from(StructTime(Arc::new(Data { time, has_zone: false }))))
        },
    );
    for (at, (name, doc)) in FIELDS.into_iter().enumerate() {
        module.attribute::<StructTime, _>(name, doc, move |time| Ok(time.numbers()[at].into()));
    }
    module.attribute::<StructTime, _>("tm_zone", "The time zone's abbreviation.", |time| {
        Ok(time.zone(time.0.time.zone.clone()))
    });
    module.attribute::<StructTime, _>("tm_gmtoff", "Seconds east of Greenwich.", |time| {
        Ok(time.zone(i64::from(time.0.time.utc_offset)))
    });
    module.method::<StructTime, _>("len()", "How many numbers there are: nine.", |time, _| {
        Ok((time.numbers().len() as i64).into())
    });
    FuncRegistration::new_index_getter().with_purity(true).set_into_module(
        &mut module.builtins,
        |time: &mut StructTime, index: i64| -> Outcome<Dynamic> {
            let numbers = time.numbers();
            let at = position(index, numbers.len()).ok_or_else(|| {
                raise(
                    "IndexError",
                    format!("tuple index out of range: index {index} of {} items", numbers.len()),
                )
            })?;
            Ok(numbers[at].into())
        },
    );
    module.builtins.set_iter(TypeId::of::<StructTime>(), |time: Dynamic| {
        Box::new(time.cast::<StructTime>().items().into_iter())
    });
}
