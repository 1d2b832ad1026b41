//! The accept loop: serves a router on a listener until told to stop, then drains.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long [`serve`] lets running responses finish after the shutdown signal.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Serves `router` on `listener` until `shutdown` resolves; then stops accepting and lets running
/// responses finish for at most [`DRAIN_LIMIT`].
///
/// # Errors
/// Whatever the listener reports as fatal.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_with_drain(listener, router, shutdown, DRAIN_LIMIT).await
}

/// [`serve`] with a drain limit of the caller's choice. Connections still open at the limit end
/// when the runtime does.
///
/// # Errors
/// Whatever the listener reports as fatal.
pub async fn serve_with_drain(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
    limit: Duration,
) -> io::Result<()> {
    // Small SSE frames must not wait for an acknowledgement (Nagle).
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    let (stopping, stopped) = oneshot::channel::<()>();
    let signal = async move {
        shutdown.await;
        // The receiver lives as long as the server future below.
        let _ = stopping.send(());
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(signal);
    let expired = async move {
        if stopped.await.is_err() {
            // The server ended by itself and dropped the sender: never expire.
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(limit).await;
    };
    tokio::select! {
        result = server => result,
        () = expired => {
            tracing::warn!(?limit, "responses still running at the end of the drain limit");
            Ok(())
        }
    }
}
