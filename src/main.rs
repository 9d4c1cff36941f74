//! The thin binary: everything is in the library.

fn main() -> std::process::ExitCode {
    prow_breakglass::main_with_args(std::env::args_os().collect())
}
