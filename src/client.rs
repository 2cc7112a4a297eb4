//! The client: what `orchestrator-client` does, without bash, curl and jq.

mod commands;
mod once;
mod options;
mod print;
mod request;

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use commands::{COMMANDS, Command, DryRun, Print};
pub(crate) use options::API_VARIABLES;
use options::ClientOptions;
use serde_json::Value;

/// Where the service is when nobody says.
const DEFAULT_API: &str = "http://localhost:3000";
/// Pauses between tries to get an answer that is JSON.
const PAUSES_MS: [u64; 8] = [100, 200, 500, 1_000, 2_000, 2_500, 5_000, 0];
/// How long looking for the leader waits for one endpoint.
const LEADER_DEADLINE: Duration = Duration::from_secs(1);
/// How long an answer may take. Planned takeovers take their time.
const ANSWER_DEADLINE: Duration = Duration::from_secs(600);

/// A route that changes nothing and that orchestrator does not have.
const BATON_ONLY: &str = "fleet-breaker";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("{0}")]
    Options(#[from] options::OptionsError),
    #[error("{0}")]
    Missing(#[from] request::Missing),
    #[error("no such command: {0}; see help")]
    UnknownCommand(String),
    #[error(
        "Cannot access orchestrator at {0}.  Check ORCHESTRATOR_API is configured correctly and orchestrator is running"
    )]
    NoAccess(String),
    #[error("Cannot determine leader from {0}")]
    NoLeader(String),
    #[error("cannot get an answer from {url}")]
    NoAnswer {
        url: String,
        #[source]
        source: Option<ureq::Error>,
    },
    /// Nobody is to guess, and nothing is sent twice.
    #[error(
        "nobody knows what became of {url}: {why}. It was asked once (request {id}), may have been \
         done or may still be, and is not asked again: look first, such as at audit-recovery"
    )]
    InDoubt { url: String, why: String, id: String },
    #[error("{0} takes no --dry-run; see help")]
    NoDryRun(String),
    #[error("the service knows no {0}: it is too old for this command, or not a service")]
    NotThere(String),
    /// The service said so; what it said is printed as scripts expect.
    #[error("{message}")]
    Refused { message: String, details: Option<String> },
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Runs one command; `args` are without the program's name.
pub fn run(args: &[String]) -> ExitCode {
    let done = ClientOptions::parse(args, &|name| std::env::var(name).ok())
        .map_err(ClientError::from)
        .and_then(|options| execute(&options));
    match done {
        Ok(lines) => match print_lines(&lines) {
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(&error.into()),
            _ => ExitCode::SUCCESS,
        },
        Err(error) => fail(&error),
    }
}

fn print_lines(lines: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{}", printable(line)))
}

/// Names and messages come from watched servers, and nothing in them moves a terminal's cursor or
/// colours its text.
fn printable(line: &str) -> Cow<'_, str> {
    if !line.chars().any(moves_terminal) {
        return Cow::Borrowed(line);
    }
    let mut shown = String::with_capacity(line.len());
    for character in line.chars() {
        match character {
            it if moves_terminal(it) => shown.extend(it.escape_default()),
            it => shown.push(it),
        }
    }
    Cow::Owned(shown)
}

/// A line may have tabs and, where it holds several, line ends.
fn moves_terminal(character: char) -> bool {
    character.is_control() && !matches!(character, '\t' | '\n')
}

fn fail(error: &ClientError) -> ExitCode {
    if let ClientError::Refused { details: Some(details), .. } = error {
        let _ = print_lines(std::slice::from_ref(details));
    }
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    // Nobody is left to tell when this cannot be written.
    let text = format!("{error}{}", cause.unwrap_or_default());
    let _ = writeln!(io::stderr(), "{}", printable(&text));
    ExitCode::FAILURE
}

fn execute(options: &ClientOptions) -> Result<Vec<String>, ClientError> {
    if options.command == "help" {
        return Ok(help());
    }
    let service = Service::new(options);
    if options.command == "which-api" {
        return Ok(vec![service.endpoint()?]);
    }
    let unknown = || ClientError::UnknownCommand(options.command.clone());
    let command = commands::find(&options.command).ok_or_else(unknown)?;
    if options.dry_run && command.dry_run == DryRun::None {
        return Err(ClientError::NoDryRun(command.name.to_owned()));
    }
    let path = request::path(command.path, options, &login())?;
    let endpoint = service.endpoint()?;
    if command.name == "raft-leader" || command.name == "raft-leader-hostname" {
        must_lead(&service, &endpoint)?;
    }
    if options.dry_run {
        // orchestrator does not know the parameter, and would do it: is this baton?
        service.ask(&format!("{endpoint}/{BATON_ONLY}"))?;
        let mark = if path.contains('?') { '&' } else { '?' };
        let answer = service.ask(&format!("{endpoint}/{path}{mark}dry_run=true"))?;
        refusal(&answer, command)?;
        return Ok(print::message(&answer));
    }
    let answer = if baton_web::changes(&path) {
        service.ask_once(&endpoint, &path)?
    } else {
        service.ask(&format!("{endpoint}/{path}"))?
    };
    refusal(&answer, command)?;
    Ok(print::lines(command.print, &answer, options.get("destination")))
}

/// Fails unless the contacted node leads.
fn must_lead(service: &Service, endpoint: &str) -> Result<(), ClientError> {
    let state = service.ask(&format!("{endpoint}/raft-state"))?;
    if state == "Leader" {
        return Ok(());
    }
    let message = state["Message"].as_str().unwrap_or("the node does not lead");
    Err(ClientError::Refused { message: squeezed(message), details: None })
}

/// What the service refused, as scripts see it: the message on standard error, the details on
/// standard output.
fn refusal(answer: &Value, command: &Command) -> Result<(), ClientError> {
    let is_error = answer["Code"].as_str().is_some_and(|code| code.contains("ERROR"));
    if !is_error {
        return Ok(());
    }
    let message = squeezed(answer["Message"].as_str().unwrap_or_default());
    let details = if command.print == Print::Raw {
        Some(answer.to_string())
    } else {
        let details = &answer["Details"];
        (!details.is_null()).then(|| match details {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    Err(ClientError::Refused { message, details })
}

/// Without single quotes and repeated blanks.
fn squeezed(message: &str) -> String {
    message.replace('\'', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn login() -> String {
    let named = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    named("USER").or_else(|| named("LOGNAME")).unwrap_or_else(|| "baton".to_owned())
}

/// The reference of the client, `docs/client.md`.
pub fn reference() -> String {
    let mut text = include_str!("client/introduction.md").to_owned();
    text.push_str("\n| command | asks for | does |\n|---|---|---|\n");
    for command in COMMANDS {
        let mark = if command.dry_run == DryRun::Shown { " \\*" } else { "" };
        let row = format!("| `{}`{mark} | `{}` | {} |\n", command.name, command.path, command.help);
        text.push_str(&row);
    }
    text
}

/// Names that are longer have their help on the next line.
const NAME_COLUMNS: usize = 34;

fn help() -> Vec<String> {
    let mut lines = vec![
        "Usage: baton client COMMAND [-i INSTANCE] [-d DESTINATION] [-a ALIAS] ...".to_owned(),
        String::new(),
        "  -i INSTANCE   host[:port]     -r REASON     -t TAG       -S SECONDS".to_owned(),
        "  -d INSTANCE   destination     -u DURATION   -l POOL      -n BINLOG".to_owned(),
        "  -a ALIAS      of a cluster    -o OWNER      -q QUERY     -P PATH".to_owned(),
        "  -U URL        of the service; several are separated by blanks".to_owned(),
        "  -b USER:PASSWORD   -e HEADER   -R PROMOTION-RULE   -H HOSTNAME   -D PORT".to_owned(),
        "  --dry-run     print what would be done, and do nothing (commands with *)".to_owned(),
        String::new(),
        "Commands:".to_owned(),
    ];
    let mut entry = |name: &str, dry_run: DryRun, help: &str| {
        let mark = if dry_run == DryRun::Shown { '*' } else { ' ' };
        match name.len() {
            ..=NAME_COLUMNS => lines.push(format!(" {mark}{name:<NAME_COLUMNS$}  {help}")),
            _ => {
                lines.push(format!(" {mark}{name}"));
                lines.push(format!("  {:<NAME_COLUMNS$}  {help}", ""));
            }
        }
    };
    COMMANDS.iter().for_each(|it| entry(it.name, it.dry_run, it.help));
    entry("which-api", DryRun::None, "The endpoint that is asked");
    lines
}

/// The service, at one of several endpoints.
struct Service {
    agent: ureq::Agent,
    endpoints: Vec<String>,
    headers: Vec<(String, String)>,
}

impl Service {
    fn new(options: &ClientOptions) -> Self {
        let named = options.get("api");
        let named = if named.is_empty() { DEFAULT_API } else { named };
        let endpoints = named.split_whitespace().map(|endpoint| {
            let endpoint = endpoint.trim_end_matches('/');
            if endpoint.ends_with("/api") { endpoint.to_owned() } else { format!("{endpoint}/api") }
        });
        let mut headers = Vec::new();
        if !options.get("auth").is_empty() {
            use base64::Engine;
            let encoded = base64::engine::general_purpose::STANDARD.encode(options.get("auth"));
            headers.push(("Authorization".to_owned(), format!("Basic {encoded}")));
        }
        if let Some((name, value)) = options.get("headers-auth").split_once(':') {
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_DEADLINE))
            // One that was kept may be gone when it is used: whether that was asked nobody knows.
            .max_idle_connections(0)
            .build();
        Self { agent: config.into(), endpoints: endpoints.collect(), headers }
    }

    /// The endpoint to ask: the only one, or the one that leads, or one that leads there.
    fn endpoint(&self) -> Result<String, ClientError> {
        let all = || self.endpoints.join(" ");
        if let [only] = &self.endpoints[..] {
            self.check_access(only)?;
            return Ok(only.clone());
        }
        for check in ["leader-check", "routed-leader-check"] {
            let leads = |endpoint: &&String| {
                let url = format!("{endpoint}/{check}");
                let request = self.agent.get(&url).config().timeout_global(Some(LEADER_DEADLINE));
                let request = self.with_headers(request.build());
                request.call().is_ok_and(|answer| answer.status() == 200)
            };
            if let Some(endpoint) = self.endpoints.iter().find(leads) {
                return Ok(endpoint.clone());
            }
        }
        Err(ClientError::NoLeader(all()))
    }

    fn check_access(&self, endpoint: &str) -> Result<(), ClientError> {
        let head = self.with_headers(self.agent.head(endpoint)).call();
        if head.is_ok_and(|answer| answer.status() == 401) {
            return Err(ClientError::NoAccess(endpoint.to_owned()));
        }
        Ok(())
    }

    fn with_headers(
        &self,
        request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
    ) -> ureq::RequestBuilder<ureq::typestate::WithoutBody> {
        let add = |request: ureq::RequestBuilder<_>, (name, value): &(String, String)| {
            request.header(name, value)
        };
        self.headers.iter().fold(request, add)
    }

    /// Asks until the answer is JSON, a few times.
    #[allow(clippy::disallowed_methods, reason = "the client is a program that may wait")]
    fn ask(&self, url: &str) -> Result<Value, ClientError> {
        let mut last = None;
        for pause in PAUSES_MS {
            let answer = self.with_headers(self.agent.get(url)).call();
            let is_missing = answer.as_ref().is_ok_and(|answer| answer.status() == 404);
            match answer.and_then(|mut answer| answer.body_mut().read_to_string()) {
                Ok(body) => {
                    if let Ok(value) = serde_json::from_str(&body) {
                        return Ok(value);
                    }
                    // An answer may have that status too: whoever does not lead says so with it.
                    if is_missing {
                        return Err(ClientError::NotThere(url.to_owned()));
                    }
                }
                Err(error) => last = Some(error),
            }
            std::thread::sleep(Duration::from_millis(pause));
        }
        Err(ClientError::NoAnswer { url: url.to_owned(), source: last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_are_called_does_not_move_the_terminal() {
        assert_eq!(printable("db1:3306\t|ok\nd\u{e9}j\u{e0}"), "db1:3306\t|ok\nd\u{e9}j\u{e0}");
        assert_eq!(printable("a\u{1b}[2Jb\rc\u{9b}d\u{7f}"), r"a\u{1b}[2Jb\rc\u{9b}d\u{7f}");
    }

    #[test]
    fn the_reference_is_in_step_with_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/client.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == reference(), "run the tests once with UPDATE_DOCS=1");
    }

    #[test]
    fn refusals_go_to_standard_error_and_their_details_to_standard_output() {
        let command = commands::find("tags").unwrap();
        let answer =
            serde_json::json!({"Code": "ERROR", "Message": "it's   no use", "Details": null});
        let Err(ClientError::Refused { message, details }) = refusal(&answer, command) else {
            panic!("it is refused")
        };
        assert_eq!((message.as_str(), details), ("its no use", None));
        let answer = serde_json::json!({"Code": "ERROR", "Message": "", "Details": {"Port": 1}});
        let Err(ClientError::Refused { details, .. }) = refusal(&answer, command) else {
            panic!("it is refused")
        };
        assert_eq!(details.as_deref(), Some("{\"Port\":1}"));
        for fine in [serde_json::json!([]), Value::Null, serde_json::json!({"Code": "OK"})] {
            assert!(refusal(&fine, command).is_ok());
        }
    }
}
