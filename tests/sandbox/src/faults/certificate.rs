//! A server whose certificate nobody vouches for: it begins TLS handshakes and no client ends them.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// For 127.0.0.1, signed by the key below: made once with `openssl req -x509`, good for a hundred years.
const CERTIFICATE: &str = "\
     MIIBRjCB+aADAgECAhQg5QwNprx6Fwn/x4Ksv+GjWrMPWDAFBgMrZXAwETEPMA0GA1UEAwwGZmF1bHR5MCAXDTI2MTEyMDE0\
     Mjc0N1oYDzIxMjYxMDI3MTQyNzQ3WjARMQ8wDQYDVQQDDAZmYXVsdHkwKjAFBgMrZXADIQDqSmxj4pxSCr71UHsTLsX5lUd2\
     rr6+e5JCHuppFEbSLKNhMF8wHQYDVR0OBBYEFExezkAjoDQe4qz/zE0XFUqFTwLlMB8GA1UdIwQYMBaAFExezkAjoDQe4qz/\
     zE0XFUqFTwLlMA8GA1UdEQQIMAaHBH8AAAEwDAYDVR0TAQH/BAIwADAFBgMrZXADQQCybHQx/w7R8h79vSvRe/aoJ1DoM5dz\
     SweLEEFy+6NSLFHM3e7mVct4zgKdlv557jmgN36w+uUd89oMWE18gM8F";

/// Before the 32 bytes of an Ed25519 key in PKCS #8. The key itself is 32 sevens: it protects nothing.
const KEY_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Shakes hands until the client gives up.
pub(super) async fn greet(stream: &mut TcpStream) -> io::Result<()> {
    let mut tls = ServerConnection::new(Arc::new(config()?)).map_err(io::Error::other)?;
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await?;
        let mut piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            return Ok(());
        }
        while !piece.is_empty() {
            tls.read_tls(&mut piece)?;
            // An alert of the client is an error here, and the end that this is for.
            let read = tls.process_new_packets();
            let mut out = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut out)?;
            }
            stream.write_all(&out).await?;
            read.map_err(io::Error::other)?;
        }
    }
}

fn config() -> io::Result<ServerConfig> {
    let certificate = STANDARD.decode(CERTIFICATE).map_err(io::Error::other)?;
    let key = [&KEY_HEAD[..], &[7; 32]].concat();
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate)],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key)),
        )
        .map_err(io::Error::other)
}
