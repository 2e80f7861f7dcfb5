//! `with lock { … }` as a loop of one round, for the bytecode machine.
//!
//! The machine runs every part of a syntax of ours, the manager's expression as well as the block, in a machine of its
//! own with nothing in its caches, which costs several times what taking and releasing a lock does. A `for` it runs in
//! place. So where nobody looks at the value of a `with`, and no `break`, `continue` or `return` leaves its block, the
//! parser gets
//!
//! ```text
//! with lock.of(x) { … }
//! for @ in () @ lock.of(x) { … }
//! ```
//!
//! where `@` are names that no script can write: that of a variable, and that of the operator which enters the manager
//! and has the loop leave it after its only round ([`super::statements`]). The machine finds an operator sooner than a
//! function, which a script might have defined. Rhai does not let a host build the bodies of functions, nor add tokens,
//! so a script that has such a `with` is parsed once more, from a text of the same length: the four letters and the
//! blank behind them are marks, and each mark becomes one token ([`super::tokens`]). Everything else stays at its line
//! and column.
//!
//! If `get_lock` can be called directly ([`super::direct`]), calling it and entering the lock are one:
//!
//! ```text
//! with v.get_lock() { … }
//! for @ in v.@ { … }
//! ```
//!
//! where `v.@` is an attribute that is entered when it is read. Then two of the marks and the parentheses are blanks.

use std::collections::BTreeSet;

use rhai::{AST, ASTNode, CustomExpr, Expr, Position, Stmt, StmtBlock};

use super::direct;

/// What stands in the text for each of the tokens `for`, the variable, and `in`. Rhai reserves it: no script that it
/// parses has one.
pub const LOOP: char = '@';

/// What stands in the text for each of the tokens `()` and the operator.
pub const ENTER: char = '$';

const KEYWORD: &str = "with";

/// Where the parts of a `with` stand.
struct Place {
    with: Position,
    block: Position,
    /// The name of the method that gives the manager, if that is this one.
    get_lock: Option<Position>,
}

/// The text with marks for each `with` that can be a loop; nothing if there is none. `methods` are those that can
/// be called directly.
pub fn marked(ast: &AST, text: &str, methods: &BTreeSet<&str>) -> Option<String> {
    let mut places = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        places.extend(place(path, ast.statements()));
        true
    });
    let starts: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(index, _)| index + 1)).collect();
    let offset = |place: Position| {
        let start = *starts.get(place.line()? - 1)?;
        let (column, _) = text[start..].char_indices().nth(place.position()? - 1)?;
        Some(start + column)
    };
    let mut bytes = text.as_bytes().to_vec();
    for place in places {
        let (Some(with), Some(block)) = (offset(place.with), offset(place.block)) else { continue };
        let header = bytes.get(with..block).unwrap_or_default();
        let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if header.starts_with(KEYWORD.as_bytes())
            && is_blank(header.get(KEYWORD.len()))
            // Behind `as` the block begins with another token.
            && bytes.get(block) == Some(&b'{')
        {
            bytes[with..with + 3].fill(LOOP as u8);
            let name = place.get_lock.filter(|_| methods.contains(direct::GET_LOCK)).and_then(offset);
            let arguments = name.and_then(|name| bytes.get_mut(name + direct::GET_LOCK.len()..block));
            let parentheses = arguments.filter(|bytes| bytes.iter().all(|byte| b"() \t\r\n".contains(byte)));
            let enter = if parentheses.is_some() { ' ' } else { ENTER };
            for byte in parentheses.into_iter().flatten().filter(|byte| matches!(byte, b'(' | b')')) {
                *byte = b' ';
            }
            bytes[with + 3..=with + KEYWORD.len()].fill(enter as u8);
        }
    }
    let marked = String::from_utf8(bytes).ok()?;
    (marked != text).then_some(marked)
}

/// The place of the node that the path leads to, if that is a `with` that can be a loop.
fn place(path: &[ASTNode], script: &[Stmt]) -> Option<Place> {
    let [outer @ .., ASTNode::Stmt(statement @ Stmt::Expr(_)), ASTNode::Expr(Expr::Custom(with, begin))] =
        path
    else {
        return None;
    };
    let (manager, block) = parts(with)?;
    let can_be_loop = is_plain(manager)
        && !contains_escaping_jump(with.inputs.last()?)
        && (has_no_value(block) || is_unused(outer, statement, script));
    can_be_loop.then(|| Place { with: *begin, block: block.position(), get_lock: get_lock(manager) })
}

/// Where the name stands in `a.b.get_lock()`.
fn get_lock(manager: &Expr) -> Option<Position> {
    match manager {
        Expr::Dot(chain, ..) => match &chain.rhs {
            Expr::MethodCall(call, name) => {
                (call.args.is_empty() && call.name == direct::GET_LOCK).then_some(*name)
            }
            rest => get_lock(rest),
        },
        _ => None,
    }
}

/// The manager and the block of a `with` of one manager.
fn parts(custom: &CustomExpr) -> Option<(&Expr, &StmtBlock)> {
    match &custom.inputs[..] {
        [manager, Expr::Stmt(block)] if is_with(custom) => Some((manager, block)),
        _ => None,
    }
}

fn is_with(custom: &CustomExpr) -> bool {
    custom.tokens.first().is_some_and(|first| first == KEYWORD)
}

/// Has the expression no statements in it, as closures and texts with `${…}` have?
fn is_plain(manager: &Expr) -> bool {
    let mut is_plain = true;
    manager.walk(&mut Vec::new(), &mut |path| {
        is_plain &= !matches!(
            path.last(),
            Some(
                ASTNode::Stmt(_)
                    | ASTNode::Expr(
                        Expr::Custom(..)
                            | Expr::Stmt(_)
                            | Expr::InterpolatedString(..)
                            | Expr::DynamicConstant(..)
                    )
            )
        );
        is_plain
    });
    is_plain
}

/// Does a `break`, `continue` or `return` lead out of the block?
pub fn contains_escaping_jump(block: &Expr) -> bool {
    let mut escapes = false;
    block.walk(&mut Vec::new(), &mut |path| {
        escapes |= match path.last() {
            Some(ASTNode::Stmt(Stmt::Return(..))) => true,
            Some(ASTNode::Stmt(Stmt::BreakLoop(..))) => !path
                .iter()
                .any(|node| matches!(node, ASTNode::Stmt(Stmt::For(..) | Stmt::While(..) | Stmt::Do(..)))),
            _ => false,
        };
        !escapes
    });
    escapes
}

/// Is the block's value `()` whatever happens in it?
fn has_no_value(block: &StmtBlock) -> bool {
    match block.statements().last() {
        Some(Stmt::Expr(expression)) => match &**expression {
            Expr::Custom(custom, _) => parts(custom).is_some_and(|(_, block)| has_no_value(block)),
            _ => false,
        },
        Some(Stmt::If(choice, _)) => has_no_value(&choice.body) && has_no_value(&choice.branch),
        Some(Stmt::Block(block)) => has_no_value(block),
        Some(last) => !last.returns_value(),
        None => true,
    }
}

/// Does nobody look at the value of the statement that the path leads to? `script` are the statements of no function.
fn is_unused(outer: &[ASTNode], statement: &Stmt, script: &[Stmt]) -> bool {
    let is_last_of =
        |block: &StmtBlock| block.statements().last().is_some_and(|last| std::ptr::eq(last, statement));
    let Some((parent, outer)) = outer.split_last() else {
        // What a function does last is its value, and what is last in a function is not known here.
        let before_last = script.split_last().map_or(script, |(_, before)| before);
        return before_last.iter().any(|other| std::ptr::eq(other, statement));
    };
    match parent {
        ASTNode::Stmt(Stmt::For(..) | Stmt::While(..) | Stmt::Do(..)) => true,
        ASTNode::Stmt(parent @ Stmt::If(choice, _)) => {
            !(is_last_of(&choice.body) || is_last_of(&choice.branch)) || is_unused(outer, parent, script)
        }
        ASTNode::Stmt(parent @ Stmt::Block(block)) => !is_last_of(block) || is_unused(outer, parent, script),
        ASTNode::Expr(Expr::Stmt(block)) => {
            !is_last_of(block)
                || match outer {
                    [
                        outer @ ..,
                        ASTNode::Stmt(statement @ Stmt::Expr(_)),
                        ASTNode::Expr(Expr::Custom(..)),
                    ] => is_unused(outer, statement, script),
                    _ => false,
                }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpreter;

    /// The text that is parsed instead of `text`.
    fn loops(text: &str) -> Option<String> {
        let interpreter = Interpreter::builder().build().expect("builds");
        let engine = interpreter.realm().engine();
        super::super::tokens::begin(Default::default(), Default::default());
        let parsed = engine.compile(text);
        super::super::tokens::end();
        marked(&parsed.expect("is a script"), text, &BTreeSet::from(["get_lock"]))
    }

    fn is_loop(text: &str) -> bool {
        loops(text).is_some()
    }

    #[test]
    fn the_marks_stand_in_the_keyword_and_the_blank_behind_it() {
        let text = "fn f(l) {\n    /* ä */ with l.of(1) { x() }\n    1\n}\nwith m { }; with n{ }";
        let expected = "fn f(l) {\n    /* ä */ with l.of(1) { x() }\n    1\n}\n@@@$$m { }; @@@$$n{ }";
        assert_eq!(loops(text).as_deref(), Some(expected));
        assert_eq!(
            loops("for i in 0..2 { /* ä */ with l.of(i) { x() } }").as_deref(),
            Some("for i in 0..2 { /* ä */ @@@$$l.of(i) { x() } }")
        );
    }

    #[test]
    fn a_value_that_somebody_may_look_at_stays() {
        assert!(!is_loop("fn f(l) { with l { x() } }"));
        assert!(!is_loop("fn f(l) { if a() { with l { x() } } }"));
        assert!(!is_loop("with l { x() }"));
        assert!(!is_loop("let y = with l { z = 1; };"));
        assert!(!is_loop("print(with l { z = 1; });"));
        assert!(is_loop("fn f(l) { with l { let y = x(); } }"));
        assert!(is_loop("fn f(l) { with l { if x() { z = 1; } } }"));
        assert!(is_loop("fn f(l) { if a() { with l { x() } b() } }"));
        assert!(is_loop("fn f(l) { try { with l { x() } b() } catch { } }"));
        assert!(is_loop("while true { if a() { with l { x() } } }"));
    }

    #[test]
    fn a_jump_out_of_the_block_keeps_it() {
        assert!(!is_loop("for i in 0..2 { with l { break; } }"));
        assert!(!is_loop("for i in 0..2 { with l { if i { continue; } } }"));
        assert!(!is_loop("fn f(l) { with l { for i in 0..2 { return; } } 1 }"));
        assert!(is_loop("fn f(l) { with l { for i in 0..2 { break; } } 1 }"));
        assert!(is_loop("fn f(l) { with l { let y = g(|| { return 1; }); } }"));
    }

    #[test]
    fn get_lock_becomes_an_attribute() {
        let with = |text: &str| loops(&format!("for i in 0..2 {{ {text} }}"));
        let loops = |text: &str| Some(format!("for i in 0..2 {{ {text} }}"));
        assert_eq!(with("with a.b.get_lock() { x() }"), loops("@@@  a.b.get_lock   { x() }"));
        assert_eq!(with("with a.get_lock ( ){ x() }"), loops("@@@  a.get_lock    { x() }"));
        assert_eq!(with("with a.get_lock() /* b */ { x() }"), loops("@@@$$a.get_lock() /* b */ { x() }"));
        assert_eq!(with("with a.get_lock(1) { x() }"), loops("@@@$$a.get_lock(1) { x() }"));
        assert_eq!(with("with a.other() { x() }"), loops("@@@$$a.other() { x() }"));
        assert_eq!(with("with a.get_lock().b { x() }"), loops("@@@$$a.get_lock().b { x() }"));
        assert_eq!(with("with a ?? b.get_lock() { x() }"), loops("@@@$$a ?? b.get_lock() { x() }"));
    }

    #[test]
    fn what_has_no_place_for_the_marks_stays() {
        assert!(!is_loop("with(l) { z = 1; }"));
        assert!(!is_loop("with\nl { z = 1; }"));
        assert!(!is_loop("with l, m { z = 1; }"));
        assert!(!is_loop("with l as m { z = 1; }"));
        assert!(!is_loop("with l.of(|| 1) { z = 1; }"));
    }
}
