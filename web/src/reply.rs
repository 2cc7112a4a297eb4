//! The two families of answers: wrapped ones with `Code`, `Message`, `Details`, and bare values.

use std::fmt;

use actix_web::HttpResponse;
use actix_web::http::header::ContentEncoding;
use actix_web::http::{StatusCode, header};
use actix_web::web::Bytes;
use baton_actors::ports::{DiscoverError, HistoryError, ProposeError, RecoverError};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde::Serialize;

use crate::compat::to_go_json;

const JSON: &str = "application/json; charset=UTF-8";
/// When who met an election may ask again.
const ELECTION_SECONDS: u32 = 2;

/// An answer, ready to be sent.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    body: Body,
}

enum Body {
    /// JSON.
    Text(Bytes),
    /// JSON that is compressed already.
    Gzip(Bytes),
    /// Server-sent events, as they come.
    Events(BoxStream<'static, Bytes>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&String::from_utf8_lossy(text)),
            Self::Gzip(_) => f.write_str("compressed"),
            Self::Events(_) => f.write_str("events"),
        }
    }
}

/// What goes wrong on the way to an answer; sent as a wrapped error.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    message: String,
    details: Option<String>,
    retry_after_seconds: Option<u32>,
}

/// The result of a handler.
pub(crate) type Outcome = Result<Reply, Failure>;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wrapped<'a, T: Serialize> {
    code: &'static str,
    message: &'a str,
    details: T,
}

impl Reply {
    /// A bare value.
    pub(crate) fn bare(value: &impl Serialize) -> Outcome {
        Self::bare_with(StatusCode::OK, value)
    }

    /// A bare value with a status of its own.
    pub(crate) fn bare_with(status: StatusCode, value: &impl Serialize) -> Outcome {
        Ok(Self { status, body: Body::Text(to_go_json(value)?.into()) })
    }

    /// A bare value that is JSON already.
    pub(crate) fn json(text: Bytes) -> Self {
        Self { status: StatusCode::OK, body: Body::Text(text) }
    }

    /// The same, for whoever takes it compressed.
    pub(crate) fn gzip(text: Bytes) -> Self {
        Self { status: StatusCode::OK, body: Body::Gzip(text) }
    }

    /// Events, as they come.
    pub(crate) fn events(events: BoxStream<'static, Bytes>) -> Self {
        Self { status: StatusCode::OK, body: Body::Events(events) }
    }

    /// A wrapped success.
    pub(crate) fn ok(message: &str, details: impl Serialize) -> Outcome {
        let body = to_go_json(&Wrapped { code: "OK", message, details })?;
        Ok(Self { status: StatusCode::OK, body: Body::Text(body.into()) })
    }
}

impl Failure {
    /// A wrapped error, 500 as all of them.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: message.into(),
            details: None,
            retry_after_seconds: None,
        }
    }

    /// An error that is over soon: 503, and when to ask again.
    pub(crate) fn later(message: impl Into<String>) -> Self {
        let retry_after_seconds = Some(ELECTION_SECONDS);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self { status, retry_after_seconds, ..Self::new(message) }
    }

    /// Somebody else leads, or may: 503, and when to ask again. Programs look for this very message;
    /// why is in the details.
    pub(crate) fn unauthorized(why: &str) -> Self {
        Self::later("Unauthorized").with_details(&why)
    }

    /// With a status of its own.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// With details.
    pub(crate) fn with_details(self, details: &impl Serialize) -> Self {
        Self { details: to_go_json(details).ok(), ..self }
    }

    fn body(&self) -> String {
        let details = self.details.as_deref().unwrap_or("null");
        let message = to_go_json(&self.message).unwrap_or_else(|_| "\"\"".to_owned());
        format!("{{\"Code\":\"ERROR\",\"Message\":{message},\"Details\":{details}}}")
    }
}

/// Status and text of an answer, to be told once more later.
pub(crate) fn read_back(outcome: &Outcome) -> (u16, Option<String>) {
    match outcome {
        Ok(Reply { status, body: Body::Text(text) }) => {
            (status.as_u16(), Some(String::from_utf8_lossy(text).into_owned()))
        }
        Ok(Reply { status, .. }) => (status.as_u16(), None),
        Err(failure) => (failure.status.as_u16(), Some(failure.body())),
    }
}

/// Sends an answer.
pub(crate) fn respond(outcome: Outcome) -> HttpResponse {
    match outcome {
        Ok(Reply { status, body: Body::Text(body) }) => {
            HttpResponse::build(status).content_type(JSON).body(body)
        }
        Ok(Reply { status, body: Body::Gzip(body) }) => HttpResponse::build(status)
            .content_type(JSON)
            .insert_header(ContentEncoding::Gzip)
            .insert_header((header::VARY, "accept-encoding"))
            .body(body),
        Ok(Reply { status, body: Body::Events(events) }) => HttpResponse::build(status)
            .content_type("text/event-stream")
            // Compressing would hold events back, and so would proxies that collect.
            .insert_header(ContentEncoding::Identity)
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header(("X-Accel-Buffering", "no"))
            .streaming(events.map(Ok::<_, std::convert::Infallible>)),
        Err(failure) => {
            let mut response = HttpResponse::build(failure.status);
            if let Some(seconds) = failure.retry_after_seconds {
                response.insert_header((header::RETRY_AFTER, seconds));
            }
            response.content_type(JSON).body(failure.body())
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(format!("cannot render the answer: {error}"))
    }
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Self {
        match error {
            // It led when it was asked, and no longer when it was to be done.
            ProposeError::NotLeading(why) => Self::unauthorized(&why),
            error => Self::new(error.to_string()),
        }
    }
}

impl From<RecoverError> for Failure {
    fn from(error: RecoverError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<DiscoverError> for Failure {
    fn from(error: DiscoverError) -> Self {
        Self::new(error.to_string())
    }
}
