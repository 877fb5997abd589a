//! Runs in which nothing goes wrong, over servers of every kind.

use ftps_server::{Dialect, Mode, Server, TlsVersions};
use nightferry::domain::{Exit, ProofMethod, TlsMode};

use super::bench::Bench;

async fn check(bench: Bench, proof: ProofMethod) {
    bench.write("a.txt", "hello");
    bench.write("sub dir/ü/b.txt", vec![7; 700_000]);
    bench.write("empty", "");
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (3, Exit::Done), "{report:#?}");
    assert_eq!(report.proofs.get(&proof), Some(&3));
    assert_eq!(bench.stored("in/a.txt").unwrap(), b"hello");
    assert_eq!(bench.stored("in/sub dir/ü/b.txt").unwrap(), vec![7; 700_000]);
    assert_eq!(bench.stored("in/empty").unwrap(), b"");
    bench.expect_no_connection(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_arrives_proved_and_the_second_run_opens_no_connection() {
    check(Bench::new(Dialect::full(), []), ProofMethod::ServerHash).await;
    check(Bench::new(Dialect::vsftpd(), []), ProofMethod::ReadBack).await;
    check(Bench::new(Dialect::pure_ftpd(), []), ProofMethod::ReadBack).await;
    check(Bench::new(Dialect::no_epsv(), []), ProofMethod::ServerHash).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_tls_version_and_implicit_tls_do() {
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        for dialect in [Dialect::proftpd(), Dialect::vsftpd()] {
            let proof =
                if dialect_has_hash(&dialect) { ProofMethod::ServerHash } else { ProofMethod::ReadBack };
            check(Bench::with(Server::builder().dialect(dialect).tls_versions(versions)), proof).await;
        }
    }
    let mut implicit = Bench::with(Server::builder().mode(Mode::Implicit));
    implicit.definition.tls = TlsMode::Implicit;
    check(implicit, ProofMethod::ServerHash).await;
}

fn dialect_has_hash(dialect: &Dialect) -> bool {
    format!("{dialect:?}").contains("HashAfterOpts")
}

/// With TLS 1.3 alone there is no way round but new control connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proftpds_tickets_run_out_and_nothing_is_refused() {
    for versions in [TlsVersions::Both, TlsVersions::Only13] {
        let bench = Bench::with(Server::builder().dialect(Dialect::proftpd()).tls_versions(versions));
        for n in 0..20 {
            bench.write(&format!("{n}"), format!("{n}"));
        }
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (20, Exit::Done), "{report:#?}");
        let refused =
            bench.server.transcript().replies().iter().filter(|text| text.starts_with("425")).count();
        assert_eq!(refused, 0);
        bench.expect_no_connection(20).await;
    }
}
