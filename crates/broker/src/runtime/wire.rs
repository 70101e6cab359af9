//! One connection: decodes bytes to frames, and writes answers.

use std::{io, sync::Arc};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};

use super::{
    secure::{Decision, Gate},
    shared::{AcceptedConnection, Shared},
};

/// How many requests of one connection are read ahead of the one in progress. Reading on detects a client that hangs up
/// during a long poll.
const AHEAD: usize = 16;

/// The most bytes of one read.
const READ: usize = 64 * 1024;

/// The buffer of a connection in memory, in each direction.
const PIPE: usize = 64 * 1024;

/// `sasl.server.max.receive.size`: the longest frame of a connection that is not authenticated.
const MAX_UNAUTHENTICATED: usize = 512 * 1024;

/// A connection without a socket.
pub(super) fn in_memory(shared: &Arc<Shared>, port: u16) -> io::Result<DuplexStream> {
    let connection = shared.accept(port, "127.0.0.1").ok_or(io::ErrorKind::ConnectionRefused)?;
    let (theirs, ours) = duplex(PIPE);
    spawn_connection(shared, connection, ours);
    Ok(theirs)
}

/// Starts the task of a connection.
pub(super) fn spawn_connection(
    shared: &Arc<Shared>,
    connection: AcceptedConnection,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) {
    let task = {
        let shared = Arc::clone(shared);
        async move {
            let id = connection.id;
            if let Err(error) = serve(&shared, connection, stream).await {
                tracing::debug!(?id, %error, "a connection ended");
            }
            shared.hang_up(id);
        }
    };
    shared.spawn(task);
}

#[cfg(feature = "tls")]
async fn serve(
    shared: &Shared,
    mut connection: AcceptedConnection,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let Some(tls) = &shared.secured.tls else { return run(shared, connection, stream).await };
    if !is_resumed(shared, &mut connection).await {
        return Ok(());
    }
    run(shared, connection, tls.acceptor.accept(stream).await?).await
}

/// Waits while the broker is paused. False if the connection ends meanwhile.
#[cfg(feature = "tls")]
async fn is_resumed(shared: &Shared, connection: &mut AcceptedConnection) -> bool {
    loop {
        let done = shared.done.notified();
        if shared.read(|model| model.is_idle(connection.id)) {
            return true;
        }
        tokio::select! {
            () = done => {}
            // Nothing was asked, so there is no answer.
            _ = connection.answers.recv() => return false,
        }
    }
}

#[cfg(not(feature = "tls"))]
async fn serve(
    shared: &Shared,
    connection: AcceptedConnection,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    run(shared, connection, stream).await
}

async fn run(
    shared: &Shared,
    mut connection: AcceptedConnection,
    stream: impl AsyncRead + AsyncWrite,
) -> io::Result<()> {
    let (mut read, mut write) = split(stream);
    let mut buffer = BytesMut::new();
    let mut gate = shared.gate();
    loop {
        let done = shared.done.notified(); // before the check of the state that it signals
        let fed = feed(shared, &connection, gate.as_mut(), &mut buffer)?;
        if let FrameOutcome::Decided(decision) = fed {
            // The answers to all earlier requests are at least in the channel.
            while let Ok(bytes) = connection.answers.try_recv() {
                write.write_all(&bytes).await?;
            }
            let is_over = !matches!(decision, Decision::Answer(_));
            if let Decision::Answer(bytes) | Decision::Refuse(bytes) = decision {
                write.write_all(&bytes).await?;
                write.flush().await?;
            }
            if is_over {
                return write.shutdown().await;
            }
            continue;
        }
        if buffer.capacity() - buffer.len() < READ / 2 {
            buffer.reserve(READ); // grows with what arrives, never with a claimed length
        }
        tokio::select! {
            answer = connection.answers.recv() => match answer {
                Some(bytes) => {
                    write.write_all(&bytes).await?;
                    write.flush().await?;
                }
                None => return write.shutdown().await,
            },
            () = done, if matches!(fed, FrameOutcome::Held) => {}
            read = read.read_buf(&mut buffer), if matches!(fed, FrameOutcome::Wants) => {
                if read? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// The result of feeding the complete frames.
#[derive(Debug)]
enum FrameOutcome {
    /// The model got them: more may be read.
    Wants,
    /// As many requests wait as are allowed.
    Full,
    /// The next one is SASL's, and waits until those before it are answered.
    Held,
    /// The next one was not for the model.
    Decided(Decision),
}

/// Gives the model the complete frames, as long as few enough wait and the gate lets them pass.
fn feed(
    shared: &Shared,
    connection: &AcceptedConnection,
    mut gate: Option<&mut Gate>,
    buffer: &mut BytesMut,
) -> io::Result<FrameOutcome> {
    loop {
        let (waiting, is_idle) =
            shared.read(|model| (model.waiting(connection.id), model.is_idle(connection.id)));
        if waiting >= AHEAD {
            return Ok(FrameOutcome::Full);
        }
        let is_open = gate.as_ref().is_none_or(|gate| gate.is_open());
        let max = if is_open { shared.max_frame } else { shared.max_frame.min(MAX_UNAUTHENTICATED) };
        let Some(length) = whole(buffer, max)? else { return Ok(FrameOutcome::Wants) };
        if let Some(gate) = &gate
            && !is_idle
            && buffer.get(4..).is_some_and(|frame| gate.has_to_wait(frame))
        {
            return Ok(FrameOutcome::Held);
        }
        buffer.advance(4);
        let frame = buffer.split_to(length).freeze();
        match gate.as_deref_mut().map_or(Decision::Pass, |gate| shared.admit(connection.id, gate, &frame)) {
            Decision::Pass => shared.with(|model, now| model.receive(now, connection.id, frame)),
            decision => return Ok(FrameOutcome::Decided(decision)),
        }
    }
}

/// The length of the next frame, if it is complete.
fn whole(buffer: &BytesMut, max: usize) -> io::Result<Option<usize>> {
    let Some(length) = buffer.get(..4).and_then(|length| <[u8; 4]>::try_from(length).ok()) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(length);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= max)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")))?;
    Ok((buffer.len() >= 4 + length).then_some(length))
}
