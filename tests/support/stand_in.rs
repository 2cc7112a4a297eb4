//! Servers that are none, or that tell what is not so, each in a way of its own. They harm nobody: they only keep a
//! client waiting, tell it too much, or hang up.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    Certificates,
    pretender::{TLS, greeting, read, server_config, write},
};

/// What is the matter with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ClosesAtOnce,
    NeverAnswers,
    AnswersAByteASecond,
    ClosesAfterItsGreeting,
    AnnouncesAGiantGreeting,
    GreetsTwice,
    NumbersPacketsWrongly,
    AsksForOneLoginAfterAnother,
    RefusesTheTlsItOffered,
    ChangesItsCertificate,
    RefusesWithAHugeText,
    AnnouncesAGiantAnswer,
    AnswersWithoutEnd,
    AnswersNullWithoutEnd,
    ClosesAmongRows,
    AnswersMoreThanItIsAsked,
    AnswersSomethingElse,
    TellsNothing,
    TellsGiantNames,
    TellsControlCharacters,
    TellsAbsurdNumbers,
    TellsOfTheFarFuture,
    TellsTheUuidOfAnother,
    ClaimsManyReplicas,
    ClaimsChannelsFromNowhere,
    ClaimsToBeAReplica,
}

impl Kind {
    pub const ALL: [Kind; 26] = [
        Kind::ClosesAtOnce,
        Kind::NeverAnswers,
        Kind::AnswersAByteASecond,
        Kind::ClosesAfterItsGreeting,
        Kind::AnnouncesAGiantGreeting,
        Kind::GreetsTwice,
        Kind::NumbersPacketsWrongly,
        Kind::AsksForOneLoginAfterAnother,
        Kind::RefusesTheTlsItOffered,
        Kind::ChangesItsCertificate,
        Kind::RefusesWithAHugeText,
        Kind::AnnouncesAGiantAnswer,
        Kind::AnswersWithoutEnd,
        Kind::AnswersNullWithoutEnd,
        Kind::ClosesAmongRows,
        Kind::AnswersMoreThanItIsAsked,
        Kind::AnswersSomethingElse,
        Kind::TellsNothing,
        Kind::TellsGiantNames,
        Kind::TellsControlCharacters,
        Kind::TellsAbsurdNumbers,
        Kind::TellsOfTheFarFuture,
        Kind::TellsTheUuidOfAnother,
        Kind::ClaimsManyReplicas,
        Kind::ClaimsChannelsFromNowhere,
        Kind::ClaimsToBeAReplica,
    ];

    fn offers_tls(self) -> bool {
        matches!(self, Kind::RefusesTheTlsItOffered | Kind::ChangesItsCertificate)
    }
}

/// What they tell of others.
#[derive(Clone)]
pub struct Lies {
    /// The UUID of a server that lives.
    pub uuid: String,
    /// A server that lives.
    pub source: (String, u16),
    /// A port where nobody listens.
    pub nowhere: u16,
    /// How many replicas there are said to be.
    pub replicas: usize,
}

/// One of them.
#[derive(Clone)]
pub struct StandIn {
    pub kind: Kind,
    pub port: u16,
    lies: Lies,
    certificates: Arc<Vec<Certificates>>,
    connections: Arc<AtomicUsize>,
}

/// A table as a server answers with.
struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Option<String>>>,
}

const QUERY: u8 = 3;
const QUIT: u8 = 1;
const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const KNOWS_SCRAMBLE: &[u8] = &[1, 3];
const WANTS_PASSWORD: &[u8] = &[1, 4];
const MORE_RESULTS: u8 = 8;
const GIANT: usize = 1 << 20;

impl StandIn {
    pub fn start(kind: Kind, port: u16, lies: Lies, certificates: Vec<Certificates>) -> StandIn {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("listen");
        let (certificates, connections) = (Arc::new(certificates), Arc::default());
        let stand_in = StandIn { kind, port, lies, certificates, connections };
        let listening = stand_in.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = listening.connections.fetch_add(1, Ordering::Relaxed);
                let talking = listening.clone();
                // Clients hang up whenever they like.
                thread::spawn(move || talking.talk(stream, number));
            }
        });
        stand_in
    }

    /// How often somebody connected.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn talk(&self, mut stream: TcpStream, connection: usize) -> io::Result<()> {
        match self.kind {
            Kind::ClosesAtOnce => return Ok(()),
            Kind::NeverAnswers => return drain(&mut stream),
            Kind::AnswersAByteASecond => {
                for byte in framed(0, &greeting(false)) {
                    stream.write_all(&[byte])?;
                    pause(Duration::from_secs(1));
                }
                return drain(&mut stream);
            }
            Kind::AnnouncesAGiantGreeting => {
                stream.write_all(&[0xff, 0xff, 0xff, 0, 10])?;
                return drain(&mut stream);
            }
            _ => write(&mut stream, 0, &greeting(self.kind.offers_tls()))?,
        }
        if self.kind == Kind::ClosesAfterItsGreeting {
            return Ok(());
        }
        let (number, answer) = read(&mut stream)?;
        let wants_tls = answer.get(1).is_some_and(|it| it & TLS != 0);
        if !(self.kind.offers_tls() && wants_tls) {
            return self.log_in(&mut stream, number);
        }
        if self.kind == Kind::RefusesTheTlsItOffered {
            return write(&mut stream, number + 1, &refusal("no TLS today"));
        }
        let config = server_config(&self.certificates[connection % self.certificates.len()]);
        let session = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
        let mut secured = rustls::StreamOwned::new(session, stream);
        let (number, _) = read(&mut secured)?;
        write(&mut secured, number + 1, WANTS_PASSWORD)?;
        let (number, _) = read(&mut secured)?;
        write(&mut secured, number + 1, OK)?;
        self.serve(&mut secured)
    }

    fn log_in(&self, stream: &mut (impl Read + Write), number: u8) -> io::Result<()> {
        match self.kind {
            Kind::GreetsTwice => {
                write(stream, number + 1, &greeting(false))?;
                drain(stream)
            }
            Kind::NumbersPacketsWrongly => {
                write(stream, number + 77, KNOWS_SCRAMBLE)?;
                drain(stream)
            }
            Kind::AsksForOneLoginAfterAnother => {
                let mut number = number;
                loop {
                    let switch = b"\xfemysql_native_password\0abcdefghijklmnopqrst\0";
                    write(stream, number + 1, switch)?;
                    (number, _) = read(stream)?;
                }
            }
            _ => {
                write(stream, number + 1, KNOWS_SCRAMBLE)?;
                write(stream, number + 2, OK)?;
                self.serve(stream)
            }
        }
    }

    fn serve(&self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        loop {
            let (number, packet) = read(stream)?;
            match packet.split_first() {
                Some((&QUIT, _)) | None => return Ok(()),
                Some((&QUERY, text)) => self.answer(stream, number, text)?,
                Some(_) => write(stream, number + 1, OK)?,
            }
        }
    }

    fn answer(&self, stream: &mut (impl Read + Write), number: u8, text: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(text).into_owned();
        if text.starts_with("DO ") || text.starts_with("SET ") {
            pause(Duration::from_millis(500));
            return write(stream, number + 1, OK);
        }
        let statements: Vec<&str> = text.split("\n;").collect();
        let is_probe = statements.len() > 1;
        let mut packets = Packets { number, bytes: Vec::new() };
        match self.kind {
            Kind::RefusesWithAHugeText if is_probe => {
                packets.push(&refusal(&"x".repeat(GIANT)));
                return packets.send(stream);
            }
            Kind::AnnouncesAGiantAnswer if is_probe => {
                stream.write_all(&[0xff, 0xff, 0xff, number + 1, 1])?;
                return drain(stream);
            }
            Kind::AnswersWithoutEnd if is_probe => {
                return endless(stream, packets, 1, &length_encoded(&[b'x'; 1_000]));
            }
            Kind::AnswersNullWithoutEnd if is_probe => {
                return endless(stream, packets, 250, &[0xfb; 250]);
            }
            _ => {}
        }
        for (index, statement) in statements.iter().enumerate() {
            let is_last = index + 1 == statements.len();
            let more = !is_last || (self.kind == Kind::AnswersMoreThanItIsAsked && is_probe);
            packets.push_table(&self.table(statement), more);
        }
        if self.kind == Kind::AnswersMoreThanItIsAsked && is_probe {
            packets.push_table(&table(&["more"], Vec::new()), false);
        }
        if self.kind == Kind::ClosesAmongRows && is_probe {
            packets.bytes.truncate(packets.bytes.len() / 2);
            packets.send(stream)?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        packets.send(stream)
    }

    fn table(&self, statement: &str) -> Table {
        let mut told = if statement.starts_with("SELECT @@global.version,") {
            let row = ["9.7.0", "stand-in", "0"].map(|it| Some(it.to_owned()));
            return table(&["version", "comment", "performance_schema"], vec![row.into()]);
        } else if statement.contains("hostname hostname") {
            self.basics()
        } else if statement.starts_with("SHOW REPLICA STATUS") {
            self.channels()
        } else if statement == "SHOW REPLICAS" {
            self.replicas()
        } else if statement.starts_with("SHOW GLOBAL STATUS") {
            let uptime = match self.kind {
                Kind::TellsAbsurdNumbers => "-1",
                Kind::TellsOfTheFarFuture => "18446744073709551615",
                _ => "1000",
            };
            pairs(&[("Uptime", uptime)])
        } else {
            table(&["nothing"], Vec::new())
        };
        if self.kind == Kind::TellsNothing {
            told.rows.iter_mut().flatten().for_each(|value| *value = None);
        }
        told
    }

    fn basics(&self) -> Table {
        if self.kind == Kind::AnswersSomethingElse {
            return self.replicas();
        }
        let uuid = format!("00000000-0000-0000-0000-{:012}", self.port);
        let name = match self.kind {
            Kind::TellsGiantNames => "a".repeat(GIANT),
            Kind::TellsControlCharacters => "db\u{1b}[2J\r\n\u{7}\0db".to_owned(),
            _ => "stand-in".to_owned(),
        };
        let (server_id, executed) = match self.kind {
            Kind::TellsAbsurdNumbers => ("4294967295", "1-99999999999999999999"),
            _ => ("7", ""),
        };
        let executed = match executed {
            "" => String::new(),
            intervals => format!("{uuid}:{intervals}"),
        };
        let uuid = if self.kind == Kind::TellsTheUuidOfAnother { &self.lies.uuid } else { &uuid };
        let told = [
            ("hostname", name.as_str()),
            ("report_host", &name),
            ("version", "9.7.0"),
            ("version_comment", &name),
            ("server_id", server_id),
            ("read_only", "0"),
            ("log_bin", "1"),
            ("binlog_format", "ROW"),
            ("binlog_row_image", "FULL"),
            ("server_uuid", uuid),
            ("super_read_only", "0"),
            ("gtid_mode", "ON"),
            ("gtid_executed", &executed),
            ("gtid_purged", ""),
            ("log_replica_updates", "1"),
        ];
        let row = told.iter().map(|(_, value)| Some((*value).to_owned())).collect();
        Table { columns: told.iter().map(|(name, _)| *name).collect(), rows: vec![row] }
    }

    fn channels(&self) -> Table {
        let columns = [
            "Channel_Name",
            "Source_Host",
            "Source_Port",
            "Replica_IO_Running",
            "Replica_SQL_Running",
            "Seconds_Behind_Source",
            "SQL_Delay",
            "Read_Source_Log_Pos",
            "Last_IO_Errno",
            "Last_IO_Error",
            "Auto_Position",
        ];
        let row = |name: &str, host: &str, port: &str, lag: &str, delay: &str| {
            let yes = "Yes";
            let row = [name, host, port, yes, yes, lag, delay, "4", "0", "", "1"];
            row.iter().map(|it| Some((*it).to_owned())).collect::<Vec<_>>()
        };
        let nowhere = self.lies.nowhere.to_string();
        let rows = match self.kind {
            Kind::ClaimsToBeAReplica => {
                let (host, port) = &self.lies.source;
                vec![row("", host, &port.to_string(), "0", "0")]
            }
            Kind::ClaimsChannelsFromNowhere => (0..30)
                .map(|it| row(&format!("c{it}"), &format!("127.2.0.{it}"), &nowhere, "0", "0"))
                .collect(),
            Kind::TellsAbsurdNumbers => {
                vec![row("", "127.2.1.1", "99999999", "-9223372036854775808", "-1")]
            }
            Kind::TellsOfTheFarFuture => {
                vec![row("", "127.2.1.2", &nowhere, "9223372036854775807", "4294967295")]
            }
            Kind::TellsControlCharacters => {
                vec![row("\u{1b}[2J\0", "\r\n\u{7}db", &nowhere, "0", "0")]
            }
            Kind::TellsGiantNames => {
                vec![row(&"c".repeat(GIANT), &"h".repeat(GIANT), &nowhere, "0", "0")]
            }
            _ => Vec::new(),
        };
        table(&columns, rows)
    }

    fn replicas(&self) -> Table {
        let columns = ["Server_Id", "Host", "Port", "Source_Id", "Replica_UUID"];
        let row = |host: &str| {
            let port = self.lies.nowhere.to_string();
            ["8", host, &port, "7", ""].iter().map(|it| Some((*it).to_owned())).collect::<Vec<_>>()
        };
        let rows = match self.kind {
            Kind::ClaimsManyReplicas => {
                let host = |it: usize| format!("127.1.{}.{}", it / 250, it % 250 + 1);
                (0..self.lies.replicas).map(|it| row(&host(it))).collect()
            }
            Kind::TellsGiantNames => (0..20).map(|_| row(&"r".repeat(GIANT / 4))).collect(),
            Kind::TellsControlCharacters => vec![row("\u{1b}[2J\r\ndb")],
            Kind::AnswersSomethingElse => vec![row("127.1.1.1")],
            _ => Vec::new(),
        };
        table(&columns, rows)
    }
}

fn table(columns: &[&'static str], rows: Vec<Vec<Option<String>>>) -> Table {
    Table { columns: columns.to_vec(), rows }
}

fn pairs(told: &[(&str, &str)]) -> Table {
    let row = |(name, value): &(&str, &str)| vec![Some((*name).into()), Some((*value).into())];
    table(&["Variable_name", "Value"], told.iter().map(row).collect())
}

/// Sends the same row until the client has enough.
fn endless(
    stream: &mut impl Write,
    mut packets: Packets,
    columns: usize,
    row: &[u8],
) -> io::Result<()> {
    packets.push_head(&vec!["more"; columns], false);
    loop {
        (0..100).for_each(|_| packets.push(row));
        stream.write_all(&std::mem::take(&mut packets.bytes))?;
    }
}

/// Packets of one answer, which are numbered.
struct Packets {
    number: u8,
    bytes: Vec<u8>,
}

impl Packets {
    fn push(&mut self, payload: &[u8]) {
        self.number = self.number.wrapping_add(1);
        self.bytes.extend(framed(self.number, payload));
    }

    fn push_head(&mut self, columns: &[&str], more: bool) {
        self.push(&[u8::try_from(columns.len()).expect("few columns")]);
        for name in columns {
            let texts: [&[u8]; 6] = [b"def", b"", b"", b"", name.as_bytes(), b""];
            let mut definition: Vec<u8> = texts.into_iter().flat_map(length_encoded).collect();
            definition.extend_from_slice(&[0x0c, 45, 0, 0, 4, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
            self.push(&definition);
        }
        self.push_end(more);
    }

    fn push_table(&mut self, table: &Table, more: bool) {
        self.push_head(&table.columns, more);
        for row in &table.rows {
            let value = |it: &Option<String>| match it {
                Some(text) => length_encoded(text.as_bytes()),
                None => vec![0xfb],
            };
            let row: Vec<u8> = row.iter().flat_map(value).collect();
            self.push(&row);
        }
        self.push_end(more);
    }

    fn push_end(&mut self, more: bool) {
        self.push(&[0xfe, 0, 0, if more { 2 | MORE_RESULTS } else { 2 }, 0]);
    }

    fn send(self, stream: &mut impl Write) -> io::Result<()> {
        stream.write_all(&self.bytes)?;
        stream.flush()
    }
}

fn framed(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a packet").to_le_bytes();
    let mut bytes = vec![length[0], length[1], length[2], number];
    bytes.extend_from_slice(payload);
    bytes
}

fn length_encoded(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short text").to_le_bytes();
    let mut encoded = match bytes.len() {
        0..251 => vec![length[0]],
        251..0x1_0000 => vec![0xfc, length[0], length[1]],
        _ => vec![0xfd, length[0], length[1], length[2]],
    };
    encoded.extend_from_slice(bytes);
    encoded
}

fn refusal(text: &str) -> Vec<u8> {
    [&[0xff], &1105_u16.to_le_bytes()[..], b"#HY000", text.as_bytes()].concat()
}

/// Reads until the client hangs up.
fn drain(stream: &mut impl Read) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "it is slow on purpose")]
fn pause(time: Duration) {
    thread::sleep(time);
}
