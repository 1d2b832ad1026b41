//! Real TCP clients against a real listener.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::*;

/// Serves on a free loopback port until the sender is used.
async fn listen(
    server: &Server,
    drain: Duration,
) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let serving = laminar_server::serve_with_drain(listener, server.app.clone(), shutdown, drain);
    (address, stop, tokio::spawn(serving))
}

async fn send(address: SocketAddr, body: &serde_json::Value) -> TcpStream {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `wanted` bytes came; false if the stream ended before.
async fn read_some(stream: &mut TcpStream, wanted: usize) -> bool {
    let mut buffer = [0; 512];
    let mut seen = 0;
    while seen < wanted {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return false,
            count => seen += count,
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn t41_64_clients_of_which_half_drop_leave_an_idle_engine() {
    let server = server();
    let (address, _stop, _serving) = listen(&server, Duration::from_secs(1)).await;
    let clients: Vec<_> = (0..64u64)
        .map(|number| {
            tokio::spawn(async move {
                // A fixed scramble of the number spreads arrival, length and the moment of leaving.
                let dice = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                tokio::time::sleep(Duration::from_millis(dice % 50)).await;
                let request = with(
                    chat(&"word ".repeat(1 + (dice % 60) as usize)),
                    json!({"stream": true, "max_tokens": 20 + dice % 40}),
                );
                let mut stream = send(address, &request).await;
                if number % 2 == 0 {
                    let text = read_all(&mut stream).await;
                    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
                    assert!(text.contains("data: [DONE]"), "{text}");
                } else if number % 8 == 1 {
                    // Leaves before, or during, the prefill.
                    tokio::time::sleep(Duration::from_millis(dice % 20)).await;
                } else {
                    read_some(&mut stream, 300 + (dice % 4000) as usize).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    server.until_idle().await;
    let health = server.health().await;
    assert!(health["engine"]["requests_finished"].as_u64().unwrap() >= 32, "{health}");
    // And it still answers.
    server.post(CHAT, &chat("Hello")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn t41_a_whole_answer_is_cancelled_when_its_connection_closes() {
    let mut setup = Setup::default();
    setup.engine.context = 4096;
    let server = start(setup);
    let (address, _stop, _serving) = listen(&server, Duration::from_secs(1)).await;
    let request = with(chat("Hello"), json!({"max_tokens": 1_000_000}));
    let stream = send(address, &request).await;
    server.until("running", |health| health["running"] == 1).await;
    drop(stream);
    server.until_idle().await;
    let health = server.health().await;
    assert_eq!(health["engine"]["requests_cancelled"], 1, "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_a_running_stream_finish() {
    let server = server();
    let (address, stop, serving) = listen(&server, Duration::from_secs(30)).await;
    let request = with(chat("Hello"), json!({"stream": true, "max_tokens": 200}));
    let mut stream = send(address, &request).await;
    assert!(read_some(&mut stream, 400).await);
    stop.send(()).unwrap();
    let text = read_all(&mut stream).await;
    assert!(text.contains("data: [DONE]"), "{text}");
    serving.await.unwrap().unwrap();
    // Nobody listens any more.
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_past_its_limit() {
    let mut setup = Setup::default();
    setup.engine.context = 4096;
    let server = start(setup);
    let (address, stop, serving) = listen(&server, Duration::from_millis(50)).await;
    let request = with(chat("Hello"), json!({"stream": true, "max_tokens": 1_000_000}));
    let mut stream = send(address, &request).await;
    assert!(read_some(&mut stream, 400).await);
    stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), serving).await;
    ended.unwrap().unwrap().unwrap();
    drop(stream);
    server.until_idle().await;
}
