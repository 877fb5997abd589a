//! A message as JSON, signed.

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use super::error::NotTold;
use super::http::post;
use crate::domain::{Digest, FileNames, Timestamp, Webhook};
use crate::observe::News;

/// The header with time and signature: `t=SECONDS,v1=HEX`.
pub const SIGNATURE_HEADER: &str = "Nightferry-Signature";

/// Posts the message. `now` is when: a receiver refuses what is too old.
pub(super) fn send(
    webhook: &Webhook,
    secret: Option<&SecretString>,
    news: &News,
    host: &str,
    names: FileNames,
    now: Timestamp,
) -> Result<(), NotTold> {
    let body = news.json(host, names).to_string();
    let signature = secret.map(|secret| signature(secret, now.unix_nanos() / 1_000_000_000, &body));
    let mut headers = vec![("Content-Type", "application/json"), ("Nightferry-Id", news.id.as_str())];
    headers.extend(signature.as_deref().map(|signature| (SIGNATURE_HEADER, signature)));
    post(&webhook.url, webhook.url.expose(), &headers, &body, webhook.ca_file.as_deref())
}

/// The signature of a body sent at a time in seconds since 1970: HMAC-SHA256 (RFC 2104) with the
/// secret's bytes over the time in decimal, a full stop and the body, in hexadecimal.
pub fn signature(secret: &SecretString, seconds: i64, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).map(|mut mac| {
        mac.update(format!("{seconds}.{body}").as_bytes());
        Digest::from_bytes(mac.finalize().into_bytes().into())
    });
    // A key may have any length (RFC 2104, section 2), so that there is always one.
    mac.map_or_else(|_| format!("t={seconds}"), |mac| format!("t={seconds},v1={mac}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key` has it.
    #[test]
    fn the_signature_is_what_others_make_of_it() {
        let secret = SecretString::from("key");
        let expected = "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";
        assert_eq!(signature(&secret, 1_700_000_000, r#"{"a":1}"#), expected);
    }
}
