//! Signatures, as Python's documentation writes them.

/// One parameter of a signature.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name, by which keywords find it.
    pub name: &'static str,
    /// Has it no default?
    pub required: bool,
}

/// A signature, as Python's documentation writes it.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The text.
    pub text: &'static str,
    /// The function's name.
    pub name: &'static str,
    /// The parameters before a `*`, then those after it.
    pub parameters: Vec<Parameter>,
    /// How many of them can be given by position.
    pub positional: usize,
    /// How many of them cannot be given by keyword: those before a `/`.
    pub positional_only: usize,
    /// How many of those have no default.
    pub required: usize,
    /// Takes any number of arguments (`*args`).
    pub variadic: bool,
    /// Takes any keyword (`**kwargs`).
    pub any_keyword: bool,
}

impl Signature {
    /// Reads `name(a, /, b=1, *args, c=2, **kwargs)`.
    ///
    /// # Panics
    /// When the text has no parentheses: it is one written in this crate.
    pub fn parse(text: &'static str) -> Self {
        let (name, rest) = text.split_once('(').expect("a signature has parentheses");
        let inside = rest.rsplit_once(')').expect("a signature has parentheses").0;
        let mut signature = Self {
            text,
            name: name.trim(),
            parameters: Vec::new(),
            positional: 0,
            positional_only: 0,
            required: 0,
            variadic: false,
            any_keyword: false,
        };
        for part in split_parameters(inside) {
            if part.starts_with("**") {
                signature.any_keyword = true;
            } else if let Some(name) = part.strip_prefix('*') {
                signature.variadic |= !name.is_empty();
            } else if part == "/" {
                signature.positional_only = signature.parameters.len();
            } else {
                let (name, default) = match part.split_once('=') {
                    Some((name, default)) => (name.trim(), Some(default)),
                    None => (part, None),
                };
                signature.parameters.push(Parameter { name, required: default.is_none() });
                if !signature.variadic {
                    signature.positional = signature.parameters.len();
                }
            }
        }
        signature.required =
            signature.parameters.iter().take(signature.positional).filter(|p| p.required).count();
        signature
    }

    /// The parameters that keywords can give.
    pub(super) fn by_keywords(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().skip(self.positional_only)
    }

    /// The parameter that a keyword gives, by its index.
    pub(super) fn by_keyword(&self, name: &str) -> Option<usize> {
        let found = self.by_keywords().position(|p| p.name == name)?;
        Some(found + self.positional_only)
    }

    /// The numbers of arguments with which rhai may find the function.
    pub(super) fn counts(&self) -> std::ops::RangeInclusive<usize> {
        let most = if self.variadic { MOST_VARIADIC } else { self.positional + 1 };
        0..=most
    }
}

/// Commas inside brackets and quotes do not separate parameters.
fn split_parameters(text: &'static str) -> Vec<&'static str> {
    let (mut parts, mut depth, mut quoted, mut start) = (Vec::new(), 0, false, 0);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if depth == 0 && !quoted => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// The most arguments of a function that takes any number.
const MOST_VARIADIC: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_slash_is_given_by_position_only() {
        let signature = Signature::parse("f(a, b=1, /, c=2, *, d=None)");
        assert_eq!((signature.positional_only, signature.required), (2, 1));
        assert_eq!(signature.by_keyword("a"), None);
        assert_eq!(signature.by_keyword("c"), Some(2));
        assert_eq!(signature.by_keyword("d"), Some(3));
        let names: Vec<_> = signature.by_keywords().map(|p| p.name).collect();
        assert_eq!(names, ["c", "d"]);
    }
}
