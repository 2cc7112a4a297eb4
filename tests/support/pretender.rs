//! A server that poses as one of MySQL to get the password of the account that logs in, and what stands between
//! to switch TLS off. They only note what they are told.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::Certificates;

/// Asks everybody who logs in for the password itself.
#[derive(Clone)]
pub struct Pretender {
    pub port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// What it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A login began.
    Login,
    /// The client asked for a public key to encrypt the password with.
    AskedForKey,
    /// What came where the password belongs.
    Secret(Vec<u8>),
}

/// A public key; what is encrypted with it is nobody's.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0XX5s2RBSjKKsMtjy01X\n\
tGJzudkOC65BdGrShjeQns/fo6dKQqLzXDcxFIF9xHIkjRsRfBP3Np1kXvPhpmcA\n\
j4U4xa+96ixGa7DEzjx7gRJIV9KcsAL/v0C9xwWyHZU8myisSiVvw98LkhtP32kw\n\
sf93gCegzJUPuSCbWwSnPuYiXbaEW80X0VkPwIdqPupfABkEndpxNyVojsQchkCj\n\
9TB8oJLeVsJryEp61O+O7YmCemPzHVkBr1d6LXeYbhX+ibtchpd1ypDobORBTHXA\n\
VPGM9GZ/+vjlLoO4wga5VobROZNXdhBHXYcy12y/E75UlKyqZ8Woec89Cfl81rm8\n\
2QIDAQAB\n\
-----END PUBLIC KEY-----\n";

const ASKS_FOR_KEY: &[u8] = &[2];
pub(super) const TLS: u8 = 0x08;

impl Pretender {
    /// One that listens at `port` of every address, with a certificate of its own or without TLS.
    pub fn start(port: u16, certificates: Option<&Certificates>) -> Pretender {
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::default());
        let (pretender, tls) = (Pretender { port, heard }, certificates.map(server_config));
        let posing = pretender.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Clients hang up whenever they like.
                let _ = posing.pose(stream, tls.clone());
            }
        });
        pretender
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn logins(&self) -> usize {
        self.heard().iter().filter(|it| **it == Heard::Login).count()
    }

    /// Whether it came to know anything beside scrambles.
    pub fn got_anything(&self) -> bool {
        self.heard().iter().any(|it| *it != Heard::Login)
    }

    fn note(&self, heard: Heard) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
    }

    fn pose(
        &self,
        mut stream: TcpStream,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> io::Result<()> {
        write(&mut stream, 0, &greeting(tls.is_some()))?;
        let (number, answer) = read(&mut stream)?;
        let wants_tls = answer.get(1).is_some_and(|it| it & TLS != 0);
        match tls.filter(|_| wants_tls) {
            None => self.ask(&mut stream, number),
            Some(config) => {
                let session = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
                let mut secured = rustls::StreamOwned::new(session, stream);
                let (number, _) = read(&mut secured)?;
                self.ask(&mut secured, number)
            }
        }
    }

    /// Asks for the password, whatever the scramble was.
    fn ask(&self, stream: &mut (impl Read + Write), number: u8) -> io::Result<()> {
        self.note(Heard::Login);
        write(stream, number + 1, &[1, 4])?;
        let (number, answer) = read(stream)?;
        let (number, secret) = if answer == ASKS_FOR_KEY {
            self.note(Heard::AskedForKey);
            write(stream, number + 1, &[&[1], KEY.as_bytes()].concat())?;
            read(stream)?
        } else {
            (number, answer)
        };
        self.note(Heard::Secret(secret));
        let refusal = [&[0xff], &1045_u16.to_le_bytes()[..], b"#28000Access denied"].concat();
        write(stream, number + 1, &refusal)
    }
}

/// Stands between a client and a server and takes the offer of TLS out, while `is_active`.
pub fn strip_tls(to: &str, is_active: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let (port, to) = (listener.local_addr().expect("an address").port(), to.to_owned());
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (to, is_active) = (to.clone(), Arc::clone(&is_active));
            thread::spawn(move || between(client, &to, &is_active));
        }
    });
    port
}

fn between(mut client: TcpStream, to: &str, is_active: &AtomicBool) -> io::Result<()> {
    let mut server = TcpStream::connect(to)?;
    let (_, mut greeting) = read(&mut server)?;
    if is_active.load(Ordering::SeqCst) {
        let version = greeting[1..].iter().position(|it| *it == 0).expect("a version") + 2;
        greeting[version + 4 + 8 + 1 + 1] &= !TLS;
    }
    write(&mut client, 0, &greeting)?;
    let (mut from, mut into) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut into);
        into.shutdown(std::net::Shutdown::Both)
    });
    io::copy(&mut client, &mut server)?;
    server.shutdown(std::net::Shutdown::Both)
}

pub(super) fn server_config(certificates: &Certificates) -> Arc<rustls::ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&certificates.server_cert).expect("a file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(&certificates.server_key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).expect("a certificate"))
}

pub(super) fn greeting(with_tls: bool) -> Vec<u8> {
    let low = if with_tls { [0xff, 0xff] } else { [0xff, !TLS] };
    let mut payload = vec![10];
    payload.extend_from_slice(b"9.7.0\0");
    payload.extend_from_slice(&7_u32.to_le_bytes());
    payload.extend_from_slice(b"12345678\0");
    payload.extend_from_slice(&low);
    payload.push(45);
    payload.extend_from_slice(&2_u16.to_le_bytes());
    payload.extend_from_slice(&0x008f_u16.to_le_bytes());
    payload.push(21);
    payload.extend_from_slice(&[0; 10]);
    payload.extend_from_slice(b"123456789012\0");
    payload.extend_from_slice(b"caching_sha2_password\0");
    payload
}

pub(super) fn write(stream: &mut impl Write, number: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).expect("a short packet").to_le_bytes();
    let mut bytes = vec![length[0], length[1], length[2], number];
    bytes.extend_from_slice(payload);
    stream.write_all(&bytes)?;
    stream.flush()
}

pub(super) fn read(stream: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload)?;
    Ok((head[3], payload))
}
