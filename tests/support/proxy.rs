//! A running HAProxy with a configuration of `deploy/`, in front of batons.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{PATIENCE, free_seats, http, servers_folder, wait_until};

/// The program, as `install-servers` put it in place.
pub fn haproxy() -> PathBuf {
    let folder = servers_folder().join("haproxy");
    assert!(folder.join("ready").exists(), "HAProxy is missing: run tests/support/install-servers");
    folder.join("bin/haproxy")
}

/// An HAProxy process. Ends with whoever started it.
pub struct Proxy {
    child: Child,
    folder: PathBuf,
    /// Where it listens, by the port its configuration names.
    listens: Vec<(&'static str, String)>,
}

impl Proxy {
    /// Starts it with this configuration, in which each first text is replaced by the second, and
    /// each of `ports` (`:8080`) by a free one on loopback.
    pub fn start(config: &str, ports: &[&'static str], replaced: &[(&str, &str)]) -> Self {
        let [first, second, third] = free_seats();
        let free = [first, second, third];
        let folder = free[0].replace(':', "-");
        let folder = std::env::temp_dir().join(format!("baton-proxy-{folder}"));
        fs::create_dir_all(&folder).expect("create the folder of the proxy");
        let mut config = config.to_owned();
        for (before, after) in replaced {
            assert!(config.contains(before), "the configuration says {before}");
            config = config.replace(before, after);
        }
        let listens: Vec<_> = ports.iter().copied().zip(free).collect();
        for (before, after) in &listens {
            let before = format!("bind {before}\n");
            assert!(config.contains(&before), "the configuration says {before}");
            config = config.replace(&before, &format!("bind {after}\n"));
        }
        let socket = folder.join("admin");
        config.push_str(&format!("\nglobal\n    stats socket {}\n", socket.display()));
        let file = folder.join("haproxy.cfg");
        fs::write(&file, config).expect("write the configuration");
        let log = fs::File::create(folder.join("log")).expect("create the log");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(haproxy())
            .args(["-db", "-f"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the log"))
            .stderr(log)
            .spawn()
            .expect("start HAProxy through setpriv");
        let mut proxy = Self { child, folder, listens };
        wait_until(PATIENCE, "HAProxy answers", || {
            if let Some(status) = proxy.child.try_wait().expect("look at HAProxy") {
                panic!("HAProxy ended with {status}:\n{}", proxy.log());
            }
            proxy.statistics()
        });
        proxy
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A GET to where it listens; status and body, nothing if there was no answer.
    pub fn get(&self, port: &str, path: &str) -> Option<(u16, String)> {
        let (_, address) = self.listens.iter().find(|(it, _)| *it == port).expect("it listens");
        http::get(address, path, "")
    }

    /// Whom it takes to be up, of those behind `section`.
    pub fn up(&self, section: &str) -> Vec<String> {
        let table = self.statistics().expect("HAProxy answers");
        let rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let up = rows.filter(|row| row.first() == Some(&section) && row.get(17) == Some(&"UP"));
        let names = up.filter_map(|row| row.get(1).map(|name| (*name).to_owned()));
        names.filter(|name| name != "BACKEND").collect()
    }

    fn statistics(&self) -> Option<String> {
        let mut stream = UnixStream::connect(self.folder.join("admin")).ok()?;
        stream.write_all(b"show stat\n").ok()?;
        let mut table = String::new();
        stream.read_to_string(&mut table).ok()?;
        Some(table)
    }
}

impl Drop for Proxy {
    #[allow(clippy::print_stderr, reason = "a failed test must be readable")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("HAProxy's log:\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
