//! Entry point of the `baton` binary.
fn main() {}
