//! Nightferry pushes folders to FTPS servers and proves that they arrived.

pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod observe;
