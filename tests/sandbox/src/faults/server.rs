//! The server itself: its port, its connections, and what it is told to do wrong.

use std::fmt::{self, Debug};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::exchange::{self, Answer};
use super::sent::{self, After};
use super::{Fault, Orders, Script, certificate, said};
use crate::stub::Seen;

/// The first byte of a TLS handshake, which no HTTP request begins with.
const HANDSHAKE: u8 = 0x16;

/// An upstream that passes everything on to a healthy one, until it is armed with a fault. Dropping it stops it.
pub struct Faulty {
    address: SocketAddr,
    /// Keeps the port from others while nobody listens.
    _port: TcpSocket,
    listening: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    trap: AbortHandle,
    desk: Arc<Desk>,
}

struct Desk {
    origin: SocketAddr,
    /// Where redirects lead to.
    elsewhere: String,
    lured: AtomicUsize,
    orders: Mutex<Option<Armed>>,
    seen: Mutex<Vec<Seen>>,
    open: AtomicUsize,
}

struct Armed {
    orders: Orders,
    /// Requests that the orders are for, so far.
    met: usize,
    applied: usize,
}

impl Faulty {
    /// Starts in front of a healthy server at this address, such as `http://127.0.0.1:5000`.
    pub async fn before(origin: &str) -> io::Result<Self> {
        let origin = origin.trim_start_matches("http://").trim_end_matches('/');
        let port = socket((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = port.local_addr()?;
        let trap = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let desk = Arc::new(Desk {
            origin: origin.parse().map_err(io::Error::other)?,
            elsewhere: format!("http://{}", trap.local_addr()?),
            lured: AtomicUsize::new(0),
            orders: Mutex::default(),
            seen: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let trap = spawn(count(trap, Arc::clone(&desk))).abort_handle();
        let faulty = Self {
            address,
            _port: port,
            listening: tokio::sync::Mutex::default(),
            trap,
            desk,
        };
        faulty.heal().await?;
        Ok(faulty)
    }

    /// The address, healthy until it is armed.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address under which this fault can be met: some lie in the address itself.
    pub fn url_of(&self, fault: Fault) -> String {
        match fault {
            Fault::NoDns => format!("http://faulty.invalid:{}", self.address.port()),
            Fault::PlainBehindTls | Fault::SelfSigned => format!("https://{}", self.address),
            _ => self.url(),
        }
    }

    /// Does this wrong from now on, in place of what it did wrong before.
    pub async fn arm(&self, orders: impl Into<Orders>) {
        let orders = orders.into();
        if let Script::Fault(Fault::Refuse) = orders.script
            && let Some(listening) = self.listening.lock().await.take()
        {
            listening.abort();
            // The port is closed, and every connection with it, when this has ended.
            let _ = listening.await;
        }
        *lock(&self.desk.orders) = Some(Armed {
            orders,
            met: 0,
            applied: 0,
        });
    }

    /// Does nothing wrong from now on.
    pub async fn heal(&self) -> io::Result<()> {
        *lock(&self.desk.orders) = None;
        let mut listening = self.listening.lock().await;
        if listening.is_none() {
            let listener = socket(self.address)?.listen(1024)?;
            *listening = Some(spawn(accept(listener, Arc::clone(&self.desk))));
        }
        Ok(())
    }

    /// How many requests the fault has met since it was armed.
    pub fn applied(&self) -> usize {
        lock(&self.desk.orders)
            .as_ref()
            .map_or(0, |armed| armed.applied)
    }

    /// The requests so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.desk.seen).clone()
    }

    /// Requests whose answer has neither ended nor been given up by the peer.
    pub fn in_flight(&self) -> usize {
        self.desk.open.load(Ordering::SeqCst)
    }

    /// How often somebody followed a redirect to the other host.
    pub fn lured(&self) -> usize {
        self.desk.lured.load(Ordering::SeqCst)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.trap.abort();
        if let Some(listening) = self.listening.get_mut() {
            listening.abort();
        }
    }
}

impl Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// What to do wrong with this request, which is the `nth` of its connection.
    fn script(&self, request: &Seen, nth: usize) -> Option<Script> {
        let mut orders = lock(&self.orders);
        let armed = orders.as_mut()?;
        let Orders { script, when, only } = &armed.orders;
        let fresh = matches!(script, Script::Fault(fault) if fault.is_stale()) && nth == 0;
        if fresh || !when(request) {
            return None;
        }
        let met = armed.met;
        armed.met += 1;
        if only.is_some_and(|only| only != met) {
            return None;
        }
        armed.applied += 1;
        Some(*script)
    }

    /// The fault that connections meet before any request.
    fn greeting(&self) -> Option<Fault> {
        let mut orders = lock(&self.orders);
        let armed = orders.as_mut()?;
        let Script::Fault(fault) = armed.orders.script else {
            return None;
        };
        armed.applied += 1;
        Some(fault)
    }
}

/// Several sockets may share the port: the one that keeps it, and the one that listens.
fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tasks of this server, aborted when it is dropped"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

/// The set owns the connections, so that aborting this one task ends them all.
async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                open.spawn(serve(stream, Arc::clone(&desk)));
            },
            Some(_) = open.join_next() => {}
        }
    }
}

/// The other host: whoever comes here was lured.
async fn count(trap: TcpListener, desk: Arc<Desk>) {
    while trap.accept().await.is_ok() {
        desk.lured.fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts a request as in flight for as long as it lives.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, desk: Arc<Desk>) {
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    if matches!(stream.peek(&mut first).await, Ok(1)) && first == [HANDSHAKE] {
        let _open = Open::new(&desk.open);
        match desk.greeting() {
            // An error is the peer leaving.
            Some(Fault::SelfSigned) => drop(certificate::greet(&mut stream).await),
            _ => drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await),
        }
        return;
    }
    let mut nth = 0;
    while let Some(request) = exchange::request(&mut stream).await {
        let open = Open::new(&desk.open);
        lock(&desk.seen).push(request.clone());
        // An error is the peer leaving, too.
        let after = answer(&mut stream, &request, nth, &desk).await;
        drop(open);
        match after.unwrap_or(After::Close) {
            After::Stay => nth += 1,
            After::Close => return,
            After::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
        }
    }
}

async fn answer(
    stream: &mut TcpStream,
    request: &Seen,
    nth: usize,
    desk: &Desk,
) -> io::Result<After> {
    let script = desk.script(request, nth);
    match script {
        None => sent::properly(stream, &exchange::ask(desk.origin, request).await?).await,
        Some(Script::Table(error)) => sent::properly(stream, &error.answer()).await,
        Some(Script::Fault(fault)) => {
            let healthy = if fault.is_passed_on() {
                exchange::ask(desk.origin, request).await?
            } else {
                Answer::of(200, "text/event-stream")
            };
            match said::instead(fault, &healthy, &desk.elsewhere) {
                Some(answer) => sent::properly(stream, &answer).await,
                None => sent::wrongly(fault, stream, &healthy).await,
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
