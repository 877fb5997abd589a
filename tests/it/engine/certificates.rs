//! Bad certificates of every kind, on the control connection and on a data connection: nothing of
//! ours reaches whoever shows them, and the error says what is wrong with which of them.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use ftps_server::{Action, Fault, Identity, Pki, Server};
use nightferry::domain::{Digest, Exit, SpkiPin};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, NameConstraints, SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

use super::bench::{Bench, cause};

/// A bad certificate, and what its error must say.
struct Case {
    name: &'static str,
    /// Made anew for each server.
    bad: Box<dyn Fn(&Pki) -> Identity>,
    /// What else is configured for the server: the good certificate, the bad one, a folder.
    configure: Configure,
    words: &'static [&'static str],
}

type Configure = Box<dyn Fn(&mut Bench, &Rig)>;

/// What a case works with.
struct Rig {
    pki: Arc<Pki>,
    folder: TempDir,
    good: SpkiPin,
    bad: Vec<SerialNumber>,
}

/// Which connection shows the bad certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Control,
    Data,
}

fn case(
    name: &'static str,
    words: &'static [&'static str],
    bad: impl Fn(&Pki) -> Identity + 'static,
) -> Case {
    Case { name, bad: Box::new(bad), configure: Box::new(|_, _| {}), words }
}

/// The same for a certificate that an edit makes bad.
fn edited(
    name: &'static str,
    words: &'static [&'static str],
    edit: impl Fn(&mut CertificateParams) + 'static,
) -> Case {
    case(name, words, move |pki| pki.issue(&edit))
}

impl Case {
    fn with(mut self, configure: impl Fn(&mut Bench, &Rig) + 'static) -> Self {
        self.configure = Box::new(configure);
        self
    }
}

fn dns(names: &[&str]) -> Vec<SanType> {
    names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect()
}

/// The lists of the root, which name the bad certificates, good until a year.
fn lists(until: i32, of: impl Fn(&Rig) -> Vec<SerialNumber> + 'static) -> impl Fn(&mut Bench, &Rig) {
    move |bench, rig| {
        let file = rig.folder.path().join("list.pem");
        fs::write(&file, rig.pki.revocation_list(&of(rig), until)).unwrap();
        bench.definition.trust.crl_files = vec![file];
    }
}

fn times_and_names() -> Vec<Case> {
    let no_name: &[&str] = &[
        "no subjectAltName",
        "only once whoever runs the server has confirmed that",
        "trust: {pins: [\"sha256:",
    ];
    vec![
        case("expired", &["ended on 2001-01-01", "days ago", "CN=localhost"], Pki::expired),
        case("not yet valid", &["begins on 2090-01-01", "our clock"], Pki::not_yet_valid),
        case(
            "another host",
            &["`elsewhere.example`, not for `localhost`", "give `host: elsewhere.example`"],
            Pki::wrong_host,
        ),
        case("name in the CN only", no_name, Pki::name_in_common_name_only),
        edited("IP address as a DNS name", &["`127.0.0.1` as a DNS name"], |params| {
            params.subject_alt_names = dns(&["127.0.0.1"]);
        })
        .with(|bench, _| bench.definition.host = "127.0.0.1".into()),
        edited("wildcard alone", &["localhost"], |params| params.subject_alt_names = dns(&["*"])),
        edited("wildcard in two labels", &["localhost"], |params| {
            params.subject_alt_names = dns(&["*.*.localhost"]);
        }),
        edited("wildcard for the name above", &["not for `localhost`"], |params| {
            params.subject_alt_names = dns(&["*.localhost"]);
        }),
        edited("wildcard in a part", &["localhost"], |params| {
            params.subject_alt_names = dns(&["loc*", "*host"]);
        }),
        edited("empty name", &["localhost"], |params| params.subject_alt_names = dns(&[""])),
    ]
}

fn strange_authorities() -> Vec<Case> {
    vec![
        case(
            "unknown authority",
            &["was issued by CN=Somebody's authority", "ca_file: FILE.pem", "pins: [\"sha256:"],
            |_| Pki::named("Somebody's authority").server(),
        ),
        case("an authority that steers terminals", &["Evil", "and so on", "…"], |_| {
            let name = format!("Evil\u{1b}[2J\r\n\u{202e}and so on{}", "x".repeat(4_000));
            Pki::named(&name).server()
        }),
        case("another authority of the same name", &["signature", "not that of CN=Throw-away test"], |_| {
            Pki::new().server()
        }),
    ]
}

fn chains() -> Vec<Case> {
    let pin: &[&str] = &["self-signed", "trust: {pins: [\"sha256:"];
    vec![
        case("self-signed, CA:TRUE", &["CA:TRUE", "trust: {pins: [\"sha256:"], |_| {
            Pki::self_signed_with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
        }),
        case("self-signed, CA:FALSE", pin, |_| {
            Pki::self_signed_with(|params| params.is_ca = IsCa::ExplicitNoCa)
        }),
        edited("an authority's own", &["CA:TRUE"], |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        case("missing intermediate", &["issued by CN=Throw-away intermediate authority"], |pki| {
            pki.intermediate(|_| {}).server().alone()
        }),
        case(
            "intermediate of a stranger",
            &["certificate of its issuer CN=Throw-away intermediate", "issued by CN=Somebody's authority"],
            |_| Pki::named("Somebody's authority").intermediate(|_| {}).server(),
        ),
        case("issuer that is no authority", &["CA:FALSE"], |pki| {
            pki.intermediate(|params| params.is_ca = IsCa::ExplicitNoCa).server()
        }),
        case(
            "expired intermediate",
            &["certificate of its issuer CN=Throw-away intermediate", "2011-01-01"],
            |pki| {
                let old = |params: &mut CertificateParams| {
                    params.not_before = date_time_ymd(2010, 1, 1);
                    params.not_after = date_time_ymd(2011, 1, 1);
                };
                pki.intermediate(old).server()
            },
        ),
        case("path too long", &["pathlen"], |pki| {
            let short =
                |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            let another = |params: &mut CertificateParams| {
                params.distinguished_name.push(DnType::CommonName, "Another authority");
            };
            pki.intermediate(short).intermediate(another).server()
        }),
        case("name outside its authority's", &["may not vouch for `localhost`"], |pki| {
            let example = |params: &mut CertificateParams| {
                params.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".into())],
                    excluded_subtrees: vec![],
                });
            };
            pki.intermediate(example).server()
        }),
        edited("for clients only", &["not meant for servers"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        case("certificate of somebody else", &["does not prove that it has the key of it"], |pki| {
            pki.server().with_key_of(&pki.server())
        }),
        edited("critical extension", &["critical extension"], |params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        }),
    ]
}

fn pins_and_lists() -> Vec<Case> {
    vec![
        case("another key than the pinned one", &["and pinned are sha256:"], Pki::server).with(
            |bench, rig| {
                bench.definition.trust.ca_file = None;
                bench.definition.trust.pins = vec![rig.good, SpkiPin(Digest::of(b"the next one"))];
            },
        ),
        case("a good chain with another key", &["pinned", "over another way than this one"], Pki::server)
            .with(|bench, rig| bench.definition.trust.pins = vec![rig.good]),
        case("revoked", &["was revoked by CN=Throw-away test authority (serial "], Pki::server)
            .with(lists(2099, |rig| rig.bad.clone())),
        case(
            "revoked intermediate",
            &["certificate of its issuer CN=Throw-away intermediate", "was revoked"],
            |pki| {
                pki.intermediate(|params| params.serial_number = Some(REVOKED_INTERMEDIATE.into())).server()
            },
        )
        .with(lists(2099, |_| vec![REVOKED_INTERMEDIATE.into()])),
        case(
            "list without its issuer",
            &["no list in `trust.crl_files` comes from CN=Throw-away intermediate"],
            |pki| pki.intermediate(|_| {}).server(),
        )
        .with(lists(2099, |_| vec![])),
    ]
}

/// A number that no other certificate has.
const REVOKED_INTERMEDIATE: u64 = 77;

/// What rcgen cannot make, openssl signs.
fn by_openssl() -> Vec<Case> {
    vec![
        case("signed with SHA-1", &["SHA-1"], |pki| {
            let key = Pki::self_signed();
            let leaf = openssl_signed(pki, &key.key_pem(), "-sha1", LEAF);
            key.with_certificates(&leaf)
        }),
        case("RSA of 1024 bits above it", &["1024 bits"], |pki| {
            let weak = openssl("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024", &[]);
            let authority = openssl_signed(pki, &weak, "-sha256", "basicConstraints=critical,CA:TRUE\n");
            let key = Pki::self_signed();
            let leaf = openssl_signed_by(&authority, &weak, &key.key_pem(), "-sha256", LEAF);
            key.with_certificates(&format!("{leaf}{authority}"))
        }),
    ]
}

const LEAF: &str = "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost\n";

fn openssl_signed(pki: &Pki, key: &str, digest: &str, extensions: &str) -> String {
    openssl_signed_by(&pki.ca_pem(), &pki.key_pem(), key, digest, extensions)
}

fn openssl_signed_by(ca: &str, ca_key: &str, key: &str, digest: &str, extensions: &str) -> String {
    let files = [("ca.pem", ca), ("ca.key", ca_key), ("key.pem", key), ("ext", extensions)];
    let command = format!(
        "openssl req -new -key key.pem -subj /CN=localhost -out csr && openssl x509 -req -in csr -CA ca.pem \
         -CAkey ca.key -set_serial 4660 -days 30 {digest} -extfile ext"
    );
    openssl(&command, &files)
}

/// What a command of openssl prints, in a folder with these files.
fn openssl(command: &str, files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let output = Command::new("sh").args(["-c", command]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn have_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok();
    if !found {
        assert!(std::env::var_os("NIGHTFERRY_REQUIRE_CLIENTS").is_none(), "openssl is missing");
        println!("left out: what openssl must sign; it is not installed");
    }
    found
}

/// The bad certificate ends the run for want of trust, and nothing of ours got there.
async fn check(case: &Case, channel: Channel) {
    let pki = Arc::new(Pki::new());
    let (good, bad) = (pki.server(), (case.bad)(&pki));
    let rig = Rig {
        good: super::trust::pin(&good),
        bad: bad.serial().into_iter().collect(),
        folder: tempfile::tempdir().unwrap(),
        pki: Arc::clone(&pki),
    };
    let server = Server::builder().pki(pki);
    let server = match channel {
        Channel::Control => server.identity(bad),
        Channel::Data => {
            server.identity(good).other_identity(bad).fault(Fault::on("STOR", Action::OtherCertificate))
        }
    };
    let mut bench = Bench::with(server);
    (case.configure)(&mut bench, &rig);
    bench.write("a.txt", vec![7; 100_000]);
    bench.write("b.txt", "b");
    let report = bench.run().await;
    let (row, text) = (format!("{} ({channel:?})", case.name), cause(&report));
    println!("{row}: {text}");
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Trust), "{row}: {text}");
    for word in case.words {
        assert!(text.contains(word), "{row}: {word:?} in {text}");
    }
    let steers = |c: char| c.is_control() || c == '\u{202e}';
    assert!(text.len() < 900 && !text.contains(steers), "{row}: {text}");
    assert_eq!(text.contains("data connection"), channel == Channel::Data, "{row}: {text}");
    let (transcript, counters) = (bench.server.transcript(), bench.server.counters());
    assert_eq!((counters.bytes_received, counters.stores), (0, 0), "{row}\n{transcript}");
    if channel == Channel::Control {
        assert!(transcript.commands().iter().all(|line| line.starts_with("AUTH")), "{row}\n{transcript}");
        assert_eq!(counters.control_connections, 1, "{row}: tried again in vain");
    }
}

async fn check_all(cases: Vec<Case>) -> usize {
    let mut cells = 0;
    for case in &cases {
        for channel in [Channel::Control, Channel::Data] {
            Box::pin(check(case, channel)).await;
            cells += 1;
        }
    }
    cells
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bad_certificate_gets_a_byte_of_ours() {
    let mut cases: Vec<Case> = [times_and_names(), strange_authorities(), chains(), pins_and_lists()]
        .into_iter()
        .flatten()
        .collect();
    if have_openssl() {
        cases.extend(by_openssl());
    }
    let (certificates, cells) = (cases.len(), check_all(cases).await);
    println!("{certificates} bad certificates on control and data connections: {cells} cells");
    assert!(certificates >= 22);
}
