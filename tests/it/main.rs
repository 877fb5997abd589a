//! Integration tests: the library and the binary from outside, one crate for all of them.

#![cfg(test)]

mod agent;
mod attacks;
mod cli;
mod cli_ways_back;
mod demo;
mod deploy;
mod diagnose;
mod engine;
mod hostile;
mod lab;
mod manual;
mod mounts;
mod real_names;
mod real_servers;
mod real_ways_back;
mod settle;
mod state;
mod support;
mod telling;
mod wire;
