//! The embedded table on threads of its own, so that its processor time can be told from everybody else's.

use std::future::pending;
use std::time::Duration;

use coordinator::store;
use dynoxide::Database;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::Failed;
use crate::process::threads_cpu;

/// What its threads are called.
const THREADS: &str = "table";

/// The emulator, running; dropping it stops it.
pub struct Table {
    pub port: u16,
    runtime: Option<Runtime>,
}

impl Table {
    pub async fn start() -> Result<Self, Failed> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(THREADS)
            // A thread that ends takes its processor time with it.
            .thread_keep_alive(Duration::from_hours(1))
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let database = Database::memory().map_err(|error| error.to_string())?;
        runtime.spawn(async move {
            // Within its own runtime, whose threads are woken for it.
            if let Ok(listener) = TcpListener::from_std(listener) {
                let _ = dynoxide::server::serve_with_shutdown(listener, database, pending()).await;
            }
        });
        let table = Self {
            port,
            runtime: Some(runtime),
        };
        store::create(&store::connect("mas", Some(&table.endpoint())).await).await?;
        Ok(table)
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Seconds of its processor time so far.
    pub fn cpu() -> Result<f64, Failed> {
        threads_cpu(THREADS)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
