//! Connections by degree of trust: to what the administrator configured, and to agents, whose addresses are checked.

use std::sync::Arc;

use url::{Host, Url};

use super::client::Bounds;
use super::error::Error;
use super::pool::Pool;
use super::resolver::Resolver;
use crate::domain::network::{Networks, Refused};
use crate::resilience::retry::Repeat;

/// How far the address of a call is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// DIAL Core, models, identity providers: one address each, set by the administrator, wherever it is.
    Configured,
    /// Agents outside DIAL Core: only where agents may be, checked on every connection.
    Guarded,
}

#[derive(Debug)]
pub(super) struct Connections {
    configured: Pair,
    /// To agents, with TLS and without: a resolver does not know for which of them it is asked.
    secure: Pair,
    plain: Pair,
    networks: Arc<Networks>,
}

#[derive(Debug)]
struct Pair {
    pooled: Arc<Pool>,
    /// A new connection for every call: one that was idle may be dead, and what was sent on it cannot be sent again.
    fresh: reqwest::Client,
}

/// Where a call is made. Dropped when its answer is over.
pub(super) struct Lease {
    pub client: reqwest::Client,
    pool: Option<Arc<Pool>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.touch();
        }
    }
}

impl Connections {
    pub fn new(bounds: &Bounds) -> Result<Self, Error> {
        let tls = bounds.certificates.tls()?;
        let networks = Arc::new(bounds.networks.clone());
        let resolver = |tls| Resolver {
            networks: Arc::clone(&networks),
            lookup: bounds.lookup.clone(),
            tls,
        };
        Ok(Self {
            configured: Pair::new(bounds, &tls, None)?,
            secure: Pair::new(bounds, &tls, Some(resolver(true)))?,
            plain: Pair::new(bounds, &tls, Some(resolver(false)))?,
            networks,
        })
    }

    /// The client for a call, if its address may be called as far as can be said before a name is resolved.
    pub fn of(&self, trust: Trust, url: &str, repeat: Repeat) -> Result<Lease, Error> {
        let pair = match trust {
            Trust::Configured => &self.configured,
            Trust::Guarded => self.guarded(url).map_err(Error::Refused)?,
        };
        Ok(match repeat {
            Repeat::Unsent => Lease {
                client: pair.fresh.clone(),
                pool: None,
            },
            Repeat::Never | Repeat::Freely => Lease {
                client: pair.pooled.client(),
                pool: Some(Arc::clone(&pair.pooled)),
            },
        })
    }

    fn guarded(&self, url: &str) -> Result<&Pair, Refused> {
        let url = Url::parse(url).map_err(|_| Refused::Malformed)?;
        let (tls, pair) = match url.scheme() {
            "https" => (true, &self.secure),
            "http" => (false, &self.plain),
            _ => return Err(Refused::Malformed),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Malformed);
        }
        // An address needs no resolver, so it would pass none.
        match url.host().ok_or(Refused::Malformed)? {
            Host::Ipv4(address) => self.networks.admit(None, address.into(), tls)?,
            Host::Ipv6(address) => self.networks.admit(None, address.into(), tls)?,
            Host::Domain(_) => {}
        }
        Ok(pair)
    }
}

impl Pair {
    fn new(
        bounds: &Bounds,
        tls: &rustls::ClientConfig,
        resolver: Option<Resolver>,
    ) -> Result<Self, Error> {
        let resolver = resolver.map(Arc::new);
        let (tls, connect, idle) = (tls.clone(), bounds.connect, bounds.pool_idle);
        let build = move |idle_connections| {
            let mut client = reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .connect_timeout(connect)
                .pool_max_idle_per_host(idle_connections)
                .pool_idle_timeout(idle)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .tcp_nodelay(true)
                // A proxy would resolve names itself.
                .no_proxy();
            if let Some(resolver) = &resolver {
                client = client.dns_resolver(Arc::clone(resolver));
            }
            client.build().map_err(Error::Request)
        };
        Ok(Self {
            fresh: build(0)?,
            pooled: Arc::new(Pool::new(
                Box::new(move || build(usize::MAX)),
                idle,
                bounds.clock.clone(),
            )?),
        })
    }
}
