//! Accounts that may store files and not look at them: what is wrong is told by the setting that
//! mends it, and nothing is proved by less than the job asks for.

use ftps_server::Dialect;
use nightferry::domain::{Exit, Overwrite, ProofMethod, VerifyPolicy};
use nightferry::remote::Ability;

use super::bench::{Bench, cause};

fn dialects() -> [Dialect; 4] {
    [Dialect::full(), Dialect::proftpd(), Dialect::vsftpd(), Dialect::pure_ftpd()]
}

/// The replies with which SIZE and MDTM are refused.
const REFUSALS: [&str; 4] = ["550 Permission denied", "553 Not allowed", "500 Unknown", "502 Not here"];

fn blind(dialect: Dialect, refusal: &'static str) -> Dialect {
    dialect.write_only().forbid("SIZE", refusal).forbid("MDTM", refusal)
}

fn bench(dialect: Dialect, verify: VerifyPolicy) -> Bench {
    let mut bench = Bench::new(dialect, []);
    bench.definition.connections = 1.try_into().unwrap();
    bench.job.verify = verify;
    bench.write("a.txt", "a");
    bench.write("b.txt", "b");
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_only_the_size_is_told_the_error_names_the_setting() {
    for verify in [VerifyPolicy::Auto, VerifyPolicy::ReadBack] {
        for dialect in dialects() {
            let mut bench = bench(dialect.write_only(), verify);
            let report = bench.run().await;
            assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused), "{report:#?}");
            assert!(cause(&report).contains("`verify: size`"), "{}", cause(&report));
            assert_eq!(bench.server.counters().stores, 1, "the others would fare no better");
            assert!(bench.all_stored().is_empty());
            bench.job.verify = VerifyPolicy::Size;
            let report = bench.run().await;
            assert_eq!((report.exit(), report.proofs.get(&ProofMethod::Size)), (Exit::Done, Some(&2)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_told_the_error_says_what_to_ask_for() {
    for verify in [VerifyPolicy::Auto, VerifyPolicy::ReadBack, VerifyPolicy::Size] {
        for refusal in REFUSALS {
            for overwrite in [Overwrite::Refuse, Overwrite::Replace] {
                let mut bench = bench(blind(Dialect::full(), refusal), verify);
                bench.job.overwrite = overwrite;
                let report = bench.run().await;
                assert_eq!((report.counts.delivered, report.exit()), (0, Exit::Refused), "{report:#?}");
                assert!(cause(&report).contains("nothing can be proved"), "{refusal}: {}", cause(&report));
                assert!(cause(&report).contains("allow this account SIZE"), "{}", cause(&report));
                assert!(bench.all_stored().is_empty());
            }
        }
    }
}

/// Reading is allowed, sizes are not: a 550 to SIZE does not mean that nothing stands there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_name_that_cannot_be_looked_at_is_not_taken_for_free() {
    for dialect in dialects() {
        for refusal in REFUSALS {
            let dialect = dialect.clone().forbid("SIZE", refusal);
            let mut bench = bench(dialect, VerifyPolicy::Auto);
            bench.write("theirs.txt", "ours");
            bench.put("in/theirs.txt", "theirs");
            let report = bench.run().await;
            assert_eq!(bench.stored("in/theirs.txt").as_deref(), Some(b"theirs".as_slice()));
            assert_eq!((report.counts.delivered, report.counts.failed), (0, 3), "{refusal}");
            assert!(cause(&report).contains("`overwrite: replace`"), "{}", cause(&report));
            std::fs::remove_file(bench.server.root().join("in/theirs.txt")).unwrap();
            bench.job.overwrite = Overwrite::Replace;
            let report = bench.run().await;
            assert_eq!(
                (report.counts.delivered, report.exit()),
                (3, Exit::Done),
                "{refusal}: {}",
                cause(&report)
            );
            assert_eq!(bench.stored("in/theirs.txt").as_deref(), Some(b"ours".as_slice()));
            assert_eq!(bench.profile().resume, Ability::Unknown);
            bench.expect_no_connection(3).await;
        }
    }
}
