//! `laminar serve`: the HTTP server.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, anyhow};
use laminar_server::{ServerConfig, router, serve as serve_http};

use crate::cli::ServeArgs;
use crate::setup::{self, EngineUse, Ready};

/// Serves until Ctrl-C or SIGTERM, then lets running answers finish.
pub fn serve(args: &ServeArgs, quiet: bool) -> anyhow::Result<()> {
    // The port first: that it is taken should not be news after a long load.
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .map_err(|error| anyhow!("cannot listen on {address}: {error}; choose another --port or --host"))?;
    let engine_use = EngineUse {
        max_sequences: args.max_seqs.get(),
        max_waiting: args.max_waiting.get(),
        prefix_cache: !args.no_prefix_cache,
    };
    let ready = setup::start(&args.engine, engine_use, quiet)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Handlers wait and translate; the cores belong to the engine.
        .worker_threads(2)
        .thread_name("http")
        .build()
        .context("start the network threads")?;
    runtime.block_on(listen(listener, ready, args))
}

async fn listen(listener: TcpListener, ready: Ready, args: &ServeArgs) -> anyhow::Result<()> {
    // Before the address is announced, so that no signal is lost after it.
    let stop = stop_signal()?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let name = args.model_name.clone().unwrap_or(ready.name);
    let chat = ready.template.is_some();
    let config = ServerConfig {
        model_name: name.clone(),
        aliases: vec!["laminar".to_owned()],
        pooling: ready.pooling,
        cors: args.cors,
        ..ServerConfig::default()
    };
    let engine = ready.engine.clone();
    let app = router(ready.engine, ready.tokenizer, ready.template, config);
    announce(&name, address, ready.context, ready.load_time.as_secs_f64(), chat);
    let served = serve_http(listener, app, stop).await;
    engine.shutdown();
    served.context("serve")
}

/// Says on stderr where the server is and how to talk to it.
fn announce(name: &str, address: SocketAddr, context: usize, seconds: f64, chat: bool) {
    // An unspecified address is one to listen on, not one to connect to.
    let mut target = address;
    if address.ip().is_unspecified() {
        target.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    eprintln!("Serving {name} on http://{address} (context {context} tokens, loaded in {seconds:.1} s); Ctrl-C stops");
    let (path, body) = if chat {
        ("chat/completions", r#"{"messages":[{"role":"user","content":"Hello!"}],"stream":true}"#)
    } else {
        ("completions", r#"{"prompt":"Once upon a time","max_tokens":64,"stream":true}"#)
    };
    eprintln!("Try: curl -N http://{target}/v1/{path} -H 'content-type: application/json' -d '{body}'");
}

/// Resolves at the first Ctrl-C or SIGTERM. A second Ctrl-C ends at once.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    #[cfg(unix)]
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("listen for SIGTERM")?;
    Ok(async move {
        let interrupt = tokio::signal::ctrl_c();
        #[cfg(unix)]
        tokio::select! {
            _ = interrupt => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = interrupt.await;
        eprintln!("Stopping: running answers finish first; Ctrl-C again ends at once");
        tokio::spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        });
    })
}
