//! Reading JSON from strangers in one pass: a value of the wrong type counts as absent, never as an error.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Longer lists are read to here: no peer means more, and a list in memory takes many times what it takes on the wire.
const LIST: usize = 1000;

/// A type that knows which JSON it can be made of; everything else makes nothing.
pub trait Lenient<'de>: Sized {
    fn of_text(_: Cow<'de, str>) -> Option<Self> {
        None
    }

    fn of_number(_: u64) -> Option<Self> {
        None
    }

    fn of_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// False for an item that says nothing; `before` counts the kept ones. What is not kept takes no memory.
    fn is_kept(&self, _before: usize) -> bool {
        true
    }
}

impl<'de> Lenient<'de> for Cow<'de, str> {
    fn of_text(text: Cow<'de, str>) -> Option<Self> {
        Some(text)
    }
}

impl<'de> Lenient<'de> for String {
    fn of_text(text: Cow<'de, str>) -> Option<Self> {
        Some(text.into_owned())
    }
}

impl Lenient<'_> for u32 {
    fn of_number(number: u64) -> Option<Self> {
        number.try_into().ok()
    }
}

impl Lenient<'_> for u64 {
    fn of_number(number: u64) -> Option<Self> {
        Some(number)
    }
}

/// The readable items of a list.
impl<'de, T: Lenient<'de>> Lenient<'de> for Vec<T> {
    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut items = Self::new();
        while let Some(Read(item)) = list.next_element::<Read<T>>()? {
            items.extend(item.filter(|item| item.is_kept(items.len())));
            if items.len() >= LIST {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                break;
            }
        }
        Ok(Some(items))
    }
}

/// A struct whose fields are lenient themselves, made of an object.
pub fn of_fields<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    map: A,
) -> Result<Option<T>, A::Error> {
    T::deserialize(MapAccessDeserializer::new(map)).map(Some)
}

/// For `deserialize_with`: the value, or nothing.
pub fn read<'de, D: Deserializer<'de>, T: Lenient<'de>>(from: D) -> Result<Option<T>, D::Error> {
    from.deserialize_any(Any(PhantomData))
}

/// For `deserialize_with`: the value, or its default.
pub fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Lenient<'de> + Default,
{
    read(from).map(Option::unwrap_or_default)
}

struct Read<T>(Option<T>);

impl<'de, T: Lenient<'de>> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read(from).map(Self)
    }
}

struct Any<T>(PhantomData<T>);

impl<'de, T: Lenient<'de>> Visitor<'de> for Any<T> {
    type Value = Option<T>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(T::of_text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::of_text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(T::of_number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::of_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::of_list(list)
    }
}
