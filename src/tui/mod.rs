//! The full-screen front end, as an Elm loop: one [`App`], messages that change it, effects that leave it.
//!
//! - [`app`]: all state; selections are ids, never row numbers, and there are no flags
//! - [`msg`]: what can happen ([`Msg`]) and what may come of it ([`Effect`])
//! - [`update`]: `(App, Msg) -> Effects`, pure; the time arrives as a message
//! - [`keymap`]: keys to messages, a screen at a time; the help and the hint bar are made from it
//! - [`view`]: draws an `App`, changes nothing
//! - [`theme`]: colours (ANSI 16 on the terminal's own background) and the ASCII stand-ins
//! - [`runtime`]: the only I/O: terminal, signals, the outside
//! - [`picture`]: the screen as SVG, for the README
//!
//! Rules that the code holds (and `tests/screens` proves): small letters never write; the one effect that writes,
//! [`Effect::Start`], needs an armed session, a previewed plan and its confirmation typed by hand, and Enter.
//!
//! To add a screen: a variant of [`app::Screen`], its state in `App`, a file in `view/`, its keys in [`keymap::KEYS`].

pub mod app;
pub mod astray;
pub mod keymap;
pub mod msg;
pub mod picture;
pub mod runtime;
pub mod text;
pub mod theme;
pub mod update;
pub mod view;

pub use app::App;
pub use msg::{Effect, Msg};
pub use runtime::{ExitSummary, Planner, Seat, Session, run};
pub use update::update;
