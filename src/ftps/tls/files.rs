//! Reads certificates, keys and lists of revoked certificates from files.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use secrecy::zeroize::Zeroizing;

use super::TlsSettingsError;

/// Largest file of certificates, keys or lists, in bytes. The lists of big authorities have 10 MiB
/// and less; what is longer is the wrong file, and would be held in memory.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// A certificate chain and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

pub(super) fn roots(file: &Path) -> Result<RootCertStore, TlsSettingsError> {
    let mut roots = RootCertStore::empty();
    for cert in certificates(file)? {
        roots.add(cert).map_err(|source| TlsSettingsError::Authority { file: file.to_owned(), source })?;
    }
    Ok(roots)
}

pub(super) fn system_roots() -> Result<RootCertStore, TlsSettingsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's store may hold what rustls cannot use; one usable authority is enough to start.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 { Err(TlsSettingsError::NoSystemRoots) } else { Ok(roots) }
}

pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSettingsError> {
    let bytes = read(file, Readers::Anybody)?;
    let certs = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsSettingsError::Pem { file: file.to_owned(), source })?;
    if certs.is_empty() { Err(TlsSettingsError::NoCertificate { file: file.to_owned() }) } else { Ok(certs) }
}

/// Our own certificate and its key, which nobody else may read.
pub(super) fn identity(cert: &Path, key: &Path) -> Result<Identity, TlsSettingsError> {
    let chain = certificates(cert)?;
    let bytes = read(key, Readers::Owner)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|source| TlsSettingsError::Key { file: key.to_owned(), source })?;
    Ok((chain, key))
}

/// The lists in a file: one in DER, or any number in PEM.
pub(super) fn lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsSettingsError> {
    /// How a DER sequence begins.
    const SEQUENCE: u8 = 0x30;
    let bytes = read(file, Readers::Anybody)?;
    let lists = if bytes.first() == Some(&SEQUENCE) {
        vec![CertificateRevocationListDer::from(bytes.to_vec())]
    } else {
        CertificateRevocationListDer::pem_slice_iter(&bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| TlsSettingsError::Pem { file: file.to_owned(), source })?
    };
    if lists.is_empty() {
        return Err(TlsSettingsError::NoList { file: file.to_owned() });
    }
    for list in &lists {
        // rustls refuses all at once, without the name of the file.
        if let Err(source) = webpki::OwnedCertRevocationList::from_der(list) {
            let file = file.to_owned();
            let version = x509_parser::parse_x509_crl(list).map(|(_, list)| list.version());
            return Err(match version {
                Ok(None) => TlsSettingsError::OldList { file },
                Ok(Some(_)) | Err(_) => TlsSettingsError::List { file, source },
            });
        }
    }
    Ok(lists)
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Anybody,
    /// The user who runs the program, and the system's administrator, as with a password. A
    /// credential of systemd's is excepted: its folder is the service's alone, and its mode looks
    /// open to a group (systemd.exec(5), "Credentials").
    Owner,
}

fn read(path: &Path, readers: Readers) -> Result<Zeroizing<Vec<u8>>, TlsSettingsError> {
    let unreadable = |source| TlsSettingsError::Unreadable { file: path.to_owned(), source };
    // Without O_NONBLOCK, opening a pipe would wait for somebody who writes.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(TlsSettingsError::NotAFile { file: path.to_owned() });
    }
    if readers == Readers::Owner && !is_credential(path) {
        let owner = metadata.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(TlsSettingsError::ForeignKey { file: path.to_owned(), owner });
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(TlsSettingsError::ExposedKey {
                file: path.to_owned(),
                mode: metadata.mode() & 0o7777,
            });
        }
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(TlsSettingsError::TooLarge { file: path.to_owned(), limit: MAX_FILE_BYTES });
    }
    Ok(bytes)
}

fn is_credential(path: &Path) -> bool {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    folder.is_some_and(|folder| path.parent() == Some(Path::new(&folder)))
}
