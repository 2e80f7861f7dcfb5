//! `:help`, made from what the natives say of themselves.

use std::collections::BTreeSet;

use onelock::language::native::{Entry, entries, is_module};

use super::commands::COMMANDS;
use crate::cli::nearest;

/// The name that an entry's signature begins with.
pub fn name_of(entry: &Entry) -> &'static str {
    entry.signature.split('(').next().unwrap_or(entry.signature)
}

/// The commands and the modules.
pub fn overview() -> String {
    let mut text = String::from(
        "Statements are Rhai's, names are Python's. The value of the last expression is shown.\n\
         A statement goes on over several lines while a bracket is open; an empty line ends it.\n\n",
    );
    for (name, argument, doc) in COMMANDS {
        text.push_str(&format!("  {:<16} {doc}\n", format!(":{name} {argument}")));
    }
    let modules: BTreeSet<String> = entries()
        .iter()
        .filter(|entry| is_module(entry.owner))
        .map(|entry| entry.owner.replace('.', "::"))
        .collect();
    text.push_str("\nModules, for :help NAME:\n");
    text.push_str(&wrapped(modules));
    text
}

/// What is known of a module, a class, a function, or one method (`Lock.acquire`).
pub fn about(what: &str) -> String {
    let all = entries();
    let name = what.trim_end_matches("()").replace("::", ".");
    let members: Vec<&Entry> = all.iter().filter(|entry| is_owner(entry, &name)).collect();
    let own: Vec<&Entry> = all.iter().filter(|entry| is_called(entry, &name)).collect();
    let mut text = String::new();
    for entry in &own {
        text.push_str(&format!("{}\n    {}\n", qualified(entry), entry.doc));
    }
    if !members.is_empty() {
        if own.is_empty() {
            text.push_str(&format!("{}\n", name.replace('.', "::")));
        }
        text.push('\n');
        text.push_str(&listed(&members));
    }
    if text.is_empty() { nothing(what, &all) } else { text }
}

/// Does the entry belong to the module or class `name`? A `Lock()` makes an object of the class `lock`.
fn is_owner(entry: &Entry, name: &str) -> bool {
    entry.owner.eq_ignore_ascii_case(name)
}

/// Is the entry meant by `name`: `acquire`, `Lock.acquire`, `threading.Lock`?
fn is_called(entry: &Entry, name: &str) -> bool {
    match name.rsplit_once('.') {
        Some((owner, member)) => is_owner(entry, owner) && name_of(entry) == member,
        None => name_of(entry) == name,
    }
}

/// The signature on one line: a default value may be a newline.
fn signature(entry: &Entry) -> String {
    entry.signature.replace('\n', "\\n")
}

/// `threading::Lock()`, `Lock.acquire(…)`; builtins have no owner.
fn qualified(entry: &Entry) -> String {
    match entry.owner {
        "builtins" => signature(entry),
        owner if is_module(owner) => format!("{}::{}", owner.replace('.', "::"), signature(entry)),
        owner => format!("{owner}.{}", signature(entry)),
    }
}

/// A line per member; a long signature has its line to itself.
fn listed(members: &[&Entry]) -> String {
    const WIDTH: usize = 34;
    let mut text = String::new();
    for entry in members {
        let signature = signature(entry);
        if signature.chars().count() > WIDTH {
            text.push_str(&format!("  {signature}\n  {:WIDTH$}  {}\n", "", entry.doc));
        } else {
            text.push_str(&format!("  {signature:WIDTH$}  {}\n", entry.doc));
        }
    }
    text
}

fn nothing(what: &str, all: &[Entry]) -> String {
    let names = all.iter().flat_map(|entry| [entry.owner, name_of(entry)]);
    let way_out = match nearest(what, names) {
        Some(name) => format!("did you mean {name}?"),
        None => ":help lists the modules".into(),
    };
    format!("nothing called '{what}' is documented: {way_out}\n")
}

fn wrapped(words: impl IntoIterator<Item = String>) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in words {
        if column + word.len() > 76 {
            text.push('\n');
            column = 0;
        }
        let gap = if column == 0 { "  " } else { " " };
        text.push_str(gap);
        text.push_str(&word);
        column += gap.len() + word.len();
    }
    text.push('\n');
    text
}
