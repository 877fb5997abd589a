//! The engine against the test server: runs of one job, without the command line.

mod adopt;
mod bench;
mod doctor;
mod doors;
mod drops;
mod faults;
mod liars;
mod limits;
mod restore;
mod runs;
mod strangers;
mod trust;
mod verify;
