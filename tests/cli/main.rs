//! The command line without any cluster: what it prints where, and its exit code.
//!
//! Each test is one text with stdout, stderr and exit code, held against a snapshot beside it (`cargo insta review`, or
//! `INSTA_UPDATE=always cargo test --test cli`). The environment is empty but for PATH, where git is; paths of the test's
//! own folder read `[HOME]`.

mod config;
mod help;
mod limits;
mod mapping;
#[path = "../support/memory.rs"]
mod memory;
mod place;
mod surroundings;
mod usage;
