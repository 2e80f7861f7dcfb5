//! What can be asked of any value: `str`, `repr`, `type`, `isinstance`, `id`, `hash`, `callable`; and the ways
//! out, `exit` and `quit`.

use std::hash::{DefaultHasher, Hash, Hasher};

use rhai::{Dynamic, FnPtr, ImmutableString, Map};

use super::arguments::at_most_one;
use crate::language::exception::{Class, Exception, Outcome, raise};
use crate::language::identity::identity;
use crate::language::native::{Call, Keywords, NativeModule};
use crate::language::types::{Type, is_instance};
use crate::language::value;

pub(super) fn fill(module: &mut NativeModule) {
    module
        .builtin(
            "str(*object)",
            "The text that printing the object shows; str(bytes, encoding) decodes.",
            text,
        )
        .builtin("repr(object)", "The text that shows what the object is: strings have quotes.", |call| {
            let object = call.required(0)?;
            Ok(value::repr(&object).into())
        })
        .builtin("type(object)", "The class of the object.", |call| {
            let object = call.required(0)?;
            Ok(Dynamic::from(Type::of(&object)))
        })
        .builtin(
            "isinstance(object, class)",
            "Is the object of the class, or of one of an array of classes? A class may be given by its name.",
            |call| {
                let (object, class) = (call.required(0)?, call.required(1)?);
                Ok(is_instance(&object, &class).into())
            },
        )
        .builtin("issubclass(class, parent)", "Is the class the other one, or derived from it?", |call| {
            let (class, parent) = (call.required(0)?, call.required(1)?);
            is_subclass(&class, &parent).map(Dynamic::from)
        })
        .builtin("id(object)", "A number that tells the object from all others that live.", |call| {
            let object = call.required(0)?;
            Ok((address(&object) as i64).into())
        })
        .builtin("hash(object)", "The hash of a value that can be a dict's key.", |call| {
            let object = call.required(0)?;
            hash(&object).map(Dynamic::from)
        })
        .builtin("callable(object)", "Is the object a function or a class?", |call| {
            let object = call.required(0)?;
            Ok((object.is_fnptr() || object.is::<Type>()).into())
        })
        .builtin(
            "kwargs(mapping)",
            "Makes the entries keyword arguments of the call that it stands in.",
            |call| {
                let keywords = call.mapping(0)?;
                Ok(Dynamic::from(Keywords(keywords)))
            },
        )
        .builtin(
            "exit(*code)",
            "Ends the program, or the thread it is called in, by raising SystemExit.",
            exit,
        )
        .builtin(
            "quit(*code)",
            "Ends the program, or the thread it is called in, by raising SystemExit.",
            exit,
        );
    module.named::<Keywords>("kwargs");
}

fn text(call: &mut Call) -> Outcome<Dynamic> {
    let mut args = call.rest(0).into_iter();
    let (object, encoding, more) = (args.next(), args.next(), args.next());
    if more.is_some() {
        return Err(raise(
            "TypeError",
            "str() takes at most 2 arguments: use str(object) or str(bytes, encoding)",
        ));
    }
    match (object, encoding) {
        (None, _) => Ok(ImmutableString::new().into()),
        (Some(object), None) => Ok(value::str(&object).into()),
        (Some(object), Some(encoding)) => {
            let bytes = super::bytes::bytes_of(&object).ok_or_else(|| {
                let kind = value::type_name(&object);
                raise("TypeError", format!("decoding to str: need a bytes-like object, {kind} found"))
            })?;
            super::bytes::decode(&bytes, &value::str(&encoding), "strict").map(Dynamic::from)
        }
    }
}

fn exit(call: &mut Call) -> Outcome<Dynamic> {
    let code = at_most_one(call, "exit", 0)?;
    let message = code.as_ref().map(value::str).unwrap_or_default();
    let args = code.into_iter().collect();
    Err(Exception::with_args(Class::known("SystemExit"), message, args).into_error())
}

/// The name of the class that a value stands for: a class, its constructor, or its name.
fn class_name(class: &Dynamic) -> Outcome<String> {
    if let Some(class) = class.read_lock::<Type>() {
        return Ok(class.name().to_string());
    }
    if let Some(constructor) = class.read_lock::<FnPtr>() {
        return Ok(constructor.fn_name().to_string());
    }
    if let Some(name) = class.read_lock::<ImmutableString>() {
        return Ok(name.to_string());
    }
    let shown = value::repr(class);
    Err(raise(
        "TypeError",
        format!("issubclass() needs classes, and {shown} is none: give a class or its name"),
    ))
}

fn exception_class(class: &Dynamic) -> Outcome<Option<&'static Class>> {
    if let Some(class) = class.read_lock::<Type>() {
        return Ok(class.exception_class());
    }
    Ok(Class::named(&class_name(class)?))
}

fn is_subclass(class: &Dynamic, parent: &Dynamic) -> Outcome<bool> {
    if let Some(parents) = value::sequence(parent) {
        return parents.iter().try_fold(false, |found, parent| Ok(found || is_subclass(class, parent)?));
    }
    if let (Some(class), Some(parent)) = (exception_class(class)?, exception_class(parent)?) {
        return Ok(class.is_subclass_of(parent));
    }
    let (class, parent) = (class_name(class)?, class_name(parent)?);
    Ok(class == parent || parent == "object" || (class == "bool" && parent == "int"))
}

/// What `id` answers: the address of an object; for values, which have none, a number made from their text.
fn address(object: &Dynamic) -> usize {
    identity(object).unwrap_or_else(|| {
        let mut hasher = DefaultHasher::new();
        (value::type_name(object), value::repr(object)).hash(&mut hasher);
        hasher.finish() as usize & (usize::MAX >> 1)
    })
}

/// The hash of a value; equal values have equal ones, `1`, `1.0` and `True` among them.
pub(super) fn hash(object: &Dynamic) -> Outcome<i64> {
    if let Ok(n) = object.as_int() {
        return Ok(n);
    }
    if let Ok(b) = object.as_bool() {
        return Ok(b.into());
    }
    let mut hasher = DefaultHasher::new();
    if let Ok(x) = object.as_float() {
        if x == x.trunc() && x.abs() < 9e18 {
            return Ok(x as i64);
        }
        x.to_bits().hash(&mut hasher);
    } else if object.is_unit() {
        "None".hash(&mut hasher);
    } else if object.is_string() || object.is_char() {
        value::str(object).hash(&mut hasher);
    } else if let Ok(bytes) = object.as_blob_ref() {
        bytes.hash(&mut hasher);
    } else if let Ok(items) = object.as_array_ref() {
        items.iter().try_for_each(|item| hash(item).map(|h| h.hash(&mut hasher)))?;
    } else if let Some(function) = object.read_lock::<FnPtr>() {
        function.fn_name().hash(&mut hasher);
    } else if object.is::<Map>() || matches!(value::type_name(object).as_str(), "list" | "dict" | "bytearray")
    {
        return Err(raise("TypeError", format!("unhashable type: '{}'", value::type_name(object))));
    } else {
        address(object).hash(&mut hasher);
    }
    Ok((hasher.finish() >> 1) as i64)
}
