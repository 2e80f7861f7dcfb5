//! `concurrent`: the package of `concurrent.futures`.

pub mod futures;
