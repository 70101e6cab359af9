//! A world of in-memory connections, so that time can be paused: nothing waits for the system.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use offtake_net::{ByteStream, Config, Dial, DialFuture, Net};
use tokio::{io::DuplexStream, sync::mpsc, time::Instant};

use crate::peer::Peer;

/// The listeners, the meaning of names, and the dials so far.
#[derive(Debug, Default)]
pub(crate) struct World {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    listeners: BTreeMap<SocketAddr, Listener>,
    names: BTreeMap<String, Vec<Ipv4Addr>>,
    dials: Vec<(SocketAddr, Instant)>,
}

#[derive(Debug)]
enum Listener {
    Takes(mpsc::UnboundedSender<Peer>),
    /// Neither accepts nor refuses connections.
    Hole,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn net(self: &Arc<Self>, config: Config, bootstrap: &[(&str, u16)]) -> Net {
        let bootstrap = bootstrap.iter().map(|&(host, port)| (host.to_owned(), port)).collect();
        Net::with_dial(config, bootstrap, self.clone())
    }

    /// Listens at 10.0.0.`host`:9092. The receiver returns the connections.
    pub(crate) fn listen(&self, host: u8) -> mpsc::UnboundedReceiver<Peer> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state.lock().unwrap().listeners.insert(at(host), Listener::Takes(sender));
        receiver
    }

    /// A broker that answers every request with an empty response.
    pub(crate) fn broker(&self, host: u8) {
        let mut peers = self.listen(host);
        tokio::spawn(async move {
            while let Some(peer) = peers.recv().await {
                tokio::spawn(peer.serve());
            }
        });
    }

    /// Makes packets to this address vanish.
    pub(crate) fn hole(&self, host: u8) {
        self.state.lock().unwrap().listeners.insert(at(host), Listener::Hole);
    }

    /// Stops listening there.
    pub(crate) fn refuse(&self, host: u8) {
        self.state.lock().unwrap().listeners.remove(&at(host));
    }

    pub(crate) fn name(&self, name: &str, hosts: &[u8]) {
        let addresses = hosts.iter().map(|host| Ipv4Addr::new(10, 0, 0, *host)).collect();
        self.state.lock().unwrap().names.insert(name.to_owned(), addresses);
    }

    /// The dialled addresses, in order.
    pub(crate) fn dialled(&self) -> Vec<u8> {
        self.state.lock().unwrap().dials.iter().map(|(to, _)| last_octet(*to)).collect()
    }

    pub(crate) fn dial_times(&self) -> Vec<Instant> {
        self.state.lock().unwrap().dials.iter().map(|(_, when)| *when).collect()
    }
}

pub(crate) fn at(host: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, host), 9092).into()
}

fn last_octet(of: SocketAddr) -> u8 {
    match of {
        SocketAddr::V4(v4) => v4.ip().octets()[3],
        SocketAddr::V6(_) => 0,
    }
}

impl Dial for World {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> DialFuture<'a, Vec<SocketAddr>> {
        Box::pin(async move {
            if let Ok(ip) = host.parse::<Ipv4Addr>() {
                return Ok(vec![(ip, port).into()]);
            }
            let addresses = self.state.lock().unwrap().names.get(host).cloned();
            let addresses = addresses.ok_or_else(|| io::Error::other("Name or service not known"))?;
            Ok(addresses.into_iter().map(|ip| (ip, port).into()).collect())
        })
    }

    fn connect<'a>(&'a self, _host: &'a str, to: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move {
            match self.dial(to) {
                Some(Ok(near)) => Ok(Box::new(near) as Box<dyn ByteStream>),
                Some(Err(refused)) => Err(refused),
                None => std::future::pending().await,
            }
        })
    }
}

impl World {
    /// `None`: no answer.
    fn dial(&self, to: SocketAddr) -> Option<io::Result<DuplexStream>> {
        let mut state = self.state.lock().unwrap();
        state.dials.push((to, Instant::now()));
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        match state.listeners.get(&to) {
            Some(Listener::Takes(listener)) => {
                let (near, far) = tokio::io::duplex(1 << 20);
                Some(listener.send(Peer::new(far)).map(|()| near).map_err(|_| refused()))
            }
            Some(Listener::Hole) => None,
            None => Some(Err(refused())),
        }
    }
}
