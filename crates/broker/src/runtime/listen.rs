//! Listeners: one per port, alive while the broker accepts connections.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{now, shared::Shared, wire};

/// How long to wait before a port that is taken is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Starts the missing listeners, and informs the running ones whether they are still wanted. (The first listeners were
/// created before their tasks.)
pub(super) fn follow(shared: &Arc<Shared>) {
    let Some(bind) = shared.bind else { return };
    for (port, wanted) in shared.ports() {
        let address = SocketAddr::new(bind, port);
        let task = listen(Arc::clone(shared), address, None, wanted);
        shared.spawn(task);
    }
}

/// Starts tasks for sockets that listen already.
pub(super) fn start(
    shared: &Arc<Shared>,
    listeners: Vec<(SocketAddr, std::net::TcpListener)>,
) -> io::Result<()> {
    let mut wanted = shared.ports();
    for (address, listener) in listeners {
        let Some(nth) = wanted.iter().position(|(port, _)| *port == address.port()) else { continue };
        let (_, wanted) = wanted.swap_remove(nth);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        shared.spawn(listen(Arc::clone(shared), address, Some(listener), wanted));
    }
    Ok(())
}

async fn listen(
    shared: Arc<Shared>,
    address: SocketAddr,
    mut bound: Option<TcpListener>,
    mut wanted: watch::Receiver<bool>,
) {
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        let listener = match bound.take() {
            Some(listener) => listener,
            None => match TcpListener::bind(address).await {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot listen");
                    sleep_until(Instant::from_std(now() + RETRY)).await;
                    continue;
                }
            },
        };
        tokio::select! {
            _ = wanted.wait_for(|wanted| !*wanted) => {} // the listener is dropped: dials are refused
            () = accept(&shared, &listener, address.port()) => {}
        }
    }
}

async fn accept(shared: &Arc<Shared>, listener: &TcpListener, port: u16) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let _ = stream.set_nodelay(true);
                // `None` when the broker has just gone down.
                if let Some(connection) = shared.accept(port, &client.ip().to_string()) {
                    wire::spawn_connection(shared, connection, stream);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep_until(Instant::from_std(now() + RETRY)).await;
            }
        }
    }
}
