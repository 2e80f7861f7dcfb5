//! A call of a native: its arguments by position and by keyword, checked and converted.

use std::time::{Duration, Instant};

use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};

use super::signature::Signature;
use crate::language::exception::{Outcome, raise};
use crate::language::realm::{self, Realm};
use crate::language::value;
use crate::runtime::sync::Arc;
use crate::runtime::{Label, Site, Wait};

/// `kwargs(#{…})`: keywords, wherever they stand.
#[derive(Clone)]
pub struct Keywords(pub Map);

/// A call of a native function.
pub struct Call<'c, 'a, 'd> {
    context: &'c NativeCallContext<'a>,
    signature: &'c Signature,
    args: &'c mut [&'d mut Dynamic],
    keywords: Option<Map>,
}

impl<'c, 'a, 'd> Call<'c, 'a, 'd> {
    pub(super) fn new(
        context: &'c NativeCallContext<'a>,
        signature: &'c Signature,
        args: &'c mut [&'d mut Dynamic],
    ) -> Outcome<Self> {
        let mut call = Self { context, signature, args, keywords: None };
        if call.args.is_empty() && signature.required == 0 {
            return Ok(call);
        }
        call.find_keywords();
        if call.args.len() != signature.positional || call.keywords.is_some() {
            call.check()?;
        }
        Ok(call)
    }

    fn find_keywords(&mut self) {
        let Some(last) = self.args.len().checked_sub(1) else { return };
        let value = &self.args[last];
        let keywords = if let Some(keywords) = value.read_lock::<Keywords>() {
            keywords.0.clone()
        } else if last >= self.signature.required
            && (!self.signature.variadic || self.signature.parameters.len() > self.signature.positional)
            && value.is_map()
        {
            match value.as_map_ref() {
                // In a call with any number of arguments a map is one of them, unless all its keys are keywords.
                Ok(map) if !self.signature.variadic || self.names_keywords(&map) => map.clone(),
                _ => return,
            }
        } else {
            return;
        };
        self.keywords = Some(keywords);
        let args = std::mem::take(&mut self.args);
        self.args = &mut args[..last];
    }

    fn names_keywords(&self, map: &Map) -> bool {
        // Only those behind the arguments of any number: the others are given in front of them.
        let keywords = &self.signature.parameters[self.signature.positional..];
        !map.is_empty() && map.keys().all(|key| keywords.iter().any(|p| p.name == key.as_str()))
    }

    fn check(&self) -> Outcome<()> {
        let signature = self.signature;
        let given = self.args.len();
        let name = signature.name;
        if given > signature.positional && !signature.variadic {
            let most = signature.positional;
            return Err(raise(
                "TypeError",
                format!(
                    "{name}() takes at most {most} arguments but {given} were given: use {}",
                    signature.text
                ),
            ));
        }
        if let Some(keywords) = &self.keywords {
            for key in keywords.keys() {
                match signature.by_keyword(key.as_str()) {
                    Some(at) if at < given && !signature.variadic => {
                        return Err(raise(
                            "TypeError",
                            format!("{name}() got multiple values for argument '{key}'"),
                        ));
                    }
                    Some(_) => {}
                    None if signature.any_keyword => {}
                    None => {
                        let known: Vec<_> = signature.by_keywords().map(|p| p.name).collect();
                        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                        let text = format!(
                            "{name}() got an unexpected keyword argument '{key}': the keywords are {known}"
                        );
                        return Err(raise("TypeError", text));
                    }
                }
            }
        }
        for (at, parameter) in signature.parameters.iter().enumerate().skip(given) {
            let by_keyword = at >= signature.positional_only
                && self.keywords.as_ref().is_some_and(|k| k.contains_key(parameter.name));
            if parameter.required && !by_keyword && at < signature.positional {
                let text = format!(
                    "{name}() missing required argument '{}': use {}",
                    parameter.name, signature.text
                );
                return Err(raise("TypeError", text));
            }
        }
        Ok(())
    }

    /// Rhai's context of the call.
    pub fn context(&self) -> &'c NativeCallContext<'a> {
        self.context
    }

    /// The interpreter that makes the call.
    ///
    /// # Panics
    /// Outside a script, where nothing calls natives.
    pub fn realm(&self) -> Arc<Realm> {
        realm::current().expect("natives are called by scripts, and those run in a realm")
    }

    /// The script line of the call.
    pub fn site(&self) -> Site {
        let line = self.context.call_position().line().unwrap_or(0);
        realm::site(self.context.call_source().unwrap_or(""), line as u32)
    }

    /// What reports call the object that this call makes.
    pub fn label(&self, class: &'static str) -> Label {
        Label { class, name: self.object_name(), made: self.site() }
    }

    /// The name of the variable that the call's result is first given to, if it is known.
    pub fn object_name(&self) -> Option<Arc<str>> {
        self.realm().object_name(self.context.call_source(), self.context.call_position())
    }

    /// The argument for parameter `index`, or nothing if it was not given. It is thereby taken.
    pub fn argument(&mut self, index: usize) -> Option<Dynamic> {
        if index < self.signature.positional && index < self.args.len() {
            return Some(std::mem::take(self.args[index]).flatten());
        }
        let name = self.signature.parameters.get(index)?.name;
        if index < self.signature.positional_only {
            return None;
        }
        self.keywords.as_mut()?.remove(name).map(Dynamic::flatten)
    }

    /// The argument for the parameter called `name`, or nothing if it was not given or there is no such parameter.
    /// It is thereby taken.
    pub fn named(&mut self, name: &str) -> Option<Dynamic> {
        let index = self.signature.parameters.iter().position(|parameter| parameter.name == name)?;
        self.argument(index)
    }

    /// A timeout, as [`Call::seconds`], for the parameter called `name`.
    ///
    /// # Errors
    /// As [`Call::seconds`].
    pub fn named_seconds(&mut self, name: &str) -> Outcome<Option<f64>> {
        match self.signature.parameters.iter().position(|parameter| parameter.name == name) {
            Some(index) => self.seconds(index),
            None => Ok(None),
        }
    }

    /// Was a keyword given, and not taken yet?
    pub fn has_keyword(&self, name: &str) -> bool {
        self.keywords.as_ref().is_some_and(|keywords| keywords.contains_key(name))
    }

    /// How many arguments were given by position.
    pub fn positional(&self) -> usize {
        self.args.len()
    }

    /// Were just `count` arguments given, by position, and no keywords?
    pub fn is_plain(&self, count: usize) -> bool {
        self.args.len() == count && self.keywords.is_none()
    }

    /// Was `None` given by position at `index`?
    pub fn is_none(&self, index: usize) -> bool {
        self.args.get(index).is_some_and(|arg| arg.is_unit())
    }

    /// The argument for a parameter that has no default.
    ///
    /// # Errors
    /// TypeError when it was not given.
    pub fn required(&mut self, index: usize) -> Outcome<Dynamic> {
        let (name, text) = (self.parameter_name(index), self.signature.text);
        self.argument(index)
            .ok_or_else(|| raise("TypeError", format!("missing required argument '{name}': use {text}")))
    }

    fn parameter_name(&self, index: usize) -> &'static str {
        self.signature.parameters.get(index).map_or("?", |p| p.name)
    }

    /// The arguments from position `index` on, of a function that takes any number.
    pub fn rest(&mut self, index: usize) -> Vec<Dynamic> {
        self.args.iter_mut().skip(index).map(|arg| std::mem::take(*arg).flatten()).collect()
    }

    /// The keywords that were given and not taken.
    pub fn keywords(&mut self) -> Map {
        self.keywords.take().unwrap_or_default()
    }

    fn wrong_type(&self, index: usize, wanted: &str, value: &Dynamic) -> Box<rhai::EvalAltResult> {
        let (function, name) = (self.signature.name, self.parameter_name(index));
        let (kind, shown) = (value::type_name(value), shorten(&value::repr(value)));
        raise("TypeError", format!("{function}(): '{name}' must be {wanted}, not {kind}: {shown}"))
    }

    /// A truth value.
    pub fn bool_or(&mut self, index: usize, default: bool) -> bool {
        self.argument(index).map_or(default, |value| value::is_true(&value))
    }

    /// A whole number.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn int_or(&mut self, index: usize, default: i64) -> Outcome<i64> {
        match self.argument(index) {
            None => Ok(default),
            Some(value) => self.as_int(index, &value),
        }
    }

    fn as_int(&self, index: usize, value: &Dynamic) -> Outcome<i64> {
        if let Ok(n) = value.as_int() {
            return Ok(n);
        }
        value.as_bool().map(i64::from).map_err(|_| self.wrong_type(index, "an integer", value))
    }

    /// A whole number that must be given.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn int(&mut self, index: usize) -> Outcome<i64> {
        let value = self.required(index)?;
        self.as_int(index, &value)
    }

    /// A number that must be given.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn float(&mut self, index: usize) -> Outcome<f64> {
        let value = self.required(index)?;
        value::number(&value).ok_or_else(|| self.wrong_type(index, "a number", &value))
    }

    /// A text that must be given.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn text(&mut self, index: usize) -> Outcome<ImmutableString> {
        let value = self.required(index)?;
        as_text(&value).ok_or_else(|| self.wrong_type(index, "a string", &value))
    }

    /// A text, or nothing if it was not given or `None`.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn optional_text(&mut self, index: usize) -> Outcome<Option<ImmutableString>> {
        let Some(value) = self.argument(index).filter(|v| !v.is_unit()) else { return Ok(None) };
        as_text(&value).map(Some).ok_or_else(|| self.wrong_type(index, "a string or None", &value))
    }

    /// Several values: an array, a list, or nothing if not given.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn sequence(&mut self, index: usize) -> Outcome<Vec<Dynamic>> {
        let Some(value) = self.argument(index).filter(|v| !v.is_unit()) else { return Ok(Vec::new()) };
        value::items_of(&value)?.ok_or_else(|| self.wrong_type(index, "an array or list", &value))
    }

    /// Keywords for another function: a map, a dict, or nothing if not given.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn mapping(&mut self, index: usize) -> Outcome<Map> {
        let Some(value) = self.argument(index).filter(|v| !v.is_unit()) else { return Ok(Map::new()) };
        match value::mapping(&value) {
            Some(entries) => Ok(entries.into_iter().map(|(k, v)| (value::str(&k).into(), v)).collect()),
            None => Err(self.wrong_type(index, "a map or dict", &value)),
        }
    }

    /// A timeout in seconds, nothing for `None` or if it was not given; it may be negative.
    ///
    /// # Errors
    /// TypeError for anything but a number, OverflowError for one that no clock can hold.
    pub fn seconds(&mut self, index: usize) -> Outcome<Option<f64>> {
        let Some(value) = self.argument(index).filter(|v| !v.is_unit()) else { return Ok(None) };
        let seconds =
            value::number(&value).ok_or_else(|| self.wrong_type(index, "a number or None", &value))?;
        if seconds.is_nan() {
            return Err(raise("ValueError", "Invalid value NaN (not a number)"));
        }
        if seconds > TIMEOUT_MAX {
            return Err(raise("OverflowError", "timeout value is too large"));
        }
        Ok(Some(seconds))
    }

    /// A wait that ends after `seconds`, at once if that is not positive, never if it is `None`.
    pub fn wait_for(&self, seconds: Option<f64>) -> Wait {
        Wait {
            deadline: seconds.and_then(deadline_in),
            try_only: seconds.is_some_and(|s| s <= 0.0),
            site: self.site(),
        }
    }
}

/// The longest timeout, in seconds (`threading.TIMEOUT_MAX`).
pub const TIMEOUT_MAX: f64 = 9_223_372_036.0;

/// The moment that is `seconds` away.
fn deadline_in(seconds: f64) -> Option<Instant> {
    Instant::now().checked_add(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// A string, or a character, which is a string of length one to a script.
fn as_text(value: &Dynamic) -> Option<ImmutableString> {
    if let Ok(c) = value.as_char() {
        return Some(c.to_string().into());
    }
    value.read_lock::<ImmutableString>().map(|text| text.clone())
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}
