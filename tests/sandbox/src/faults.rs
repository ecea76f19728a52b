//! An upstream that misbehaves on purpose: a server in front of a healthy one, which passes everything through until it
//! is told to do one precise thing wrong, and heals when it is told to.

/// An enum without data that knows all of its variants.
macro_rules! listed {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$of:meta])* $variant:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$of])* $variant,)* }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
        }
    };
}

mod certificate;
mod exchange;
mod said;
mod sent;
mod server;
mod table;

pub use server::Faulty;
pub use table::TableError;

use crate::stub::Seen;

/// What a fault says of itself. Nobody outside may ever read it.
pub const SECRET: &str = "SECRET-INTERNAL";

listed! {
/// One way in which an upstream fails, or merely looks odd.
pub enum Fault {
    // no connection
    /// Nobody listens on the port.
    Refuse,
    /// The host's name means nothing. The name is `.invalid`, so this cannot heal.
    NoDns,
    /// Plain HTTP where TLS is expected. This cannot heal.
    PlainBehindTls,
    /// A certificate that nobody vouches for. This cannot heal.
    SelfSigned,

    // silence
    /// The request is taken, and nothing comes.
    Hang,
    /// The head comes, and no body.
    HeadHang,
    /// Everything comes, after a wait that is within the limits.
    SlowFirstByte,
    /// Everything comes, with a wait in the middle.
    SlowSecondChunk,
    /// Half of the answer comes, and then nothing.
    HalfHang,
    /// Everything comes, byte by byte.
    Drip,

    // cut
    /// Closed without a byte of an answer.
    CloseAtOnce,
    /// Reset without a byte of an answer.
    ResetAtOnce,
    /// Closed in the middle of the body.
    CutByClose,
    /// Reset in the middle of the body.
    CutByReset,
    /// Ended properly, but within a line.
    CutInLine,
    /// Ended properly, but within the bytes of one character.
    CutInCharacter,
    /// Ended properly, but within a JSON string.
    CutInJson,

    // statuses
    Status204,
    Status301,
    Status302,
    Status307,
    Status400,
    Status401,
    Status403,
    Status404,
    Status408,
    Status409,
    Status422,
    Status429,
    Status500,
    Status502,
    Status503,
    Status504,
    /// To another path of the same host.
    RedirectSame,
    /// To another host, which [`Faulty::lured`] tells about.
    RedirectOther,

    // 503 with `Retry-After`
    RetryAfterNumber,
    RetryAfterDate,
    RetryAfterNegative,
    /// A day.
    RetryAfterHuge,
    /// More than any integer holds.
    RetryAfterAbsurd,
    RetryAfterGarbage,

    // framing
    /// The answer, said to be a picture.
    WrongType,
    /// A page of some proxy in place of the answer, with status 200.
    Page,
    /// The answer in valid gzip, which nobody asked for.
    Compressed,
    /// More bytes announced than come.
    LengthTooLong,
    /// Fewer bytes announced than come.
    LengthTooShort,
    /// A chunk whose size is no number.
    BadChunk,
    /// Interim answers before the real one.
    Interim,
    /// Interim answers without end.
    InterimEndless,
    /// A header of a megabyte.
    HugeHeader,
    /// A second answer, which nobody asked for, right behind the first.
    SecondAnswer,
    /// Not HTTP at all.
    NotHttp,

    // content
    /// A line of two megabytes.
    HugeLine,
    /// Text without end, as fast as it is taken up to some 30 MB a second.
    Endless,
    /// Comments or blanks without end, a few a second: alive, and no progress.
    Trickle,
    /// A body of nothing.
    Empty,
    /// An end mark and nothing before it.
    DoneOnly,
    /// An error in place of the answer, with status 200.
    ErrorFirst,
    /// An error in the middle, and then the rest of the answer.
    ErrorMiddle,
    /// An error after everything, before the end mark.
    ErrorLast,
    /// An error of a shape that the protocol does not know.
    ErrorOdd,
    /// Stage events that come twice; whole answers twice where there are no events.
    Duplicate,
    /// Stage events in an order that makes no sense.
    OutOfOrder,

    // connections kept alive
    /// Closed right after an answer that promised to stay.
    StaleClosed,
    /// Reset when the next request comes.
    StaleReset,
    /// Swallows the next request and stays silent.
    StaleDead,
}
}

impl Fault {
    /// False where the fault lies in the address itself.
    pub fn heals(self) -> bool {
        !matches!(self, Self::NoDns | Self::PlainBehindTls | Self::SelfSigned)
    }

    /// True where the healthy server does its work, and only its answer suffers.
    fn is_passed_on(self) -> bool {
        let refused = matches!(
            self,
            Self::Hang
                | Self::StaleDead
                | Self::StaleReset
                | Self::CloseAtOnce
                | Self::ResetAtOnce
                | Self::NotHttp
                | Self::InterimEndless
                | Self::Page
                | Self::RedirectSame
                | Self::RedirectOther
        );
        !refused && said::by_status(self).is_none()
    }

    /// True for what befalls only a request on a connection that has carried one before.
    fn is_stale(self) -> bool {
        matches!(self, Self::StaleReset | Self::StaleDead)
    }
}

/// What to do wrong, and when.
pub struct Orders {
    script: Script,
    when: Box<dyn Fn(&Seen) -> bool + Send + Sync>,
    only: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Script {
    Fault(Fault),
    Table(TableError),
}

impl From<Fault> for Orders {
    fn from(fault: Fault) -> Self {
        Self::of(Script::Fault(fault))
    }
}

impl From<TableError> for Orders {
    fn from(error: TableError) -> Self {
        Self::of(Script::Table(error))
    }
}

impl Orders {
    fn of(script: Script) -> Self {
        Self {
            script,
            when: Box::new(|_| true),
            only: None,
        }
    }

    /// Only for requests of which this is true.
    #[must_use]
    pub fn when(mut self, when: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Self {
        self.when = Box::new(when);
        self
    }

    /// Only for the request of this number among those it is for, counted from 0.
    #[must_use]
    pub fn only(mut self, nth: usize) -> Self {
        self.only = Some(nth);
        self
    }
}

impl std::fmt::Debug for Orders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orders")
            .field("script", &self.script)
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
