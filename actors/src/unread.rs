//! Answers to requests whose body is not read.
//!
//! As long as the payload is there, actix knows that its end has not come, and closes the connection
//! after the answer. Without it, it waits for the end of a body in chunks for ever (seen with
//! actix-http 3.20), and such connections add up.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;

struct WithPayload<P> {
    body: BoxBody,
    _payload: P,
}

/// Keeps the payload of a request as long as its answer takes.
pub fn with_payload<P: Unpin + 'static>(response: HttpResponse, payload: P) -> HttpResponse {
    response.map_body(|_, body| BoxBody::new(WithPayload { body, _payload: payload }))
}

impl<P: Unpin> MessageBody for WithPayload<P> {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
