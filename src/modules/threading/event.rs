//! `Event`.

use rhai::Dynamic;

use super::promotion::{adopted, check_purpose, concrete, no_memory, remember};
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::ipc::primitives as shared;
use crate::language::exception::{Outcome, interrupted};
use crate::language::identity::Handle;
use crate::language::native::NativeModule;
use crate::language::variables::synchronise;
use crate::modules::multiprocessing::{pack_label, unpack_label};
use crate::runtime::primitives::Event;
use crate::runtime::sync::Arc;

/// A script's reference to an [`Event`].
#[derive(Clone)]
pub struct EventHandle(Arc<Event>);

impl Handle for EventHandle {
    const NAME: &'static str = "Event";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let state = if self.0.is_set() { "set" } else { "unset" };
        format!("<threading.Event at {:#x}: {state}>", self.identity())
    }
}

impl EventHandle {
    /// The event in shared memory, which it is moved to if it is not there yet.
    fn promote(&self) -> Outcome<Arc<shared::Event>> {
        let promoted = self.0.promote(|set, sets| {
            let made = shared::Event::standing(self.0.label().clone(), set, sets)?;
            remember(made.place(), &self.0);
            Ok::<_, std::io::Error>(made as _)
        });
        promoted.map(|event| concrete(event)).map_err(|error| no_memory(&error))
    }
}

impl Travel for EventHandle {
    const TAG: &'static str = "threading.Event";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, Self::NAME)?;
        let shared = self.promote()?;
        pack_label(self.0.label(), out);
        out.shared(shared.state())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let label = unpack_label("Event", input)?;
        let shared = shared::Event::of(label.clone(), input.shared()?);
        Ok(Self(adopted(shared.place(), || Event::promoted(label, shared))))
    }
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<EventHandle>();
    module
        .handle::<EventHandle>()
        .class("Event()", "A flag that threads can wait for.", |call| {
            Ok(Dynamic::from(EventHandle(Event::new(call.label("Event")))))
        })
        .method::<EventHandle, _>("set()", "Sets the flag and wakes everybody who waits.", |event, _| {
            synchronise();
            event.0.set();
            Ok(Dynamic::UNIT)
        })
        .method::<EventHandle, _>("clear()", "Clears the flag.", |event, _| {
            synchronise();
            event.0.clear();
            Ok(Dynamic::UNIT)
        })
        .method::<EventHandle, _>(
            "wait(timeout=None)",
            "Waits for the flag. False if the timeout came first.",
            |event, call| {
                let timeout = call.seconds(0)?;
                event.0.wait(&call.wait_for(timeout)).map(Dynamic::from).map_err(interrupted)
            },
        );
    for (signature, doc) in [("is_set()", "Is the flag set?"), ("isSet()", "An old name of is_set().")] {
        module.method::<EventHandle, _>(signature, doc, |event, _| {
            synchronise();
            Ok(event.0.is_set().into())
        });
    }
}
