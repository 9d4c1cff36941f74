//! Drills as people and scripts play them, with nothing around: no kubeconfig, no git, no home.
//!
//! - `scripts`: each drill played from a file, in virtual time; `mistakes`: each mistake, committed
//! - `surprise`: many draws of `surprise`, repaired by the program's own proposals
//! - `start`: how long it takes from the command to the first complete picture, and how much memory; a measurement
//! - `screens`: each drill in a terminal, by a person who does what the screen says

mod mistakes;
mod program;
mod screens;
mod scripts;
mod start;
mod surprise;
mod terminal;
