//! `multiprocessing.dummy.connection`: pipes between threads, which are pairs of queues.

use std::collections::VecDeque;

use rhai::Dynamic;

use crate::language::exception::{Outcome, interrupted};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::variables::{synchronise, to_local};
use crate::modules::pool::outgoing;
use crate::runtime::sync::Arc;
use crate::runtime::{Label, Monitor, Reason, Resource, Wait, WaitQueue};

#[derive(Default)]
struct State {
    messages: VecDeque<Dynamic>,
    readers: WaitQueue,
}

/// One direction.
struct Channel {
    label: Label,
    state: Monitor<State>,
}

impl Resource for Channel {
    fn describe(&self) -> String {
        format!("a message in {}", self.label)
    }
}

impl Channel {
    fn new(label: Label) -> Arc<Self> {
        Arc::new(Self { label, state: Monitor::default() })
    }

    fn send(&self, message: Dynamic) {
        let mut state = self.state.enter();
        state.messages.push_back(message);
        state.readers.wake_one();
    }

    /// The next message, when there is one; nothing when the wait was over first.
    fn wait<R>(
        self: &Arc<Self>,
        wait: &Wait,
        take: impl FnMut(&mut State) -> Option<R>,
    ) -> Outcome<Option<R>> {
        synchronise();
        let reason = || Reason::Resource(Arc::clone(self) as _);
        self.state.wait_until(wait, reason, |state| &mut state.readers, take).map_err(interrupted)
    }
}

struct Ends {
    incoming: Arc<Channel>,
    outgoing: Arc<Channel>,
}

/// A script's reference to one end of a pipe.
#[derive(Clone)]
struct DummyConnection(Arc<Ends>);

impl Handle for DummyConnection {
    const NAME: &'static str = "Connection";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<multiprocessing.dummy.connection.Connection object at {:#x}>", self.identity())
    }
}

/// `Pipe()`. Both ends send and receive, whatever `duplex` says, as in CPython.
pub(super) fn new_pipe(call: &mut Call) -> Outcome<Dynamic> {
    let label = call.label("Pipe");
    let (a, b) = (Channel::new(label.clone()), Channel::new(label));
    let end = |incoming: &Arc<Channel>, outgoing: &Arc<Channel>| {
        let ends = Ends { incoming: Arc::clone(incoming), outgoing: Arc::clone(outgoing) };
        Dynamic::from(DummyConnection(Arc::new(ends)))
    };
    Ok(vec![end(&a, &b), end(&b, &a)].into())
}

/// The module.
pub(super) fn module() -> NativeModule {
    let mut module = NativeModule::new("multiprocessing.dummy.connection");
    module.function("Pipe(duplex=True)", "Two connections; what one sends the other receives.", new_pipe);
    module.handle::<DummyConnection>();
    for signature in ["send(obj)", "send_bytes(obj)"] {
        module.method::<DummyConnection, _>(signature, "Sends an object to the other end.", |end, call| {
            let message = call.required(0)?;
            synchronise();
            end.0.outgoing.send(outgoing(message));
            Ok(Dynamic::UNIT)
        });
    }
    for signature in ["recv()", "recv_bytes()"] {
        module.method::<DummyConnection, _>(
            signature,
            "Waits for the next object and returns it.",
            |end, call| {
                let wait = Wait::forever(call.site());
                let message = end.0.incoming.wait(&wait, |state| state.messages.pop_front())?;
                Ok(message.map_or(Dynamic::UNIT, to_local))
            },
        );
    }
    module
        .method::<DummyConnection, _>(
            "poll(timeout=0.0)",
            "Is there an object to receive, now or within so many seconds?",
            |end, call| {
                let timeout = call.seconds(0)?.unwrap_or(0.0);
                let wait = call.wait_for(Some(timeout));
                let found = end.0.incoming.wait(&wait, |state| {
                    // Whoever polls takes nothing: the next reader may be woken as well.
                    (!state.messages.is_empty()).then(|| state.readers.wake_one())
                })?;
                Ok(found.is_some().into())
            },
        )
        .method::<DummyConnection, _>("close()", "Does nothing.", |_, _| Ok(Dynamic::UNIT))
        .method::<DummyConnection, _>("__enter__()", "What `with` does first: nothing.", |end, _| {
            Ok(Dynamic::from(end.clone()))
        })
        .method::<DummyConnection, _>("__exit__(error=None)", "What `with` does last: nothing.", |_, _| {
            Ok(Dynamic::UNIT)
        });
    module
}
