//! What changes something is asked for once.
//!
//! When the connection breaks before the answer is there, the request may have been taken up, and
//! asking again may do it twice, or be refused though the first one succeeded. So each of them has a
//! name, and what became of it is asked by that name, of all endpoints: whoever leads by then knows
//! a recovery that another node began.

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use super::{ANSWER_DEADLINE, ClientError, PAUSES_MS, Service};

/// The header with the name of a request.
const REQUEST_ID: &str = "Baton-Request-Id";
/// Statuses by which somebody on the way says that whoever was asked did not answer.
const UNANSWERED: [u16; 2] = [502, 504];
/// The pause between questions what became of it.
const PAUSE: Duration = Duration::from_millis(500);
/// For so long nobody may know of it: another node is to be elected, and to take up what it finds.
const UNKNOWN_FOR: Duration = Duration::from_secs(15);
/// How long one of these questions may take.
const QUESTION_DEADLINE: Duration = Duration::from_secs(5);

/// What an answer tells.
enum Told {
    /// This.
    Answer(Value),
    /// Whether it was done is not known, and why.
    Doubt(String),
}

impl Service {
    /// Asks once. Only what never reached anybody is asked again.
    #[allow(clippy::disallowed_methods, reason = "the client is a program that may wait")]
    pub(super) fn ask_once(&self, endpoint: &str, path: &str) -> Result<Value, ClientError> {
        let (url, id) = (format!("{endpoint}/{path}"), Uuid::new_v4().simple().to_string());
        let mut last = None;
        for pause in PAUSES_MS {
            let request = self.with_headers(self.agent.get(&url)).header(REQUEST_ID, &id);
            match request.call() {
                Ok(answer) => {
                    return match told(&url, answer)? {
                        Told::Answer(answer) => Ok(answer),
                        Told::Doubt(why) => self.became(url, why, id),
                    };
                }
                Err(error) if was_never_sent(&error) => last = Some(error),
                Err(error) => return self.became(url, error.to_string(), id),
            }
            std::thread::sleep(Duration::from_millis(pause));
        }
        Err(ClientError::NoAnswer { url, source: last })
    }

    /// The answer to what was asked under this name, however long that takes.
    #[allow(clippy::disallowed_methods, reason = "the client is a program that may wait")]
    fn became(&self, url: String, why: String, id: String) -> Result<Value, ClientError> {
        let begun = Instant::now();
        let mut known_at = begun;
        while begun.elapsed() < ANSWER_DEADLINE && known_at.elapsed() < UNKNOWN_FOR {
            let fates = self.endpoints.iter().filter_map(|endpoint| self.fate(endpoint, &id));
            for fate in fates {
                match fate["State"].as_str() {
                    Some("finished") if fate["Answer"].is_null() => {
                        let status = &fate["Status"];
                        let why = format!("{why}; it has ended, with status {status}");
                        return Err(ClientError::InDoubt { url, why, id });
                    }
                    Some("finished") => return Ok(fate["Answer"].clone()),
                    Some("running") => known_at = Instant::now(),
                    _ => {}
                }
            }
            std::thread::sleep(PAUSE);
        }
        Err(ClientError::InDoubt { url, why, id })
    }

    fn fate(&self, endpoint: &str, id: &str) -> Option<Value> {
        let question = self.agent.get(format!("{endpoint}/request-outcome/{id}"));
        let question = question.config().timeout_global(Some(QUESTION_DEADLINE)).build();
        let mut answer = self.with_headers(question).call().ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        let answer: Value = serde_json::from_str(&text).ok()?;
        Some(answer["Details"].clone()).filter(Value::is_object)
    }
}

fn told(url: &str, mut answer: ureq::http::Response<ureq::Body>) -> Result<Told, ClientError> {
    let status = answer.status().as_u16();
    let body = match answer.body_mut().read_to_string() {
        Ok(body) => body,
        Err(error) => return Ok(Told::Doubt(error.to_string())),
    };
    let read: Option<Value> = serde_json::from_str(&body).ok();
    match read {
        _ if UNANSWERED.contains(&status) => {
            let said = read.and_then(|it| it["Message"].as_str().map(str::to_owned));
            Ok(Told::Doubt(said.unwrap_or_else(|| format!("the answer has status {status}"))))
        }
        Some(answer) => Ok(Told::Answer(answer)),
        None if status == 404 => Err(ClientError::NotThere(url.to_owned())),
        None => Ok(Told::Doubt(format!("the answer is no JSON, and has status {status}"))),
    }
}

/// Whether nobody was reached, so that asking again cannot do it twice.
fn was_never_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reached_nobody_is_asked_again() {
        let io = |kind| ureq::Error::Io(io::Error::from(kind));
        for (error, never_sent) in [
            (io(io::ErrorKind::ConnectionRefused), true),
            (io(io::ErrorKind::HostUnreachable), true),
            (ureq::Error::HostNotFound, true),
            (ureq::Error::Timeout(ureq::Timeout::Connect), true),
            (ureq::Error::Timeout(ureq::Timeout::Global), false),
            (io(io::ErrorKind::ConnectionReset), false),
            (io(io::ErrorKind::UnexpectedEof), false),
            (io(io::ErrorKind::BrokenPipe), false),
        ] {
            assert_eq!(was_never_sent(&error), never_sent, "{error}");
        }
    }

    #[test]
    fn what_changes_something_is_known_from_the_routes() {
        for (path, changes) in [
            ("clusters-info", false),
            ("failover-readiness/shop", false),
            ("search?s=db", false),
            ("raft-state", false),
            ("graceful-master-takeover/shop/db/3306", true),
            ("recover/a/3306", true),
            ("begin-downtime/a/3306/me/why/1h", true),
            ("tag/a/3306?tag=b", true),
            ("raft-yield/b", true),
            ("what/nobody/knows", true),
        ] {
            assert_eq!(baton_web::changes(path), changes, "{path}");
        }
    }
}
