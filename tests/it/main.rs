//! What only the whole program, or the whole library from outside, can show.

#[cfg(test)]
mod cli;
