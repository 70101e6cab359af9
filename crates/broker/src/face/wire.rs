//! One connection: bytes to frames, and answers to bytes.

use std::{io, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};

use super::shared::{Line, Shared};

/// How many requests of one connection are read ahead of the one that is being answered. Reading on is how a client that
/// hangs up during a long poll is noticed.
const AHEAD: usize = 16;

/// What is read at once, at most.
const READ: usize = 64 * 1024;

/// What a connection in memory holds each way.
const PIPE: usize = 64 * 1024;

/// A connection without a socket.
pub(super) fn in_memory(shared: &Arc<Shared>, port: u16) -> io::Result<DuplexStream> {
    let line = shared.accept(port, "127.0.0.1").ok_or(io::ErrorKind::ConnectionRefused)?;
    let (theirs, ours) = duplex(PIPE);
    carry(shared, line, ours);
    Ok(theirs)
}

/// Starts the task of a connection.
pub(super) fn carry(shared: &Arc<Shared>, line: Line, stream: impl AsyncRead + AsyncWrite + Send + 'static) {
    let task = {
        let shared = Arc::clone(shared);
        async move {
            let id = line.id;
            if let Err(error) = run(&shared, line, stream).await {
                tracing::debug!(?id, %error, "a connection ended");
            }
            shared.hang_up(id);
        }
    };
    shared.spawn(task);
}

async fn run(shared: &Shared, mut line: Line, stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (mut read, mut write) = split(stream);
    let mut buffer = BytesMut::new();
    loop {
        let waiting = feed(shared, &line, &mut buffer)?;
        if buffer.capacity() - buffer.len() < READ / 2 {
            buffer.reserve(READ); // grows with what arrives, never with what a length promises
        }
        tokio::select! {
            answer = line.answers.recv() => match answer {
                Some(bytes) => write.write_all(&bytes).await?,
                None => return write.shutdown().await,
            },
            read = read.read_buf(&mut buffer), if waiting < AHEAD => {
                if read? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// Gives the model the frames that are whole, as long as it has not too many. How many wait there.
fn feed(shared: &Shared, line: &Line, buffer: &mut BytesMut) -> io::Result<usize> {
    loop {
        let waiting = shared.with(|model, _| model.waiting(line.id));
        if waiting >= AHEAD {
            return Ok(waiting);
        }
        match frame(buffer, shared.max_frame)? {
            Some(frame) => shared.with(|model, now| model.receive(now, line.id, frame)),
            None => return Ok(waiting),
        }
    }
}

/// The next frame without its length, if it is whole.
fn frame(buffer: &mut BytesMut, max: usize) -> io::Result<Option<Bytes>> {
    let Some(length) = buffer.get(..4).and_then(|length| <[u8; 4]>::try_from(length).ok()) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(length);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= max)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")))?;
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length).freeze()))
}
