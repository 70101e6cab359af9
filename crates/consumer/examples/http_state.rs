//! The handle of a consumer as the state of a web service: its lag, and a switch. Any framework will do; in axum a `Handle`
//! is the `State` of a handler as it is (`async fn lag(State(consumer): State<Handle>) -> String`).
//!
//! `cargo run -p offtake --example http_state localhost:9092`, then `curl localhost:8080/lag`

#![allow(clippy::disallowed_methods)] // a rule of this workspace

use std::{error::Error, io, time::Duration};

use offtake::{Consumer, Handle};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1).unwrap_or("localhost:9092".to_owned());
    let mut consumer = Consumer::builder(servers.as_str()).group("web").build().await?;
    consumer.subscribe("orders").await?;
    tokio::spawn(serve(TcpListener::bind("127.0.0.1:8080").await?, consumer.handle()));
    while let Ok(records) = consumer.poll(Duration::from_secs(1)).await {
        consumer.commit(&records).await?;
    }
    Ok(())
}

/// Until the consumer is closed.
pub async fn serve(listener: TcpListener, consumer: Handle) -> io::Result<()> {
    while !consumer.is_closed() {
        let (mut connection, _) = listener.accept().await?;
        let mut request = String::new();
        BufReader::new(&mut connection).read_line(&mut request).await?;
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match answer(path, &consumer).await {
            Ok(body) => ("200 OK", body),
            Err(error) => ("503 Service Unavailable", error.to_string()),
        };
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        connection.write_all((head + &body).as_bytes()).await?;
    }
    Ok(())
}

async fn answer(path: &str, consumer: &Handle) -> Result<String, offtake::Error> {
    match path {
        "/lag" => {
            let lag = |partition| format!("{partition} {:?}\n", consumer.lag(&partition)); // None: not known
            Ok(consumer.assignment().into_iter().map(lag).collect())
        }
        "/pause" => consumer.pause_all().map(|()| "paused\n".to_owned()),
        "/resume" => consumer.resume_all().map(|()| "resumed\n".to_owned()),
        "/stop" => consumer.close(Duration::from_secs(10)).await.map(|()| "stopped\n".to_owned()),
        _ => Ok("/lag /pause /resume /stop\n".to_owned()),
    }
}
