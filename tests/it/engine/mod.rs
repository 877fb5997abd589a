//! The engine against the test server: runs of one job, without the command line.

mod adopt;
mod bench;
mod certificates;
mod data;
mod doctor;
mod doors;
mod drop_boxes;
mod drops;
mod faults;
mod learned;
mod liars;
mod limits;
mod matrix;
mod names;
mod pool;
mod removal;
mod restore;
mod resume;
mod retire;
mod runs;
mod strangers;
mod tls;
mod trust;
mod verify;
mod windows;
