//! A way around a defect of rhai 1.27's bytecode compiler.
//!
//! It gives up functions that it cannot lower, such as one with `catch (e)` or with a `return` out of a `with`, and
//! takes back their code, but not what it has noted of our syntaxes in them. These notes may then point behind the end
//! of the program, where it panics. So such a program gets one more function, which nobody calls, which is compiled
//! last, and which is longer than anything that can be given up.

use rhai::{AST, ASTNode, Engine, Expr, Module, ScriptFuncDef};

use super::one_round::contains_escaping_jump;

/// The function's name: no script can call it, and no name comes after it.
const NAME: &str = "~";

/// More than the instructions that any node of the syntax tree becomes, counting its share of a loop's.
const INSTRUCTIONS_OF_NODE: usize = 8;

/// The program with the function, if it needs it.
pub fn padded(ast: &AST, engine: &Engine) -> Option<AST> {
    let (mut nodes, mut is_noted, mut is_given_up) = (0, false, false);
    ast.walk(&mut |path: &[ASTNode]| {
        nodes += 1;
        if let Some(ASTNode::Expr(Expr::Custom(custom, _))) = path.last() {
            let lowers = !custom.scope_may_be_changed && !custom.inputs.iter().any(contains_escaping_jump);
            is_noted |= lowers;
            is_given_up |= !lowers;
        }
        true
    });
    if !(is_noted && is_given_up) {
        return None;
    }
    // Each assignment is two instructions.
    let body = "x = x; ".repeat(nodes * INSTRUCTIONS_OF_NODE / 2);
    let padding = engine.compile(format!("fn padding(x) {{ {body} }}")).ok()?;
    let mut library = Module::new();
    for function in padding.iter_fn_def() {
        let mut function = ScriptFuncDef::clone(function);
        function.name = NAME.into();
        library.set_script_fn(function);
    }
    let mut padded = ast.merge(&AST::new([], library));
    padded.set_source(ast.source().unwrap_or_default());
    Some(padded)
}
