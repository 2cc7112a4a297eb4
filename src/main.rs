//! Entry point of the `baton` binary.

fn main() -> anyhow::Result<()> {
    let discover = std::env::args().skip(1).collect();
    baton::serve::serve(&baton::serve::ServeOptions { discover, ..Default::default() })
}
