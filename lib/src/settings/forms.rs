//! What may be written in short or at length: the short form of each, and what is expected where neither stands.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::checks::Attachment;
use super::written::{Approve, Capability, Expect, OneOrMore, Then};

/// Something with a short form beside its long one.
trait Forms: Sized {
    const EXPECTED: &'static str;

    fn word(_: &str) -> Option<Self> {
        None
    }

    fn truth(_: bool) -> Option<Self> {
        None
    }

    fn list<'de, A: SeqAccess<'de>>(_: A) -> Option<Result<Self, A::Error>> {
        None
    }

    fn map<'de, A: MapAccess<'de>>(_: A) -> Option<Result<Self, A::Error>> {
        None
    }
}

struct Reading<T>(PhantomData<T>);

impl<'de, T: Forms> Visitor<'de> for Reading<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::word(text)
            .ok_or_else(|| E::custom(format!("found the text {text:?}, expected {}", T::EXPECTED)))
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<T, E> {
        T::truth(truth).ok_or_else(|| E::custom(format!("found {truth}, expected {}", T::EXPECTED)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        let other = || serde::de::Error::custom(format!("found a list, expected {}", T::EXPECTED));
        T::list(list).unwrap_or_else(|| Err(other()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let other =
            || serde::de::Error::custom(format!("found a mapping, expected {}", T::EXPECTED));
        T::map(map).unwrap_or_else(|| Err(other()))
    }
}

fn mapped<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: A) -> Result<Box<T>, A::Error> {
    T::deserialize(MapAccessDeserializer::new(map)).map(Box::new)
}

impl Forms for Then {
    const EXPECTED: &'static str = "an agent, or a mapping of route, fan_out, quorum, instructions, forbid, say, approve, share and set";

    fn word(text: &str) -> Option<Self> {
        Some(Self::Agent(text.to_owned()))
    }

    fn map<'de, A: MapAccess<'de>>(map: A) -> Option<Result<Self, A::Error>> {
        Some(mapped(map).map(Self::Actions))
    }
}

impl Forms for Capability {
    const EXPECTED: &'static str =
        "a name, or a mapping of name, description, tags, examples and effect";

    fn word(text: &str) -> Option<Self> {
        Some(Self::Name(text.to_owned()))
    }

    fn map<'de, A: MapAccess<'de>>(map: A) -> Option<Result<Self, A::Error>> {
        Some(mapped(map).map(Self::Described))
    }
}

impl Forms for Expect {
    const EXPECTED: &'static str = "an agent, a list of agents, none, or a mapping of route, forbidden, approve, synthesis, stages and instructions";

    fn word(text: &str) -> Option<Self> {
        Some(Self::Agent(text.to_owned()))
    }

    fn list<'de, A: SeqAccess<'de>>(list: A) -> Option<Result<Self, A::Error>> {
        Some(Vec::deserialize(SeqAccessDeserializer::new(list)).map(Self::Several))
    }

    fn map<'de, A: MapAccess<'de>>(map: A) -> Option<Result<Self, A::Error>> {
        Some(mapped(map).map(Self::All))
    }
}

impl Forms for OneOrMore {
    const EXPECTED: &'static str = "a name or a list of names";

    fn word(text: &str) -> Option<Self> {
        Some(Self(vec![text.to_owned()]))
    }

    fn list<'de, A: SeqAccess<'de>>(list: A) -> Option<Result<Self, A::Error>> {
        Some(Vec::deserialize(SeqAccessDeserializer::new(list)).map(Self))
    }
}

impl Forms for Approve {
    const EXPECTED: &'static str = "true, false, an agent or a list of agents";

    fn word(text: &str) -> Option<Self> {
        OneOrMore::word(text).map(Self::These)
    }

    fn truth(truth: bool) -> Option<Self> {
        Some(Self::Whoever(truth))
    }

    fn list<'de, A: SeqAccess<'de>>(list: A) -> Option<Result<Self, A::Error>> {
        OneOrMore::list(list).map(|made| made.map(Self::These))
    }
}

impl Forms for Attachment {
    const EXPECTED: &'static str = "true, false, a type of file such as image/*, or a list of them";

    fn word(text: &str) -> Option<Self> {
        OneOrMore::word(text).map(Self::Wanted)
    }

    fn truth(truth: bool) -> Option<Self> {
        Some(Self::Claimed(truth))
    }

    fn list<'de, A: SeqAccess<'de>>(list: A) -> Option<Result<Self, A::Error>> {
        OneOrMore::list(list).map(|made| made.map(Self::Wanted))
    }
}

macro_rules! of_forms {
    ($($type:ty),*) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Reading(PhantomData))
            }
        })*
    };
}

of_forms!(Then, Capability, Expect, OneOrMore, Approve, Attachment);
