//! What a `with` that is a loop of one round goes over ([`super::super::one_round`]): entering makes it, and asking it
//! for a second round leaves the manager. An error in the block, and the stopping of the thread, drop it, which leaves
//! the manager too.

use std::any::TypeId;

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
use rhai::NativeCallContextStore;
use rhai::{Dynamic, Engine, FuncRegistration, Module, NativeCallContext, Position, RhaiFunc, Shared};

use super::with::{ENTER, EXIT, at, call};
use crate::language::exception::{Outcome, overtake};
use crate::language::identity::{ExitOf, enter_context};
use crate::language::{realm, tokens};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// The block has not begun.
    Before,
    /// The manager is to be left.
    After,
    Over,
}

/// A manager that was entered and is left once.
struct Entered {
    manager: Dynamic,
    round: Round,
    /// Where the manager stands in the script.
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

/// A copy has nothing to leave: rhai wants values that can be copied, and no script gets hold of this one.
impl Clone for Entered {
    fn clone(&self) -> Self {
        let exit = Exit::Known(|_| Ok(Dynamic::UNIT));
        Self { manager: Dynamic::UNIT, round: Round::Over, position: self.position, exit }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.round != Round::Over
            && let Err(error) = self.leave()
        {
            overtake(error);
        }
    }
}

impl Entered {
    #[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
    fn leave(&mut self) -> Outcome<()> {
        self.round = Round::Over;
        let left = match &self.exit {
            Exit::Known(exit) => exit(&self.manager),
            Exit::Method(method) => {
                let context = method.context.create_context(&method.engine);
                let mut no_error = Dynamic::UNIT;
                call(&context, EXIT, &mut [&mut self.manager, &mut no_error], self.position)
            }
        };
        left.map(drop).map_err(|error| at(error, self.position))
    }
}

/// The rounds of a value that is [`Entered`]. It stays where it is: taking it out costs more than looking at it twice.
struct Rounds(Dynamic);

impl Iterator for Rounds {
    type Item = Outcome<Dynamic>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut entered = self.0.write_lock::<Entered>()?;
        match entered.round {
            Round::Before => {
                entered.round = Round::After;
                Some(Ok(Dynamic::UNIT))
            }
            Round::After => entered.leave().err().map(Err),
            Round::Over => None,
        }
    }
}

pub(super) fn register(engine: &mut Engine) {
    let mut module = Module::new();
    let enter = |context: Option<NativeCallContext>, args: &mut [&mut Dynamic]| {
        let context = context.expect("registered with a context");
        enter(&context, std::mem::take(args[0])).map(Dynamic::from)
    };
    let func = Shared::new(enter);
    let func = RhaiFunc::Pure { func, has_context: true, is_pure: true, is_volatile: true };
    FuncRegistration::new(tokens::ENTER).in_global_namespace().set_into_module_raw(
        &mut module,
        [TypeId::of::<Dynamic>()],
        func,
    );
    module.set_iter_result(TypeId::of::<Entered>(), |entered| Box::new(Rounds(entered)));
    engine.register_global_module(module.into());
}

fn enter(context: &NativeCallContext, manager: Dynamic) -> Outcome<Entered> {
    // Most are not, and to ask costs less.
    let mut manager = if manager.is_shared() { manager.flatten() } else { manager };
    let position = behind_keyword(context.call_position());
    let site = || realm::site(context.call_source().unwrap_or(""), position.line().unwrap_or(0) as u32);
    let exit = match enter_context(&manager, site) {
        Some(entered) => Exit::Known(entered.map_err(|error| at(error, position))?.1),
        None => {
            let _ = call(context, ENTER, &mut [&mut manager], position)?;
            let engine = realm::current().expect("called by a script").engine().clone();
            #[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
            Exit::Method(Box::new(Method { context: context.store_data(), engine }))
        }
    };
    Ok(Entered { manager, round: Round::Before, position, exit })
}

/// The place of the manager, from that of the call which stands on the last letter of `with`.
fn behind_keyword(letter: Position) -> Position {
    match (letter.line(), letter.position()) {
        (Some(line), Some(column)) => {
            Position::new(line as u16, (column + 2).min(usize::from(u16::MAX)) as u16)
        }
        _ => letter,
    }
}
