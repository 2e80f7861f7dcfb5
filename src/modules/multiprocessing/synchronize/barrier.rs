//! `Barrier`.

use std::io;

use rhai::{Dynamic, EvalAltResult, FnPtr};

use super::{check_purpose, no_memory, pack_label, unpack_label};
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::ipc::primitives::Barrier;
use crate::language::callable::{as_function, invoke};
use crate::language::exception::{Class, Exception, Outcome, interrupted, raise};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::variables::{synchronise, to_local, to_shared};
use crate::runtime::primitives::BrokenBarrier;
use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Wait};

/// A script's reference to a [`Barrier`].
#[derive(Clone)]
pub struct BarrierHandle(Arc<Object>);

struct Object {
    barrier: Arc<Barrier>,
    /// A function that several threads may see: see [`to_shared`].
    action: Option<Dynamic>,
    timeout: Option<f64>,
}

impl Handle for BarrierHandle {
    const NAME: &'static str = "Barrier";

    fn identity(&self) -> usize {
        self.0.barrier.place() as usize
    }

    fn repr(&self) -> String {
        let barrier = &self.0.barrier;
        let state = if barrier.is_broken() {
            "broken".to_string()
        } else {
            format!("waiters={}/{}", barrier.waiting(), barrier.parties())
        };
        format!("<multiprocessing.synchronize.Barrier at {:#x}: {state}>", self.identity())
    }
}

/// What a wait at the barrier may fail with.
enum Failure {
    Broken,
    Interrupted(Interrupt),
    Action(Box<EvalAltResult>),
    Memory(io::Error),
}

impl From<BrokenBarrier> for Failure {
    fn from(_: BrokenBarrier) -> Self {
        Self::Broken
    }
}

impl From<Interrupt> for Failure {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Memory(error)
    }
}

impl Travel for BarrierHandle {
    const TAG: &'static str = "multiprocessing.Barrier";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, Self::NAME)?;
        pack_label(self.0.barrier.label(), out);
        let action = self.0.action.clone().map_or(Dynamic::UNIT, to_local);
        out.named(|| "the barrier's action".into(), &action)?;
        out.u64(u64::from(self.0.timeout.is_some()));
        out.u64(self.0.timeout.unwrap_or_default().to_bits());
        out.shared(self.0.barrier.state())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let label = unpack_label(Self::NAME, input)?;
        let action = input.value()?;
        let action = (!action.is_unit()).then(|| to_shared(action));
        let has_timeout = input.u64()? != 0;
        let timeout = f64::from_bits(input.u64()?);
        let barrier = Barrier::of(label, input.shared()?);
        Ok(Self(Arc::new(Object { barrier, action, timeout: has_timeout.then_some(timeout) })))
    }
}

fn new(call: &mut Call) -> Outcome<Dynamic> {
    let parties = call.int(0)?;
    let parties = u32::try_from(parties).ok().filter(|n| *n > 0);
    let parties = parties.ok_or_else(|| raise("ValueError", "parties must be > 0"))?;
    let action = match call.argument(1).filter(|action| !action.is_unit()) {
        Some(action) => Some(to_shared(as_function(&action)?.into())),
        None => None,
    };
    let timeout = call.seconds(2)?;
    let barrier = Barrier::new(call.label("Barrier"), parties as usize).map_err(|error| no_memory(&error))?;
    Ok(Dynamic::from(BarrierHandle(Arc::new(Object { barrier, action, timeout }))))
}

fn wait(handle: &BarrierHandle, call: &mut Call) -> Outcome<Dynamic> {
    let timeout = call.seconds(0)?.or(handle.0.timeout);
    let wait = Wait { try_only: false, ..call.wait_for(timeout) };
    let this = Dynamic::from(handle.clone());
    let action = || match &handle.0.action {
        None => Ok(()),
        Some(action) => {
            let action = to_local(action.clone()).cast::<FnPtr>();
            invoke(call.context(), &action, Some(&this), vec![]).map(drop).map_err(Failure::Action)
        }
    };
    handle.0.barrier.wait(&wait, action).map(|index| (index as i64).into()).map_err(|failure| match failure {
        Failure::Broken => Exception::new(Class::known("BrokenBarrierError"), "").into_error(),
        Failure::Interrupted(interrupt) => interrupted(interrupt),
        Failure::Action(error) => error,
        Failure::Memory(error) => no_memory(&error),
    })
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<BarrierHandle>();
    module
        .handle::<BarrierHandle>()
        .function(
            "Barrier(parties, action=None, timeout=None)",
            "A barrier at which that many threads of any process wait for one another; the last one runs action.",
            new,
        )
        .method::<BarrierHandle, _>(
            "wait(timeout=None)",
            "Waits for the others; a different number from 0 on for each. BrokenBarrierError on timeout or abort.",
            wait,
        )
        .method::<BarrierHandle, _>("reset()", "Makes the barrier as new; who waits gets BrokenBarrierError.", |b, _| {
            synchronise();
            b.0.barrier.reset();
            Ok(Dynamic::UNIT)
        })
        .method::<BarrierHandle, _>("abort()", "Breaks the barrier for everybody.", |b, _| {
            synchronise();
            b.0.barrier.abort();
            Ok(Dynamic::UNIT)
        })
        .attribute::<BarrierHandle, _>("parties", "How many threads the barrier takes.", |b| {
            Ok((b.0.barrier.parties() as i64).into())
        })
        .attribute::<BarrierHandle, _>("n_waiting", "How many wait at the moment.", |b| {
            Ok((b.0.barrier.waiting() as i64).into())
        })
        .attribute::<BarrierHandle, _>("broken", "Is the barrier broken?", |b| Ok(b.0.barrier.is_broken().into()));
}
