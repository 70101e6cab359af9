//! From an address to a connection that has been greeted: wait, resolve, dial, greet; each address of a name in turn.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    address::Address,
    dial::Stream,
    frames::plain,
    handshake::{Greeted, Refusal, Trouble, greet},
    inbox::sleep_until,
    shared::{Shared, count},
    standing::Plan,
};

/// A name that resolves to more is cut off here: nobody waits for so many to time out.
const ADDRESSES: usize = 16;

/// Makes the connection. `accepted` tells an onlooker how far it has come.
pub(crate) async fn establish(
    shared: &Arc<Shared>,
    address: &Address,
    plan: &Plan,
    accepted: &AtomicBool,
) -> Result<(Greeted, SocketAddr), Trouble> {
    if plan.not_before.is_some() {
        sleep_until(plan.not_before).await;
    }
    let mut trouble = Trouble::unreachable("the name resolves to no address");
    for socket in resolve(shared, address, plan).await? {
        match connect(shared, address, socket, plan, accepted).await {
            Ok(greeted) => return Ok((greeted, socket)),
            // The next address may do better (FAILURES A8); what answered says more than what did not.
            Err(new) if new.accepted || !trouble.accepted => trouble = new,
            Err(_) => {}
        }
    }
    Err(trouble)
}

/// All addresses of the name, the one that worked last time first (client.dns.lookup=use_all_dns_ips).
async fn resolve(shared: &Shared, address: &Address, plan: &Plan) -> Result<Vec<SocketAddr>, Trouble> {
    let resolving = shared.dial.resolve(&address.host, address.port);
    let all = match timeout(plan.connect_timeout, resolving).await {
        Ok(Ok(all)) => all,
        Ok(Err(error)) => return Err(Trouble::unreachable(format!("the name does not resolve: {error}"))),
        Err(_) => return Err(Trouble::unreachable(too_slow("resolving the name", plan.connect_timeout))),
    };
    let mut sockets: Vec<SocketAddr> = Vec::new();
    for socket in plan.good.filter(|good| all.contains(good)).into_iter().chain(all) {
        if !sockets.contains(&socket) && sockets.len() < ADDRESSES {
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// One address. One that ends the connection at our greeting gets a second chance in the oldest words (FAILURES Q1).
async fn connect(
    shared: &Arc<Shared>,
    address: &Address,
    socket: SocketAddr,
    plan: &Plan,
    accepted: &AtomicBool,
) -> Result<Greeted, Trouble> {
    for version in [plan.greeting, 0] {
        accepted.store(false, Relaxed);
        let stream = dial(shared, address, socket, plan.connect_timeout).await?;
        accepted.store(true, Relaxed);
        match greet(shared, stream, version).await {
            Ok(greeted) => return Ok(greeted),
            Err(Refusal::Closed) if version > 0 => {}
            Err(Refusal::Closed) => break,
            Err(Refusal::Final(trouble)) => return Err(trouble),
        }
    }
    Err(Trouble::closed())
}

async fn dial(
    shared: &Shared,
    address: &Address,
    socket: SocketAddr,
    within: Duration,
) -> Result<Box<dyn Stream>, Trouble> {
    count(&shared.counters.dials, 1);
    match timeout(within, shared.dial.connect(&address.host, socket)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Trouble::unreachable(plain(&error))),
        Err(_) => Err(Trouble::unreachable(too_slow("connecting", within))),
    }
}

pub(crate) fn too_slow(what: &str, limit: Duration) -> String {
    format!("{what} took longer than {} ms", limit.as_millis())
}
