//! One real server: its folder, its process, its statements.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use mysql_async::{Conn, Opts, OptsBuilder, Value, prelude::Queryable};

use super::{
    Place, free_port,
    options::{Flavor, Options},
    wait_until,
};

/// How long a server may take to accept its first connection, on a busy machine.
const BOOT_MAX: Duration = Duration::from_secs(60);
const SHUTDOWN_MAX: Duration = Duration::from_secs(30);

static SERIAL: AtomicU32 = AtomicU32::new(1);

/// A row as text; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// A running (or killed, or stopped) server. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub struct Server {
    pub flavor: Flavor,
    pub host: String,
    pub port: u16,
    pub server_id: u32,
    pub(super) gtid: bool,
    dir: PathBuf,
    relay_disk: Option<u32>,
    place: Option<Place>,
    child: Option<Child>,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub fn start(options: Options) -> Server {
        let mut server = Server::launch(options);
        server.wait_ready();
        server
    }

    /// Starts several at once, which takes hardly longer than one.
    pub fn start_all(options: impl IntoIterator<Item = Options>) -> Vec<Server> {
        let mut servers: Vec<Server> = options.into_iter().map(Server::launch).collect();
        servers.iter_mut().for_each(Server::wait_ready);
        servers
    }

    fn launch(options: Options) -> Server {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("baton-{}-{serial}", std::process::id()));
        // Whoever had this number of a process before may have been killed.
        let _ = fs::remove_dir_all(&dir);
        // A temporary folder of its own: a MariaDB that starts deletes the temporary tables it finds, whoever's they are.
        fs::create_dir_all(dir.join("tmp")).expect("create the server's folder");
        copy(&installed(options.flavor).join("data"), &dir.join("data"));
        for (name, text) in &options.files {
            fs::write(dir.join("data").join(name), text).expect("write a data file");
        }
        let mut server = Server {
            flavor: options.flavor,
            host: options.host.clone(),
            port: free_port(),
            server_id: options.server_id.unwrap_or(serial),
            gtid: options.gtid,
            dir,
            relay_disk: options.relay_disk,
            place: options.place.clone(),
            child: None,
        };
        fs::write(server.dir.join("my.cnf"), server.my_cnf(&options)).expect("write my.cnf");
        server.spawn();
        server
    }

    fn my_cnf(&self, options: &Options) -> String {
        let dir = self.dir.display();
        let (port, id) = (self.port, self.server_id);
        let relay = self.relay_disk.map_or(String::new(), |_| format!("{dir}/relay/"));
        let report_host = options.report_host.as_deref().unwrap_or(&self.host);
        let report_port = options.report_port.unwrap_or(port);
        let mut text = format!(
            "[mysqld]\nuser={}\ndatadir={dir}/data\ntmpdir={dir}/tmp\nsocket={dir}/s\npid-file={dir}/pid\n\
             log-error={dir}/error.log\nbind-address={}\nport={port}\nserver-id={id}\n\
             report_host={report_host}\nreport_port={report_port}\nskip_name_resolve=ON\n\
             log_bin=binlog\nrelay_log={relay}relay\nsync_binlog=0\n\
             innodb_buffer_pool_size=16M\ninnodb_flush_log_at_trx_commit=2\n\
             table_open_cache=200\nmax_connections=100\nperformance_schema=ON\n",
            user(),
            self.host
        );
        match self.flavor {
            Flavor::MySql97 => {
                let usr = installed(self.flavor).join("root/usr");
                let usr = usr.display();
                let gtid = if self.gtid { "ON" } else { "OFF" };
                let _ = write!(
                    text,
                    "basedir={usr}\nplugin_dir={usr}/lib/mysql/plugin\n\
                     lc_messages_dir={usr}/share/mysql\ncharacter_sets_dir={usr}/share/mysql/charsets\n\
                     mysqlx=OFF\nsecure_file_priv=\ngtid_mode={gtid}\nenforce_gtid_consistency={gtid}\n\
                     innodb_redo_log_capacity=8M\nrelay_log_recovery=ON\n"
                );
            }
            Flavor::MariaDb1011 | Flavor::MariaDb118 => {
                text.push_str("binlog_format=ROW\nlog_slave_updates=ON\ninnodb_log_file_size=8M\n");
                if self.flavor == Flavor::MariaDb118 {
                    let usr = installed(self.flavor).join("root/usr");
                    let usr = usr.display();
                    let _ = write!(
                        text,
                        "basedir={usr}\nlc_messages_dir={usr}/share/mariadb\n\
                         character_sets_dir={usr}/share/mariadb/charsets\n"
                    );
                }
            }
        }
        for line in &options.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn spawn(&mut self) {
        let program = match self.flavor {
            Flavor::MySql97 => installed(self.flavor).join("bin/mysqld"),
            Flavor::MariaDb1011 => PathBuf::from("/usr/sbin/mariadbd"),
            Flavor::MariaDb118 => installed(self.flavor).join("bin/mariadbd"),
        };
        let output = fs::File::create(self.dir.join("output.log")).expect("create output.log");
        // The kernel kills the server when whoever started it is gone, however that happened. The signal follows the
        // *thread*, so a server outlives only the tests whose thread lives on.
        let mut command = match (&self.place, self.relay_disk) {
            (Some(place), disk) => {
                if let Some(mebibytes) = disk {
                    place.small_disk(&self.dir.join("relay"), mebibytes * 1024);
                }
                place.command(&self.dir)
            }
            (None, None) => with_its_thread(Command::new("setpriv")),
            (None, Some(mebibytes)) => with_its_thread(self.with_relay_disk(mebibytes)),
        };
        let child = command
            .arg(program)
            .arg(format!("--defaults-file={}", self.dir.join("my.cnf").display()))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("share output.log"))
            .stderr(output)
            .spawn()
            .expect("start the server through setpriv (util-linux)");
        self.child = Some(child);
    }

    /// Starts what follows where nobody else sees the small disk.
    fn with_relay_disk(&self, mebibytes: u32) -> Command {
        let relay = self.dir.join("relay");
        fs::create_dir_all(&relay).expect("create the folder for relay logs");
        let mount = format!(
            "mount -t tmpfs -o size={mebibytes}m,mode=777 tmpfs {} && exec setpriv \"$@\"",
            relay.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &mount, "sh"]);
        command
    }

    fn wait_ready(&mut self) {
        let description = format!("{:?} in {} answers", self.flavor, self.dir.display());
        wait_until(BOOT_MAX, &description, || {
            let child = self.child.as_mut()?;
            if let Some(status) = child.try_wait().expect("look at the server's process") {
                panic!("the server ended with {status}:\n{}", self.error_log());
            }
            self.dir.join("s").exists().then(|| self.try_query("SELECT 1").ok()).flatten()
        });
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn error_log(&self) -> String {
        let read = |name| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        read("error.log") + &read("output.log")
    }

    pub fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill the server");
            child.wait().expect("reap the server");
        }
    }

    /// Hangs the server: its connections stay open, nothing answers.
    /// Stops the process where it is, and waits until it is: a signal takes a moment to arrive.
    pub fn stop_signal(&self) {
        self.signal("STOP");
        let status = format!("/proc/{}/status", self.pid().expect("it runs"));
        wait_until(SHUTDOWN_MAX, "the process is stopped", || {
            let status = fs::read_to_string(&status).expect("read its status");
            status.contains("State:\tT").then_some(())
        });
    }

    pub fn cont_signal(&self) {
        self.signal("CONT");
    }

    /// Ends all connections of an account.
    pub fn end_connections_of(&self, user: &str) {
        for row in self.query("SHOW PROCESSLIST") {
            if let [Some(id), Some(name), ..] = &row[..]
                && name == user
            {
                // It may be gone already.
                let _ = self.try_query(&format!("KILL {id}"));
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.pid().expect("the server runs");
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(status.expect("run kill").success(), "kill -{name} {pid}");
    }

    /// A clean end; the data stays for [`Server::restart`].
    pub fn shutdown(&mut self) {
        self.signal("TERM");
        let mut child = self.child.take().expect("the server runs");
        wait_until(SHUTDOWN_MAX, "the server shuts down", || {
            child.try_wait().expect("look at the server's process")
        });
    }

    /// Starts it again on the same port and data, after shutting it down if it runs.
    pub fn restart(&mut self) {
        if self.child.is_some() {
            self.shutdown();
        }
        let _ = fs::remove_file(self.dir.join("s"));
        self.spawn();
        self.wait_ready();
    }

    /// Throws all data away and starts anew, as a fresh server on the same port. It needs another
    /// id: what it wrote under the old one it would ignore when it gets it from others.
    pub fn start_empty(&mut self) {
        self.kill_9();
        self.server_id = SERIAL.fetch_add(1, Ordering::Relaxed);
        let settings = self.dir.join("my.cnf");
        let mut text = fs::read_to_string(&settings).expect("read my.cnf");
        let _ = writeln!(text, "server-id={}", self.server_id);
        fs::write(&settings, text).expect("write my.cnf");
        let data = self.dir.join("data");
        fs::remove_dir_all(&data).expect("remove the data");
        copy(&installed(self.flavor).join("data"), &data);
        self.restart();
    }

    /// Runs one statement as root; panics if it fails.
    pub fn exec(&self, sql: &str) {
        self.query(sql);
    }

    /// Runs one statement as root and returns its rows; panics if it fails.
    pub fn query(&self, sql: &str) -> Vec<Row> {
        self.try_query(sql).unwrap_or_else(|error| {
            let log = self.error_log();
            panic!("{} refused {sql}: {error:?}; its log:\n{log}", self.address())
        })
    }

    /// Runs one statement as root that does not reach the binary log; panics if it fails.
    pub fn run_unlogged(&self, sql: &str) {
        self.run(&["SET SESSION sql_log_bin = 0", sql]).unwrap_or_else(|error| {
            panic!("{} refused {sql}: {error:?}", self.address());
        });
    }

    /// The first column of the first row, empty where there is none or it is NULL.
    pub fn value(&self, sql: &str) -> String {
        let rows = self.query(sql);
        rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten().unwrap_or_default()
    }

    pub fn try_query(&self, sql: &str) -> Result<Vec<Row>, mysql_async::Error> {
        self.run(&[sql]).map(|rows| rows.iter().map(text_row).collect())
    }

    /// Keeps the applier from going on with a table while `work` is done.
    pub fn while_held<T>(&self, table: &str, work: impl FnOnce() -> T) -> T {
        let socket = self.dir.join("s").display().to_string();
        let opts = OptsBuilder::default().user(Some("root")).socket(Some(socket));
        Self::while_locked(opts, &format!("LOCK TABLES {table} READ"), work)
    }

    /// A backup holds the global read lock while `work` is done: nothing is committed meanwhile, not
    /// by an applier either.
    pub fn while_backed_up<T>(&self, work: impl FnOnce() -> T) -> T {
        let socket = self.dir.join("s").display().to_string();
        let opts = OptsBuilder::default().user(Some("root")).socket(Some(socket));
        Self::while_locked(opts, "FLUSH TABLES WITH READ LOCK", work)
    }

    /// An account keeps a table for itself while `work` is done: nobody can close the server then.
    pub fn while_kept_by<T>(
        &self,
        (user, password): (&str, &str),
        table: &str,
        work: impl FnOnce() -> T,
    ) -> T {
        let opts = OptsBuilder::default().user(Some(user)).pass(Some(password));
        let opts = opts.ip_or_hostname(&self.host).tcp_port(self.port).prefer_socket(false);
        Self::while_locked(opts, &format!("LOCK TABLES {table} WRITE"), work)
    }

    fn while_locked<T>(opts: OptsBuilder, sql: &str, work: impl FnOnce() -> T) -> T {
        let opts = Opts::from(opts);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let held = runtime.block_on(async {
            let mut connection = Conn::new(opts).await.expect("it is let in");
            connection.query_drop(sql).await.expect("it holds");
            connection
        });
        let outcome = work();
        runtime.block_on(async { held.disconnect().await }).expect("it lets go");
        outcome
    }

    /// Runs the statements on one connection as root and returns the rows of the last, with their columns.
    pub(super) fn run(
        &self,
        statements: &[&str],
    ) -> Result<Vec<mysql_async::Row>, mysql_async::Error> {
        let socket = self.dir.join("s").display().to_string();
        let opts = Opts::from(OptsBuilder::default().user(Some("root")).socket(Some(socket)));
        // A thread of its own, because the caller may be inside a runtime already.
        std::thread::scope(|scope| scope.spawn(|| run_blocking(opts, statements)).join())
            .expect("the connection's thread does not panic")
    }

    /// Creates an account with exactly these grants, without a transaction in the binary log. `{user}` in a grant
    /// stands for the account.
    pub fn create_monitor_user(&self, user: &str, password: &str, grants: &[&str]) {
        let account = format!("'{user}'@'%'");
        let mut statements = vec![
            "SET SESSION sql_log_bin = 0".to_owned(),
            format!("CREATE USER {account} IDENTIFIED BY '{password}'"),
        ];
        statements.extend(grants.iter().map(|grant| grant.replace("{user}", &account)));
        self.run_local(&statements);
    }

    /// Runs statements that do not reach the binary log, and works on a read-only server.
    fn run_local(&self, statements: &[String]) {
        let read_only = match self.flavor {
            Flavor::MySql97 => self.value("SELECT @@global.super_read_only") == "1",
            Flavor::MariaDb1011 | Flavor::MariaDb118 => false,
        };
        let mut all: Vec<&str> = statements.iter().map(String::as_str).collect();
        if read_only {
            all.insert(0, "SET GLOBAL super_read_only = OFF");
            all.push("SET GLOBAL super_read_only = ON");
        }
        self.run(&all).unwrap_or_else(|error| panic!("{}: {error}", self.address()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn run_blocking(
    opts: Opts,
    statements: &[&str],
) -> Result<Vec<mysql_async::Row>, mysql_async::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for one connection");
    runtime.block_on(async {
        let mut connection = Conn::new(opts).await?;
        let mut rows = Vec::new();
        for statement in statements {
            rows = connection.query(*statement).await?;
        }
        connection.disconnect().await?;
        Ok(rows)
    })
}

fn text_row(row: &mysql_async::Row) -> Row {
    (0..row.len()).map(|index| row.as_ref(index).and_then(text)).collect()
}

pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    }
}

/// Where `install-servers` puts things.
pub fn servers_folder() -> PathBuf {
    let home = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    home("BATON_SERVERS").unwrap_or_else(|| {
        let cache = home("XDG_CACHE_HOME")
            .unwrap_or_else(|| home("HOME").expect("HOME is set").join(".cache"));
        cache.join("baton/servers")
    })
}

/// Where `install-servers` put this flavour.
fn installed(flavor: Flavor) -> PathBuf {
    let dir = servers_folder().join(match flavor {
        Flavor::MySql97 => "mysql-9.7",
        Flavor::MariaDb1011 => "mariadb-10.11",
        Flavor::MariaDb118 => "mariadb-11.8",
    });
    assert!(
        dir.join("ready").exists(),
        "{} is missing: run tests/support/install-servers",
        dir.display()
    );
    dir
}

/// Ends it when the thread that started it ends.
fn with_its_thread(mut setpriv: Command) -> Command {
    setpriv.args(["--pdeathsig", "KILL", "--"]);
    setpriv
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).status();
    assert!(status.expect("run cp").success(), "copy {} to {}", from.display(), to.display());
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("run id");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
