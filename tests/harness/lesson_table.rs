//! `docs/lessons.md`: which example of the documents is which lesson, made from the heads of the lessons.

use std::fmt::Write;
use std::path::Path;

use super::expectations::Expectations;
use super::scripts_below;

/// The documents have so many examples.
const EXAMPLES: u32 = 182;

/// Examples that are no lessons, and why.
const NOT_PORTED: &[(&[u32], &str)] = &[(
    &[37, 39, 177, 178, 179, 180, 181, 182],
    "greenlets, which are not there yet; the clients of 037 are 038, with a server of threads",
)];

/// Where the table is, from the project's folder.
pub const PLACE: &str = "docs/lessons.md";

const HEAD: &str = "\
# The documents' examples and the lessons

The documents have 182 examples. Each lesson is one of them, ported line by line under its number, or a variant: with
threads where the document has processes (`_threads`). `onelock lessons 028` runs one, and `--show` prints it. Lessons
from 901 on are this project's own.

This page is made from the heads of the lessons; `LESSONS=write cargo test --test lessons -- docs` writes it anew.

| example | lesson | what it shows |
|---|---|---|
";

/// A lesson's line of the table.
struct Line {
    number: u32,
    path: String,
    title: String,
    shows: String,
}

/// The page for the lessons in a folder.
///
/// # Errors
/// A lesson without a head, an example without a lesson, or one that is a lesson although it is said not to be.
pub fn page(lessons: &Path) -> Result<String, String> {
    let mut lines = Vec::new();
    for script in scripts_below(lessons) {
        let source = std::fs::read_to_string(&script).map_err(|error| error.to_string())?;
        let head = Expectations::read(&source);
        let path = script.strip_prefix(lessons).expect("below it").display().to_string();
        let value =
            |key: &str| head.value(key).ok_or(format!("{path} has no `//@ {key}:`")).map(String::from);
        let digits = path.rsplit('/').next().and_then(|name| name.split('_').next()).unwrap_or_default();
        let number = value("number").unwrap_or_else(|_| digits.into());
        let number = number.parse().map_err(|_| format!("{path}: '{number}' is no number"))?;
        let (title, shows) = (value("title")?, value("shows")?);
        lines.push(Line { number, path, title, shows });
    }
    lines.sort_by(|a, b| (a.number, &a.path).cmp(&(b.number, &b.path)));
    let not_ported = |number: u32| NOT_PORTED.iter().any(|(numbers, _)| numbers.contains(&number));
    for number in 1..=EXAMPLES {
        let is_there = lines.iter().any(|line| line.number == number);
        if is_there == not_ported(number) {
            return Err(format!("example {number:03} has a lesson: {is_there}; correct NOT_PORTED"));
        }
    }
    let mut page = HEAD.to_string();
    for Line { number, path, title, shows } in &lines {
        let (title, shows) = (title.replace('|', "\\|"), shows.replace('|', "\\|"));
        let _ = writeln!(page, "| {number:03} | [{title}](../scripts/lessons/{path}) | {shows} |");
    }
    page.push_str("\nExamples that are no lessons:\n\n");
    for (numbers, reason) in NOT_PORTED {
        let numbers: Vec<String> = numbers.iter().map(|number| format!("{number:03}")).collect();
        let _ = writeln!(page, "- {}: {reason}.", numbers.join(", "));
    }
    Ok(page)
}
