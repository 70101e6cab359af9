//! Makes a connection: waits for the reconnect backoff, resolves the name, dials its addresses in turn, begins TLS, sends
//! ApiVersions, and authenticates.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    address::Address,
    address_state::DialPlan,
    clock,
    dial::{ByteStream, in_dial_order},
    frames::describe_io_error,
    handshake::{ConnectError, ConnectFailure, Handshake, HandshakeError, run_handshake},
    inbox::sleep_until,
    phase::{Phase, PhaseCell},
    probe::{Connected, Findings},
    shared::{Shared, count},
};

/// Makes the connection. `phase` holds its progress.
pub(crate) async fn establish(
    shared: &Arc<Shared>,
    address: &Address,
    plan: &DialPlan,
    phase: &PhaseCell,
) -> Result<(Handshake, SocketAddr), ConnectError> {
    if plan.not_before.is_some() {
        sleep_until(plan.not_before).await;
    }
    let mut error = ConnectError::unreachable("the name resolves to no address");
    for socket in resolve(shared, address, plan).await? {
        match connect(shared, address, socket, plan, phase, None).await {
            Ok(handshake) => return Ok((handshake, socket)),
            Err(new) if new.failure == ConnectFailure::Refused => return Err(new),
            // The next address may work (FAILURES A8).
            Err(new) if new.weight() >= error.weight() => error = new,
            Err(_) => {}
        }
    }
    Err(error)
}

/// All addresses of the name, the one that worked last time first (client.dns.lookup=use_all_dns_ips).
pub(crate) async fn resolve(
    shared: &Shared,
    address: &Address,
    plan: &DialPlan,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let resolving = shared.dial.resolve(&address.host, address.port);
    let all = match timeout(plan.connect_timeout, resolving).await {
        Ok(Ok(all)) => all,
        Ok(Err(error)) => {
            return Err(ConnectError::unreachable(format!("the name does not resolve: {error}")));
        }
        Err(_) => {
            return Err(ConnectError::unreachable(took_too_long("resolving the name", plan.connect_timeout)));
        }
    };
    Ok(in_dial_order(all, plan.last_good))
}

/// Tries one address, and notes the findings there. If the broker closes the connection at this client's version of ApiVersions,
/// version 0 is tried (FAILURES Q1).
pub(crate) async fn connect(
    shared: &Arc<Shared>,
    address: &Address,
    socket: SocketAddr,
    plan: &DialPlan,
    phase: &PhaseCell,
    mut findings: Option<&mut Findings>,
) -> Result<Handshake, ConnectError> {
    for version in [plan.api_versions_version, 0] {
        phase.set(Phase::Connecting);
        let began = clock::now();
        let stream = dial(shared, address, socket, plan.connect_timeout).await?;
        if let Some(found) = findings.as_deref_mut() {
            found.connected = Some(Connected { address: socket, took: began.elapsed() });
        }
        phase.set(Phase::Encrypting);
        let stream = encrypt(shared, address, stream, findings.as_deref_mut()).await?;
        phase.set(Phase::Negotiating);
        match run_handshake(shared, stream, version).await {
            Ok(mut handshake) => {
                if let Some(found) = findings.as_deref_mut() {
                    found.versions =
                        handshake.ranges.iter().map(|(api, both)| (api.name(), both.min, both.max)).collect();
                }
                if let Some(sasl) = &shared.config.security.sasl {
                    phase.set(Phase::Authenticating);
                    handshake.authenticate(shared, sasl, &address.host, findings).await?;
                }
                return Ok(handshake);
            }
            Err(HandshakeError::Closed) if version > 0 => {}
            Err(HandshakeError::Closed) => break,
            Err(HandshakeError::Final(error)) => return Err(error),
        }
    }
    Err(ConnectError::closed(shared.config.security.is_encrypted()))
}

async fn dial(
    shared: &Shared,
    address: &Address,
    socket: SocketAddr,
    within: Duration,
) -> Result<Box<dyn ByteStream>, ConnectError> {
    count(&shared.counters.dials, 1);
    match timeout(within, shared.dial.connect(&address.host, socket)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError::unreachable(describe_io_error(&error))),
        Err(_) => Err(ConnectError::unreachable(took_too_long("connecting", within))),
    }
}

/// Begins TLS, if the connection is to be encrypted.
#[cfg(feature = "_tls")]
async fn encrypt(
    shared: &Shared,
    address: &Address,
    stream: Box<dyn ByteStream>,
    findings: Option<&mut Findings>,
) -> Result<Box<dyn ByteStream>, ConnectError> {
    let Some(tls) = &shared.config.security.tls else { return Ok(stream) };
    let within = shared.config.handshake_timeout;
    match timeout(within, tls.handshake(&address.host, stream)).await {
        Ok(encrypted) => {
            let stream = encrypted?;
            if let Some(found) = findings {
                found.tls = Some(stream.facts());
            }
            Ok(Box::new(stream))
        }
        Err(_) => Err(ConnectError::broker(format!(
            "accepted the connection but did not finish the TLS handshake within {} ms; the port may not speak TLS: set \
             security.protocol to PLAINTEXT or SASL_PLAINTEXT for it",
            within.as_millis()
        ))),
    }
}

#[cfg(not(feature = "_tls"))]
#[expect(clippy::unused_async, reason = "as with TLS")]
async fn encrypt(
    _shared: &Shared,
    _address: &Address,
    stream: Box<dyn ByteStream>,
    _findings: Option<&mut Findings>,
) -> Result<Box<dyn ByteStream>, ConnectError> {
    Ok(stream)
}

pub(crate) fn took_too_long(what: &str, limit: Duration) -> String {
    format!("{what} took longer than {} ms", limit.as_millis())
}
