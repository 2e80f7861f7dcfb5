//! The headers of a response: a mapping that finds a name however it is written.

use rhai::{Dynamic, FuncRegistration};

use crate::ipc::codec::{Decoder, Encoder, Travel};
use crate::language::dict::missing;
use crate::language::exception::Outcome;
use crate::language::identity::Handle;
use crate::language::native::NativeModule;
use crate::language::value;
use crate::runtime::sync::Arc;

/// Names and values in the order of their arrival. Clones share them until one is changed.
#[derive(Clone, Debug, Default)]
pub struct Headers(Arc<Vec<(String, String)>>);

impl Handle for Headers {
    const NAME: &'static str = "CaseInsensitiveDict";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        value::repr_mapping(&self.items(), self.identity())
    }

    fn length(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl Headers {
    /// The value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Sets a header, in place of one of that name.
    pub fn set(&mut self, name: &str, value: &str) {
        let entries = Arc::make_mut(&mut self.0);
        match entries.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some(entry) => *entry = (name.into(), value.into()),
            None => entries.push((name.into(), value.into())),
        }
    }

    /// Adds a value to a header, behind a comma if it has one.
    pub fn add(&mut self, name: &str, value: &str) {
        let entries = Arc::make_mut(&mut self.0);
        match entries.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = format!("{old}, {value}"),
            None => entries.push((name.into(), value.into())),
        }
    }

    /// Takes a header out.
    pub fn remove(&mut self, name: &str) {
        Arc::make_mut(&mut self.0).retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn items(&self) -> Vec<(Dynamic, Dynamic)> {
        self.iter().map(|(name, value)| (name.to_string().into(), value.to_string().into())).collect()
    }

    fn names(&self) -> Vec<Dynamic> {
        self.iter().map(|(name, _)| name.to_string().into()).collect()
    }
}

impl Travel for Headers {
    const TAG: &'static str = "requests.CaseInsensitiveDict";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        out.u64(self.0.len() as u64);
        for (name, value) in self.iter() {
            out.str(name);
            out.str(value);
        }
        Ok(())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let mut entries = Vec::new();
        for _ in 0..input.u64()? {
            entries.push((input.str()?.to_string(), input.str()?.to_string()));
        }
        Ok(Self(Arc::new(entries)))
    }
}

/// Defines the type for scripts.
pub(super) fn register(module: &mut NativeModule) {
    module
        .handle::<Headers>()
        .method::<Headers, _>("get(key, default=None)", "A header's value.", |this, call| {
            let name = call.text(0)?;
            match this.get(&name) {
                Some(value) => Ok(value.to_string().into()),
                None => Ok(call.argument(1).unwrap_or_default()),
            }
        })
        .method::<Headers, _>("keys()", "The headers' names.", |this, _| Ok(this.names().into()))
        .method::<Headers, _>("values()", "The headers' values.", |this, _| {
            Ok(this.items().into_iter().map(|(_, value)| value).collect::<Vec<_>>().into())
        })
        .method::<Headers, _>("items()", "The headers: [name, value] each.", |this, _| {
            let pair = |(name, value)| Dynamic::from(vec![name, value]);
            Ok(this.items().into_iter().map(pair).collect::<Vec<_>>().into())
        })
        .method::<Headers, _>("contains(key)", "Is the header there?", |this, call| {
            Ok(this.get(&call.text(0)?).is_some().into())
        });
    FuncRegistration::new_index_getter().with_purity(true).set_into_module(
        &mut module.builtins,
        |this: &mut Headers, name: &str| -> Outcome<Dynamic> {
            match this.get(name) {
                Some(value) => Ok(value.to_string().into()),
                None => Err(missing(&name.to_string().into())),
            }
        },
    );
    module.builtins.set_iter(std::any::TypeId::of::<Headers>(), |headers| {
        Box::new(headers.cast::<Headers>().names().into_iter())
    });
}
