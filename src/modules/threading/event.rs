//! `Event`.

use rhai::Dynamic;

use crate::language::exception::interrupted;
use crate::language::identity::Handle;
use crate::language::native::NativeModule;
use crate::language::variables::synchronise;
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

pub(super) fn define(module: &mut NativeModule) {
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
