//! The `onelock` command.

mod allocator;
mod cli;
mod repl;
mod signals;

/// Makes the names of closures the same in every process, so that one process can call those of another.
const HASHING_SEED: [u64; 4] = [0x6f6e_656c, 0x6f63_6b20, 0x2d20_6120, 0x4749_4c20];

fn main() {
    allocator::keep_blocks_in_heap();
    // It fails only if something was hashed before.
    let _ = rhai::config::hashing::set_hashing_seed(Some(HASHING_SEED));
    grow_main_stack();
    signals::outlive_file_size_limit();
    std::process::exit(cli::main());
}

/// The main thread runs scripts, whose calls nest as deeply as CPython's: lets its stack grow to 64 MB.
fn grow_main_stack() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    const SIZE: u64 = 64 << 20;
    let mut limit = getrlimit(Resource::Stack);
    if limit.current.is_some_and(|current| current < SIZE) {
        limit.current = Some(limit.maximum.map_or(SIZE, |maximum| maximum.min(SIZE)));
        // Refused, it stays as it was: deep recursion then ends the process earlier.
        let _ = setrlimit(Resource::Stack, limit);
    }
}
