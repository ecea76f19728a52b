//! Where a request stands in a trace: W3C Trace Context, read strictly, and written; and where spans of ours are sent.

use std::time::Duration;

use super::ids::Secret;

/// The headers of W3C Trace Context, and the older one with the id alone.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";
pub const TRACE_ID: &str = "x-trace-id";

/// As much of a `tracestate` as everybody has to pass on.
const STATE_CAP: usize = 512;
const STATE_MEMBERS: usize = 32;
/// The one flag that version 00 knows.
pub const SAMPLED: u8 = 1;

/// A point of a trace: a span, and whether it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub span: u64,
    pub flags: u8,
}

/// The trace that a request belongs to, and how it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Thirty-two digits, as everybody writes it.
    id: String,
    number: u128,
    /// The caller's span; one that nobody has where the caller named none.
    above: Point,
    named: bool,
    state: Option<String>,
}

impl Trace {
    /// Reads the two headers of W3C Trace Context. A `traceparent` that is not exactly what its specification says is
    /// none, and then the `tracestate` means nothing either.
    pub fn read(parent: &str, state: Option<&str>) -> Option<Self> {
        let (version, rest) = parent.split_at_checked(2)?;
        let (number, rest) = rest.strip_prefix('-')?.split_at_checked(32)?;
        let (span, rest) = rest.strip_prefix('-')?.split_at_checked(16)?;
        let (flags, rest) = rest.strip_prefix('-')?.split_at_checked(2)?;
        let version = u8::try_from(hex(version)?).ok()?;
        let flags = u8::try_from(hex(flags)?).ok()?;
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            // A later version may say more after what is known.
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let number = hex(number).filter(|id| *id != 0)?;
        let span = hex(span).and_then(|span| u64::try_from(span).ok());
        let above = Point {
            span: span.filter(|span| *span != 0)?,
            // What other flags of a later version mean is not known here.
            flags: if version == 0 { flags } else { flags & SAMPLED },
        };
        fits.then(|| Self {
            id: format!("{number:032x}"),
            number,
            above,
            named: true,
            state: state.and_then(members),
        })
    }

    /// A trace in which nobody has named a span yet.
    pub fn begun(id: u128, span: u64) -> Self {
        Self {
            id: format!("{id:032x}"),
            number: id,
            above: Point {
                span,
                flags: SAMPLED,
            },
            named: false,
            state: None,
        }
    }

    /// The id of a trace alone, as `X-Trace-ID` has it.
    pub fn read_id(text: &str) -> Option<u128> {
        let digits = text.len() == 32;
        hex(&text.to_ascii_lowercase()).filter(|id| digits && *id != 0)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn number(&self) -> u128 {
        self.number
    }

    /// The caller's span, if it named one.
    pub fn above(&self) -> Option<Point> {
        self.named.then_some(self.above)
    }

    /// The `traceparent` for whom we call: below this span of ours, or where there is none as it came.
    pub fn parent(&self, span: Option<Point>) -> String {
        let Point { span, flags } = span.unwrap_or(self.above);
        format!("00-{}-{span:016x}-{flags:02x}", self.id)
    }

    /// The `tracestate`, passed on.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Lower-case hexadecimal digits, at most thirty-two.
fn hex(digits: &str) -> Option<u128> {
    let plain = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = Some(digits).filter(|digits| digits.bytes().all(plain))?;
    u128::from_str_radix(digits, 16).ok()
}

/// Whole members, from the left, as many as are passed on.
fn members(state: &str) -> Option<String> {
    let mut kept = String::new();
    let given = state.split(',').map(str::trim);
    for member in given
        .filter(|member| member.contains('='))
        .take(STATE_MEMBERS)
    {
        if kept.len() + 1 + member.len() > STATE_CAP {
            break;
        }
        if !kept.is_empty() {
            kept.push(',');
        }
        kept.push_str(member);
    }
    (!kept.is_empty()).then_some(kept)
}

/// Where spans are sent.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The whole address, which takes OTLP over HTTP.
    pub url: String,
    pub headers: Vec<(String, Secret)>,
    pub timeout: Duration,
    /// Our name there.
    pub service: String,
    /// The share of traces that begin here which is recorded; others' are recorded as they say.
    pub share: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const ID: &str = PARENT.split_at(3).1.split_at(32).0;
    const SPAN: &str = PARENT.split_at(36).1.split_at(16).0;

    #[test]
    fn what_the_specification_allows_is_read_and_passed_on() {
        let check = |parent: &str, passed_on: &str| {
            let trace = Trace::read(parent, None).unwrap_or_else(|| panic!("{parent}"));
            assert_eq!(trace.parent(None), passed_on);
            assert_eq!(trace.id(), ID);
            assert!(trace.above().is_some());
        };
        check(PARENT, PARENT);
        let unsampled = PARENT.replace("-01", "-00");
        check(&unsampled, &unsampled);
        // The second level's random flag.
        let random = PARENT.replace("-01", "-03");
        check(&random, &random);
        // A later version is answered in this one.
        check(&PARENT.replacen("00-", "cc-", 1), PARENT);
        check(
            &PARENT
                .replacen("00-", "01-", 1)
                .replace("-01", "-0b-what-comes"),
            PARENT,
        );
    }

    #[test]
    fn anything_else_is_no_trace() {
        for parent in [
            "",
            "00",
            "00-",
            "x",
            &PARENT.to_ascii_uppercase(),
            &format!("{PARENT}-"),
            &format!("{PARENT}-what-comes"),
            &format!(" {PARENT}"),
            &format!("{PARENT} "),
            &format!("{PARENT},{PARENT}"),
            &PARENT.replacen("00-", "ff-", 1),
            &PARENT.replacen("00-", "0-", 1),
            &PARENT
                .replacen("00-", "01-", 1)
                .replace("-01", "-01.what-comes"),
            &PARENT.replace(ID, &"0".repeat(32)),
            &PARENT.replace(SPAN, &"0".repeat(16)),
            &PARENT.replace("b7ad", "g7ad"),
            &PARENT.replace("b7ad", "+7ad"),
            &PARENT.replace("-01", "-1"),
            &PARENT.replace("-01", "-0x"),
            &PARENT.replace('-', "_"),
            "00-0af7651916cd43dd8448eb211c80319\u{e4}-b7ad6b7169203331-01",
        ] {
            assert_eq!(Trace::read(parent, Some("a=b")), None, "{parent:?}");
        }
    }

    #[test]
    fn the_state_is_passed_on_in_whole_members() {
        let state = |text: &str| {
            let trace = Trace::read(PARENT, Some(text)).unwrap();
            trace.state().map(str::to_owned)
        };
        assert_eq!(state("a=b").as_deref(), Some("a=b"));
        assert_eq!(state(" a=b , ,c=d,").as_deref(), Some("a=b,c=d"));
        assert_eq!((state(""), state("nonsense")), (None, None));
        let long = format!("a=b,c={},d=e", "x".repeat(STATE_CAP));
        assert_eq!(state(&long).as_deref(), Some("a=b"));
        let many: Vec<String> = (0..40).map(|n| format!("k{n}=v")).collect();
        let kept = state(&many.join(",")).unwrap();
        assert_eq!(kept.split(',').count(), STATE_MEMBERS);
    }

    #[test]
    fn a_trace_is_known_by_its_id_alone() {
        let id = u128::from_str_radix(ID, 16).unwrap();
        assert_eq!(Trace::read_id(ID), Some(id));
        assert_eq!(Trace::read_id(&ID.to_ascii_uppercase()), Some(id));
        for text in [
            "",
            "0af7",
            &ID.replace("9c", "9g"),
            &format!("{}-{}", &ID[..8], &ID[8..]),
            &"0".repeat(32),
            &ID.replacen('0', "+", 1),
            &format!("{ID}0"),
        ] {
            assert_eq!(Trace::read_id(text), None, "{text}");
        }
        let trace = Trace::begun(id, 7);
        assert_eq!(trace.above(), None);
        assert_eq!(trace.parent(None), format!("00-{ID}-0000000000000007-01"));
        let span = Point { span: 9, flags: 0 };
        assert_eq!(
            trace.parent(Some(span)),
            format!("00-{ID}-0000000000000009-00")
        );
    }
}
