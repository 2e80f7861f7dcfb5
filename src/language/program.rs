//! A script that was read: its syntax tree, its bytecode, and what an analysis of it found.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use rhai::grain::{Compiler, SharedProgram, Vm};
use rhai::{
    AST, ASTNode, Dynamic, EvalAltResult, Expr, ImmutableString, Module, ParseError, Position, Scope,
    ScriptFuncDef, Stmt,
};

use super::exception::arrived;
use super::interruption::note_calls;
use super::realm::Realm;
use super::tokens::Names;
use super::{native, one_round, padding, tokens};
use crate::runtime::sync::Ordering;

/// What runs a script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evaluator {
    /// Rhai's bytecode machine.
    #[default]
    Grain,
    /// Rhai's walker of the syntax tree.
    Ast,
}

impl FromStr for Evaluator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "grain" => Ok(Self::Grain),
            "ast" => Ok(Self::Ast),
            _ => Err(format!("'{text}' is no evaluator: use grain or ast")),
        }
    }
}

impl fmt::Display for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grain => "grain",
            Self::Ast => "ast",
        })
    }
}

/// A script, ready to run.
#[derive(Default)]
pub struct Program {
    /// The syntax tree.
    pub ast: AST,
    bytecode: Option<SharedProgram>,
    /// It is one input of a session, with the functions of those before.
    is_input: bool,
}

impl Program {
    /// Reads a script and tells the realm what it defines. `library` are functions that were defined before.
    ///
    /// # Errors
    /// The parser's.
    pub fn compile(
        realm: &Realm,
        evaluator: Evaluator,
        file: &str,
        source: &str,
        scope: &Scope,
        library: Option<&AST>,
    ) -> Result<Self, ParseError> {
        realm.sources.write().insert(file.to_string(), source.into());
        let source = without_shebang(source);
        let (ast, mut names) = parse(realm, &source, scope, BTreeSet::new())?;
        for function in library.iter().flat_map(|library| library.iter_functions()) {
            names.direct.remove(function.name);
        }
        let is_grain = evaluator == Evaluator::Grain;
        let with_loops = is_grain.then(|| one_round::marked(&ast, &source, &names.direct)).flatten();
        let whole = |ast: AST| match library {
            Some(library) => library.merge(&ast),
            None => ast,
        };
        let mut ast = whole(ast);
        let findings = inspect(&ast, realm);
        // The bytecode machine holds such a variable for the whole call, and the callback would find it taken. The
        // tree walker asks the resolver for every variable, which then answers with the object itself.
        let is_compiled = is_grain && findings.self_captured.is_empty();
        if is_compiled
            && (with_loops.is_some() || !names.direct.is_empty())
            && let text = with_loops.as_deref().unwrap_or(&source)
            && let Ok((quicker, _)) = parse(realm, text, scope, names.direct)
        {
            ast = whole(quicker);
        }
        ast.set_source(file);
        *realm.imported.lock() = names.imported;
        realm.bound.write().extend(names.bound);
        realm.plain_rhai.store(!findings.is_python && library.is_none(), Ordering::Relaxed);
        realm.globals.add_assigned(findings.assigned);
        realm.name_objects(file, findings.objects);
        realm.functions.add(&ast);
        realm.set_self_captured(findings.self_captured);
        let bytecode = is_compiled.then(|| bytecode(&ast, realm));
        realm.compiled.note(file, bytecode.as_ref());
        Ok(Self { ast, bytecode, is_input: library.is_some() })
    }

    /// A program with this one's functions and imports that does nothing but call one native function.
    ///
    /// # Errors
    /// The parser's, for a `call` that is none.
    pub fn with_statement(&self, realm: &Realm, call: &str) -> Result<Self, ParseError> {
        let statement = realm.engine().compile(call)?;
        let imports = self.ast.statements().iter().filter(|statement| matches!(statement, Stmt::Import(..)));
        let mut ast = AST::new(imports.cloned(), self.ast.shared_lib().clone()).merge(&statement);
        ast.set_source(self.ast.source().unwrap_or_default());
        let bytecode = self.bytecode.is_some().then(|| bytecode(&ast, realm));
        Ok(Self { ast, bytecode, is_input: true })
    }

    /// Is it a whole script, which can be run once more?
    pub fn is_script(&self) -> bool {
        !self.is_input
    }

    /// Runs the script's statements.
    ///
    /// # Errors
    /// What the script raises.
    pub fn run(&self, realm: &Realm, scope: &mut Scope) -> Result<Dynamic, Box<EvalAltResult>> {
        let result = match &self.bytecode {
            Some(bytecode) => {
                let mut vm = Vm::new(realm.engine());
                let result = vm.eval_with_callbacks(scope, bytecode);
                result.inspect_err(|error| note_calls(error, &vm, bytecode, &self.ast))
            }
            None => realm.engine().eval_ast_with_scope(scope, &self.ast),
        };
        result.map_err(arrived)
    }
}

fn bytecode(ast: &AST, realm: &Realm) -> SharedProgram {
    let padded = padding::padded(ast, realm.engine());
    Compiler::new().compile(padded.as_ref().unwrap_or(ast)).into_shared()
}

/// Parses a script, with direct calls of some methods; the names are those that it brings in.
fn parse(
    realm: &Realm,
    source: &str,
    scope: &Scope,
    direct: BTreeSet<&'static str>,
) -> Result<(AST, Names), ParseError> {
    tokens::begin(realm.imported.lock().clone(), direct);
    let parsed = realm.engine().compile_with_scope(scope, source);
    let names = tokens::end();
    let ast = parsed?;
    Ok((if names.any_renamed { with_own_names(&ast) } else { ast }, names))
}

/// The program with the functions under the names that the script gave them, where the parser had to have others.
fn with_own_names(ast: &AST) -> AST {
    let mut library = Module::new();
    for function in ast.iter_fn_def() {
        match tokens::own_name(&function.name) {
            Some(name) => {
                let mut renamed = ScriptFuncDef::clone(function);
                renamed.name = name.into();
                library.set_script_fn(renamed);
            }
            None => {
                library.set_script_fn(function.clone());
            }
        }
    }
    AST::new(ast.statements().iter().cloned(), library)
}

/// The text with its first line blanked if that names an interpreter.
pub(crate) fn without_shebang(source: &str) -> std::borrow::Cow<'_, str> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    match source.strip_prefix("#!") {
        Some(rest) => rest[rest.find('\n').unwrap_or(rest.len())..].into(),
        None => source.into(),
    }
}

#[derive(Default)]
struct Findings {
    /// Names that some statement assigns to.
    assigned: Vec<ImmutableString>,
    /// Calls whose result is given to a variable at once, with the variable's name.
    objects: Vec<(Position, String)>,
    /// Variables that a callback captured which is given to one of the variable's own methods, and those captured
    /// anywhere that a function gets to change: rhai would give it a copy.
    self_captured: Vec<ImmutableString>,
    /// It uses something that Rhai alone does not have.
    is_python: bool,
}

fn inspect(ast: &AST, realm: &Realm) -> Findings {
    let mut findings = Findings::default();
    let own: Vec<&str> = ast.iter_functions().map(|function| function.name).collect();
    let (mut captured_names, mut given_to_change) = (HashSet::new(), HashSet::new());
    ast.walk(&mut |path: &[ASTNode]| {
        findings.is_python |= path.last().is_some_and(|node| is_python(node, &own, realm));
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Assignment(assignment))) => {
                let binary = &assignment.1;
                if let Some(name) = root_variable(&binary.lhs) {
                    if let Expr::Variable(..) = binary.lhs {
                        note_object(&mut findings, &name, &binary.rhs);
                    }
                    findings.assigned.push(name);
                }
            }
            Some(ASTNode::Expr(Expr::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _))) => {
                if let Some(Expr::Variable(variable, ..)) = call.args.first()
                    && CHANGERS.contains(&call.name.as_str())
                    && !own.contains(&call.name.as_str())
                {
                    given_to_change.insert(variable.1.clone());
                }
            }
            Some(ASTNode::Stmt(Stmt::Share(captured))) => {
                captured_names.extend(captured.iter().map(|(variable, _)| variable.name.clone()));
                findings.self_captured.extend(captured.iter().filter_map(|(variable, _)| {
                    let name = &variable.name;
                    path.iter().any(|node| is_method_call_on(node, name)).then(|| name.clone())
                }));
            }
            Some(ASTNode::Stmt(Stmt::Var(definition, ..))) => {
                note_object(&mut findings, &definition.0.name, &definition.1);
            }
            Some(ASTNode::Expr(Expr::Custom(custom, _))) => {
                if let [names @ .., value] = &custom.inputs[..]
                    && let Some(Expr::Variable(variable, ..)) = names.last()
                {
                    note_object(&mut findings, &variable.1, value);
                }
            }
            _ => {}
        }
        true
    });
    findings.self_captured.extend(captured_names.intersection(&given_to_change).cloned());
    findings
}

/// Functions that change what they are given first.
const CHANGERS: &[&str] = &["shuffle", "setattr", "delattr"];

/// Is the node a chain that begins with the variable `name`?
fn is_method_call_on(node: &ASTNode, name: &str) -> bool {
    match node {
        ASTNode::Expr(Expr::Dot(chain, ..) | Expr::Index(chain, ..)) => {
            matches!(&chain.lhs, Expr::Variable(variable, ..) if variable.1 == name)
        }
        _ => false,
    }
}

/// Does a node use something that Rhai alone does not have?
fn is_python(node: &ASTNode, own_functions: &[&str], realm: &Realm) -> bool {
    match node {
        ASTNode::Expr(Expr::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _)) => {
            let name = call.name.as_str();
            match call.namespace.path.first() {
                Some(root) => realm.is_module(root.as_str()),
                None if name == tokens::PRINT => call.args.len() != 1,
                None => {
                    !own_functions.contains(&name)
                        && !RHAI_HAS_TOO.contains(&name)
                        && (name.contains('.') || native::is_function(name))
                }
            }
        }
        ASTNode::Expr(Expr::Custom(custom, _)) => {
            !custom.tokens.first().is_some_and(|first| first == "try" || first == tokens::BIND)
        }
        ASTNode::Expr(Expr::Variable(variable, ..)) => {
            matches!(variable.1.as_str(), "None" | "True" | "False" | "__name__")
        }
        _ => false,
    }
}

/// Builtins whose names rhai's standard library has as well.
const RHAI_HAS_TOO: &[&str] =
    &["abs", "round", "min", "max", "len", "range", "exit", "float", "int", "debug", "assert"];

fn note_object(findings: &mut Findings, name: &str, value: &Expr) {
    if let Expr::FnCall(_, position) = value {
        findings.objects.push((*position, name.to_string()));
    }
}

/// The variable at the root of what is assigned to: `x` of `x = …`, `x[i] = …` and `x.a.b = …`.
fn root_variable(expression: &Expr) -> Option<ImmutableString> {
    match expression {
        Expr::Variable(variable, ..) => Some(variable.1.clone()),
        Expr::Index(chain, ..) | Expr::Dot(chain, ..) => root_variable(&chain.lhs),
        _ => None,
    }
}
