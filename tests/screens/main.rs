//! The front end without a terminal: keys to effects as tables, screens as pictures, the README's pictures.
//!
//! Pictures are reviewed by eye: after a wanted change run with `INSTA_UPDATE=always` (and `UPDATE_PICTURES=1` for the
//! SVG) and read the difference.

#[path = "../support/mod.rs"]
mod support;

mod diffs;
mod drill;
mod hands;
mod keys;
mod pictures;
mod runs;
mod strays;
mod terminal;
mod waiting;
