//! `Event`.

use rhai::Dynamic;

use super::{check_purpose, no_memory, pack_label, unpack_label};
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::ipc::primitives::Event;
use crate::language::exception::{Outcome, interrupted};
use crate::language::identity::Handle;
use crate::language::native::NativeModule;
use crate::language::variables::synchronise;
use crate::runtime::sync::Arc;

/// A script's reference to an [`Event`].
#[derive(Clone)]
pub struct EventHandle(Arc<Event>);

impl Handle for EventHandle {
    const NAME: &'static str = "Event";

    fn identity(&self) -> usize {
        self.0.place() as usize
    }

    fn repr(&self) -> String {
        let state = if self.0.is_set() { "set" } else { "unset" };
        format!("<Event at {:#x} {state}>", self.identity())
    }
}

impl Travel for EventHandle {
    const TAG: &'static str = "multiprocessing.Event";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, Self::NAME)?;
        pack_label(self.0.label(), out);
        out.shared(self.0.state())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let label = unpack_label(Self::NAME, input)?;
        Ok(Self(Event::of(label, input.shared()?)))
    }
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<EventHandle>();
    module
        .handle::<EventHandle>()
        .function("Event()", "A flag that threads of several processes can wait for.", |call| {
            let event = Event::new(call.label("Event")).map_err(|error| no_memory(&error))?;
            Ok(Dynamic::from(EventHandle(event)))
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
        .method::<EventHandle, _>("is_set()", "Is the flag set?", |event, _| {
            synchronise();
            Ok(event.0.is_set().into())
        })
        .method::<EventHandle, _>(
            "wait(timeout=None)",
            "Waits for the flag. False if the timeout came first.",
            |event, call| {
                let timeout = call.seconds(0)?;
                event.0.wait(&call.wait_for(timeout)).map(Dynamic::from).map_err(interrupted)
            },
        );
}
