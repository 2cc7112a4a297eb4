//! An API that says what the test tells it to, when the test says so.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{read_all, within};

pub(crate) struct Stub(TcpListener);

impl Stub {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// The next connection.
    pub(crate) async fn next(&self) -> Call {
        Call(within("somebody asks", self.0.accept()).await.unwrap().0)
    }

    /// Whether nobody waits to be answered.
    pub(crate) fn is_idle(&self) -> bool {
        futures_util::FutureExt::now_or_never(self.0.accept()).is_none()
    }
}

/// A connection, seen from one of its ends.
pub(crate) struct Call(TcpStream);

impl Call {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything up to where the other end has said this.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let byte = within(end, self.0.read_u8()).await;
            text.push(char::from(byte.unwrap_or_else(|error| panic!("{error} after {text}"))));
        }
        text
    }

    /// Everything the other end still says.
    pub(crate) async fn rest(self) -> String {
        read_all(self.0).await.unwrap_or_default()
    }
}
