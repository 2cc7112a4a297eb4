//! A certificate authority of our own, with a server's and a client's certificate, made by `openssl`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// PEM files in one folder.
#[derive(Clone, Debug)]
pub struct Certificates {
    folder: PathBuf,
    pub ca: PathBuf,
    pub server_cert: PathBuf,
    pub server_key: PathBuf,
    pub client_cert: PathBuf,
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes them in `dir`: the server's is valid for `localhost` and 127.0.0.1.
    pub fn make(dir: &Path) -> Certificates {
        fs::create_dir_all(dir).expect("create the folder for certificates");
        let path = |name: &str| dir.join(name);
        openssl(
            dir,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
             -subj /CN=baton-test-ca -keyout ca-key.pem -out ca.pem",
        );
        sign(dir, "server", "", "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
        sign(dir, "client", "", CLIENT);
        Certificates {
            folder: dir.to_owned(),
            ca: path("ca.pem"),
            server_cert: path("server.pem"),
            server_key: path("server-key.pem"),
            client_cert: path("client.pem"),
            client_key: path("client-key.pem"),
        }
    }

    /// Makes another one for the server, by the same authority.
    pub fn renew_server(&self) {
        sign(&self.folder, "server", "", "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    }

    /// Certificate and key of a client of an organisational unit, by the same authority.
    pub fn client_of(&self, unit: &str) -> (PathBuf, PathBuf) {
        sign(&self.folder, unit, &format!("/OU={unit}"), CLIENT);
        (self.folder.join(format!("{unit}.pem")), self.folder.join(format!("{unit}-key.pem")))
    }

    /// The same, for another host.
    pub fn renew_server_for(&self, host: &str) {
        sign(&self.folder, "server", "", &format!("subjectAltName=DNS:{host}\n"));
    }

    /// The same, of a day that is over.
    pub fn renew_server_as_expired(&self) {
        openssl(
            &self.folder,
            "x509 -req -in server.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days -1 \
             -extfile server.ext -out server.pem",
        );
    }

    /// The same, of X.509 version 1: it has no extensions.
    pub fn renew_server_as_version_1(&self) {
        openssl(
            &self.folder,
            "x509 -req -in server.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 \
             -out server.pem",
        );
    }
}

const CLIENT: &str = "extendedKeyUsage=clientAuth\n";

fn sign(dir: &Path, name: &str, unit: &str, extensions: &str) {
    fs::write(dir.join(format!("{name}.ext")), extensions).expect("write the extensions");
    openssl(
        dir,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj {unit}/CN=baton-test-{name} \
             -keyout {name}-key.pem -out {name}.csr"
        ),
    );
    openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 \
             -extfile {name}.ext -out {name}.pem"
        ),
    );
}

fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("run openssl");
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
