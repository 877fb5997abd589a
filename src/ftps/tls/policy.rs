//! Which cipher suites, groups and signatures are offered and taken.

use std::sync::LazyLock;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::SignatureVerificationAlgorithm;
use rustls::pki_types::alg_id::ED25519;
use rustls::{CipherSuite, NamedGroup, SignatureScheme, SupportedCipherSuite};

/// What TLS must satisfy besides its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// All that rustls holds to be safe: AEAD suites with ephemeral keys.
    #[default]
    Standard,
    /// What NIST SP 800-52 Rev. 2 lists for clients, as far as rustls has it: AES-GCM with
    /// ephemeral keys, the curves P-256 and P-384, and signatures by RSA of 2048 bits and more or
    /// ECDSA, with SHA-256 and longer, for handshakes and certificates alike. So neither `ChaCha20` nor X25519 nor Ed25519.
    Nist80052r2,
}

/// The suites on its list that rustls has. The older ones on the list (CBC, CCM, and those
/// without forward secrecy) are in no release of it.
const NIST_SUITES: [CipherSuite; 6] = [
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

const NIST_GROUPS: [NamedGroup; 2] = [NamedGroup::secp256r1, NamedGroup::secp384r1];

type Algorithms = &'static [&'static dyn SignatureVerificationAlgorithm];

/// P-256 comes first: vsftpd 3.0.3 and Pure-FTPd 1.0.50 know nothing else, and a first offer of
/// X25519 would cost a round trip at each handshake. (It is as strong, and NIST's choice.)
pub(super) fn provider(policy: Policy) -> CryptoProvider {
    let mut provider = ring::default_provider();
    let rank = |group: &&'static dyn SupportedKxGroup| group.name() != NamedGroup::secp256r1;
    provider.kx_groups.sort_by_key(rank);
    match policy {
        Policy::Standard => {}
        Policy::Nist80052r2 => {
            provider
                .cipher_suites
                .retain(|suite: &SupportedCipherSuite| NIST_SUITES.contains(&suite.suite()));
            provider.kx_groups.retain(|group| NIST_GROUPS.contains(&group.name()));
            provider.signature_verification_algorithms = nist_signatures();
        }
    }
    provider
}

/// All of ring's but Ed25519. rustls wants them for the life of the program.
fn nist_signatures() -> WebPkiSupportedAlgorithms {
    static ALL: LazyLock<Vec<&'static dyn SignatureVerificationAlgorithm>> = LazyLock::new(|| {
        let all = ring::default_provider().signature_verification_algorithms.all.iter().copied();
        all.filter(|algorithm| algorithm.signature_alg_id() != ED25519).collect()
    });
    static MAPPING: LazyLock<Vec<(SignatureScheme, Algorithms)>> = LazyLock::new(|| {
        let mapping = ring::default_provider().signature_verification_algorithms.mapping.iter().copied();
        mapping.filter(|(scheme, _)| *scheme != SignatureScheme::ED25519).collect()
    });
    WebPkiSupportedAlgorithms { all: &ALL, mapping: &MAPPING }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nists_policy_has_no_more_than_its_lists() {
        let provider = provider(Policy::Nist80052r2);
        assert_eq!(provider.cipher_suites.len(), NIST_SUITES.len());
        assert_eq!(provider.kx_groups.len(), NIST_GROUPS.len());
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let foreign = |scheme: &SignatureScheme| {
            let name = scheme.as_str().unwrap_or("?");
            !(name.starts_with("RSA_P") || name.starts_with("ECDSA_NISTP")) || name.contains("SHA1")
        };
        assert!(schemes.len() >= 8 && !schemes.iter().any(foreign), "{schemes:?}");
        let verifies =
            |id| provider.signature_verification_algorithms.all.iter().any(|a| a.signature_alg_id() == id);
        assert!(!verifies(ED25519));
    }

    #[test]
    fn the_standard_offers_p256_first_and_all_that_is_safe() {
        let provider = provider(Policy::Standard);
        assert_eq!(provider.kx_groups.first().map(|group| group.name()), Some(NamedGroup::secp256r1));
        assert!(provider.cipher_suites.len() > NIST_SUITES.len());
    }
}
