//! The command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client;
use crate::config::{self, Secret, Sources};
use crate::recover::{self, Others};
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
    /// Say what this node of a raft remembers, and begin a raft anew from that when a majority of
    /// the disks is lost.
    RaftRecover {
        /// The other members do not come back with what they had. Only a person can know that.
        #[arg(long)]
        others_are_lost: bool,
    },
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
    if let Some(old) = OldStyle::of(&args) {
        return match old.refusal() {
            None => client::run(&old.args),
            Some(refusal) => {
                let _ = writeln!(io::stderr(), "baton: {refusal}");
                ExitCode::FAILURE
            }
        };
    }
    let cli = Cli::parse_from(served_in_old_style(&args).unwrap_or(args));
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
        Command::RaftRecover { others_are_lost } => {
            let others = if others_are_lost { Others::AreLost } else { Others::MayComeBack };
            recover::recover(cli.config, others, &mut io::stdout())
        }
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

/// The arguments of the client, when the program goes by its name.
fn as_client(args: &[String]) -> Option<&[String]> {
    let (program, rest) = args.split_first()?;
    let is_client = Path::new(program).file_stem().is_some_and(|name| name == CLIENT_NAME);
    is_client.then_some(rest)
}

/// A call as of orchestrator's own commands, which worked without a server: `-c COMMAND`.
#[derive(Debug, PartialEq, Eq)]
struct OldStyle {
    config: Option<PathBuf>,
    ignores_raft: bool,
    /// What the client is told.
    args: Vec<String>,
}

impl OldStyle {
    fn of(args: &[String]) -> Option<Self> {
        let mut old = Self { config: None, ignores_raft: false, args: Vec::new() };
        let mut rest = args.iter().skip(1);
        while let Some(arg) = rest.next() {
            let name = arg.strip_prefix("--").or(arg.strip_prefix('-')).unwrap_or_default();
            match name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value))) {
                ("config", None) => old.config = rest.next().map(PathBuf::from),
                ("config", Some(file)) => old.config = Some(file.into()),
                ("ignore-raft-setup", _) => old.ignores_raft = true,
                _ => old.args.push(arg.clone()),
            }
        }
        let is_old_style = matches!(old.args.first().map(String::as_str), Some("-c" | "--command"));
        is_old_style.then_some(old)
    }

    /// Why it is refused: nobody said whom to ask, and the server of this machine is one of
    /// several. A configuration that cannot be read is another one's business.
    fn refusal(&self) -> Option<String> {
        let names_api = |name: &str| std::env::var(name).is_ok_and(|it| !it.is_empty());
        let is_told = self.args.iter().any(|arg| {
            arg.starts_with("-U") || arg.trim_start_matches('-').split('=').next() == Some("api")
        });
        if self.ignores_raft || is_told || client::API_VARIABLES.iter().any(|it| names_api(it)) {
            return None;
        }
        let config = config::load(&Sources::of_process(self.config.clone())).ok()?.config;
        let hosts = config.raft.nodes.iter().filter_map(|seat| seat.rsplit_once(':'));
        let port = match config.http.listen {
            config::Listen::Tcp { port, .. } => port,
            config::Listen::Unix(_) => 3000,
        };
        let scheme = if config.http.tls.is_some() { "https" } else { "http" };
        let nodes: Vec<String> =
            hosts.map(|(host, _)| format!("{scheme}://{host}:{port}/api")).collect();
        config.raft.enabled.then(|| {
            format!(
                "-c is refused under raft (RaftEnabled), as it knows of one node only. Use the \
                 client, which finds the leader:\n  ORCHESTRATOR_API=\"{}\" orchestrator-client \
                 {}\n(or baton client instead of orchestrator-client). --ignore-raft-setup asks \
                 the server of this machine nevertheless.",
                nodes.join(" "),
                self.args.join(" ")
            )
        })
    }
}

/// A start as of orchestrator's own: `-quiet -config FILE http`, with one dash or two before and
/// after the command, in today's words.
fn served_in_old_style(args: &[String]) -> Option<Vec<String>> {
    let (program, rest) = args.split_first()?;
    let mut found = vec![program.clone(), "serve".to_owned()];
    let mut is_http = false;
    let mut rest = rest.iter();
    while let Some(arg) = rest.next() {
        let Some(flag) = arg.strip_prefix("--").or(arg.strip_prefix('-')) else {
            // Whatever else is a command is not of orchestrator's.
            if is_http || arg != "http" {
                return None;
            }
            is_http = true;
            continue;
        };
        let (flag, value) =
            flag.split_once('=').map_or((flag, None), |(flag, it)| (flag, Some(it)));
        let level = |level: &str| ["--log-level".to_owned(), level.to_owned()];
        match flag {
            "config" => {
                let file = value.map(str::to_owned).or_else(|| rest.next().cloned())?;
                found.extend(["--config".to_owned(), file]);
            }
            "debug" => found.extend(level("debug")),
            "quiet" => found.extend(level("error")),
            // What goes to the log goes to standard error, errors with what caused them.
            "verbose" | "stack" | "syslog" => {}
            _ => return None,
        }
    }
    is_http.then_some(found)
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
    if let Some(notice) = loaded.config.recovery.nothing_is_recovered() {
        writeln!(out, "note: {notice}")?;
    }
    if let Some(notice) = loaded.config.account_at_risk() {
        writeln!(out, "note: {notice}")?;
    }
    if let Some(notice) = loaded.config.raft_at_risk() {
        writeln!(out, "note: {notice}")?;
    }
    writeln!(out, "the configuration is good")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_of_orchestrators_own_is_understood() {
        for (line, expected) in [
            ("orchestrator -config /f http", Some("serve --config /f")),
            ("orchestrator -quiet -config=/f http", Some("serve --log-level error --config /f")),
            ("orchestrator --debug -stack http", Some("serve --log-level debug")),
            ("orchestrator http --config /f", Some("serve --config /f")),
            ("baton http", Some("serve")),
            ("baton serve", None),
            ("baton http --listen :1", None),
            ("baton -config", None),
        ] {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let found = served_in_old_style(&args).map(|it| it[1..].join(" "));
            assert_eq!(found.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn orchestrators_own_commands_are_recognised() {
        let old = |config: Option<&str>, ignores_raft, args: &[&str]| {
            let args = args.iter().map(|&it| it.to_owned()).collect();
            Some(OldStyle { config: config.map(PathBuf::from), ignores_raft, args })
        };
        for (line, expected) in [
            ("baton -c clusters", old(None, false, &["-c", "clusters"])),
            (
                "baton --command clusters -i a",
                old(None, false, &["--command", "clusters", "-i", "a"]),
            ),
            ("baton -config f -c clusters", old(Some("f"), false, &["-c", "clusters"])),
            ("baton --config=f -c clusters", old(Some("f"), false, &["-c", "clusters"])),
            ("baton -c clusters --ignore-raft-setup", old(None, true, &["-c", "clusters"])),
            ("baton -ignore-raft-setup -c clusters", old(None, true, &["-c", "clusters"])),
            ("baton serve", None),
            ("baton --config f serve", None),
            ("baton client -c clusters", None),
            ("baton", None),
        ] {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(OldStyle::of(&args), expected, "{line}");
        }
    }
}
