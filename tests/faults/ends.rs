//! How a turn ends, by fault and upstream: one line for each fault, one column for each upstream.

use sandbox::faults::{Fault as F, TableError};

use End::*;

/// The calls of a turn that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// The routing model.
    Routing,
    /// The synthesis model.
    Synthesis,
    /// GPA, which only reads.
    Dial,
    /// UMS making a conversation.
    Create,
    /// UMS being asked something, which may change things.
    Chat,
    /// DynamoDB asked for a conversation.
    Read,
    /// DynamoDB given a turn.
    Save,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Well: the fault did no harm.
    Answered,
    /// Well, by the default agent, and the routing stage says so.
    ByDefault,
    /// With the agent's own text in place of the summary.
    OwnText,
    /// With what there was of a summary, a note that it broke off, and the agent's own text.
    BrokeOff,
    /// With the default agent's own text.
    NoModels,
    /// Well, and a stage says that the memory could not be read.
    Unread,
    /// Well, and a stage says that the turn could not be saved.
    Unsaved,
    /// With the error `agent_unavailable`.
    Unavailable,
    /// With the error `agent_timeout`.
    Timeout,
    /// With the error `deadline_exceeded`.
    Deadline,
    /// This fault cannot be met there: see [`ends`].
    NotMet,
}

/// Rows that do not hold yet, and why. It is to be empty.
pub const PENDING: &[(&str, &str)] = &[];

/// The end of a turn whose upstream has this fault in every call, in the order of [`Upstream`].
///
/// Not met are faults of the address where routing has the same one; and names that mean nothing as the table's, since
/// for a table that is not on this machine the SDK looks for credentials first. To that SDK any 2xx is success, and what
/// has no items is empty, so 204 and bodies of other shapes from the table are not noticed.
#[rustfmt::skip]
pub fn ends(fault: F) -> [End; 7] {
    match fault {
        //                         Routing      Synthesis    Dial         Create       Chat         Read         Save
        // no connection
        F::Refuse            => [NoModels,    NotMet,      Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::NoDns             => [NoModels,    NotMet,      Unavailable, Unavailable, Unavailable, NotMet,      NotMet  ],
        F::PlainBehindTls    => [NoModels,    NotMet,      Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::SelfSigned        => [NoModels,    NotMet,      Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],

        // silence
        F::Hang              => [ByDefault,   OwnText,     Timeout,     Timeout,     Timeout,     Unread,      Unsaved ],
        F::HeadHang          => [ByDefault,   OwnText,     Timeout,     Timeout,     Timeout,     Unread,      Unsaved ],
        F::SlowFirstByte     => [Answered,    Answered,    Answered,    Answered,    Answered,    Answered,    Answered],
        F::SlowSecondChunk   => [Answered,    Answered,    Answered,    Answered,    Answered,    Answered,    Answered],
        F::HalfHang          => [ByDefault,   BrokeOff,    Timeout,     Timeout,     Timeout,     Unread,      Unsaved ],
        F::Drip              => [Answered,    Answered,    Answered,    Answered,    Answered,    Answered,    Answered],

        // cut
        F::CloseAtOnce       => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::ResetAtOnce       => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::CutByClose        => [ByDefault,   BrokeOff,    Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::CutByReset        => [ByDefault,   BrokeOff,    Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::CutInLine         => [ByDefault,   BrokeOff,    Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::CutInCharacter    => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::CutInJson         => [ByDefault,   BrokeOff,    Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],

        // statuses
        F::Status204         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Answered,    Answered],
        F::Status301         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status302         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status307         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status400         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status401         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status403         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status404         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status408         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status409         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status422         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status429         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status500         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status502         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status503         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Status504         => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::RedirectSame      => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::RedirectOther     => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],

        // 503 with `Retry-After`
        F::RetryAfterNumber  => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::RetryAfterDate    => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::RetryAfterNegative => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::RetryAfterHuge    => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::RetryAfterAbsurd  => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::RetryAfterGarbage => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],

        // framing
        F::WrongType         => [Answered,    Answered,    Answered,    Answered,    Answered,    Answered,    Answered],
        F::Page              => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Compressed        => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::LengthTooLong     => [ByDefault,   Answered,    Answered,    Unavailable, Answered,    Unread,      Unsaved ],
        F::LengthTooShort    => [ByDefault,   BrokeOff,    Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::BadChunk          => [ByDefault,   BrokeOff,    Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Interim           => [Answered,    Answered,    Answered,    Answered,    Answered,    Answered,    Answered],
        F::InterimEndless    => [ByDefault,   OwnText,     Timeout,     Timeout,     Timeout,     Unread,      Unsaved ],
        F::HugeHeader        => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::SecondAnswer      => [Answered,    Answered,    Answered,    Answered,    Answered,    Answered,    Answered],
        F::NotHttp           => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],

        // content
        F::HugeLine          => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Endless           => [ByDefault,   BrokeOff,    Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::Trickle           => [ByDefault,   OwnText,     Deadline,    Deadline,    Deadline,    Unread,      Unsaved ],
        F::Empty             => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Answered,    Answered],
        F::DoneOnly          => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Unread,      Unsaved ],
        F::ErrorFirst        => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Answered,    Answered],
        F::ErrorMiddle       => [ByDefault,   BrokeOff,    Unavailable, Answered,    Unavailable, Answered,    Answered],
        F::ErrorLast         => [ByDefault,   BrokeOff,    Unavailable, Answered,    Unavailable, Answered,    Answered],
        F::ErrorOdd          => [ByDefault,   OwnText,     Unavailable, Unavailable, Unavailable, Answered,    Answered],
        F::Duplicate         => [ByDefault,   Answered,    Answered,    Unavailable, Answered,    Unread,      Unsaved ],
        F::OutOfOrder        => [Answered,    Answered,    Answered,    Answered,    Answered,    Answered,    Answered],

        // connections kept alive
        F::StaleClosed       => [Answered,    Answered,    Answered,    Answered,    Answered,    Answered,    Answered],
        F::StaleReset        => [Answered,    Answered,    Answered,    Answered,    Answered,    Answered,    Answered],
        F::StaleDead         => [ByDefault,   OwnText,     Timeout,     Answered,    Answered,    Answered,    Answered],
    }
}

/// Whether what went wrong may pass, and nothing of an answer was seen.
pub fn passes(fault: F) -> bool {
    matches!(
        fault,
        F::CloseAtOnce
            | F::ResetAtOnce
            | F::StaleReset
            | F::Status429
            | F::Status502
            | F::Status503
            | F::Status504
            | F::RetryAfterNumber
            | F::RetryAfterDate
            | F::RetryAfterNegative
            | F::RetryAfterGarbage
            | F::DoneOnly
    )
}

/// The ends of turns that read and save while the table says this: always, and once.
pub fn table_ends(error: TableError) -> [(Upstream, bool, End); 4] {
    let passes = matches!(
        error,
        TableError::ProvisionedThroughputExceeded
            | TableError::Throttling
            | TableError::RequestLimitExceeded
            | TableError::InternalServerError
            | TableError::ServiceUnavailable
            | TableError::TransactionConflict
    );
    // A conflict is one of writing.
    let conflict = error == TableError::TransactionConflict;
    [
        (Upstream::Read, false, Unread),
        (
            Upstream::Read,
            true,
            if passes && !conflict {
                Answered
            } else {
                Unread
            },
        ),
        (
            Upstream::Save,
            false,
            // All conditions fail, the one on the mark of an erased person too: then nothing is to be remembered.
            if error == TableError::ConditionalCheckFailed {
                Answered
            } else {
                Unsaved
            },
        ),
        (
            Upstream::Save,
            true,
            // Somebody else was faster: the save is made anew.
            if passes || error == TableError::ConditionalCheckFailed {
                Answered
            } else {
                Unsaved
            },
        ),
    ]
}
