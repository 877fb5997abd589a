//! Nightferry pushes folders to FTPS servers and proves that they arrived.

pub mod clock;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod ftps;
pub mod observe;
pub mod plan;
pub mod remote;
pub mod source;
pub mod state;
