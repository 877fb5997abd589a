//! What a server that has no room for a file may still have room for. Knows no server and no file.

/// Most files in a row that are refused for want of room before a run ends: with each the bound on size
/// falls, and a disk that is full to the brim takes none, however small.
const MAX_REFUSALS: u32 = 8;

/// How large files may be that are still tried.
#[derive(Debug, Default)]
pub(super) struct Room {
    smallest_refused: Option<u64>,
    refusals: u32,
}

/// What is left of a server's room after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoomLeft {
    /// There may be some for files that are smaller than any that was refused: a quota is nearly used up,
    /// or large files are not taken at all.
    ForSmaller,
    /// None.
    None,
}

impl Room {
    /// A file of so many bytes was refused.
    pub(super) fn refused(&mut self, size: u64) -> RoomLeft {
        self.smallest_refused = Some(self.smallest_refused.map_or(size, |smallest| smallest.min(size)));
        self.refusals += 1;
        if self.refusals < MAX_REFUSALS { RoomLeft::ForSmaller } else { RoomLeft::None }
    }

    /// A file was taken.
    pub(super) fn taken(&mut self) {
        self.refusals = 0;
    }

    /// Whether it is worth trying to send so many bytes.
    pub(super) fn may_hold(&self, size: u64) -> bool {
        self.smallest_refused.is_none_or(|refused| size < refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_the_bound_for_what_comes() {
        let mut room = Room::default();
        assert!(room.may_hold(u64::MAX));
        assert_eq!(room.refused(100), RoomLeft::ForSmaller);
        assert_eq!([99, 100, 101].map(|size| room.may_hold(size)), [true, false, false]);
        assert_eq!(room.refused(200), RoomLeft::ForSmaller, "by another worker, at the same time");
        assert!(room.may_hold(99) && !room.may_hold(100));
        assert_eq!(room.refused(0), RoomLeft::ForSmaller);
        assert!(!room.may_hold(0));
    }

    #[test]
    fn a_server_that_takes_nothing_is_not_asked_for_ever() {
        let mut room = Room::default();
        for size in (1..MAX_REFUSALS).rev() {
            assert_eq!(room.refused(size.into()), RoomLeft::ForSmaller);
        }
        assert_eq!(room.refused(0), RoomLeft::None);
        let mut room = Room::default();
        for _ in 0..3 * MAX_REFUSALS {
            assert_eq!(room.refused(5), RoomLeft::ForSmaller);
            room.taken();
        }
    }
}
