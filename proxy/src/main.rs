//! The `oxpost` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    oxpost::cli::main()
}
