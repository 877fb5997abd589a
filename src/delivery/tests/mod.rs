//! Runs of jobs as a whole, on a simulated disk and against the test server.

mod model;
mod naive;
mod steps;
mod world;
