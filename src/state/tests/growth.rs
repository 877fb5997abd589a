//! Segments that are sealed, compressed and taken away, and checkpoints.

use super::*;
