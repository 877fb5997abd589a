//! Nightferry pushes folders to FTPS servers and proves that they arrived.

pub mod clock;
pub mod domain;
pub mod state;
