//! Which language this is: `sys.version` and `sys.version_info`.
//!
//! Scripts ask for it to choose between forms of one thing, so the answer is the Python whose library is here.

use std::any::TypeId;
use std::cmp::Ordering;

use rhai::{Array, Dynamic, FuncRegistration};

use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::list::position;
use crate::language::native::NativeModule;
use crate::language::value;

/// The Python whose library scripts find.
const PYTHON: [i64; 3] = [3, 11, 0];

/// `sys.version_info`.
#[derive(Clone, Copy, Debug)]
struct VersionInfo;

const FIELDS: [(&str, &str); 5] = [
    ("major", "The first number."),
    ("minor", "The second number."),
    ("micro", "The third number."),
    ("releaselevel", "How finished it is."),
    ("serial", "The release's number on that level."),
];

impl VersionInfo {
    fn items() -> Vec<Dynamic> {
        let mut items: Vec<Dynamic> = PYTHON.into_iter().map(Dynamic::from).collect();
        items.extend(["final".into(), 0_i64.into()]);
        items
    }

    fn compare(other: &Array) -> Outcome<Ordering> {
        value::compare(&Dynamic::from_array(Self::items()), &Dynamic::from_array(other.clone()))
    }
}

impl Handle for VersionInfo {
    const NAME: &'static str = "version_info";

    fn identity(&self) -> usize {
        std::ptr::from_ref(&PYTHON) as usize
    }

    fn repr(&self) -> String {
        let fields: Vec<String> = FIELDS
            .iter()
            .zip(Self::items())
            .map(|((name, _), item)| format!("{name}={}", value::repr(&item)))
            .collect();
        format!("sys.version_info({})", fields.join(", "))
    }
}

/// Adds the constants to the module.
pub(super) fn register(module: &mut NativeModule) {
    let [major, minor, micro] = PYTHON;
    let version = format!("{major}.{minor}.{micro} (onelock {})", env!("CARGO_PKG_VERSION"));
    module
        .handle::<VersionInfo>()
        .constant("version", "The version of Python's library, and of this program.", version)
        .constant("version_info", "The version of Python's library, in numbers.", Dynamic::from(VersionInfo));
    for (at, (name, doc)) in FIELDS.into_iter().enumerate() {
        module.attribute::<VersionInfo, _>(name, doc, move |_| Ok(VersionInfo::items().swap_remove(at)));
    }
    type Holds = fn(Ordering) -> bool;
    let comparisons: [(&str, Holds); 6] = [
        ("==", Ordering::is_eq),
        ("!=", Ordering::is_ne),
        ("<", Ordering::is_lt),
        ("<=", Ordering::is_le),
        (">", Ordering::is_gt),
        (">=", Ordering::is_ge),
    ];
    for (operator, holds) in comparisons {
        FuncRegistration::new(operator)
            .set_into_module(&mut module.builtins, move |_: VersionInfo, other: Array| -> Outcome<bool> {
                VersionInfo::compare(&other).map(holds)
            });
    }
    FuncRegistration::new_index_getter().with_purity(true).set_into_module(
        &mut module.builtins,
        |_: &mut VersionInfo, index: i64| -> Outcome<Dynamic> {
            let mut items = VersionInfo::items();
            let at = position(index, items.len()).ok_or_else(|| {
                raise(
                    "IndexError",
                    format!("tuple index out of range: index {index} of {} items", FIELDS.len()),
                )
            })?;
            Ok(items.swap_remove(at))
        },
    );
    module.builtins.set_iter(TypeId::of::<VersionInfo>(), |_| Box::new(VersionInfo::items().into_iter()));
}
