//! Peers that cannot be trusted: nothing of ours reaches them.

use ftps_server::{Action, Dialect, Fault, Identity, Pki, Server};
use nightferry::domain::{Digest, Exit, SpkiPin};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::bench::{Bench, cause};

pub(super) fn pin(identity: &Identity) -> SpkiPin {
    let der = identity.certificate_der();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    SpkiPin(Digest::of(certificate.public_key().raw))
}

/// A run that ends for want of trust, before a name or a password was sent.
async fn check_distrusted(bench: Bench, text: &str) {
    bench.write("a.txt", "a");
    bench.write("b.txt", "b");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Trust), "{text}");
    assert!(cause(&report).contains(text), "{text}: {}", cause(&report));
    let transcript = bench.server.transcript();
    assert_eq!(transcript.commands().iter().filter(|line| !line.starts_with("AUTH")).count(), 0);
    assert_eq!(bench.server.counters().control_connections, 1, "tried again in vain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_is_trusted_by_itself_and_another_key_is_not() {
    let identity = Pki::self_signed();
    let wanted = pin(&identity);
    let mut bench = Bench::with(Server::builder().identity(identity));
    bench.definition.trust.ca_file = None;
    bench.definition.trust.pins = vec![wanted];
    bench.write("a.txt", "a");
    assert_eq!(bench.run().await.counts.delivered, 1);

    let mut bench = Bench::with(Server::builder());
    bench.definition.trust.pins = vec![wanted];
    check_distrusted(bench, "pin").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_slipped_in_before_tls_end_the_run() {
    for extra in ["331 x\r\n230 x\r\n", "331-fragment"] {
        let fault = Fault::on("AUTH", Action::Inject(extra.into()));
        check_distrusted(Bench::new(Dialect::full(), [fault]), "tampering").await;
    }
}

/// The same authority, the same name, another key: somebody took the data port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_connection_to_somebody_else_gets_no_byte() {
    for dialect in [Dialect::full(), Dialect::vsftpd(), Dialect::pure_ftpd()] {
        let bench = Bench::new(dialect, [Fault::on("STOR", Action::OtherCertificate)]);
        bench.write("a.txt", vec![7; 300_000]);
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Trust));
        assert!(cause(&report).contains("same server"), "{}", cause(&report));
        assert_eq!(bench.server.counters().bytes_received, 0);
        assert_eq!(bench.stored("in/a.txt"), None);
        bench.server.clear_faults();
        assert_eq!(bench.run().await.counts.delivered, 1);
        assert_eq!(bench.litter(), Vec::<String>::new());
    }
}
