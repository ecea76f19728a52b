//! Any bytes, in any split, against a reader that is too simple to be wrong.

use std::time::Duration;

use bolero::TypeGenerator;

use super::*;

/// Of a line and of an event alike.
const CAP: usize = 1024 * 1024;

/// What streams are made of, and what they are not.
#[derive(Clone, Debug, TypeGenerator)]
enum Piece {
    Data,
    DataWithSpace,
    Json,
    LineFeed,
    Return,
    Both,
    Blank,
    Comment,
    OtherField,
    ByteOrderMark,
    HalfACharacter,
    /// Several of these make a line or an event too long, in streams that are marked so.
    Long,
    Bytes([u8; 3]),
}

impl Piece {
    fn bytes(&self, long: bool) -> Vec<u8> {
        match self {
            Self::Data => b"data:".to_vec(),
            Self::DataWithSpace => b"data: ".to_vec(),
            Self::Json => "{\"a\":\"\u{2600}\"}".as_bytes().to_vec(),
            Self::LineFeed => b"\n".to_vec(),
            Self::Return => b"\r".to_vec(),
            Self::Both => b"\r\n".to_vec(),
            Self::Blank => b"\n\n".to_vec(),
            Self::Comment => b": beat\n\n".to_vec(),
            Self::OtherField => b"event: x\n".to_vec(),
            Self::ByteOrderMark => b"\xEF\xBB\xBF".to_vec(),
            Self::HalfACharacter => b"\xE2\x98".to_vec(),
            Self::Long if long => vec![b'x'; CAP / 2 - 3],
            Self::Long => b"x".to_vec(),
            Self::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

/// The events up to the end or to the error.
type Read = (Vec<Vec<u8>>, Option<Error>);

fn read(pieces: &[&[u8]]) -> Read {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_event() {
                Ok(Some(event)) => events.push(event.to_vec()),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

/// The standard's own words, one after the other, on the whole stream.
fn read_plainly(stream: &[u8]) -> Read {
    let mut rest = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mark = stream.len() - rest.len();
    let mut events = Vec::new();
    let mut data: Option<Vec<u8>> = None;
    loop {
        let first = if rest.len() + mark == stream.len() {
            mark
        } else {
            0
        };
        let end = rest.iter().position(|byte| b"\r\n".contains(byte));
        if end.unwrap_or(rest.len()) + first > CAP {
            return (events, Some(Error::LongLine(CAP)));
        }
        let Some(end) = end else {
            return (events, None);
        };
        let line = &rest[..end];
        let width = if rest[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + width..];
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if line.is_empty() {
            events.extend(data.take().filter(|data| !data.is_empty()));
        } else if field == b"data" {
            data = Some(match data {
                None => value.to_vec(),
                Some(data) if data.len() + value.len() >= CAP => {
                    return (events, Some(Error::LongEvent(CAP)));
                }
                Some(data) => [&data, &b"\n"[..], value].concat(),
            });
        }
    }
}

#[test]
fn any_bytes_in_any_split_give_the_events_of_a_plain_reader() {
    bolero::check!()
        .with_type::<(Vec<Piece>, Vec<u16>, u8)>()
        .with_iterations(3000)
        .with_test_time(Duration::from_secs(1))
        .for_each(|(pieces, cuts, long)| {
            // One stream in fifty is a long one.
            let long = *long < 5;
            let stream: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes(long)).collect();
            let mut cuts: Vec<usize> = cuts
                .iter()
                .map(|cut| usize::from(*cut) % (stream.len() + 1))
                .collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let split: Vec<&[u8]> = cuts
                .windows(2)
                .map(|pair| &stream[pair[0]..pair[1]])
                .collect();
            let plain = read_plainly(&stream);
            assert!(read(&[&stream]) == plain, "in one piece: {plain:?}");
            assert!(read(&split) == plain, "cut at {cuts:?}: {plain:?}");
        });
}

#[test]
fn any_bytes_in_single_bytes_give_the_events_of_a_plain_reader() {
    bolero::check!()
        .with_iterations(1000)
        .with_max_len(300)
        .with_test_time(Duration::from_secs(1))
        .for_each(|stream: &[u8]| {
            let single: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(read(&single), read_plainly(stream));
        });
}
