//! Python's methods of strings.
//!
//! Rhai has some of its own under the same names, and they keep rhai's meaning:
//!
//! - `split()`, `split(separator)`: the same as in Python; `split(separator, n)` makes at most n parts, where
//!   Python splits at most n times; `split(index)` cuts in two;
//! - `replace(old, new)` and `trim()` change the string in its variable and return nothing; `strip()` returns
//!   a new one;
//! - `remove`, `pop`, `clear`, `truncate`, `pad`, `index_of`, `contains`, `starts_with`, `to_upper`, … are rhai's.
//!
//! Positions count characters.

use rhai::{Dynamic, ImmutableString};

use super::arguments::integer;
use super::iteration::iterate;
use super::limits;
use super::list_sections::clamp;
use crate::language::exception::{Outcome, raise};
use crate::language::native::{Call, NativeModule};
use crate::language::value;

/// A method of strings, and of characters, which are strings of one.
pub(super) fn method<F>(module: &mut NativeModule, signature: &'static str, function: F)
where
    F: Fn(&str, &mut Call) -> Outcome<Dynamic> + Clone + Send + Sync + 'static,
{
    let name = signature.split('(').next().unwrap_or(signature);
    let again = function.clone();
    module.method_of::<ImmutableString, _>(name, signature, move |text, call| function(text, call));
    module.method_of::<char, _>(name, signature, move |c, call| again(c.encode_utf8(&mut [0; 4]), call));
}

pub(super) fn fill(module: &mut NativeModule) {
    cases(module);
    tests(module);
    ends(module);
    widths(module);
    searches(module);
    parts(module);
}

fn cases(module: &mut NativeModule) {
    method(module, "upper()", |text, _| Ok(text.to_uppercase().into()));
    method(module, "lower()", |text, _| Ok(text.to_lowercase().into()));
    method(module, "casefold()", |text, _| Ok(text.to_lowercase().replace('ß', "ss").into()));
    method(module, "swapcase()", |text, _| {
        let swap = |c: char| -> String {
            if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
        };
        Ok(text.chars().map(swap).collect::<String>().into())
    });
    method(module, "capitalize()", |text, _| {
        let mut chars = text.chars();
        let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
        Ok(format!("{first}{}", chars.as_str().to_lowercase()).into())
    });
    method(module, "title()", |text, _| {
        let (mut titled, mut inside) = (String::with_capacity(text.len()), false);
        for c in text.chars() {
            if inside {
                titled.extend(c.to_lowercase());
            } else {
                titled.extend(c.to_uppercase());
            }
            inside = c.is_alphabetic();
        }
        Ok(titled.into())
    });
}

fn tests(module: &mut NativeModule) {
    let every = |text: &str, test: fn(char) -> bool| -> Outcome<Dynamic> {
        Ok((!text.is_empty() && text.chars().all(test)).into())
    };
    method(module, "isdigit()", move |text, _| {
        every(text, |c| c.is_ascii_digit() || c.is_numeric() && !c.is_alphabetic())
    });
    method(module, "isdecimal()", move |text, _| every(text, |c| c.is_ascii_digit()));
    method(module, "isnumeric()", move |text, _| every(text, char::is_numeric));
    method(module, "isalpha()", move |text, _| every(text, char::is_alphabetic));
    method(module, "isalnum()", move |text, _| every(text, char::is_alphanumeric));
    method(module, "isspace()", move |text, _| every(text, char::is_whitespace));
    method(module, "isascii()", move |text, _| Ok(text.is_ascii().into()));
    method(module, "isupper()", |text, _| {
        Ok((text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)).into())
    });
    method(module, "islower()", |text, _| {
        Ok((text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)).into())
    });
    method(module, "isidentifier()", |text, _| {
        let mut chars = text.chars();
        let starts = chars.next().is_some_and(|c| c == '_' || c.is_alphabetic());
        Ok((starts && chars.all(|c| c == '_' || c.is_alphanumeric())).into())
    });
}

fn ends(module: &mut NativeModule) {
    method(module, "strip(chars=None)", |text, call| {
        let chars = call.optional_text(0)?;
        Ok(text.trim_matches(|c| is_stripped(c, &chars)).into())
    });
    method(module, "lstrip(chars=None)", |text, call| {
        let chars = call.optional_text(0)?;
        Ok(text.trim_start_matches(|c| is_stripped(c, &chars)).into())
    });
    method(module, "rstrip(chars=None)", |text, call| {
        let chars = call.optional_text(0)?;
        Ok(text.trim_end_matches(|c| is_stripped(c, &chars)).into())
    });
    method(module, "removeprefix(prefix)", |text, call| {
        let prefix = word(call, 0)?;
        Ok(text.strip_prefix(prefix.as_str()).unwrap_or(text).into())
    });
    method(module, "removesuffix(suffix)", |text, call| {
        let suffix = word(call, 0)?;
        Ok(text.strip_suffix(suffix.as_str()).unwrap_or(text).into())
    });
    method(module, "startswith(prefix, start=0, end=None)", |text, call| {
        let prefix = call.required(0)?;
        let (part, _) = section(text, call, 1)?;
        any_of("startswith", &prefix, |prefix| part.starts_with(prefix))
    });
    method(module, "endswith(suffix, start=0, end=None)", |text, call| {
        let suffix = call.required(0)?;
        let (part, _) = section(text, call, 1)?;
        any_of("endswith", &suffix, |suffix| part.ends_with(suffix))
    });
}

fn is_stripped(c: char, chars: &Option<ImmutableString>) -> bool {
    chars.as_ref().map_or(c.is_whitespace(), |chars| chars.contains(c))
}

/// Is it true of one of the words? `words` is a string or a sequence of them.
fn any_of(function: &str, words: &Dynamic, test: impl Fn(&str) -> bool) -> Outcome<Dynamic> {
    let words = value::sequence(words).unwrap_or_else(|| vec![words.clone()]);
    for word in words {
        if !word.is_string() && !word.is_char() {
            let (kind, shown) = (value::type_name(&word), value::repr(&word));
            let text = format!("{function} first arg must be str or an array of str, not {kind}: {shown}");
            return Err(raise("TypeError", text));
        }
        if test(&value::str(&word)) {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

/// A string argument; a character is one.
fn word(call: &mut Call, index: usize) -> Outcome<String> {
    word_of(&call.required(index)?)
}

fn word_of(word: &Dynamic) -> Outcome<String> {
    if word.is_string() || word.is_char() {
        return Ok(value::str(word));
    }
    let (kind, shown) = (value::type_name(word), value::repr(word));
    Err(raise("TypeError", format!("must be str, not {kind}: {shown}")))
}

/// The part of a text between the positions that the arguments from `index` on give, and where it begins.
fn section<'t>(text: &'t str, call: &mut Call, index: usize) -> Outcome<(&'t str, usize)> {
    let start = call.int_or(index, 0)?;
    let end = call.argument(index + 1).filter(|end| !end.is_unit());
    let end = end.map_or(Ok(i64::MAX), |end| integer(&end, "the end"))?;
    if start == 0 && end == i64::MAX {
        return Ok((text, 0));
    }
    let length = text.chars().count();
    let (start, end) = (clamp(start, length), clamp(end, length));
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    Ok((text.get(byte(start)..byte(end.max(start))).unwrap_or_default(), start))
}

fn widths(module: &mut NativeModule) {
    method(module, "zfill(width)", |text, call| {
        let missing = missing(text, call.int(0)?)?;
        let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
        Ok(format!("{sign}{}{digits}", "0".repeat(missing)).into())
    });
    method(module, "center(width, fillchar=' ')", |text, call| {
        let (width, fill) = (call.int(0)?, fill_char(call)?);
        let missing = missing(text, width)?;
        // As CPython: the odd one goes left if the width is odd.
        let left = missing / 2 + (missing & width as usize & 1);
        Ok(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left)).into())
    });
    method(module, "ljust(width, fillchar=' ')", |text, call| {
        let (width, fill) = (call.int(0)?, fill_char(call)?);
        Ok(format!("{text}{}", fill.repeat(missing(text, width)?)).into())
    });
    method(module, "rjust(width, fillchar=' ')", |text, call| {
        let (width, fill) = (call.int(0)?, fill_char(call)?);
        Ok(format!("{}{text}", fill.repeat(missing(text, width)?)).into())
    });
}

/// How many characters are missing from a width.
fn missing(text: &str, width: i64) -> Outcome<usize> {
    limits::check("the padded string", width, 4)?;
    Ok(usize::try_from(width).unwrap_or(0).saturating_sub(text.chars().count()))
}

fn fill_char(call: &mut Call) -> Outcome<String> {
    let fill = call.argument(1).map_or_else(|| " ".to_string(), |fill| value::str(&fill));
    match fill.chars().count() {
        1 => Ok(fill),
        _ => Err(raise(
            "TypeError",
            format!("The fill character must be exactly one character long, not '{fill}'"),
        )),
    }
}

fn searches(module: &mut NativeModule) {
    method(module, "count(part, start=0, end=None)", |text, call| {
        let part = word(call, 0)?;
        let (text, _) = section(text, call, 1)?;
        let count =
            if part.is_empty() { text.chars().count() + 1 } else { text.matches(part.as_str()).count() };
        Ok((count as i64).into())
    });
    method(module, "find(part, start=0, end=None)", |text, call| {
        Ok(find(text, call, lfind)?.unwrap_or(-1).into())
    });
    method(module, "rfind(part, start=0, end=None)", |text, call| {
        Ok(find(text, call, rfind)?.unwrap_or(-1).into())
    });
    method(module, "index(part, start=0, end=None)", |text, call| found(find(text, call, lfind)?));
    method(module, "rindex(part, start=0, end=None)", |text, call| found(find(text, call, rfind)?));
}

fn lfind(text: &str, part: &str) -> Option<usize> {
    text.find(part)
}

fn rfind(text: &str, part: &str) -> Option<usize> {
    text.rfind(part)
}

fn found(at: Option<i64>) -> Outcome<Dynamic> {
    at.map(Dynamic::from).ok_or_else(|| raise("ValueError", "substring not found"))
}

/// The position of a part of the text, in characters.
fn find(text: &str, call: &mut Call, search: fn(&str, &str) -> Option<usize>) -> Outcome<Option<i64>> {
    let part = word(call, 0)?;
    let (text, start) = section(text, call, 1)?;
    Ok(search(text, &part).map(|byte| (start + text[..byte].chars().count()) as i64))
}

fn parts(module: &mut NativeModule) {
    method(module, "join(iterable)", |text, call| {
        let iterable = call.required(0)?;
        let mut joined = String::new();
        for (index, item) in iterate(call.context(), &iterable)?.iter().enumerate() {
            if index > 0 {
                joined.push_str(text);
            }
            if !item.is_string() && !item.is_char() {
                let kind = value::type_name(item);
                let error =
                    format!("sequence item {index}: expected str instance, {kind} found: use map(str, …)");
                return Err(raise("TypeError", error));
            }
            joined.push_str(&value::str(item));
            limits::check("the joined string", (joined.len() + text.len()) as u128, 1)?;
        }
        Ok(joined.into())
    });
    method(module, "splitlines(keepends=False)", |text, call| {
        let keep = call.bool_or(0, false);
        let strip = |line: &str| -> Dynamic {
            if keep { line.into() } else { line.trim_end_matches('\n').trim_end_matches('\r').into() }
        };
        Ok(text.split_inclusive('\n').map(strip).collect::<Vec<_>>().into())
    });
    method(module, "partition(separator)", |text, call| {
        let separator = separator(call)?;
        let (before, found, after) = match text.split_once(separator.as_str()) {
            Some((before, after)) => (before, separator.as_str(), after),
            None => (text, "", ""),
        };
        Ok(vec![before.into(), found.into(), Dynamic::from(after.to_string())].into())
    });
    method(module, "rpartition(separator)", |text, call| {
        let separator = separator(call)?;
        let (before, found, after) = match text.rsplit_once(separator.as_str()) {
            Some((before, after)) => (before, separator.as_str(), after),
            None => ("", "", text),
        };
        Ok(vec![before.into(), found.into(), Dynamic::from(after.to_string())].into())
    });
    method(module, "rsplit(sep=None, maxsplit=-1)", |text, call| {
        let most = usize::try_from(call.int_or(1, -1)?).unwrap_or(usize::MAX);
        let separator = call.argument(0).filter(|separator| !separator.is_unit());
        let mut parts: Vec<&str> = match separator {
            None => split_words_from_end(text, most),
            Some(separator) => {
                let separator = separator_of(&separator)?;
                text.rsplitn(most.saturating_add(1), separator.as_str()).collect()
            }
        };
        parts.reverse();
        Ok(parts.into_iter().map(|part| part.to_string().into()).collect::<Vec<Dynamic>>().into())
    });
    method(module, "encode(encoding='utf-8', errors='strict')", |text, call| {
        let encoding = call.optional_text(0)?.unwrap_or_else(|| "utf-8".into());
        let errors = call.optional_text(1)?.unwrap_or_else(|| "strict".into());
        super::bytes::encode(text, &encoding, &errors).map(Dynamic::from_blob)
    });
}

/// The words of a text, the last one first; when there are more than `most`, the rest as it is.
fn split_words_from_end(text: &str, most: usize) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text.trim_end());
    while !rest.is_empty() {
        let cut = if parts.len() < most { rest.rfind(char::is_whitespace) } else { None };
        let Some(cut) = cut else {
            parts.push(rest);
            break;
        };
        let (before, word) = rest.split_at(cut);
        parts.push(word.trim_start());
        rest = before.trim_end();
    }
    parts
}

fn separator(call: &mut Call) -> Outcome<String> {
    separator_of(&call.required(0)?)
}

fn separator_of(separator: &Dynamic) -> Outcome<String> {
    let separator = word_of(separator)?;
    if separator.is_empty() { Err(raise("ValueError", "empty separator")) } else { Ok(separator) }
}
