//! The errors that `DynamoDB` itself answers with.

use super::SECRET;
use super::exchange::Answer;

listed! {
/// An error of the table service.
pub enum TableError {
    ProvisionedThroughputExceeded,
    Throttling,
    RequestLimitExceeded,
    InternalServerError,
    ServiceUnavailable,
    /// A transaction whose condition did not hold.
    ConditionalCheckFailed,
    /// A transaction that met another one.
    TransactionConflict,
    /// A plain write of an item that a transaction is just writing.
    WriteConflict,
    Validation,
    ResourceNotFound,
    AccessDenied,
    ExpiredToken,
    ItemCollectionSizeLimitExceeded,
}
}

impl TableError {
    /// Status, name with its namespace, and the reason of a cancelled transaction.
    fn words(self) -> (u16, &'static str, Option<&'static str>) {
        match self {
            Self::ProvisionedThroughputExceeded => (
                400,
                "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                None,
            ),
            Self::Throttling => (
                400,
                "com.amazon.coral.availability#ThrottlingException",
                None,
            ),
            Self::RequestLimitExceeded => (
                400,
                "com.amazonaws.dynamodb.v20120810#RequestLimitExceeded",
                None,
            ),
            Self::InternalServerError => (
                500,
                "com.amazonaws.dynamodb.v20120810#InternalServerError",
                None,
            ),
            Self::ServiceUnavailable => (
                503,
                "com.amazon.coral.service#ServiceUnavailableException",
                None,
            ),
            Self::ConditionalCheckFailed => (
                400,
                "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                Some("ConditionalCheckFailed"),
            ),
            Self::TransactionConflict => (
                400,
                "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                Some("TransactionConflict"),
            ),
            Self::WriteConflict => (
                400,
                "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
                None,
            ),
            Self::Validation => (400, "com.amazon.coral.validate#ValidationException", None),
            Self::ResourceNotFound => (
                400,
                "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
                None,
            ),
            Self::AccessDenied => (400, "com.amazon.coral.service#AccessDeniedException", None),
            Self::ExpiredToken => (400, "com.amazon.coral.service#ExpiredTokenException", None),
            Self::ItemCollectionSizeLimitExceeded => (
                400,
                "com.amazonaws.dynamodb.v20120810#ItemCollectionSizeLimitExceededException",
                None,
            ),
        }
    }

    pub(super) fn answer(self) -> Answer {
        let (status, kind, reason) = self.words();
        let reasons = reason.map_or_else(String::new, |reason| {
            format!(
                r#","CancellationReasons":[{{"Code":"{reason}","Message":"{SECRET}"}},{{"Code":"None"}}]"#
            )
        });
        Answer::of(status, "application/x-amz-json-1.0")
            .with("x-amzn-requestid", "FAULTY")
            .saying(format!(
                r#"{{"__type":"{kind}","message":"{SECRET}"{reasons}}}"#
            ))
    }
}
