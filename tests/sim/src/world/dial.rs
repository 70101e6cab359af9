//! How members reach brokers.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use offtake::dial::{ByteStream, Dial, DialFuture};

use super::{BOOTSTRAP, Obstacle, World, stream::Stream};
use crate::{clock, events::Who};

/// The dialler of one member for all brokers.
pub(crate) struct Road {
    pub(crate) world: World,
    pub(crate) who: Who,
    /// Whether it belongs to the member's producer.
    pub(crate) produces: bool,
}

impl fmt::Debug for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Road({})", self.who)
    }
}

impl Dial for Road {
    fn resolve<'a>(&'a self, _host: &'a str, port: u16) -> DialFuture<'a, Vec<SocketAddr>> {
        Box::pin(async move {
            let now = clock::now();
            let fails = self.world.lock().troubles.iter().any(|trouble| {
                matches!(trouble.what, Obstacle::Names)
                    && trouble.until > now
                    && trouble.member == self.who.member
            });
            if fails {
                return Err(io::Error::other("the name server does not answer"));
            }
            Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))])
        })
    }

    fn connect<'a>(&'a self, host: &'a str, address: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move {
            // A broker that moved is found at its present address; its old one refuses.
            let listens =
                || self.world.lock().broker_at(host, address.port()).ok_or(io::ErrorKind::ConnectionRefused);
            listens()?;
            let there_and_back = {
                let mut state = self.world.lock();
                state.one_way() + state.one_way()
            };
            clock::sleep(there_and_back).await;
            // Another broker may listen there by the time the connection is made.
            let broker = loop {
                let broker = listens()?;
                match self.wall(broker) {
                    Some(until) => clock::sleep_until(until).await,
                    None => break broker,
                }
            };
            let line = self.world.with(|state, now| state.open_line(now, (self.who, self.produces), broker));
            let line = line.ok_or(io::ErrorKind::ConnectionRefused)?;
            let stream = Stream { world: self.world.clone(), member: self.who.member, line };
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

impl super::State {
    /// The broker that listens at a port.
    fn broker_at(&self, host: &str, port: u16) -> Option<i32> {
        if BOOTSTRAP.starts_with(host) {
            return Some(1);
        }
        self.model.brokers().find(|(_, _, listens, _)| *listens == port).map(|(id, ..)| id)
    }
}

impl Road {
    fn wall(&self, broker: i32) -> Option<Instant> {
        self.world.lock().wall(clock::now(), self.who.member, broker, false)
    }
}
