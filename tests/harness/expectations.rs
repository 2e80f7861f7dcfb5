//! What a script declares about itself in `//@` lines at its head, and whether a run kept it.
//!
//! ```text
//! //@ modes: all                     or a list: in the other modes only the exit status is checked
//! //@ exit: 1
//! //@ stdout exactly:                the lines that follow with `//| `; also: set, matches, set matches,
//! //| 这个 99                          in order, starts, ends, never; `stderr matches`
//! //@ wall at least: 1.0             seconds
//! //@ check [ticks interval]: B >= 0.75 * A     between named captures of `matches`; modes in brackets
//! //@ deadlock: yes                  ends with status 1 and a report
//! ```

use std::collections::HashMap;

use regex::Regex;

use super::run::Run;

/// One declaration.
struct Declaration {
    name: String,
    /// The modes for which it holds; all if empty.
    modes: Vec<String>,
    value: String,
    lines: Vec<String>,
}

/// Everything that a script declares.
pub struct Expectations {
    declarations: Vec<Declaration>,
}

impl Expectations {
    /// Reads the head of a script.
    pub fn read(source: &str) -> Self {
        let mut declarations: Vec<Declaration> = Vec::new();
        for line in source.lines() {
            if let Some(text) = line.strip_prefix("//@ ") {
                let (head, value) =
                    text.split_once(':').unwrap_or_else(|| panic!("a declaration needs a colon: {line}"));
                let (name, modes) = match head.split_once('[') {
                    Some((name, modes)) => {
                        (name, modes.trim_end_matches(']').split_whitespace().map(String::from).collect())
                    }
                    None => (head, Vec::new()),
                };
                declarations.push(Declaration {
                    name: name.trim().into(),
                    modes,
                    value: value.trim().into(),
                    lines: Vec::new(),
                });
            } else if let Some(text) = line.strip_prefix("//|") {
                let last =
                    declarations.last_mut().unwrap_or_else(|| panic!("a line without a declaration: {line}"));
                last.lines.push(text.strip_prefix(' ').unwrap_or(text).into());
            }
        }
        Self { declarations }
    }

    /// The value of the declaration `name`, if there is one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.declarations.iter().find(|d| d.name == name).map(|d| d.value.as_str())
    }

    /// Must the script run alone, because what it declares compares times?
    pub fn compares_times(&self) -> bool {
        self.declarations.iter().any(|d| d.name == "check")
    }

    /// The arguments to run the script with.
    pub fn args(&self) -> Vec<String> {
        self.value("argv").unwrap_or_default().split_whitespace().map(String::from).collect()
    }

    fn holds_in(&self, mode: &str) -> bool {
        self.value("modes").is_none_or(|modes| modes == "all" || modes.split_whitespace().any(|m| m == mode))
    }

    /// Checks a run under a mode: `ticks`, `interval` or `off`.
    pub fn check(&self, run: &Run, mode: &str) -> Result<(), String> {
        let everything = || format!("\n--- stdout\n{}--- stderr\n{}---", run.stdout, run.stderr);
        if run.timed_out {
            return Err(format!("did not end in time{}", everything()));
        }
        let deadlock = self.value("deadlock") == Some("yes");
        let exit = match self
            .declarations
            .iter()
            .find(|d| d.name == "exit" && (d.modes.is_empty() || d.modes.iter().any(|m| m == mode)))
        {
            Some(declaration) => declaration.value.parse().expect("exit: a number"),
            None => i32::from(deadlock),
        };
        let is_full = self.holds_in(mode);
        if (is_full || !deadlock) && run.status != Some(exit) {
            return Err(format!("exit status {:?} instead of {exit}{}", run.status, everything()));
        }
        if !is_full {
            return Ok(());
        }
        if deadlock && !run.stderr.contains("deadlock") {
            return Err(format!("no deadlock was reported{}", everything()));
        }
        let mut captures = HashMap::new();
        for declaration in &self.declarations {
            if declaration.modes.is_empty() || declaration.modes.iter().any(|m| m == mode) {
                declaration.check(run, &mut captures).map_err(|e| format!("{e}{}", everything()))?;
            }
        }
        Ok(())
    }
}

impl Declaration {
    fn check(&self, run: &Run, captures: &mut HashMap<String, f64>) -> Result<(), String> {
        let out: Vec<&str> = run.stdout.lines().collect();
        let wanted: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        let fail = |what: String| Err(format!("{}: {what}", self.name));
        match self.name.as_str() {
            "stdout exactly" if out != wanted => fail(format!("{wanted:?} expected, {out:?} found")),
            "stdout set" => {
                let (mut a, mut b) = (out, wanted);
                a.sort_unstable();
                b.sort_unstable();
                if a == b { Ok(()) } else { fail(format!("{b:?} expected in any order, {a:?} found")) }
            }
            "stdout starts" if !out.starts_with(&wanted) => fail(format!("does not start with {wanted:?}")),
            "stdout ends" if !out.ends_with(&wanted) => fail(format!("does not end with {wanted:?}")),
            "stdout matches" => {
                if out.len() != wanted.len() {
                    return fail(format!("{} lines expected, {} found", wanted.len(), out.len()));
                }
                for (pattern, line) in wanted.iter().zip(&out) {
                    if !capture(pattern, line, captures) {
                        return fail(format!("{pattern:?} does not match {line:?}"));
                    }
                }
                Ok(())
            }
            "stdout set matches" => {
                let mut left = out;
                for pattern in &wanted {
                    match left.iter().position(|line| capture(pattern, line, captures)) {
                        Some(at) => drop(left.remove(at)),
                        None => return fail(format!("no line matches {pattern:?}")),
                    }
                }
                if left.is_empty() { Ok(()) } else { fail(format!("unexpected lines {left:?}")) }
            }
            "stdout in order" => {
                let mut lines = out.iter();
                for pattern in &wanted {
                    if !lines.any(|line| capture(pattern, line, captures)) {
                        return fail(format!("{pattern:?} does not come, or not in its place"));
                    }
                }
                Ok(())
            }
            "stdout never" => {
                let hit =
                    wanted.iter().find(|pattern| out.iter().any(|line| anchored(pattern).is_match(line)));
                hit.map_or(Ok(()), |pattern| fail(format!("{pattern:?} matches a line")))
            }
            "stderr matches" => {
                let missing = wanted.iter().find(|pattern| !regex(pattern).is_match(&run.stderr));
                missing.map_or(Ok(()), |pattern| fail(format!("{pattern:?} is nowhere in stderr")))
            }
            "stderr exactly" if run.stderr.lines().collect::<Vec<_>>() != wanted => fail("differs".into()),
            "wall at least" => {
                let least: f64 = self.value.parse().expect("wall at least: seconds");
                let wall = run.wall.as_secs_f64();
                if wall >= least { Ok(()) } else { fail(format!("{least} s expected, {wall} s taken")) }
            }
            "check" => self.check_relation(captures),
            "stdout exactly" | "stdout starts" | "stdout ends" | "stderr exactly" | "title" | "number"
            | "source" | "shows" | "modes" | "exit" | "deadlock" | "argv" | "slow" => Ok(()),
            other => panic!("unknown declaration '{other}'"),
        }
    }

    /// `X op Y`, where `Y` may be a number, a capture, or a product of such.
    fn check_relation(&self, captures: &HashMap<String, f64>) -> Result<(), String> {
        let words: Vec<&str> = self.value.split_whitespace().collect();
        let [left, op, right @ ..] = &words[..] else { panic!("check: X op Y, not {}", self.value) };
        let number = |word: &str| -> f64 {
            word.parse()
                .ok()
                .or_else(|| captures.get(word).copied())
                .unwrap_or_else(|| panic!("check: unknown {word}"))
        };
        let product =
            |words: &[&str]| words.iter().filter(|w| **w != "*").map(|w| number(w)).product::<f64>();
        let (x, y) = (number(left), product(right));
        let holds = match *op {
            "<" => x < y,
            "<=" => x <= y,
            ">" => x > y,
            ">=" => x >= y,
            "==" => x == y,
            "!=" => x != y,
            _ => panic!("check: unknown operator {op}"),
        };
        if holds { Ok(()) } else { Err(format!("check: {} does not hold: {x} {op} {y}", self.value)) }
    }
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"))
}

fn anchored(pattern: &str) -> Regex {
    regex(&format!("^(?:{pattern})$"))
}

/// Does the whole line match? Named captures that are numbers are kept.
fn capture(pattern: &str, line: &str, captures: &mut HashMap<String, f64>) -> bool {
    let regex = anchored(pattern);
    let Some(found) = regex.captures(line) else { return false };
    for name in regex.capture_names().flatten() {
        if let Some(number) = found.name(name).and_then(|m| m.as_str().parse().ok()) {
            captures.insert(name.into(), number);
        }
    }
    true
}
