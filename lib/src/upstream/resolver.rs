//! Names of agents into addresses, at the moment of connecting: what is checked is what is connected to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::domain::network::Networks;

type Found = BoxFuture<'static, io::Result<Vec<IpAddr>>>;

/// How names become addresses; by default as the system does it.
#[derive(Clone)]
pub struct Lookup(Arc<dyn Fn(String) -> Found + Send + Sync>);

impl Lookup {
    pub fn new(lookup: impl Fn(String) -> Found + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }
}

impl Default for Lookup {
    fn default() -> Self {
        Self::new(|name| {
            async move {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            }
            .boxed()
        })
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

/// A resolver that tells only those addresses of a name at which agents may be.
///
/// It is asked for every new connection, so a name that pointed to a good address before gains nothing by that.
pub(super) struct Resolver {
    pub networks: Arc<Networks>,
    pub lookup: Lookup,
    /// Whether the connections are for TLS.
    pub tls: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.lookup.0)(name.as_str().to_owned());
        let (networks, tls) = (Arc::clone(&self.networks), self.tls);
        async move {
            let mut refused = None;
            let mut admitted = Vec::new();
            for address in found.await? {
                match networks.admit(Some(name.as_str()), address, tls) {
                    Ok(()) => admitted.push(SocketAddr::new(address, 0)),
                    Err(refusal) => refused = Some(refusal),
                }
            }
            match refused {
                Some(refusal) if admitted.is_empty() => Err(refusal.into()),
                _ => Ok(Box::new(admitted.into_iter()) as Addrs),
            }
        }
        .boxed()
    }
}
