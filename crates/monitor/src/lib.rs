//! A server that watches the lag of consumer groups.
//!
//! [`Monitor`] takes a [`Report`](offtake_lag::Report) each interval from a [`Source`], and serves it until it is stopped: to
//! Prometheus at `/metrics`, as JSON at `/api/…` (described at `/openapi.json`), as a page with charts at `/`. `/healthz` says that it
//! runs, `/readyz` whether it knows anything. What was seen is kept in a [`History`] of bounded size. [`Webhook`]s are told of groups
//! that fall behind, and of those that recover.
//!
//! Always true:
//! - nothing that a client sends changes anything but counters of this process;
//! - a client that is slow or hostile costs one connection of [`MOST_CONNECTIONS`] for a minute and a half, 16 KiB, and the answer it asked for;
//! - series of a group vanish with the round that does not find it, and all of them when no broker has answered for three rounds;
//! - a target of webhooks gets at most one message each [`Webhook::gap`].
//!
//! Needs a tokio runtime with I/O and time.
#![forbid(unsafe_code)]

mod api;
mod clock;
mod history;
mod http;
mod metrics;
mod monitor;
mod notify;
mod settings;
mod view;

pub use history::{Damage, History, HistoryError};
#[cfg(feature = "tls")]
pub use http::ServerTls;
pub use http::{Access, MOST_CONNECTIONS};
pub use metrics::{Exposition, Names};
pub use monitor::{Error, Monitor, Source};
pub use notify::{Format, Severity, Webhook, WebhookError};
pub use settings::Settings;
pub use view::View;

/// Rules for Prometheus: lag in seconds, its rate of change, retention, what has stopped, dead letters, and the monitor itself.
pub const PROMETHEUS_RULES: &str = include_str!("../alerts/offtake.rules.yml");

/// A dashboard for Grafana, as its import takes it.
pub const GRAFANA_DASHBOARD: &str = include_str!("../alerts/grafana.json");

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
