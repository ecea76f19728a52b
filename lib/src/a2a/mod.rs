//! The A2A wire over JSON-RPC, both directions, in both released versions.

pub mod card;
pub mod event;
pub mod fold;
pub mod part;
pub mod request;
pub mod tell;

/// The media type of a part that is structured data.
pub const JSON: &str = "application/json";

/// Where an agent's card is, below the agent's address.
pub const CARD: &str = "/.well-known/agent-card.json";
/// Where it was before version 0.3.
pub const OLD_CARD: &str = "/.well-known/agent.json";

/// Names the version that is spoken.
pub const VERSION_HEADER: &str = "a2a-version";

/// Codes of JSON-RPC errors that mean something here.
pub const TASK_NOT_FOUND: i64 = -32001;
pub const UNSUPPORTED_OPERATION: i64 = -32004;
pub const CONTENT_TYPE_NOT_SUPPORTED: i64 = -32005;
pub const VERSION_NOT_SUPPORTED: i64 = -32009;
pub const INVALID_REQUEST: i64 = -32600;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
pub const INTERNAL: i64 = -32603;
pub const PARSE_ERROR: i64 = -32700;

/// A version of the protocol. They differ in the names of methods and states, and in how a union is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V03,
    V10,
}

impl Version {
    pub const ALL: [Self; 2] = [Self::V10, Self::V03];

    /// The version of this number; patches do not matter, and 0.2 was spoken as 0.3 is.
    pub fn parse(number: &str) -> Option<Self> {
        let number = number.trim();
        match number.split('.').next() {
            Some("1") => Some(Self::V10),
            Some("0") => Some(Self::V03),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V03 => "0.3",
            Self::V10 => "1.0",
        }
    }
}

/// What is asked of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Send,
    Stream,
    Get,
    Cancel,
}

impl Method {
    const ALL: [Self; 4] = [Self::Send, Self::Stream, Self::Get, Self::Cancel];

    pub fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Send, Version::V10) => "SendMessage",
            (Self::Send, Version::V03) => "message/send",
            (Self::Stream, Version::V10) => "SendStreamingMessage",
            (Self::Stream, Version::V03) => "message/stream",
            (Self::Get, Version::V10) => "GetTask",
            (Self::Get, Version::V03) => "tasks/get",
            (Self::Cancel, Version::V10) => "CancelTask",
            (Self::Cancel, Version::V03) => "tasks/cancel",
        }
    }

    /// The method of this name, and the version that calls it so.
    pub fn parse(name: &str) -> Option<(Self, Version)> {
        let all = Version::ALL
            .into_iter()
            .flat_map(|version| Self::ALL.into_iter().map(move |method| (method, version)));
        let mut all = all;
        all.find(|(method, version)| method.name(*version) == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_by_its_first_number() {
        for (number, version) in [
            ("1.0", Some(Version::V10)),
            ("1.0.1", Some(Version::V10)),
            ("0.3.0", Some(Version::V03)),
            ("0.2.6", Some(Version::V03)),
            ("2.0", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(number), version, "{number}");
        }
    }

    #[test]
    fn a_methods_name_tells_the_version() {
        assert_eq!(
            Method::parse("message/stream"),
            Some((Method::Stream, Version::V03))
        );
        assert_eq!(Method::parse("GetTask"), Some((Method::Get, Version::V10)));
        assert_eq!(Method::parse("tasks/resubscribe"), None);
    }
}
