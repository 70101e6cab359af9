//! The settings of a monitor. All of them may change while it runs.

use std::time::Duration;

#[cfg(feature = "tls")]
use crate::http::ServerTls;
use crate::{Webhook, http::Access, metrics::Names};

/// The settings of a monitor that may change while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The time from the beginning of a round to that of the next. Default: 10 s. A longer round delays the next one.
    pub interval: Duration,
    /// The value of the label `cluster_name`. Default: the cluster's id.
    pub cluster_name: Option<String>,
    /// Additional sets of metric names. Default: none.
    pub names: Names,
    /// The accepted credentials of readers. Default: open access.
    pub access: Access,
    /// The certificate for HTTPS. Default: connections are in clear.
    #[cfg(feature = "tls")]
    pub tls: Option<ServerTls>,
    /// The webhooks that are notified of groups that fall behind. Default: none.
    pub webhooks: Vec<Webhook>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            cluster_name: None,
            names: Names::default(),
            access: Access::default(),
            #[cfg(feature = "tls")]
            tls: None,
            webhooks: Vec::new(),
        }
    }
}
