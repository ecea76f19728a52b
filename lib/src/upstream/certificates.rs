//! Whom TLS connections trust: the built-in roots, and the certificates of a file beside them.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::Error;

/// Certificates that are trusted beside the built-in ones (`SSL_CERT_FILE`).
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    pem: String,
    read: Vec<CertificateDer<'static>>,
}

impl Certificates {
    /// Reads a file of certificates in PEM. Fails with a sentence, also for a file without any.
    pub fn read(path: &str) -> Result<Self, String> {
        let wrong = |problem: String| {
            format!("SSL_CERT_FILE is {path:?}, expected a file of certificates (PEM): {problem}")
        };
        let pem = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let read = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong(error.to_string()))?;
        if read.is_empty() {
            return Err(wrong("there is none in it".into()));
        }
        let mut roots = RootCertStore::empty();
        for certificate in &read {
            let added = roots.add(certificate.clone());
            added.map_err(|error| wrong(error.to_string()))?;
        }
        Ok(Self { pem, read })
    }

    /// The certificates as they were read, for clients that are not ours.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// How TLS is spoken to servers that these and the built-in roots vouch for.
    pub(super) fn tls(&self) -> Result<ClientConfig, Error> {
        let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        for certificate in &self.read {
            roots
                .add(certificate.clone())
                .map_err(|error| Error::Unreadable(Box::new(error)))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Unreadable(Box::new(error)))?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}
