//! `signal`.

pub mod names;
