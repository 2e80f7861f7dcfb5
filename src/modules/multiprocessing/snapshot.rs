//! Which module-level variables a child needs: those that the functions it may call can reach.
//!
//! A child gets copies, so what nothing in it can name need not travel: a large table that only the parent uses
//! costs nothing. The analysis follows names, and errs on the side of copying.

use std::collections::{HashMap, HashSet};

use rhai::{AST, ASTNode, Dynamic, Expr, FnPtr, ImmutableString, Stmt};

use crate::language::dict::Dict;
use crate::language::list::List;
use crate::language::program::Program;
use crate::language::realm::Realm;
use crate::runtime::sync::{Arc, Mutex};

/// The names that each function of a program mentions: variables, functions, and texts that could be either.
type Mentions = HashMap<ImmutableString, HashSet<ImmutableString>>;

/// What is known of the program that is running.
#[derive(Default)]
struct Known(Mutex<Option<(Arc<Program>, Arc<Mentions>)>>);

fn mentions(realm: &Realm) -> Arc<Mentions> {
    let Some(program) = realm.program() else { return Arc::default() };
    let known = realm.extension::<Known>();
    let mut known = known.0.lock();
    if let Some((of, mentions)) = &*known
        && Arc::ptr_eq(of, &program)
    {
        return Arc::clone(mentions);
    }
    let mentions = Arc::new(mentions_of(&program.ast));
    *known = Some((program, Arc::clone(&mentions)));
    mentions
}

fn mentions_of(ast: &AST) -> Mentions {
    let names: HashSet<&str> = ast.iter_functions().map(|function| function.name).collect();
    let of_function = |name: &str| {
        let mut found = HashSet::new();
        ast.clone_functions_only_filtered(|_, _, _, of, _| of == name).walk(&mut |path: &[ASTNode]| {
            path.last().into_iter().for_each(|node| mention(node, &mut found));
            true
        });
        found
    };
    names.into_iter().map(|name| (name.into(), of_function(name))).collect()
}

fn mention(node: &ASTNode, names: &mut HashSet<ImmutableString>) {
    let name = match node {
        ASTNode::Expr(Expr::Variable(variable, ..)) => variable.1.clone(),
        ASTNode::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _))
        | ASTNode::Stmt(Stmt::FnCall(call, _)) => call.name.clone(),
        ASTNode::Expr(Expr::StringConstant(text, _)) => text.clone(),
        ASTNode::Expr(Expr::DynamicConstant(value, _)) => match value.read_lock::<FnPtr>() {
            Some(function) => function.fn_name().into(),
            None => return,
        },
        _ => return,
    };
    names.insert(name);
}

/// How deeply values are searched for functions.
const DEPTH: usize = 8;
/// How many items of a container are searched.
const ITEMS: usize = 1000;

/// The names of the functions inside a value.
fn functions_in(value: &Dynamic, depth: usize, found: &mut Vec<ImmutableString>) {
    if depth == 0 {
        return;
    }
    if let Some(function) = value.read_lock::<FnPtr>() {
        found.push(function.fn_name().into());
        function.iter_curry().for_each(|captured| functions_in(captured, depth - 1, found));
    } else if let Ok(array) = value.as_array_ref() {
        array.iter().take(ITEMS).for_each(|item| functions_in(item, depth - 1, found));
    } else if let Ok(map) = value.as_map_ref() {
        map.values().take(ITEMS).for_each(|item| functions_in(item, depth - 1, found));
    } else if let Some(list) = value.read_lock::<List>() {
        list.snapshot().iter().take(ITEMS).for_each(|item| functions_in(item, depth - 1, found));
    } else if let Some(dict) = value.read_lock::<Dict>() {
        dict.items().iter().take(ITEMS).for_each(|(_, item)| functions_in(item, depth - 1, found));
    }
}

/// The module-level variables that a call of what is in `roots` can reach, with their values.
pub(super) fn reachable(realm: &Realm, roots: &[Dynamic]) -> Vec<(ImmutableString, Dynamic)> {
    reachable_from(realm, roots, Vec::new())
}

/// The module-level variables that any function of the program can reach, or what is in `roots`.
pub(super) fn reachable_by_all(realm: &Realm, roots: &[Dynamic]) -> Vec<(ImmutableString, Dynamic)> {
    reachable_from(realm, roots, mentions(realm).keys().cloned().collect())
}

fn reachable_from(
    realm: &Realm,
    roots: &[Dynamic],
    mut pending: Vec<ImmutableString>,
) -> Vec<(ImmutableString, Dynamic)> {
    let mentions = mentions(realm);
    let mut globals: HashMap<ImmutableString, Dynamic> = realm.globals.snapshot().into_iter().collect();
    roots.iter().for_each(|root| functions_in(root, DEPTH, &mut pending));
    let mut seen: HashSet<ImmutableString> = HashSet::new();
    let mut reached = Vec::new();
    while let Some(name) = pending.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        if let Some(value) = globals.remove(&name) {
            functions_in(&value, DEPTH, &mut pending);
            reached.push((name.clone(), value));
        }
        if let Some(names) = mentions.get(&name) {
            pending.extend(names.iter().cloned());
        }
    }
    reached.sort_by(|a, b| a.0.cmp(&b.0));
    reached
}
