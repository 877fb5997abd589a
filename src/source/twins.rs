//! Names in one folder that some servers take for one.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use unicase::UniCase;
use unicode_normalization::UnicodeNormalization as _;

use crate::domain::TwinKind;

/// Most names of one kin that are compared each with each; of more, all count as different in every
/// way from the first, so that a folder full of them costs no more than its walk.
const MAX_COMPARED: usize = 16;

/// The twins of names, by their places in `names`: for each the places of others, and what they
/// differ in. `is_sent` is asked only of names that look alike. Needs 16 bytes a name for as long as
/// it takes.
pub(super) fn twins(
    names: &[&[u8]],
    is_sent: impl Fn(usize) -> bool,
) -> BTreeMap<usize, Vec<(usize, TwinKind)>> {
    let mut by_hash: Vec<(u64, usize)> = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        // Others are refused for what they are.
        if let Ok(name) = std::str::from_utf8(name) {
            let mut hasher = DefaultHasher::new();
            kin(name).hash(&mut hasher);
            by_hash.push((hasher.finish(), at));
        }
    }
    by_hash.sort_unstable();
    let mut found = BTreeMap::new();
    for alike in by_hash.chunk_by(|(a, _), (b, _)| a == b).filter(|alike| alike.len() > 1) {
        let mut kins: BTreeMap<String, Vec<(usize, &str)>> = BTreeMap::new();
        for &(_, at) in alike {
            let name = names.get(at).and_then(|name| std::str::from_utf8(name).ok());
            if let Some(name) = name.filter(|_| is_sent(at)) {
                kins.entry(kin(name)).or_default().push((at, name));
            }
        }
        kins.values().filter(|kin| kin.len() > 1).for_each(|kin| compare(kin, &mut found));
    }
    found
}

/// What names that a server may take for one have in common (The Unicode Standard, section 3.13,
/// D145: canonical caseless matching). What HFS+ and ext4 fold is the same, but for signs without
/// width; NTFS folds less.
pub fn kin(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    fold(&name.nfd().collect::<String>()).nfd().collect()
}

/// Full case folding.
fn fold(name: &str) -> String {
    UniCase::unicode(name).to_folded_case()
}

fn compare(kin: &[(usize, &str)], found: &mut BTreeMap<usize, Vec<(usize, TwinKind)>>) {
    for &(at, name) in kin {
        let others = kin.iter().filter(|(other, _)| *other != at);
        let twins = if kin.len() > MAX_COMPARED {
            let first = others.map(|&(other, _)| other).take(1);
            first.flat_map(|other| [(other, TwinKind::Case), (other, TwinKind::Composition)]).collect()
        } else {
            others.map(|&(other, its_name)| (other, difference(name, its_name))).collect()
        };
        found.insert(at, twins);
    }
}

/// What two names of one kin differ in.
fn difference(a: &str, b: &str) -> TwinKind {
    if a.nfc().eq(b.nfc()) {
        TwinKind::Composition
    } else if fold(a) == fold(b) {
        TwinKind::Case
    } else {
        TwinKind::Both
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(names: &[&str]) -> Vec<(usize, usize, TwinKind)> {
        let bytes: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let all = twins(&bytes, |_| true).into_iter();
        all.flat_map(|(at, twins)| twins.into_iter().map(move |(other, kind)| (at, other, kind))).collect()
    }

    #[test]
    fn names_that_servers_may_take_for_one() {
        use TwinKind::{Both, Case, Composition};
        let check = |a, b, kind| assert_eq!(found(&[a, "other", b]), [(0, 2, kind), (2, 0, kind)], "{a} {b}");
        check("Report.csv", "report.CSV", Case);
        check("Ärger", "ärger", Case);
        check("STRASSE", "Straße", Case);
        check("ΌΔΟΣ", "όδος", Case);
        check("caf\u{e9}", "cafe\u{301}", Composition);
        // Angstrom, and A with a ring.
        check("\u{212b}", "\u{c5}", Composition);
        check("Caf\u{e9}", "cafe\u{301}", Both);
        for (a, b) in [("a", "b"), ("a", "a "), ("i", "ı"), ("ﬁ", "f1"), ("é", "e")] {
            assert_eq!(found(&[a, b]), [], "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_sent_has_twins() {
        let names: [&[u8]; 4] = [b"A", b"a", b"\xff", b"B"];
        assert!(twins(&names, |at| at != 1).is_empty());
        assert_eq!(twins(&names, |_| true).len(), 2);
    }

    #[test]
    fn a_folder_full_of_twins_costs_little() {
        let names: Vec<String> = (0..20_000_u32)
            .map(|n| (0..20).map(|bit| if n >> bit & 1 == 0 { 'a' } else { 'A' }).collect())
            .collect();
        let bytes: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        let all = twins(&bytes, |_| true);
        assert!(all.len() == names.len() && all.values().all(|twins| twins.len() == 2));
    }

    proptest! {
        #[test]
        fn twins_are_mutual_and_of_one_kin(names in proptest::collection::btree_set("[aAäÄßsS\u{308}é\u{301}eE]{0,3}", 0..12)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let all = found(&names);
            for &(a, b, kind) in &all {
                prop_assert!(all.contains(&(b, a, kind)));
                prop_assert_eq!(kin(names[a]), kin(names[b]));
            }
            for (at, name) in names.iter().enumerate() {
                let lonely = names.iter().filter(|other| kin(other) == kin(name)).count() == 1;
                prop_assert_eq!(lonely, all.iter().all(|(a, ..)| *a != at));
            }
        }
    }
}
