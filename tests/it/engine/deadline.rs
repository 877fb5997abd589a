//! Runs that take longer than they may.

use std::time::Duration;

use ftps_server::{Action, Dialect, Fault};
use nightferry::domain::{Exit, Trigger, Triggers};

use super::bench::Bench;

const FILES: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_at_its_deadline_and_the_next_one_goes_on() {
    let slow = Fault::on("STOR", Action::Delay(Duration::from_millis(200)));
    let mut bench = Bench::new(Dialect::full(), [slow]);
    bench.definition.connections = 1.try_into().unwrap();
    for n in 0..FILES {
        bench.write(&format!("{n:02}"), format!("{n}"));
    }
    bench.job.timing.deadline = Some(Duration::from_millis(900));
    let report = bench.run().await;
    assert_eq!(report.exit(), Exit::Deadline, "{report:#?}");
    assert_eq!(report.triggers, Triggers::of(Trigger::Manual));
    let counts = report.counts;
    assert!(counts.not_reached > 0, "{report:#?}");
    assert_eq!((counts.delivered + counts.not_reached, counts.failed), (FILES, 0), "{report:#?}");
    bench.job.timing.deadline = Some(Duration::from_mins(10));
    let report = bench.run().await;
    assert_eq!(report.exit(), Exit::Done, "{report:#?}");
    // Young files are read before they count as unchanged.
    let known = report.counts.unchanged + report.counts.confirmed;
    assert_eq!((report.counts.delivered, known), (counts.not_reached, counts.delivered));
    bench.expect_no_connection(FILES).await;
}
