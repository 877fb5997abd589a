//! The engine against the test server: runs of one job, without the command line.

mod bench;
mod certificates;
mod doctor;
mod doors;
mod drops;
mod faults;
mod liars;
mod limits;
mod runs;
mod strangers;
mod tls;
mod trust;
