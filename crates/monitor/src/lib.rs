//! A server that monitors the lag of consumer groups.
//!
//! [`Monitor`] takes a [`Report`](offtake_lag::Report) from a [`Source`] in each interval, and serves it until it is stopped: for
//! Prometheus at `/metrics`, as JSON at `/api/…` (described at `/openapi.json`), as a page with charts at `/`. `/healthz` shows
//! that it runs, `/readyz` whether it has data. The reports are kept in a [`History`] of bounded size. [`Webhook`]s are notified
//! of groups that fall behind, and of those that recover.
//!
//! Always true:
//! - no request of a client changes anything but counters of this process;
//! - a slow or malicious client costs one connection of [`MOST_CONNECTIONS`] for a minute and a half, 16 KiB, and the response
//!   that it requested;
//! - series of a group disappear with the first round that does not find it, and all of them when no broker has responded for
//!   three rounds;
//! - a webhook gets at most one message per [`Webhook::min_interval`].
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

/// Prometheus rules: lag in seconds, its rate of change, retention, stopped groups, dead letters, and the monitor itself.
pub const PROMETHEUS_RULES: &str = include_str!("../alerts/offtake.rules.yml");

/// A Grafana dashboard, ready for import.
pub const GRAFANA_DASHBOARD: &str = include_str!("../alerts/grafana.json");

/// The README's examples, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
