//! Responses, with headers that restrict what a browser may do with them.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Response, StatusCode,
    body::{Body, Frame},
    header::{self, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use crate::metrics::Exposition;

pub(super) type Reply = Response<Either<Full<Bytes>, Streamed>>;

/// Forbids external resources, inline scripts, and frames.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const EVERYWHERE: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

fn respond(status: StatusCode, kind: &'static str, body: Either<Full<Bytes>, Streamed>) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in EVERYWHERE {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

/// A file of the web page.
pub(super) fn file(kind: &'static str, text: &'static str) -> Reply {
    respond(StatusCode::OK, kind, Either::Left(Full::new(Bytes::from_static(text.as_bytes()))))
}

pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Reply {
    let body = Either::Left(Full::new(Bytes::from(text.into() + "\n")));
    respond(status, "text/plain; charset=utf-8", body)
}

pub(super) fn json_with(status: StatusCode, value: &Value) -> Reply {
    let body = Either::Left(Full::new(Bytes::from(value.to_string())));
    respond(status, "application/json", body)
}

pub(super) fn error(status: StatusCode, why: impl Into<String>) -> Reply {
    json_with(status, &json!({ "error": why.into() }))
}

pub(super) fn metrics(exposition: Exposition) -> Reply {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    respond(StatusCode::OK, kind, Either::Right(Streamed(exposition)))
}

/// Metrics, generated while they are sent.
#[derive(Debug)]
pub(super) struct Streamed(Exposition);

impl Body for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }
}
