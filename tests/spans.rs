//! Spans as a collector gets them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sandbox::stub::Seen;

/// One span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned {
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty for a root.
    pub parent: String,
    /// Of the resource, too.
    pub attributes: BTreeMap<String, String>,
    pub failed: bool,
}

/// What a collector was sent so far.
pub fn decode(seen: &[Seen]) -> Vec<Spanned> {
    let mut found = Vec::new();
    for request in seen {
        assert_eq!(request.path, "/v1/traces");
        let media = request.header("content-type");
        assert_eq!(media, Some("application/x-protobuf"));
        let request = ExportTraceServiceRequest::decode(&*request.body).unwrap();
        for group in request.resource_spans {
            let resource = group.resource.unwrap_or_default().attributes;
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
                found.push(spanned(span, &resource));
            }
        }
    }
    found
}

fn spanned(span: Span, resource: &[KeyValue]) -> Spanned {
    assert!(span.events.is_empty(), "{:?}", span.events);
    let pairs = span.attributes.iter().chain(resource);
    let text = |pair: &KeyValue| match &pair.value.as_ref().unwrap().value {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    Spanned {
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: pairs.map(|pair| (pair.key.clone(), text(pair))).collect(),
        failed: span.status.is_some_and(|status| status.code == 2),
    }
}

fn hex(bytes: &[u8]) -> String {
    (bytes.iter()).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The tree as lines, children after their parents in the order of their ends; all spans must be of one tree.
pub fn tree(spans: &[Spanned]) -> Vec<String> {
    let mut roots = (spans.iter()).filter(|span| spans.iter().all(|other| other.id != span.parent));
    let root = roots.next().expect("a root");
    assert_eq!(roots.next(), None, "two roots");
    let mut lines = Vec::new();
    draw(root, spans, 0, &mut lines);
    assert_eq!(lines.len(), spans.len());
    lines
}

fn draw(span: &Spanned, spans: &[Spanned], depth: usize, lines: &mut Vec<String>) {
    let which = ["route.rung", "agent.id", "store.operation"];
    let which = which.iter().find_map(|name| span.attributes.get(*name));
    let which = which.map_or_else(String::new, |which| format!(" {which}"));
    let failed = if span.failed { " failed" } else { "" };
    lines.push(format!(
        "{}{}{which}{failed}",
        "  ".repeat(depth),
        span.name
    ));
    for child in spans.iter().filter(|child| child.parent == span.id) {
        draw(child, spans, depth + 1, lines);
    }
}
