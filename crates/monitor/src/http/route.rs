//! The routes.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{ALLOW, AUTHORIZATION, HOST, HeaderValue, WWW_AUTHENTICATE},
};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use super::respond::{Reply, error, file, json_with, metrics, text};
use crate::{
    History, Settings, api,
    api::query::{Query, decode},
    metrics::Exposition,
    view::View,
};

/// The state from which requests are answered.
pub(crate) struct Served {
    pub(crate) view: watch::Receiver<View>,
    pub(crate) settings: watch::Receiver<Settings>,
    /// Behind a lock, because a query reads files. Queries and the round that adds to the files take turns, on threads for
    /// blocking work.
    pub(crate) history: Arc<Mutex<History>>,
    /// Whether only programs on this machine can connect.
    pub(crate) is_local: bool,
    /// Limits the queries that read the history at once, so that the round has its turn.
    pub(crate) queries: Semaphore,
}

/// Answers a request, ignoring its body.
pub(super) async fn route(served: &Served, request: &Request<Incoming>) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "everything here is read-only: GET or HEAD");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    let path = request.uri().path();
    if let Some(reply) = public(served, path) {
        return reply;
    }
    if let Err(refusal) = admit(served, request) {
        return *refusal;
    }
    let view = served.view.borrow().clone();
    let query = request.uri().query().unwrap_or("");
    match path {
        "/metrics" => {
            let settings = served.settings.borrow();
            metrics(Exposition::new(view, settings.cluster_name.as_deref(), settings.names))
        }
        "/api/status" => ok(&api::status(&view, &served.settings.borrow())),
        "/api/groups" => match &view.report {
            Some(report) => ok(&api::groups(report)),
            None => not_yet(&view),
        },
        "/api/history" => history(served, query).await,
        _ => match path.strip_prefix("/api/groups/") {
            Some(name) => group(&view, name),
            None => error(StatusCode::NOT_FOUND, "not found"),
        },
    }
}

/// Public paths, without data about groups: probes, and the page without its data.
fn public(served: &Served, path: &str) -> Option<Reply> {
    Some(match path {
        "/" => file("text/html; charset=utf-8", include_str!("../page/index.html")),
        "/page.css" => file("text/css; charset=utf-8", include_str!("../page/page.css")),
        "/page.js" => file("text/javascript; charset=utf-8", include_str!("../page/page.js")),
        "/chart.js" => file("text/javascript; charset=utf-8", include_str!("../page/chart.js")),
        "/icon.svg" | "/favicon.ico" => file("image/svg+xml", include_str!("../page/icon.svg")),
        "/openapi.json" => file("application/json", include_str!("../api/openapi.json")),
        "/healthz" => text(StatusCode::OK, "ok"),
        "/readyz" => {
            let view = served.view.borrow();
            match (view.is_ready(), &view.failure) {
                (true, _) => text(StatusCode::OK, "ok"),
                (false, None) => text(StatusCode::SERVICE_UNAVAILABLE, "the first round has not ended"),
                // Only authenticated readers may see the reason.
                (false, Some(_)) => {
                    text(StatusCode::SERVICE_UNAVAILABLE, "the last round ended without a report")
                }
            }
        }
        _ => return None,
    })
}

fn admit(served: &Served, request: &Request<Incoming>) -> Result<(), Box<Reply>> {
    let settings = served.settings.borrow();
    if served.is_local && settings.access.is_open() && !is_local_name(request) {
        let why = "a request by this host name needs a token, because a foreign page may have made the name point here";
        return Err(Box::new(error(StatusCode::MISDIRECTED_REQUEST, why)));
    }
    if settings.access.admits(request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes)) {
        return Ok(());
    }
    let mut refusal = error(StatusCode::UNAUTHORIZED, "a token or a password is needed");
    let challenge = HeaderValue::from_static(settings.access.challenge());
    refusal.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    Err(Box::new(refusal))
}

/// Whether a request is for an IP address or for `localhost`. No page from elsewhere can have such a name, but any other name can
/// be made to point at this machine (DNS rebinding).
fn is_local_name(request: &Request<Incoming>) -> bool {
    let Some(host) = request.headers().get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    if host.parse::<SocketAddr>().is_ok() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
}

fn group(view: &View, name: &str) -> Reply {
    let Some(report) = &view.report else { return not_yet(view) };
    let Some(name) = decode(name) else { return error(StatusCode::BAD_REQUEST, "the name is not UTF-8") };
    match report.groups.iter().find(|group| group.group == name) {
        Some(group) => ok(&api::group(group)),
        None => error(StatusCode::NOT_FOUND, format!("there is no group {name:?}, or it is not watched")),
    }
}

async fn history(served: &Served, query: &str) -> Reply {
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(why) => return error(StatusCode::BAD_REQUEST, why),
    };
    let Ok(_turn) = served.queries.acquire().await else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "the history is closed");
    };
    let history = Arc::clone(&served.history);
    let read = move || match history.lock() {
        Ok(mut history) => query.answer(&mut history),
        Err(_) => Err("the history is gone".to_owned()),
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(value)) => ok(&value),
        Ok(Err(why)) => error(StatusCode::INTERNAL_SERVER_ERROR, why),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the history cannot be read"),
    }
}

fn ok(value: &Value) -> Reply {
    json_with(StatusCode::OK, value)
}

fn not_yet(view: &View) -> Reply {
    let why = view.failure.clone().unwrap_or_else(|| "the first round has not ended".to_owned());
    error(StatusCode::SERVICE_UNAVAILABLE, why)
}
