//! A running baton: the real program, with a store of its own, spoken to over HTTP.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Flavor, Place, Server, free_port, wait_until};

/// The account baton watches with.
pub const USER: &str = "baton";
/// Its password.
pub const PASSWORD: &str = "s3cret-of-the-tests";
/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long one answer may take: MySQL gives the rest of a transaction a minute when an applier is stopped.
const ANSWER_WITHIN: Duration = Duration::from_secs(100);

static SERIAL: AtomicU32 = AtomicU32::new(1);

/// The grants of `docs/grants.md`, and not one more.
pub fn least_grants(flavor: Flavor) -> &'static [&'static str] {
    match flavor {
        Flavor::MySql97 => &[
            "GRANT REPLICATION CLIENT, REPLICATION SLAVE, PROCESS ON *.* TO {user}",
            "GRANT SELECT ON performance_schema.threads TO {user}",
            "GRANT SELECT ON performance_schema.user_variables_by_thread TO {user}",
        ],
        Flavor::MariaDb1011 | Flavor::MariaDb118 => &[
            "GRANT SLAVE MONITOR, BINLOG MONITOR, REPLICATION MASTER ADMIN, PROCESS ON *.* TO {user}",
        ],
    }
}

/// What changing servers needs on top, by `docs/grants.md`.
pub fn recovery_grants(flavor: Flavor) -> &'static [&'static str] {
    match flavor {
        Flavor::MySql97 => &[
            "GRANT REPLICATION_SLAVE_ADMIN, SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, BINLOG_ADMIN, \
             RELOAD ON *.* TO {user}",
            "GRANT SELECT ON mysql.slave_master_info TO {user}",
        ],
        Flavor::MariaDb1011 | Flavor::MariaDb118 => &[
            "GRANT REPLICATION SLAVE ADMIN, READ_ONLY ADMIN, CONNECTION ADMIN, BINLOG ADMIN, RELOAD \
             ON *.* TO {user}",
        ],
    }
}

/// Lets baton watch these servers.
pub fn admit(servers: &[Server]) {
    for server in servers {
        server.create_monitor_user(USER, PASSWORD, least_grants(server.flavor));
    }
}

/// Lets baton watch and change these servers.
pub fn empower(servers: &[Server]) {
    for server in servers {
        let grants = [least_grants(server.flavor), recovery_grants(server.flavor)].concat();
        server.create_monitor_user(USER, PASSWORD, &grants);
    }
}

/// A baton process. Ends with whoever started it.
pub struct Baton {
    child: Option<Child>,
    /// The port it answers on.
    pub port: u16,
    folder: PathBuf,
    program: PathBuf,
    settings: Vec<(String, String)>,
    seeds: Vec<String>,
    place: Option<Place>,
    files_max: Option<u32>,
}

impl Baton {
    /// Starts `program` knowing the first of `servers`, and waits until it answers.
    pub fn watch(program: impl AsRef<Path>, servers: &[Server]) -> Self {
        let seeds = servers.first().map(Server::address).into_iter().collect();
        Self::start(program, seeds, &[])
    }

    /// Starts `program` with seeds and further settings (environment variables), and waits until
    /// it answers.
    pub fn start(program: impl AsRef<Path>, seeds: Vec<String>, settings: &[(&str, &str)]) -> Self {
        let mut baton = Self::prepare(program, seeds, settings);
        baton.launch();
        baton
    }

    /// Everything but the process.
    pub fn prepare(
        program: impl AsRef<Path>,
        seeds: Vec<String>,
        settings: &[(&str, &str)],
    ) -> Self {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("baton-state-{}-{serial}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // Whoever had this number of a process before may have been killed.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("create the state folder");
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            child: None,
            port: free_port(),
            folder,
            program: program.as_ref().to_owned(),
            settings: settings.iter().map(own).collect(),
            seeds,
            place: None,
            files_max: None,
        }
    }

    /// The same, and it may never have more files open than this.
    #[must_use]
    pub fn with_files(mut self, files_max: u32) -> Self {
        self.files_max = Some(files_max);
        self
    }

    /// The same, in a place of its own.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// The address it answers on.
    pub fn host(&self) -> String {
        self.place.as_ref().map_or_else(|| "127.0.0.1".to_owned(), Place::address)
    }

    /// The command that runs it.
    pub fn command(&self) -> Command {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file());
        let log = log.expect("create the log");
        let mut command = match &self.place {
            Some(place) => place.command(&self.folder),
            None => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]).current_dir(&self.folder);
                command
            }
        };
        if let Some(limit) = self.files_max {
            command.args(["prlimit", &format!("--nofile={limit}:{limit}"), "--"]);
        }
        command
            .arg(&self.program)
            .args(["serve", "--listen", &format!("{}:{}", self.host(), self.port)])
            .args(self.seeds.iter().flat_map(|seed| ["--discover", seed]))
            .env("XDG_STATE_HOME", &self.folder)
            .env_remove("STATE_DIRECTORY")
            .env("BATON_MYSQLTOPOLOGYUSER", USER)
            .env("BATON_MYSQLTOPOLOGYPASSWORD", PASSWORD)
            .env("BATON_MYSQLHOSTNAMERESOLVEMETHOD", "none")
            .env("BATON_DISCOVERBYSHOWSLAVEHOSTS", "true")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the log"))
            .stderr(log);
        command
    }

    /// Starts the process and waits until it answers.
    pub fn launch(&mut self) {
        self.child = Some(self.command().spawn().expect("start baton through setpriv"));
        wait_until(PATIENCE, "baton answers", || {
            if let Some(status) = self.child.as_mut()?.try_wait().expect("look at baton") {
                panic!("baton ended with {status}:\n{}", self.log());
            }
            self.try_get("/health/live").filter(|(status, _)| *status == 200)
        });
    }

    /// Changes settings; the next start has them.
    pub fn set(&mut self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            self.settings.retain(|(known, _)| known != name);
            self.settings.push(((*name).to_owned(), (*value).to_owned()));
        }
    }

    /// The settings it has.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// The command that runs it with a state folder of its own that holds `mebibytes`.
    pub fn on_a_small_disk(&self, mebibytes: u32) -> Command {
        let plain = self.command();
        let folder = self.folder().display().to_string();
        let mount = format!("mount -t tmpfs -o size={mebibytes}m small '{folder}' && exec \"$@\"");
        let id = Command::new("id").arg("-u").output().expect("run id");
        let is_root = id.stdout == b"0\n";
        let mut command = Command::new("unshare");
        command.arg(if is_root { "-m" } else { "-rm" }).args(["sh", "-c", &mount, "sh"]);
        command.arg(plain.get_program()).args(plain.get_args());
        let set = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command
            .envs(set)
            .env_remove("STATE_DIRECTORY")
            .current_dir("/")
            .stdin(std::process::Stdio::null());
        let log = std::fs::File::create(self.folder().join("log")).expect("create the log");
        command.stdout(log.try_clone().expect("share the log")).stderr(log);
        command
    }

    /// Its state folder as it sees it, which is not the one we see if it is on a small disk.
    pub fn folder_inside(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.pid(), self.folder().display()))
    }

    /// Where it keeps its state and its log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Begins its log anew.
    pub fn forget_log(&self) {
        fs::write(self.log_file(), "").expect("empty the log");
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The answer to a GET: status and body.
    pub fn try_get(&self, path: &str) -> Option<(u16, String)> {
        self.request("GET", path, "").ok()
    }

    /// The answer to a GET as JSON, whatever its status.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, "").expect("baton answers");
        serde_json::from_str(&body).unwrap_or_else(|_| panic!("GET {path}: {status} {body}"))
    }

    /// One request, with further header lines; status and body.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &str,
    ) -> std::io::Result<(u16, String)> {
        let (head, body) = self.exchange(method, path, headers)?;
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
        Ok((status, body))
    }

    /// One request; the head of the answer as it came, and the body.
    pub fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &str,
    ) -> std::io::Result<(String, String)> {
        let (host, port) = (self.host(), self.port);
        let mut stream = TcpStream::connect((host.as_str(), port))?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n{headers}\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        Ok((head.to_owned(), body.to_owned()))
    }

    /// Asks again and again until `found` finds something in the answer.
    pub fn until<T>(
        &self,
        path: &str,
        description: &str,
        found: impl Fn(&Value) -> Option<T>,
    ) -> T {
        wait_until(PATIENCE, &format!("{description}, by {path}"), || found(&self.get(path)))
    }

    /// Waits until all of `count` instances answer.
    pub fn until_all_valid(&self, count: usize) {
        self.until("/api/all-instances", "all instances are known and valid", |all| {
            let all = all.as_array()?;
            let valid = all.iter().filter(|it| it["IsLastCheckValid"] == true).count();
            (all.len() == count && valid == count).then_some(())
        });
    }

    /// The codes the analysis finds now, as `port code`, sorted.
    pub fn findings(&self) -> Vec<String> {
        findings_of(&self.get("/api/replication-analysis"))
    }

    /// Waits until the analysis finds `code` on `server`.
    pub fn until_found(&self, server: &Server, code: &str) {
        self.until_found_within(PATIENCE, server, code);
    }

    /// The same, with a time limit of its own: for what must not take until the next poll.
    pub fn until_found_within(&self, deadline: Duration, server: &Server, code: &str) {
        let wanted = format!("{} {code}", server.port);
        wait_until(deadline, &wanted, || self.findings().contains(&wanted).then_some(()));
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("run kill");
        assert!(sent.success(), "kill {signal} {pid}");
    }

    /// Ends it like a power cut.
    pub fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill baton");
            child.wait().expect("bury baton");
        }
    }

    /// Waits for its end.
    pub fn wait_within(&mut self, deadline: Duration) -> ExitStatus {
        let child = self.child.as_mut().expect("baton runs");
        let status =
            wait_until(deadline, "baton ends", || child.try_wait().expect("look at baton"));
        self.child = None;
        status
    }

    /// Starts the process and leaves it alone.
    pub fn spawn(&mut self, mut command: Command) {
        self.child = Some(command.spawn().expect("start baton through setpriv"));
    }
}

/// `port code` of each finding, sorted.
fn findings_of(answer: &Value) -> Vec<String> {
    let details = answer["Details"].as_array().cloned().unwrap_or_default();
    let shown = details.iter().map(|it| {
        let port = &it["AnalyzedInstanceKey"]["Port"];
        format!("{port} {}", it["Analysis"].as_str().unwrap_or_default())
    });
    let mut shown: Vec<String> = shown.collect();
    shown.sort();
    shown
}

impl Drop for Baton {
    #[allow(clippy::print_stderr, reason = "a failed test must be readable")]
    fn drop(&mut self) {
        self.kill_9();
        if std::thread::panicking() {
            eprintln!("baton's log:\n{}", self.log());
        }
        // Leftovers of a test are no reason to fail it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
