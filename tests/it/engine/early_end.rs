//! Downloads whose side of ours ends before the server's, which saves a round trip at vsftpd.

use std::time::Duration;

use ftps_server::{Action, Dialect, EarlyEnd, Fault, PATIENT, Server, TlsVersions};
use nightferry::domain::{Exit, ProofMethod, VerifyPolicy};

use super::bench::{Bench, cause};

/// How long what happens at once may take on a busy machine.
const SOON: Duration = Duration::from_mins(1);

const FILES: u64 = 3;

/// A run that reads its files back from such a server, on one session.
async fn read_back(dialect: Dialect, versions: TlsVersions, faults: Vec<Fault>) -> Bench {
    let server = Server::builder().dialect(dialect).tls_versions(versions);
    let mut bench = Bench::with(faults.into_iter().fold(server, ftps_server::Builder::fault));
    bench.job.verify = VerifyPolicy::ReadBack;
    bench.definition.connections = 1.try_into().unwrap();
    for n in 0..FILES {
        bench.write(&format!("{n}.txt"), format!("content {n}"));
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (FILES, Exit::Done), "{}", cause(&report));
    assert_eq!(report.proofs.get(&ProofMethod::ReadBack), Some(&FILES));
    bench
}

fn awaits(patience: Duration, early: EarlyEnd) -> Fault {
    Fault::on("RETR", Action::AwaitEnd(patience, early))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_vsftpd_our_side_ends_first() {
    let bench = read_back(Dialect::vsftpd(), TlsVersions::Only13, vec![awaits(SOON, EarlyEnd::Borne)]).await;
    assert_eq!(bench.server.counters().early_ends, FILES);
}

/// Others were not seen to bear it, and TLS 1.2 has the server throw away what it has not sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elsewhere_our_side_ends_last() {
    for (dialect, versions) in [
        (Dialect::full(), TlsVersions::Only13),
        (Dialect::pure_ftpd(), TlsVersions::Only13),
        (Dialect::vsftpd(), TlsVersions::Only12),
    ] {
        let bench = read_back(dialect, versions, vec![awaits(PATIENT, EarlyEnd::Abort)]).await;
        assert_eq!(bench.server.counters().early_ends, 0, "{versions:?}");
    }
}

/// One that calls itself vsftpd and takes it for an abort is not asked for it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_download_came_short_it_is_not_tried_again() {
    let faults = vec![awaits(SOON, EarlyEnd::Abort).once(), awaits(PATIENT, EarlyEnd::Abort).from(2)];
    let bench = read_back(Dialect::vsftpd(), TlsVersions::Only13, faults).await;
    assert_eq!(bench.server.counters().early_ends, 1);
}
