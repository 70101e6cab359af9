//! What a monitor is told. Everything here may change while it runs.

use std::time::Duration;

#[cfg(feature = "tls")]
use crate::http::ServerTls;
use crate::{Webhook, http::Access, metrics::Names};

/// The settings of a monitor that may change while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the beginning of a round to that of the next. Default: 10 s. A round that takes longer delays the next one.
    pub interval: Duration,
    /// The value of the label `cluster_name`. Default: the cluster's id.
    pub cluster_name: Option<String>,
    /// Whose names of metrics there are beside our own. Default: nobody's.
    pub names: Names,
    /// Who may read. Default: everybody who can connect.
    pub access: Access,
    /// How connections are secured. Default: they are in clear.
    #[cfg(feature = "tls")]
    pub tls: Option<ServerTls>,
    /// Who is told of groups that fall behind. Default: nobody.
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
