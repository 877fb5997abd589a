//! The `nightferry` command.

fn main() {}
