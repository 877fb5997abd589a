//! Files cross no faster than the configuration allows, in either direction.

use std::time::{Duration, Instant};

use ftps_server::Dialect;
use nightferry::audit::Depth;
use nightferry::domain::{Bandwidth, Exit, VerifyPolicy};

use super::bench::Bench;

const FILES: usize = 6;
const FILE_BYTES: usize = 40_000;
const RATE: &str = "300 kB/s";
/// What the files take at the rate, but for what goes at once after silence.
const LEAST: Duration = Duration::from_millis(650);

fn bench() -> Bench {
    let mut bench = Bench::new(Dialect::full(), []);
    bench.definition.bandwidth = Bandwidth { limit: Some(RATE.parse().unwrap()), timetable: Vec::new() };
    for n in 0..FILES {
        bench.write(&format!("{n}.bin"), vec![b'x'; FILE_BYTES]);
    }
    bench
}

#[tokio::test]
async fn uploads_of_all_sessions_keep_to_the_rate() {
    let mut bench = bench();
    bench.job.verify = VerifyPolicy::Hash;
    let begun = Instant::now();
    let report = bench.run().await;
    let took = begun.elapsed();
    assert_eq!((report.counts.delivered, report.exit()), (FILES as u64, Exit::Done));
    assert!(took >= LEAST, "{took:?}");
    assert_eq!(bench.stored("in/0.bin").unwrap().len(), FILE_BYTES);
}

#[tokio::test]
async fn what_is_read_back_keeps_to_the_rate() {
    let mut bench = bench();
    bench.job.verify = VerifyPolicy::ReadBack;
    assert_eq!(bench.run().await.counts.delivered, FILES as u64);
    let begun = Instant::now();
    let report = bench.verify(Depth::Content).await;
    let took = begun.elapsed();
    assert_eq!(report.exit(), Exit::Done);
    assert!(took >= LEAST, "{took:?}");
}
