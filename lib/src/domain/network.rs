//! Where agents may be: public addresses, and what the administrator lists beside them.

use std::net::{IpAddr, Ipv4Addr};

/// A host or an address is not one where agents may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{0} is no address on a network: {1}")]
    Never(IpAddr, &'static str),
    #[error("{0} is private, and MAS_PRIVATE_NETWORKS lists neither it nor its host")]
    Private(IpAddr),
    #[error(
        "{0} is to be called without TLS, and MAS_PRIVATE_NETWORKS lists neither it nor its host"
    )]
    Plain(IpAddr),
    #[error("this is no https or http address of a host")]
    Malformed,
}

/// Addresses and hosts that are allowed beside public ones (`MAS_PRIVATE_NETWORKS`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    ranges: Vec<Range>,
    /// In lower case; one that begins with a dot stands for everything below it.
    hosts: Vec<String>,
}

/// What an address is good for.
enum Kind {
    Public,
    /// Of this machine or of a private network.
    Private,
    /// Never where an agent is, whatever is listed, and why.
    Never(&'static str),
}

/// Addresses that begin with the same bits, IPv4 counted as it is embedded in IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    bits: u128,
    length: u32,
}

const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
const PRIVATE: [&str; 5] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    // Carriers' own, which cloud networks use as well.
    "100.64.0.0/10",
    "fc00::/7",
];

/// Where no agent can be. Metadata services hand out the machine's own credentials.
const NEVER: [(&str, &str); 22] = [
    ("0.0.0.0/8", "this network"),
    ("169.254.0.0/16", "link-local, where metadata services are"),
    ("168.63.129.16/32", "a metadata service"),
    ("100.100.100.200/32", "a metadata service"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved or broadcast"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "for documentation"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("198.18.0.0/15", "for benchmarks"),
    ("::/128", "unspecified"),
    ("ff00::/8", "multicast"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("fd00:ec2::/32", "where metadata services are"),
    ("fd20:ce::/32", "where metadata services are"),
    ("100::/64", "discarded"),
    ("64:ff9b:1::/48", "a local translation"),
    // Protocol assignments, tunnels and benchmarks.
    ("2001::/23", "reserved for protocols"),
    ("2001:db8::/32", "for documentation"),
    ("3fff::/20", "for documentation"),
];

impl Networks {
    /// Reads `loopback`, `private`, networks, single addresses and hosts; the first entry that is none of these is the
    /// error.
    pub fn parse<'a>(entries: impl Iterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut networks = Self::default();
        for entry in entries {
            match entry {
                "loopback" => networks.ranges.extend(ranges(&LOOPBACK)),
                "private" => networks.ranges.extend(ranges(&PRIVATE)),
                _ => match Range::parse(entry) {
                    Some(range) => networks.ranges.push(range),
                    None => networks.hosts.push(host(entry).ok_or(entry)?),
                },
            }
        }
        Ok(networks)
    }

    /// Whether an agent may be called at an address, which its host, if it has a name, was resolved to.
    pub fn admit(&self, host: Option<&str>, address: IpAddr, tls: bool) -> Result<(), Refused> {
        let address = embedded(address);
        let listed = self.ranges.iter().any(|range| range.holds(address))
            || host.is_some_and(|host| self.names(host));
        match kind(address) {
            Kind::Never(why) => Err(Refused::Never(address, why)),
            Kind::Private if !listed => Err(Refused::Private(address)),
            Kind::Public if !listed && !tls => Err(Refused::Plain(address)),
            Kind::Public | Kind::Private => Ok(()),
        }
    }

    fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.hosts.iter().any(|listed| {
            if listed.starts_with('.') {
                host.len() > listed.len() && host.ends_with(listed.as_str())
            } else {
                host == *listed
            }
        })
    }
}

fn ranges(texts: &[&str]) -> impl Iterator<Item = Range> {
    texts.iter().filter_map(|text| Range::parse(text))
}

/// A host name as it is compared: labels of letters, digits, dashes and underscores, the last one not a number.
fn host(entry: &str) -> Option<String> {
    let name = entry.trim_end_matches('.').to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let labels = name.strip_prefix('.').unwrap_or(&name);
    let good = name.len() <= 253
        && (labels.split('.')).all(|label| !label.is_empty() && label.bytes().all(plain))
        && !labels.ends_with(|last: char| last.is_ascii_digit());
    good.then_some(name)
}

fn kind(address: IpAddr) -> Kind {
    let never = NEVER
        .iter()
        .find(|(range, _)| Range::parse(range).is_some_and(|range| range.holds(address)));
    if let Some((_, why)) = never {
        return Kind::Never(why);
    }
    let holds = |range: Range| range.holds(address);
    if ranges(&LOOPBACK).chain(ranges(&PRIVATE)).any(holds) {
        Kind::Private
    } else {
        Kind::Public
    }
}

/// The IPv4 address inside an IPv6 one: mapped, compatible, NAT64 or 6to4. A packet to such an address ends up there.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let bits = v6.to_bits();
    let at = |shift: u32| {
        let [.., a, b, c, d] = (bits >> shift).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match bits >> 32 {
        0xffff | 0x0064_ff9b_0000_0000_0000_0000 => at(0),
        // `::` and `::1` are addresses of their own.
        0 if bits > 1 => at(0),
        _ if bits >> 112 == 0x2002 => at(80),
        _ => address,
    }
}

impl Range {
    /// `10.0.0.0/8`, `fd00::/8`, or a single address.
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (most, before) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        let length = length.unwrap_or(most);
        (length <= most).then(|| Self {
            bits: bits(address),
            length: before + length,
        })
    }

    fn holds(self, address: IpAddr) -> bool {
        let differ = self.bits ^ bits(address);
        self.length == 0 || differ.checked_shr(128 - self.length).unwrap_or(differ) == 0
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests;
