use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::*;
use crate::stub::{Reply, Stub};

const EVENTS: &str = "data: {\"a\":\"\u{2600}\"}\n\ndata: {\"b\":\"c\"}\n\ndata: [DONE]\n\n";

/// A healthy server that answers `/events` with events and everything else with JSON, and one before it.
async fn servers() -> (Stub, Faulty) {
    let stub = Stub::start(|seen| match seen.path.as_str() {
        "/events" => Reply::sse()
            // Otherwise two healthy answers could differ in it.
            .header("date", "Fri, 20 Nov 2026 08:00:00 GMT")
            .data("{\"a\":\"\u{2600}\"}")
            .data("{\"b\":\"c\"}")
            .done(),
        _ => Reply::json(200, json!({"a": "b"})),
    })
    .await
    .unwrap();
    let faulty = Faulty::before(&stub.url()).await.unwrap();
    (stub, faulty)
}

fn connect(faulty: &Faulty) -> impl Future<Output = std::io::Result<TcpStream>> {
    TcpStream::connect(faulty.url().replace("http://", ""))
}

async fn send(stream: &mut TcpStream, path: &str) {
    let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Everything that comes within two seconds or before a silence, and how it ended: `None` for not at all.
async fn heard(stream: &mut TcpStream) -> (Vec<u8>, Option<std::io::Result<()>>) {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        let silence = Instant::now() + Duration::from_millis(700);
        match timeout_at(silence.min(end), stream.read(&mut piece)).await {
            Err(_) => return (bytes, None),
            Ok(Ok(0)) => return (bytes, Some(Ok(()))),
            Ok(Ok(read)) => bytes.extend_from_slice(&piece[..read]),
            Ok(Err(error)) => return (bytes, Some(Err(error))),
        }
    }
}

async fn asked(faulty: &Faulty, path: &str) -> (Vec<u8>, Option<std::io::Result<()>>) {
    let mut stream = connect(faulty).await.unwrap();
    send(&mut stream, path).await;
    heard(&mut stream).await
}

fn body(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer).into_owned();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The pieces of a chunked body, and whether it ended properly.
fn chunks(body: &str) -> (String, bool) {
    let (mut text, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (text, true);
        }
        text.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    (text, false)
}

#[tokio::test]
async fn what_is_not_armed_passes_everything_through() {
    let (stub, faulty) = servers().await;
    let (answer, end) = asked(&faulty, "/events").await;
    assert!(end.is_none(), "the connection stays");
    assert_eq!(chunks(&body(&answer)), (EVENTS.to_owned(), true));
    assert_eq!(body(&asked(&faulty, "/json").await.0), "{\"a\":\"b\"}");
    let paths = |seen: Vec<Seen>| seen.into_iter().map(|seen| seen.path).collect::<Vec<_>>();
    assert_eq!(paths(stub.seen()), ["/events", "/json"]);
    assert_eq!(paths(faulty.seen()), ["/events", "/json"]);
    assert_eq!(stub.seen()[0].body, faulty.seen()[0].body);
}

#[tokio::test]
async fn every_fault_differs_from_a_healthy_answer_and_heals() {
    let faults = Fault::ALL.iter().filter(|fault| fault.heals());
    join_all(faults.map(|fault| differs_and_heals(*fault))).await;
}

async fn differs_and_heals(fault: Fault) {
    let (_stub, faulty) = servers().await;
    let (healthy, _) = asked(&faulty, "/events").await;
    faulty.arm(fault).await;
    match connect(&faulty).await {
        Err(_) => assert_eq!(fault, Fault::Refuse),
        Ok(mut stream) => {
            send(&mut stream, "/events").await;
            if fault.is_stale() {
                let mut first = vec![0; healthy.len()];
                stream.read_exact(&mut first).await.unwrap();
                assert_eq!(first, healthy, "{fault:?}");
                send(&mut stream, "/events").await;
            }
            if let Fault::SlowFirstByte | Fault::SlowSecondChunk | Fault::Drip = fault {
                let mut whole = vec![0; healthy.len()];
                stream.read_exact(&mut whole).await.unwrap();
                assert_eq!(whole, healthy, "{fault:?}");
            } else {
                let (answer, end) = heard(&mut stream).await;
                let shown = String::from_utf8_lossy(&answer);
                assert!(answer != healthy || end.is_some(), "{fault:?}: {shown}");
            }
        }
    }
    assert_eq!(
        faulty.applied(),
        usize::from(fault != Fault::Refuse),
        "{fault:?}"
    );
    faulty.heal().await.unwrap();
    assert_eq!(asked(&faulty, "/events").await.0, healthy, "{fault:?}");
}

#[tokio::test]
async fn a_fault_can_be_for_one_request_alone() {
    let (_stub, faulty) = servers().await;
    let orders = Orders::from(Fault::Status503);
    faulty
        .arm(orders.when(|seen| seen.path == "/json").only(1))
        .await;
    let mut failed = Vec::new();
    for path in ["/json", "/events", "/json", "/json"] {
        let (answer, _) = asked(&faulty, path).await;
        failed.push(answer.starts_with(b"HTTP/1.1 503"));
    }
    assert_eq!(failed, [false, false, true, false]);
    assert_eq!(faulty.applied(), 1);
}

#[tokio::test]
async fn cuts_are_where_they_say() {
    let (_stub, faulty) = servers().await;
    let cut = async |fault| {
        faulty.arm(fault).await;
        asked(&faulty, "/events").await
    };
    let (answer, end) = cut(Fault::CutInCharacter).await;
    assert!(
        answer.windows(3).any(|window| window == b"\"\xe2\r"),
        "one byte of three"
    );
    assert!(answer.ends_with(b"0\r\n\r\n") && end.is_none());
    let (answer, _) = cut(Fault::CutInJson).await;
    assert!(chunks(&body(&answer)).0.ends_with("{\"b\":\"c"));
    let (answer, end) = cut(Fault::CutByClose).await;
    assert!(!chunks(&body(&answer)).1 && matches!(end, Some(Ok(()))));
    let (answer, end) = cut(Fault::CutByReset).await;
    assert!(!chunks(&body(&answer)).1 && matches!(end, Some(Err(_))));
    let (answer, end) = cut(Fault::ResetAtOnce).await;
    assert!(answer.is_empty() && matches!(end, Some(Err(_))));
}

#[tokio::test]
async fn a_compressed_answer_is_valid_gzip() {
    let (_stub, faulty) = servers().await;
    faulty.arm(Fault::Compressed).await;
    let (answer, _) = asked(&faulty, "/json").await;
    let start = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap()
        + 4;
    let expected =
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x09\0\xf6\xff{\"a\":\"b\"}\x9c\x5c\xf6\x6b\x09\0\0\0";
    assert_eq!(answer[start..start + 15], expected[..15]);
    assert_eq!(answer[start..], expected[..]);
}

#[tokio::test]
async fn who_follows_a_redirect_is_counted() {
    let (_stub, faulty) = servers().await;
    faulty.arm(Fault::RedirectOther).await;
    let (answer, _) = asked(&faulty, "/json").await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let location = text.split("location: ").nth(1).unwrap();
    let host = location
        .split("//")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    assert_eq!(faulty.lured(), 0);
    TcpStream::connect(host).await.unwrap();
    timeout(Duration::from_secs(5), async {
        while faulty.lured() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_handshake_meets_a_certificate_that_nobody_vouches_for() {
    let (_stub, faulty) = servers().await;
    let roots = rustls::RootCertStore::empty();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for (fault, words) in [
        (Fault::SelfSigned, "UnknownIssuer"),
        (Fault::PlainBehindTls, "InvalidContentType"),
    ] {
        assert!(faulty.url_of(fault).starts_with("https://"));
        faulty.arm(fault).await;
        let name = "127.0.0.1".try_into().unwrap();
        let mut tls = rustls::ClientConnection::new(config.clone().into(), name).unwrap();
        let mut stream = connect(&faulty).await.unwrap();
        let mut buffer = [0; 4096];
        let error = loop {
            let mut out = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut out).unwrap();
            }
            stream.write_all(&out).await.unwrap();
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "closed without a word");
            tls.read_tls(&mut &buffer[..read]).unwrap();
            if let Err(error) = tls.process_new_packets() {
                break error;
            }
        };
        assert!(format!("{error:?}").contains(words), "{error:?}");
    }
}
