//! A measured program as a child process, with what the system says of its time and memory.

use std::fs::{read_dir, read_to_string};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Failed;

/// Ticks a second in `/proc/<pid>/stat`: `USER_HZ`, 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;
/// The most lines of its log that are kept.
const LINES: usize = 20;

/// A running program; dropping it ends it.
pub struct Program {
    pub started_at: Instant,
    child: Child,
}

/// A running `mas`.
pub struct Mas {
    pub port: u16,
    /// From the start of the process until it says where it listens.
    pub ready: Duration,
    program: Program,
    /// What it wrote to its log after its greeting.
    said: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts it with this environment alone; what it writes to its log is heard line by line, on a thread of its own.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        environment: &[(&'static str, String)],
        mut hear: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, Failed> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let started_at = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        if let Some(log) = child.stderr.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(log).lines().map_while(Result::ok) {
                    hear(&line);
                }
            });
        }
        Ok(Self { started_at, child })
    }

    /// Seconds of processor time so far, its own and the system's for it.
    pub fn cpu(&self) -> Result<f64, Failed> {
        Ok(cpu(&read_to_string(self.place("stat"))?))
    }

    /// A line of `/proc/<pid>/status`, in KiB.
    pub fn memory_kib(&self, name: &str) -> Result<u64, Failed> {
        let status = read_to_string(self.place("status"))?;
        let value = status.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        });
        Ok(value.ok_or("no such line in the process's status")?)
    }

    fn place(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mas {
    /// Starts it and waits until it says where it listens.
    pub fn start(
        program: &Path,
        environment: &[(&'static str, String)],
        threads: Option<usize>,
    ) -> Result<Self, Failed> {
        let threads = threads.map(|threads| threads.to_string());
        let mut arguments = vec!["--port", "0", "--memory"];
        if let Some(threads) = &threads {
            arguments.extend(["--threads", threads]);
        }
        let said = Arc::new(Mutex::new(Vec::new()));
        let (send, receive) = channel();
        let log = Arc::clone(&said);
        let running = Program::start(program, &arguments, environment, move |line| {
            if let Some(port) = greeting(line) {
                let _ = send.send((port, Instant::now()));
            }
            keep(line, &log);
        })?;
        let greeted = receive.recv_timeout(Duration::from_secs(10));
        let (port, ready_at) = greeted.map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("{} does not listen", program.display()),
            RecvTimeoutError::Disconnected => {
                let said = said.lock().unwrap_or_else(PoisonError::into_inner);
                format!("{} ended at once: {}", program.display(), said.join("\n"))
            }
        })?;
        Ok(Self {
            port,
            ready: ready_at - running.started_at,
            program: running,
            said,
        })
    }

    pub fn cpu(&self) -> Result<f64, Failed> {
        self.program.cpu()
    }

    pub fn memory_kib(&self, name: &str) -> Result<u64, Failed> {
        self.program.memory_kib(name)
    }

    /// Its log, as far as it is kept.
    pub fn said(&self) -> Vec<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }
}

/// Seconds of this process's own processor time so far.
pub fn own_cpu() -> Result<f64, Failed> {
    Ok(cpu(&read_to_string("/proc/self/stat")?))
}

/// The same of its threads of this name alone.
pub fn threads_cpu(name: &str) -> Result<f64, Failed> {
    let mut sum = 0.0;
    for thread in read_dir("/proc/self/task")? {
        // A thread that has just ended has nothing to say.
        let stat = read_to_string(thread?.path().join("stat")).unwrap_or_default();
        if stat.contains(&format!("({name})")) {
            sum += cpu(&stat);
        }
    }
    Ok(sum)
}

/// The most files that this process and what it starts may have open at a time.
pub fn most_files() -> usize {
    let limits = read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(usize::MAX)
}

fn cpu(stat: &str) -> f64 {
    // The name in parentheses may hold anything; utime and stime are the 14th and 15th field of all.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    ticks.iter().sum::<f64>() / TICKS
}

fn greeting(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("MAS Coordinator")?;
    rest.rsplit_once(':')?.1.trim().parse().ok()
}

fn keep(line: &str, said: &Mutex<Vec<String>>) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    let worth = ["WARN", "ERROR", "mas:", "because"];
    if said.len() < LINES && worth.iter().any(|word| line.contains(word)) {
        said.push(line.to_owned());
    }
}
