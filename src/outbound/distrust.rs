//! Why TLS with a receiver failed, in words that name the remedy.

use std::error::Error;
use std::io;

use rustls::CertificateError as Flaw;

/// What is wrong with the receiver's certificate, if that is at the bottom of an error. No host is named: hosts of
/// some receivers are secrets.
pub(super) fn distrust(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        // What an `io::Error` was made of is not among its sources.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(inner) = inner {
            let inner: &(dyn Error + 'static) = inner;
            return distrust(inner);
        }
        if let Some(rustls::Error::InvalidCertificate(flaw)) = error.downcast_ref() {
            return Some(words(flaw));
        }
        next = error.source();
    }
    None
}

fn words(flaw: &Flaw) -> &'static str {
    match flaw {
        Flaw::Expired | Flaw::ExpiredContext { .. } => "its certificate has expired",
        Flaw::NotValidYet | Flaw::NotValidYetContext { .. } => {
            "its certificate is not yet valid; is the clock right?"
        }
        Flaw::NotValidForName | Flaw::NotValidForNameContext { .. } => {
            "its certificate is good for other names than the configured one"
        }
        Flaw::UnknownIssuer => {
            "nobody who is trusted vouches for its certificate; name the file of its authority in `ca_file`"
        }
        Flaw::Other(other) if matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) => {
            "its certificate is marked as an authority, as `openssl req -x509` makes them, and those are not taken \
             of servers: make one with `-addext basicConstraints=critical,CA:FALSE`"
        }
        _ => "its certificate is malformed, or signed or made in a way that is not taken",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_found_beneath_other_errors() {
        let wrapped = |flaw| io::Error::other(io::Error::other(rustls::Error::InvalidCertificate(flaw)));
        let authority = Flaw::Other(OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity)));
        let forged = Flaw::BadSignature;
        for (flaw, words) in [
            (Flaw::Expired, "has expired"),
            (Flaw::NotValidYet, "is the clock right?"),
            (Flaw::NotValidForName, "other names"),
            (Flaw::UnknownIssuer, "`ca_file`"),
            (authority, "basicConstraints=critical,CA:FALSE"),
            (forged, "not taken"),
        ] {
            let told = distrust(&wrapped(flaw)).unwrap();
            assert!(told.contains(words), "{told}");
        }
        assert_eq!(distrust(&io::Error::other("timed out")), None);
    }
}
