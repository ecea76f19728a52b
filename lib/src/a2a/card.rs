//! An agent's card, reduced to how the agent is spoken to.

use serde::Deserialize;
use url::Url;

use super::Version;

/// How an agent offers to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub url: Url,
    pub version: Version,
    pub streaming: bool,
    /// Which of several agents at one address is meant.
    pub tenant: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCard {
    #[serde(default)]
    capabilities: Capabilities,
    #[serde(default)]
    supported_interfaces: Vec<Interface>,
    /// The rest is how version 0.3 says it.
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    preferred_transport: Option<String>,
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    additional_interfaces: Vec<Interface>,
}

#[derive(Default, Deserialize)]
struct Capabilities {
    #[serde(default)]
    streaming: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    #[serde(default)]
    url: String,
    #[serde(default, alias = "transport")]
    protocol_binding: String,
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    tenant: Option<String>,
}

impl Offer {
    /// The best of what a card offers: JSON-RPC in the newest version that is spoken here. `None` if there is none, or if
    /// this is no card.
    pub fn read(card: &[u8]) -> Option<Self> {
        let card: WireCard = serde_json::from_slice(card).ok()?;
        let streaming = card.capabilities.streaming.unwrap_or(false);
        let old = card.protocol_version.unwrap_or_else(|| "0.3".into());
        let main = card.url.map(|url| Interface {
            url,
            protocol_binding: card.preferred_transport.unwrap_or_else(|| "JSONRPC".into()),
            protocol_version: None,
            tenant: None,
        });
        let interfaces = (card.supported_interfaces.into_iter())
            .chain(main)
            .chain(card.additional_interfaces);
        let offers: Vec<Self> = interfaces
            .filter(|interface| interface.protocol_binding.eq_ignore_ascii_case("JSONRPC"))
            .filter_map(|interface| {
                Some(Self {
                    url: Url::parse(&interface.url).ok()?,
                    version: Version::parse(interface.protocol_version.as_deref().unwrap_or(&old))?,
                    streaming,
                    tenant: interface.tenant.filter(|tenant| !tenant.is_empty()),
                })
            })
            .collect();
        let of = |version| offers.iter().find(|offer| offer.version == version);
        Version::ALL.into_iter().find_map(of).cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_newest_version_over_json_rpc_is_taken() {
        let check = |card: Value, expected: Option<(&str, Version, bool)>| {
            let offer = Offer::read(card.to_string().as_bytes());
            let found = offer
                .as_ref()
                .map(|offer| (offer.url.as_str(), offer.version, offer.streaming));
            assert_eq!(found, expected, "{card}");
        };
        let new = |binding: &str, version: &str| json!({"url": format!("https://a/{version}"), "protocolBinding": binding, "protocolVersion": version});
        check(
            json!({"supportedInterfaces": [new("GRPC", "1.0"), new("JSONRPC", "0.3"), new("JSONRPC", "1.0")],
                   "capabilities": {"streaming": true}}),
            Some(("https://a/1.0", Version::V10, true)),
        );
        check(
            json!({"url": "https://a/rpc", "capabilities": {}}),
            Some(("https://a/rpc", Version::V03, false)),
        );
        check(
            json!({"url": "https://a/grpc", "preferredTransport": "GRPC", "protocolVersion": "0.3.0",
                   "additionalInterfaces": [{"url": "https://a/rpc", "transport": "JSONRPC"}]}),
            Some(("https://a/rpc", Version::V03, false)),
        );
        check(
            json!({"supportedInterfaces": [new("HTTP+JSON", "1.0")]}),
            None,
        );
        check(
            json!({"supportedInterfaces": [new("JSONRPC", "7.0")]}),
            None,
        );
        check(json!([]), None);
    }
}
