//! A web service with a consumer's handle as its state: it shows the lag, and can stop the consumer. Any framework will do;
//! in axum a `Handle` can be the `State` of a handler (`async fn lag(State(consumer): State<Handle>) -> String`).
//!
//! `cargo run -p offtake --example http_state localhost:9092`, then `curl localhost:8080/lag`

#![allow(clippy::disallowed_methods)] // a rule of this workspace

use std::{error::Error, io, time::Duration};

use offtake::{AutoOffsetReset, Consumer, ErrorKind, Handle};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1).unwrap_or("localhost:9092".to_owned());
    let builder = Consumer::builder(servers).group("web").auto_offset_reset(AutoOffsetReset::Earliest);
    let mut consumer = builder.build().await?;
    consumer.subscribe("orders").await?;
    let server = tokio::spawn(serve(TcpListener::bind("127.0.0.1:8080").await?, consumer.handle()));
    let error = loop {
        match consumer.poll(Duration::from_secs(1)).await {
            Ok(records) => consumer.commit(&records).await.unwrap_or_else(|error| eprintln!("{error}")),
            Err(error) if error.kind() == ErrorKind::Closed => return Ok(server.await??), // closed by /stop
            Err(error) => break error,
        }
    };
    consumer.close(Duration::from_secs(10)).await?;
    Err(error.into())
}

/// Serves until the consumer is closed.
pub async fn serve(listener: TcpListener, consumer: Handle) -> io::Result<()> {
    while !consumer.is_closed() {
        let (connection, _) = listener.accept().await?;
        respond(connection, &consumer).await.unwrap_or_else(|error| eprintln!("a client: {error}"));
    }
    Ok(())
}

async fn respond(mut connection: TcpStream, consumer: &Handle) -> io::Result<()> {
    let mut request = String::new();
    BufReader::new(&mut connection).read_line(&mut request).await?;
    let (status, body) = match answer(request.split(' ').nth(1).unwrap_or_default(), consumer).await {
        Ok(body) => ("200 OK", body),
        Err(error) => ("503 Service Unavailable", error.to_string()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    connection.write_all((head + &body).as_bytes()).await
}

async fn answer(path: &str, consumer: &Handle) -> Result<String, offtake::Error> {
    match path {
        "/lag" => Ok(consumer.lags().iter().map(|(of, lag)| format!("{of} {lag:?}\n")).collect()),
        "/pause" => consumer.pause_all().map(|()| "paused\n".to_owned()),
        "/resume" => consumer.resume_all().map(|()| "resumed\n".to_owned()),
        "/stop" => consumer.close(Duration::from_secs(10)).await.map(|()| "stopped\n".to_owned()),
        _ => Ok("/lag /pause /resume /stop\n".to_owned()),
    }
}
