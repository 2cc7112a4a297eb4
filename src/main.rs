//! Entry point of the `baton` binary.

fn main() -> std::process::ExitCode {
    baton::cli::run()
}
