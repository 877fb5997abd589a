//! Few open files: what cannot be opened is not delivered, and is not taken for gone either.

use super::*;

/// With fewer the program does not even begin.
const FEWEST: u32 = 10;
/// With so many all goes well.
const ENOUGH: u32 = 64;

#[test]
fn with_few_open_files_nothing_is_lost_and_nothing_is_deleted() {
    let server = Server::builder().start().unwrap();
    let job = "  one: {source: source, server: office, destination: /in, delete: {remote: delete, \
               max_percent: 100}}\n";
    let home = Home::new(&[("office", &server)], job);
    let name = |n: usize| format!("{}/{n:02}", n % 4);
    (0..40).for_each(|n| home.write(&format!("source/{}", name(n)), name(n).as_bytes()));
    let sync = |open_files: u32| {
        let sync = home.command(&["sync"]);
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={open_files}:{open_files}"));
        limited.arg(sync.get_program()).args(sync.get_args()).current_dir(home.path()).stdin(Stdio::null());
        limited.envs(sync.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = limited.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    // `None` where there is no such file; a temporary one has another name.
    let stored = |n: usize| fs::read_to_string(server.root().join("in").join(name(n))).ok();
    for open_files in (FEWEST..ENOUGH).step_by(5) {
        let (code, told) = sync(open_files);
        let whole = (0..40).filter(|n| stored(*n).is_some_and(|text| text == name(*n))).count();
        let there = (0..40).filter(|n| stored(*n).is_some()).count();
        assert_eq!(whole, there, "{open_files}: {told}");
        assert!((code == Some(0)) == (whole == 40), "{open_files}: {code:?} with {whole}: {told}");
    }
    assert_eq!(sync(ENOUGH).0, Some(0));
    // What is gone for good may go; the others are still there.
    fs::remove_dir_all(home.path().join("source/0")).unwrap();
    for open_files in (FEWEST..=ENOUGH).step_by(5) {
        let (_, told) = sync(open_files);
        let lost: Vec<_> = (0..40).filter(|n| n % 4 != 0 && stored(*n).is_none()).collect();
        assert_eq!(lost, Vec::<usize>::new(), "{open_files}: {told}");
    }
    assert!((0..40).step_by(4).all(|n| stored(n).is_none()));
}
