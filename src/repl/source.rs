//! Is a statement finished, as far as brackets, texts and comments tell?

/// What the scanner is inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// `(`, `[` or `{`.
    Bracket,
    /// `` ` ``: a text that may have lines, and expressions in `${…}`.
    Template,
    /// A block comment.
    Comment,
    /// `#"…"#`, with so many `#`.
    Raw(usize),
}

/// Is a bracket, a text of several lines or a comment still open at the end of `source`? What no text could
/// repair is for the parser to complain about.
pub fn is_open(source: &str) -> bool {
    let mut open = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let step = match open.last().copied() {
            Some(Inside::Comment) => in_comment(rest, &mut open),
            Some(Inside::Template) => in_template(rest, &mut open),
            Some(Inside::Raw(hashes)) => in_raw(rest, hashes, &mut open),
            Some(Inside::Bracket) | None => match in_code(rest, c, &mut open) {
                Step::Settled(answer) => return answer,
                step => step,
            },
        };
        rest = match step {
            Step::Over(width) => &rest[width..],
            _ => &rest[c.len_utf8()..],
        };
    }
    !open.is_empty()
}

/// How the scanner goes on.
enum Step {
    /// After this character.
    Next,
    /// After so many bytes.
    Over(usize),
    /// Not at all: the answer is known.
    Settled(bool),
}

fn in_comment(rest: &str, open: &mut Vec<Inside>) -> Step {
    if rest.starts_with("/*") {
        open.push(Inside::Comment);
        Step::Over(2)
    } else if rest.starts_with("*/") {
        open.pop();
        Step::Over(2)
    } else {
        Step::Next
    }
}

fn in_template(rest: &str, open: &mut Vec<Inside>) -> Step {
    if rest.starts_with("``") {
        return Step::Over(2);
    }
    if rest.starts_with("${") {
        open.push(Inside::Bracket);
        return Step::Over(2);
    }
    if rest.starts_with('`') {
        open.pop();
    }
    Step::Next
}

fn in_raw(rest: &str, hashes: usize, open: &mut Vec<Inside>) -> Step {
    if rest.strip_prefix('"').is_some_and(|after| after.starts_with(&"#".repeat(hashes))) {
        open.pop();
        return Step::Over(1 + hashes);
    }
    Step::Next
}

fn in_code(rest: &str, c: char, open: &mut Vec<Inside>) -> Step {
    match c {
        '(' | '[' | '{' => open.push(Inside::Bracket),
        ')' | ']' | '}' => match open.pop() {
            Some(_) => {}
            None => return Step::Settled(false),
        },
        '`' => open.push(Inside::Template),
        '"' | '\'' => {
            return match quoted(rest, c) {
                Some(length) => Step::Over(length),
                // A backslash at its end lets a text go on in the next line.
                None => Step::Settled(c == '"' && rest.ends_with('\\')),
            };
        }
        '/' if rest.starts_with("//") => return Step::Over(rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => {
            open.push(Inside::Comment);
            return Step::Over(2);
        }
        '#' => {
            let hashes = rest.len() - rest.trim_start_matches('#').len();
            if rest[hashes..].starts_with('"') {
                open.push(Inside::Raw(hashes));
                return Step::Over(hashes + 1);
            }
            return Step::Over(hashes);
        }
        _ => {}
    }
    Step::Next
}

/// The length of the quoted text at the start of `rest`; nothing if its line ends first.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return None,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::is_open;

    #[test]
    fn open_things_want_more_lines() {
        for source in [
            "fn f() {",
            "f(1,",
            "[1, /* ] */",
            "/* one /* two */",
            "`line one",
            "`${f(",
            "`${x} and",
            "#\"raw \" here",
            "##\"raw \"# here",
            "#{ a: 1,",
            "\"to be \\",
            "if x { // }",
        ] {
            assert!(is_open(source), "{source}");
        }
    }

    #[test]
    fn finished_and_wrong_statements_are_for_the_parser() {
        for source in [
            "fn f() { }",
            "f(\"{\")",
            "'('",
            "// {",
            "/* { */ 1",
            "`${x}` + `{`",
            "`a``b`",
            "#\"raw { \"#",
            "#{ a: 1 }",
            "\"not closed {",
            "}",
            ") (",
            "\"线程 {\"",
            "\"\\\"{\"",
            "",
        ] {
            assert!(!is_open(source), "{source}");
        }
    }
}
