//! One request, to whoever listens at an address.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// A GET with further header lines (each with its line end); status and body, nothing if there was no answer.
pub fn get(address: &str, path: &str, headers: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let host = format!("Host: {address}\r\nConnection: close\r\n");
    write!(stream, "GET {path} HTTP/1.1\r\n{host}{headers}\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
