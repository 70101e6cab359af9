//! Derives the configuration of the machines and of the connections.

use std::time::Duration;

use offtake_machine::{BackoffConfig, MetadataConfig};

use super::{ClientConfig, ConfigError, MetadataRecoveryStrategy};

#[doc(hidden)] // for the engines of clients: what they give is of crates that applications do not see
impl ClientConfig {
    /// How long to wait before a retry.
    pub fn backoff(&self) -> BackoffConfig {
        BackoffConfig { base: self.retry_backoff, max: self.retry_backoff_max }
    }

    /// The configuration of the metadata machine.
    pub fn metadata(&self, allow_auto_topic_creation: bool, seed: u64) -> MetadataConfig {
        let rebootstrap = self.metadata_recovery_strategy == MetadataRecoveryStrategy::Rebootstrap;
        MetadataConfig {
            request_timeout: self.request_timeout,
            max_age: self.metadata_max_age,
            backoff: self.backoff(),
            allow_auto_topic_creation,
            rebootstrap_after: rebootstrap.then_some(self.metadata_recovery_rebootstrap_trigger),
            seed,
        }
    }

    /// The configuration of the connections. `max_frame` is the largest accepted response, in bytes. Reads
    /// the files that `security.protocol` needs.
    ///
    /// # Errors
    /// An error in such a file, or in a property of TLS or SASL.
    pub fn connections(&self, max_frame: usize, seed: u64) -> Result<offtake_net::Config, ConfigError> {
        Ok(offtake_net::Config {
            security: self.security.build()?,
            client_id: self.sent_client_id().to_owned(),
            connect_timeout: self.socket_connection_setup_timeout,
            connect_timeout_max: self.socket_connection_setup_timeout_max,
            authentication_timeout: self.request_timeout,
            handshake_timeout: self.request_timeout.min(Duration::from_secs(5)),
            reconnect: BackoffConfig { base: self.reconnect_backoff, max: self.reconnect_backoff_max },
            max_idle: self.connections_max_idle.unwrap_or(Duration::MAX),
            send_buffer: self.send_buffer.map(|bytes| bytes as usize),
            receive_buffer: self.receive_buffer.map(|bytes| bytes as usize),
            max_frame,
            seed,
            ..offtake_net::Config::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecurityProtocol;

    #[test]
    fn nothing_of_a_new_connection_waits_longer_than_a_request_may() {
        for (request, handshake) in [(1, 1), (5, 5), (30, 5)] {
            let [request_timeout, handshake] = [request, handshake].map(Duration::from_secs);
            let config = ClientConfig { request_timeout, ..ClientConfig::default() };
            let connections = config.connections(1 << 20, 1).unwrap();
            assert_eq!(
                (connections.handshake_timeout, connections.authentication_timeout),
                (handshake, request_timeout)
            );
        }
    }

    #[test]
    fn the_sizes_of_the_socket_buffers_are_those_of_the_configuration() {
        for sizes in [(Some(4096), Some(8192)), (None, None)] {
            let (send_buffer, receive_buffer) = sizes;
            let config = ClientConfig { send_buffer, receive_buffer, ..ClientConfig::default() };
            let connections = config.connections(1 << 20, 1).unwrap();
            let bytes = |size: Option<u32>| size.map(|bytes| bytes as usize);
            assert_eq!(
                (connections.send_buffer, connections.receive_buffer),
                (bytes(send_buffer), bytes(receive_buffer))
            );
            assert_eq!((connections.max_frame, connections.seed), (1 << 20, 1));
        }
    }

    #[test]
    fn connections_are_idle_for_as_long_as_they_may_be_and_for_ever_without_a_limit() {
        for (limit, expected) in
            [(Some(Duration::from_secs(7)), Duration::from_secs(7)), (None, Duration::MAX)]
        {
            let config = ClientConfig { connections_max_idle: limit, ..ClientConfig::default() };
            assert_eq!(config.connections(1 << 20, 1).unwrap().max_idle, expected);
        }
    }

    #[test]
    fn connections_that_are_to_authenticate_need_something_to_authenticate_with() {
        let mut config = ClientConfig::default();
        config.security.protocol = SecurityProtocol::SaslPlaintext;
        let error = config.connections(1 << 20, 1).unwrap_err();
        assert!(error.to_string().contains("sasl"), "{error}");
    }
}
