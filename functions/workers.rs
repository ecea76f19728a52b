//! A thread for each core, each with an application of its own: a turn never changes threads, as in a function.
//!
//! The applications share what is counted and what is known of owners' accounts; all else as several functions do, by the
//! table.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::serve::Listener;
use coordinator::http::{self, App, Live};
use coordinator::metrics::Metrics;
use coordinator::settings::Settings;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::compose::{self, Failed, Shared};

type Connection = (std::net::TcpStream, SocketAddr);

/// All threads at work.
pub struct Workers {
    hands: Vec<mpsc::UnboundedSender<Connection>>,
    /// Wakes those who keep their agents fresh.
    stirred: watch::Sender<()>,
    threads: Vec<JoinHandle<()>>,
    /// Set once: no more connections, and an end of those that are open.
    stopping: watch::Sender<bool>,
    /// Whose turn it is to take a connection.
    next: usize,
}

impl Workers {
    /// Starts so many threads, and waits until each can take connections.
    pub async fn start(count: usize, settings: &Settings) -> Result<Self, Failed> {
        let stirred = watch::Sender::default();
        let shared = Shared::new(Metrics::kept(), stirred.clone());
        let (stopping, stopped) = watch::channel(false);
        let mut workers = Self {
            hands: Vec::new(),
            stirred,
            threads: Vec::new(),
            stopping,
            next: 0,
        };
        let mut starting = Vec::new();
        for number in 0..count {
            let (hand, incoming) = mpsc::unbounded_channel();
            let (ready, is_ready) = oneshot::channel();
            let mut settings = settings.clone();
            settings.discovery = settings.discovery.filter(|_| number == 0);
            let work = work(settings, shared.clone(), incoming, stopped.clone(), ready);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            workers
                .threads
                .push(thread.spawn(move || runtime.block_on(work))?);
            workers.hands.push(hand);
            starting.push(is_ready);
        }
        for is_ready in starting {
            is_ready.await??;
        }
        Ok(workers)
    }

    /// Hands a connection to the next thread.
    pub fn take(&mut self, connection: TcpStream, from: SocketAddr) {
        let at = self.next % self.hands.len().max(1);
        self.next = self.next.wrapping_add(1);
        if let (Some(hand), Ok(connection)) = (self.hands.get(at), connection.into_std()) {
            // A thread that has ended takes none: the peer sees a closed connection.
            let _ = hand.send((connection, from));
        }
    }

    /// Has all threads look for changed agents at once.
    pub fn stir(&self) {
        self.stirred.send_replace(());
    }

    /// Takes no more connections, and waits for the turns under way.
    pub async fn stop(self) {
        let _ = self.stopping.send(true);
        drop(self.hands);
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// One thread's whole life.
async fn work(
    settings: Settings,
    shared: Shared,
    incoming: mpsc::UnboundedReceiver<Connection>,
    mut stopped: watch::Receiver<bool>,
    ready: oneshot::Sender<Result<(), Failed>>,
) {
    let asks = settings.discovery;
    let app = match compose::beside(&settings, shared).await {
        Ok(app) => app,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    // Made once: a connection would make all routes anew.
    let routes = http::routes(Arc::clone(&app)).into_make_service();
    let serving = axum::serve(Incoming(incoming), routes).with_graceful_shutdown(async move {
        // Also when nobody is left to say it.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    });
    let ended = tokio::select! {
        ended = serving => ended,
        () = keep_fresh(&app.live) => Ok(()),
        () = keep_asking(&app, asks) => Ok(()),
    };
    if let Err(error) = ended {
        tracing::error!(error = &error as &dyn std::error::Error, "a worker ended");
    }
}

/// Asks agents what they can, again and again: one thread does, for all of them.
async fn keep_asking(app: &App, every: Option<Duration>) {
    let Some(every) = every else {
        return std::future::pending().await;
    };
    loop {
        app.discover_all().await;
        tokio::time::sleep(every).await;
    }
}

/// Looks for changed agents again and again, so that nobody's turn has to: for as long as the thread serves.
async fn keep_fresh(live: &Live) {
    let mut stirred = live.stirred();
    loop {
        let called = tokio::time::timeout(live.directory().every(), stirred.changed()).await;
        live.refresh(called.is_ok()).await;
    }
}

/// The connections that one thread gets.
struct Incoming(mpsc::UnboundedReceiver<Connection>);

impl Listener for Incoming {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let Some((connection, from)) = self.0.recv().await else {
                // Whoever handed them out has stopped, and says so.
                std::future::pending::<()>().await;
                continue;
            };
            match TcpStream::from_std(connection) {
                Ok(connection) => return (connection, from),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a connection is lost"
                    );
                }
            }
        }
    }

    /// It listens nowhere itself.
    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(SocketAddr::from(([0, 0, 0, 0], 0)))
    }
}
