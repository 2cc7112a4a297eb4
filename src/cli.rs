//! The command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client;
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
    /// Ask a running service: baton client COMMAND ...; see baton client help.
    #[command(disable_help_flag = true)]
    Client {
        /// The command and its options, as orchestrator-client has them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print a manual page.
    Man,
}

/// The name under which the program is the client.
const CLIENT_NAME: &str = "orchestrator-client";

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
    let args: Vec<String> =
        std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let Some(args) = as_client(&args) {
        return client::run(args);
    }
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
        Command::Client { args } => return client::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "baton", &mut io::stdout());
            Ok(())
        }
        Command::Man => {
            clap_mangen::Man::new(Cli::command()).render(&mut io::stdout()).map_err(Into::into)
        }
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

/// The arguments of the client, when that is what is meant: by the program's name, or in the old
/// style, `-c COMMAND`.
fn as_client(args: &[String]) -> Option<&[String]> {
    let (program, rest) = args.split_first()?;
    let is_client = Path::new(program).file_stem().is_some_and(|name| name == CLIENT_NAME);
    let is_old_style = matches!(rest.first().map(String::as_str), Some("-c" | "--command"));
    (is_client || is_old_style).then_some(rest)
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
