//! The measured program as a child process, with what the system says of its time and memory.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Failed;

/// Ticks a second in `/proc/<pid>/stat`: `USER_HZ`, 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;
/// The most lines of its log that are kept.
const LINES: usize = 20;

/// A running `mas`; dropping it ends it.
pub struct Mas {
    pub port: u16,
    child: Child,
    /// What it wrote to its log after its greeting.
    said: Arc<Mutex<Vec<String>>>,
}

impl Mas {
    /// Starts it with this environment alone, and waits until it says where it listens.
    pub fn start(
        program: &Path,
        environment: &[(&'static str, String)],
        threads: Option<usize>,
    ) -> Result<Self, Failed> {
        let mut command = Command::new(program);
        command
            .args(["--port", "0", "--memory"])
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(threads) = threads {
            command.env("TOKIO_WORKER_THREADS", threads.to_string());
        }
        let mut child = command
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let (send, receive) = channel();
        if let Some(log) = child.stderr.take() {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(log).lines().map_while(Result::ok) {
                    listen(&line, &send, &said);
                }
            });
        }
        let mut mas = Self {
            port: 0,
            child,
            said,
        };
        mas.port = receive
            .recv_timeout(Duration::from_secs(10))
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => format!("{} does not listen", program.display()),
                RecvTimeoutError::Disconnected => {
                    format!(
                        "{} ended at once: {}",
                        program.display(),
                        mas.said().join("\n")
                    )
                }
            })?;
        Ok(mas)
    }

    /// Seconds of processor time so far, its own and the system's for it.
    pub fn cpu(&self) -> Result<f64, Failed> {
        cpu(&self.child.id().to_string())
    }

    /// A line of `/proc/<pid>/status`, in KiB.
    pub fn memory_kib(&self, name: &str) -> Result<u64, Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = status.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        });
        Ok(value.ok_or("no such line in the process's status")?)
    }

    /// Its log, as far as it is kept.
    pub fn said(&self) -> Vec<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }
}

impl Drop for Mas {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of this process's own processor time so far.
pub fn own_cpu() -> Result<f64, Failed> {
    cpu("self")
}

fn cpu(process: &str) -> Result<f64, Failed> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything; utime and stime are the 14th and 15th field of all.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

fn listen(line: &str, port: &Sender<u16>, said: &Mutex<Vec<String>>) {
    let found = line
        .strip_prefix("MAS Coordinator")
        .and_then(|rest| rest.rsplit_once(':')?.1.trim().parse().ok());
    if let Some(found) = found {
        let _ = port.send(found);
    }
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    let worth = ["WARN", "ERROR", "mas:", "because"];
    if said.len() < LINES && worth.iter().any(|word| line.contains(word)) {
        said.push(line.to_owned());
    }
}
