//! The command line.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Secret, Sources};
use crate::serve::{self, ServeOptions};

/// Watches MySQL and MariaDB replication topologies and says what is wrong with them.
#[derive(Debug, Parser)]
#[command(name = "baton", version, arg_required_else_help = true)]
struct Cli {
    /// Read only this configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    #[command(alias = "http")]
    Serve(ServeArgs),
    /// Say what the configuration means, key by key, or what is wrong with it.
    CheckConfig,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Begin with this instance; the rest of its topology is found from there. Repeatable.
    #[arg(long, value_name = "HOST[:PORT]")]
    discover: Vec<String>,
    /// The account on the watched servers.
    #[arg(long)]
    user: Option<String>,
    /// Its password. Better given as BATON_MYSQLTOPOLOGYPASSWORD: other users of this machine can
    /// read command lines.
    #[arg(long)]
    password: Option<String>,
    /// Listen here instead of where the configuration says.
    #[arg(long, value_name = "[HOST]:PORT")]
    listen: Option<String>,
    /// error, warn, info, debug or trace, or a filter such as info,baton_actors=debug.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Runs the program; returns how it ended.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(args) => serve::serve(&ServeOptions {
            config: cli.config,
            discover: args.discover,
            user: args.user,
            password: args.password.map(Secret::new),
            listen: args.listen,
            log_level: args.log_level,
        }),
        Command::CheckConfig => check_config(cli.config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to tell when even this cannot be written.
            let _ = writeln!(io::stderr(), "baton: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints every key with its value and where that comes from, then the warnings.
fn check_config(file: Option<PathBuf>) -> anyhow::Result<()> {
    let loaded = config::load(&Sources::of_process(file))?;
    let mut out = io::stdout().lock();
    for file in &loaded.files {
        writeln!(out, "read {}", file.display())?;
    }
    for key in loaded.effective_config() {
        writeln!(out, "{} = {}  ({})", key.key, key.value, key.origin)?;
    }
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(out, "the configuration is good")?;
    Ok(())
}
