//! What Tab offers.

use std::collections::BTreeSet;

use onelock::Interpreter;
use onelock::language::native::{Entry, entries, is_module};
use onelock::language::value::type_name;
use rustyline::Context;
use rustyline::completion::{Completer, FilenameCompleter};

use super::commands::COMMANDS;
use super::help::name_of;

/// Words of the language that begin statements and expressions.
const KEYWORDS: &[&str] = &[
    "let", "const", "global", "fn", "if", "else", "for", "in", "while", "loop", "do", "until", "switch",
    "return", "break", "continue", "throw", "try", "catch", "finally", "with", "as", "from", "import",
    "true", "false", "None", "True", "False", "this",
];

/// The names that a session knows beside those that come with the program.
#[derive(Default)]
pub struct Names {
    /// With the names of their values' classes.
    variables: Vec<(String, String)>,
    functions: Vec<String>,
}

impl Names {
    /// The names that are there now.
    pub fn of(interpreter: &Interpreter) -> Self {
        let realm = interpreter.realm();
        let own = interpreter.scope().iter().map(|(name, _, value)| (name.to_string(), type_name(&value)));
        let shared = realm.globals.snapshot();
        let shared = shared.iter().map(|(name, value)| (name.to_string(), type_name(value)));
        Self { variables: own.chain(shared).collect(), functions: interpreter.functions() }
    }

    /// What the word before byte `at` can become, and where that word begins.
    pub fn complete(
        &self,
        line: &str,
        at: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..at];
        if before.trim().is_empty() {
            // At the beginning of a line Tab indents.
            return Ok((at, vec!["    ".into()]));
        }
        if before.trim_start().starts_with(":load ") {
            let files = FilenameCompleter::new();
            let (start, pairs) = files.complete(line, at, context)?;
            return Ok((start, pairs.into_iter().map(|pair| pair.replacement).collect()));
        }
        if let Some(word) = before.trim_start().strip_prefix(':')
            && !word.contains(' ')
        {
            let commands = COMMANDS.iter().map(|(name, ..)| name.to_string());
            return Ok((at - word.len(), starting_with(word, commands)));
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word = &before[before.trim_end_matches(is_word).len()..];
        let owner = before[..at - word.len()].trim_end_matches(|c: char| !matches!(c, ':' | '.'));
        let is_adjacent = owner.len() == at - word.len();
        let candidates = match owner {
            _ if !is_adjacent => self.names(),
            _ if owner.ends_with("::") => members(last_path(&owner[..owner.len() - 2])),
            _ if owner.ends_with('.') => self.attributes(last_path(&owner[..owner.len() - 1])),
            _ => self.names(),
        };
        Ok((at - word.len(), starting_with(word, candidates)))
    }

    /// What may stand without an owner.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = KEYWORDS.iter().map(|word| word.to_string()).collect();
        names.extend(self.variables.iter().map(|(name, _)| name.clone()));
        names.extend(self.functions.iter().cloned());
        for entry in entries() {
            if is_module(entry.owner) {
                let root = entry.owner.split('.').next().unwrap_or_default();
                if root != "builtins" {
                    names.push(format!("{root}::"));
                }
                // Classes are there unqualified.
                let name = name_of(&entry);
                if entry.owner == "builtins" || name.starts_with(char::is_uppercase) {
                    names.push(name.to_string());
                }
            }
        }
        names
    }

    /// The attributes and methods of a variable's value; those of all classes if it is no variable.
    fn attributes(&self, variable: &str) -> Vec<String> {
        let class =
            self.variables.iter().rev().find(|(name, _)| name == variable).map(|(_, class)| class.as_str());
        let of_class = |entry: &Entry| match class {
            Some(class) => entry.owner == class,
            None => !is_module(entry.owner),
        };
        entries().iter().filter(|entry| of_class(entry)).map(|entry| name_of(entry).to_string()).collect()
    }
}

/// What a module defines, its inner modules included.
fn members(path: &str) -> Vec<String> {
    let module = path.replace("::", ".");
    let mut names = Vec::new();
    for entry in entries() {
        if entry.owner == module {
            names.push(name_of(&entry).to_string());
        } else if let Some(inner) = entry.owner.strip_prefix(&module).and_then(|rest| rest.strip_prefix('.'))
        {
            names.push(format!("{}::", inner.split('.').next().unwrap_or_default()));
        }
    }
    names
}

/// The path at the end of a text: `concurrent::futures` of `x = concurrent::futures`.
fn last_path(text: &str) -> &str {
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    &text[text.trim_end_matches(is_path).len()..]
}

fn starting_with(word: &str, candidates: impl IntoIterator<Item = String>) -> Vec<String> {
    let fitting: BTreeSet<String> = candidates.into_iter().filter(|name| name.starts_with(word)).collect();
    fitting.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_end_where_names_do() {
        assert_eq!(last_path("x = concurrent::futures"), "concurrent::futures");
        assert_eq!(last_path("f(lock"), "lock");
        assert_eq!(last_path("f()"), "");
    }
}
