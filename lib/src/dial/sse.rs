//! Server-sent events out of bytes: any split of the same bytes gives the same events, in linear time.

use bytes::{Buf, Bytes, BytesMut};

use crate::domain::rules::Caps;

/// What the peer sent is not a readable event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a line of the stream is longer than {0} bytes")]
    LongLine(usize),
    #[error("an event of the stream is longer than {0} bytes")]
    LongEvent(usize),
}

/// An incremental reader of `text/event-stream`.
///
/// CR, LF and CR LF end a line, a leading byte order mark is skipped, comments and fields other than `data` are
/// passed over, several `data` lines of one event are joined by a line feed. A trailing event without its blank
/// line is dropped, as the standard has it.
#[derive(Debug)]
pub struct Decoder {
    /// The longest line and the longest event that are read, in bytes.
    line: usize,
    event: usize,
    buffer: BytesMut,
    /// Bytes of the buffer already searched for a line end.
    searched: usize,
    /// Data of the event being read; a single line stays a slice of the buffer, uncopied.
    data: Option<Bytes>,
    /// The last line ended in CR: an LF right after it belongs to that line end.
    after_cr: bool,
    begun: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        let caps = Caps::default();
        Self::new(caps.line, caps.event)
    }
}

impl Decoder {
    /// A reader that refuses longer lines and longer events than these, in bytes.
    pub fn new(line: usize, event: usize) -> Self {
        Self {
            line,
            event,
            buffer: BytesMut::new(),
            searched: 0,
            data: None,
            after_cr: false,
            begun: false,
        }
    }

    /// Takes more bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next complete event, or `None` when more bytes are needed.
    pub fn next_event(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(line) = self.next_line()? {
            if line.is_empty() {
                // An event without data is none, as the standard has it.
                if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
                    return Ok(Some(data));
                }
            } else if let Some(value) = data_field(&line) {
                self.append(value)?;
            }
        }
        Ok(None)
    }

    fn append(&mut self, value: Bytes) -> Result<(), Error> {
        // A line feed joins what was there before.
        let before = self.data.as_ref().map_or(0, |data| data.len() + 1);
        if before + value.len() > self.event {
            return Err(Error::LongEvent(self.event));
        }
        self.data = Some(match self.data.take() {
            None => value,
            Some(data) => {
                // Joining is rare; a BytesMut that owns its bytes alone grows in place, so this stays linear.
                let mut joined = BytesMut::from(data);
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(&value);
                joined.freeze()
            }
        });
        Ok(())
    }

    fn next_line(&mut self) -> Result<Option<Bytes>, Error> {
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer.first() == Some(&b'\n') {
                self.buffer.advance(1);
            }
        }
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = fresh.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.searched = self.buffer.len();
            return if self.searched > self.line {
                Err(Error::LongLine(self.line))
            } else {
                Ok(None)
            };
        };
        let end = self.searched + found;
        if end > self.line {
            return Err(Error::LongLine(self.line));
        }
        self.after_cr = self.buffer.get(end) == Some(&b'\r');
        let mut line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        if !self.begun {
            self.begun = true;
            if line.starts_with(b"\xEF\xBB\xBF") {
                line.advance(3);
            }
        }
        Ok(Some(line))
    }
}

/// The value of a `data` line, with the one optional space removed.
fn data_field(line: &Bytes) -> Option<Bytes> {
    let rest = line.strip_prefix(b"data")?;
    match rest {
        [] => Some(Bytes::new()),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(line.slice_ref(value)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "sse/tests/fuzz.rs"]
mod fuzz_tests;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<Bytes>, Error> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(event) = decoder.next_event()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let check = |input: &str, expected: &[&str]| {
            assert_eq!(decode(&[input.as_bytes()]).unwrap(), expected, "{input:?}");
        };
        check("data: a\n\n", &["a"]);
        check("data:a\n\n", &["a"]);
        check("data:  a\n\n", &[" a"]);
        check("data: a\r\n\r\ndata: b\r\rdata: c\n\n", &["a", "b", "c"]);
        check("\u{feff}data: a\n\n", &["a"]);
        check("data: a\ndata: b\n\n", &["a\nb"]);
        check("data: a\r\ndata: b\r\n\r\n", &["a\nb"]);
        check("data\ndata: a\n\n", &["\na"]);
        check("data\n\ndata:\n\n", &[]);
        check(
            ": heartbeat\n\nevent: x\nid: 1\nretry: 5\ndata: a\n\n",
            &["a"],
        );
        check("database: a\n\n", &[]);
        check("data: unfinished", &[]);
        check("data: unfinished\n", &[]);
        check("\n\n\ndata: a\n\n\n\n", &["a"]);
    }

    #[test]
    fn a_line_is_refused_once_it_is_too_long_whether_or_not_it_ends() {
        let mut decoder = Decoder::new(8, 100);
        decoder.push(b"data: ab");
        assert_eq!(decoder.next_event(), Ok(None));
        decoder.push(b"c");
        assert_eq!(decoder.next_event(), Err(Error::LongLine(8)));
        let mut decoder = Decoder::new(8, 100);
        decoder.push(b"data: ab\n\ndata: abc\n\n");
        assert_eq!(decoder.next_event(), Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!(decoder.next_event(), Err(Error::LongLine(8)));
    }

    #[test]
    fn a_line_of_a_megabyte_is_read_and_a_longer_one_is_refused() {
        let line =
            |length: usize| [b"data: ".to_vec(), vec![b'x'; length - 6], b"\n\n".to_vec()].concat();
        let longest = 1_048_576;
        let whole = line(longest);
        // In one piece, and cut where the line is complete but for its end.
        for pieces in [vec![&whole[..]], vec![&whole[..longest], &whole[longest..]]] {
            let events = decode(&pieces).unwrap();
            assert_eq!(
                events.iter().map(Bytes::len).collect::<Vec<_>>(),
                [longest - 6]
            );
        }
        let longer = line(longest + 1);
        for pieces in [
            vec![&longer[..]],
            vec![&longer[..longest], &longer[longest..]],
        ] {
            assert_eq!(decode(&pieces), Err(Error::LongLine(longest)));
        }
    }

    #[test]
    fn data_lines_that_are_short_together_are_joined() {
        let text = "x".repeat(5000);
        let input = format!("data: {text}\ndata: {text}\n\n");
        assert_eq!(
            decode(&[input.as_bytes()]).unwrap(),
            [format!("{text}\n{text}")]
        );
    }

    #[test]
    fn an_event_is_refused_once_it_is_too_long_in_one_line_or_in_many() {
        for (input, expected) in [
            ("data: abcde\n\n", Ok(Some("abcde".into()))),
            ("data: ab\ndata: cd\n\n", Ok(Some("ab\ncd".into()))),
            ("data: abcdef\n\n", Err(Error::LongEvent(5))),
            ("data: ab\ndata: cde\n\n", Err(Error::LongEvent(5))),
            (&"data:\n".repeat(7), Err(Error::LongEvent(5))),
        ] {
            let mut decoder = Decoder::new(100, 5);
            decoder.push(input.as_bytes());
            assert_eq!(decoder.next_event(), expected, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            bytes in proptest::collection::vec(
                prop_oneof![
                    Just(b"data: {\"a\":1}".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()),
                    Just(b": beat".to_vec()), Just("data: \u{2600}".as_bytes().to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..4),
                ],
                0..40,
            ).prop_map(|parts| parts.concat()),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&pieces), decode(&[&bytes]));
        }
    }
}
