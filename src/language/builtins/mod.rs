//! Placeholder until the builtins are there.
use super::exception::Outcome;
use super::native::NativeModule;
use super::value;
use rhai::{Dynamic, EvalContext};
/// m
pub fn module() -> NativeModule {
    let mut m = NativeModule::new("builtins");
    m.function("print(*values, sep=' ', end='\n', file=None, flush=False)", "p", |call| {
        let v: Vec<String> = call.rest(0).iter().map(value::str).collect();
        let _ = call.realm().stdout.write(&format!("{}\n", v.join(" ")));
        Ok(Dynamic::UNIT)
    });
    m.exceptions();
    m
}
/// f
pub fn forward(
    _name: &str,
    _args: &mut [&mut Dynamic],
    _m: bool,
    _c: EvalContext,
) -> Outcome<Option<Dynamic>> {
    Ok(None)
}
