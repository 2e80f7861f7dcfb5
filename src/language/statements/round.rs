//! What a `with` that is a loop of one round goes over ([`super::super::one_round`]). The operator enters the manager,
//! and asking for a second round leaves it. An error in the block, and the stopping of the thread, drop the loop, which
//! leaves the manager too.

use std::any::TypeId;
use std::cell::RefCell;

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
use rhai::NativeCallContextStore;
use rhai::{Dynamic, Engine, FuncRegistration, Module, NativeCallContext, Position, RhaiFunc, Shared};

use super::with::{ENTER, EXIT, at, call};
use crate::language::exception::{Outcome, overtake};
use crate::language::identity::{ExitOf, enter_context};
use crate::language::{realm, tokens};

/// Below all operators of rhai's: the rest of the header is what is entered.
const LOWEST: u8 = 2;

/// A manager that was entered, and how it is left.
struct Manager {
    value: Dynamic,
    /// Where it stands in the script.
    position: Position,
    exit: Exit,
}

enum Exit {
    /// By the handle itself.
    Known(ExitOf),
    /// By its `__exit__`, which no class here shows the error to: none looks at it, and none swallows it.
    Method(Box<Method>),
}

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
struct Method {
    context: NativeCallContextStore,
    engine: Shared<Engine>,
}

impl Manager {
    #[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
    fn leave(mut self) -> Outcome<()> {
        let left = match &self.exit {
            Exit::Known(exit) => exit(&self.value),
            Exit::Method(method) => {
                let context = method.context.create_context(&method.engine);
                let mut no_error = Dynamic::UNIT;
                call(&context, EXIT, &mut [&mut self.value, &mut no_error], self.position)
            }
        };
        left.map(drop).map_err(|error| at(error, self.position))
    }
}

/// One `with` on its way.
struct Round {
    /// Has the block begun?
    has_begun: bool,
    /// Nothing once it was left.
    manager: Option<Manager>,
}

thread_local! {
    /// The rounds that this thread is in, the innermost last: to box each would take as long as to take a lock.
    static ROUNDS: RefCell<Vec<Round>> = const { RefCell::new(Vec::new()) };
}

/// A manager was entered, and the loop comes next. Having no size it needs no box.
#[derive(Clone)]
struct Entered;

/// The innermost round, as rhai iterates over it. An error drops those of all blocks that it leaves, in rhai's order:
/// each leaves the manager that is innermost then.
struct Innermost;

impl Iterator for Innermost {
    type Item = Outcome<Dynamic>;

    fn next(&mut self) -> Option<Self::Item> {
        let (begins, manager) = ROUNDS.with_borrow_mut(|rounds| match rounds.last_mut() {
            Some(round) if !round.has_begun => {
                round.has_begun = true;
                (true, None)
            }
            round => (false, round.and_then(|round| round.manager.take())),
        });
        if begins {
            return Some(Ok(Dynamic::UNIT));
        }
        manager?.leave().err().map(Err)
    }
}

impl Drop for Innermost {
    fn drop(&mut self) {
        let round = ROUNDS.with_borrow_mut(Vec::pop);
        if let Some(manager) = round.and_then(|round| round.manager)
            && let Err(error) = manager.leave()
        {
            overtake(error);
        }
    }
}

pub(super) fn register(engine: &mut Engine) {
    engine.register_custom_operator(tokens::ENTER, LOWEST).expect("nobody else's");
    let mut module = Module::new();
    let enter = |context: Option<NativeCallContext>, args: &mut [&mut Dynamic]| {
        let context = context.expect("registered with a context");
        enter_at(&context, std::mem::take(args[1]), behind_blank(context.call_position()))
    };
    let func = Shared::new(enter);
    let func = RhaiFunc::Pure { func, has_context: true, is_pure: true, is_volatile: true };
    FuncRegistration::new(tokens::ENTER).in_global_namespace().set_into_module_raw(
        &mut module,
        [TypeId::of::<()>(), TypeId::of::<Dynamic>()],
        func,
    );
    module.set_iter_result(TypeId::of::<Entered>(), |_| Box::new(Innermost));
    engine.register_global_module(module.into());
}

/// Enters a manager, for the loop that comes next.
///
/// # Errors
/// What entering it raises, and TypeError if it is no manager.
pub fn enter(context: &NativeCallContext, manager: Dynamic) -> Outcome<Dynamic> {
    enter_at(context, manager, context.call_position())
}

fn enter_at(context: &NativeCallContext, value: Dynamic, position: Position) -> Outcome<Dynamic> {
    // Most are not, and to ask costs less.
    let mut value = if value.is_shared() { value.flatten() } else { value };
    let site = || realm::site(context.call_source().unwrap_or(""), position.line().unwrap_or(0) as u32);
    let exit = match enter_context(&value, site) {
        Some(entered) => Exit::Known(entered.map_err(|error| at(error, position))?.1),
        None => {
            let _ = call(context, ENTER, &mut [&mut value], position)?;
            let engine = realm::current().expect("called by a script").engine().clone();
            #[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
            Exit::Method(Box::new(Method { context: context.store_data(), engine }))
        }
    };
    let manager = Some(Manager { value, position, exit });
    ROUNDS.with_borrow_mut(|rounds| rounds.push(Round { has_begun: false, manager }));
    Ok(Dynamic::from(Entered))
}

/// The place of the manager, from that of the operator, which is the blank behind `with`.
fn behind_blank(blank: Position) -> Position {
    match (blank.line(), blank.position()) {
        (Some(line), Some(column)) => {
            Position::new(line as u16, (column + 1).min(usize::from(u16::MAX)) as u16)
        }
        _ => blank,
    }
}
