//! `os.environ`: the environment variables, as a dict that is the script's own.
//!
//! The process's own environment is only ever read. Changing it is not safe while other threads read it, and
//! all that scripts want is that the commands they run see the change; those get the dict's content.

use std::ffi::OsString;

use rhai::Dynamic;

use crate::language::dict::Dict;
use crate::language::exception::raise;
use crate::language::native::NativeModule;
use crate::language::realm::Realm;
use crate::language::value;

/// The environment variables of one interpreter.
pub struct Environment(Dict);

impl Default for Environment {
    /// Those that the process was started with.
    fn default() -> Self {
        let text = |text: OsString| Dynamic::from(text.to_string_lossy().into_owned());
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self(Dict::from_pairs(variables).unwrap_or_default())
    }
}

impl Environment {
    /// The dict that scripts see.
    pub fn dict(&self) -> &Dict {
        &self.0
    }

    /// Names and values, for a process that is about to be started.
    pub fn variables(&self) -> Vec<(String, String)> {
        let usable = |name: &str, value: &str| {
            !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
        };
        let items = self.0.items().into_iter();
        items
            .map(|(name, value)| (value::str(&name), value::str(&value)))
            .filter(|(n, v)| usable(n, v))
            .collect()
    }
}

/// Adds `environ` and its functions to the module.
pub(super) fn register(module: &mut NativeModule, realm: &Realm) {
    let environ = realm.extension::<Environment>().dict().clone();
    module
        .constant("environ", "The environment variables: a dict.", Dynamic::from(environ))
        .function("getenv(key, default=None)", "The value of an environment variable.", |call| {
            let key = call.text(0)?;
            let environment = call.realm().extension::<Environment>();
            match environment.dict().get(&key.into())? {
                Some(value) => Ok(value),
                None => Ok(call.argument(1).unwrap_or(Dynamic::UNIT)),
            }
        })
        .function("putenv(key, value)", "Sets an environment variable.", |call| {
            let (key, value) = (call.text(0)?, call.text(1)?);
            if key.is_empty() || key.contains(['=', '\0']) {
                let shown = value::repr(&key.into());
                return Err(raise("ValueError", format!("illegal environment variable name: {shown}")));
            }
            call.realm().extension::<Environment>().dict().set(key.into(), value.into())?;
            Ok(Dynamic::UNIT)
        })
        .function("unsetenv(key)", "Takes an environment variable away.", |call| {
            let key = call.text(0)?;
            call.realm().extension::<Environment>().dict().remove(&key.into())?;
            Ok(Dynamic::UNIT)
        });
}
