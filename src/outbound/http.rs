//! One POST over HTTP, checked and bounded. Blocks.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use ureq::config::Config;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::distrust::distrust;
use super::error::NotTold;
use crate::domain::HookUrl;
use crate::observe::escaped;
use crate::plain::plain;

/// Longest time for all of a request, its answer included.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest head of an answer; its body is not read at all.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Posts a body. Follows no redirect; any status but one of success is an error.
pub(super) fn post(
    url: &HookUrl,
    address: &str,
    headers: &[(&str, &str)],
    body: &str,
    ca_file: Option<&Path>,
) -> Result<(), NotTold> {
    let is_clear = address.starts_with("http://");
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let tls = if is_clear { tls.build() } else { tls.root_certs(authorities(ca_file)?).build() };
    let config = Config::builder()
        .tls_config(tls)
        .timeout_global(Some(DEADLINE))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_response_header_size(MAX_HEAD_BYTES)
        .user_agent(concat!("Nightferry/", env!("CARGO_PKG_VERSION")));
    // What goes to this machine goes through no proxy.
    let config = if is_clear { config.proxy(None) } else { config };
    let agent = config.build().new_agent();
    let mut request = agent.post(address);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let failed = |error: ureq::Error| {
        // This library names no causes of its errors.
        let (distrusted, text) = match &error {
            ureq::Error::Io(error) => (distrust(error), format!("it cannot be reached: {}", plain(error))),
            ureq::Error::Rustls(error) => (distrust(error), error.to_string()),
            error => (None, error.to_string()),
        };
        if let Some(reason) = distrusted {
            return NotTold::Distrust(reason);
        }
        // Some errors show the address, which is often a secret.
        let text = text.replace(address, &url.to_string()).replace(url.expose(), &url.to_string());
        NotTold::Http(escaped(&text).into_owned())
    };
    let status = request.send(body).map_err(failed)?.status();
    if status.is_success() { Ok(()) } else { Err(NotTold::Status { status: status.as_u16() }) }
}

/// The authorities in a file, or the system's. One that cannot be read among many is left out.
fn authorities(ca_file: Option<&Path>) -> Result<RootCerts, NotTold> {
    let found: Vec<_> = match ca_file {
        Some(path) => in_file(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    if found.is_empty() {
        return Err(NotTold::NoAuthority { path: ca_file.map(Path::to_owned) });
    }
    let found: Vec<_> = found.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(RootCerts::new_with_certs(&found))
}

/// The certificates in a PEM file.
pub(super) fn in_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, NotTold> {
    let unreadable = |source| NotTold::Authorities { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    certificates.map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error.to_string())))
}
