//! Servers that take two names for one, alter names, speak another charset, or lie in listings.

use std::time::Instant;

use ftps_server::{Action, Cut, Dialect, Fault, Feature, Reuse};
use nightferry::domain::{Charset, Exit, RemotePath};
use nightferry::remote::{Ability, Entry, EntryKind, FtpsError};

use super::bench::{Bench, cause};

const DECOMPOSED: &str = "cafe\u{301}.txt";
const COMPOSED: &str = "caf\u{e9}.txt";

fn causes(report: &nightferry::domain::RunReport) -> Vec<String> {
    report.failed.iter().map(|file| format!("{}: {}", file.name, file.failure)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_are_sent_where_the_server_tells_them_apart() {
    for dialect in [Dialect::full(), Dialect::vsftpd(), Dialect::pure_ftpd(), Dialect::proftpd()] {
        let bench = Bench::new(dialect, []);
        for name in ["a.txt", "A.txt", COMPOSED, DECOMPOSED, "Sub/x", "sub/x"] {
            bench.write(name, name);
        }
        let report = bench.run().await;
        assert_eq!((report.counts.delivered, report.exit()), (6, Exit::Done), "{}", cause(&report));
        for name in ["a.txt", "A.txt", COMPOSED, DECOMPOSED, "Sub/x", "sub/x"] {
            assert_eq!(bench.stored(&format!("in/{name}")).unwrap(), name.as_bytes());
        }
        let profile = bench.remote().profile();
        let abilities = (profile.case, profile.composition, profile.names);
        assert_eq!(abilities, (Ability::Yes, Ability::Yes, Ability::Yes));
        bench.expect_no_connection(6).await;
        // What is known is not asked for again.
        bench.write("B.txt", "B");
        bench.write("b.txt", "b");
        let stores = bench.server.transcript().count("STOR");
        assert_eq!(bench.run().await.counts.delivered, 2);
        assert_eq!(bench.server.transcript().count("STOR"), stores + 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_are_refused_where_the_server_takes_them_for_one() {
    let bench = Bench::new(Dialect::full().with(Feature::FoldsCase), []);
    for name in ["a.txt", "A.txt", "b.txt", COMPOSED, DECOMPOSED, "Sub/x", "sub/y"] {
        bench.write(name, name);
    }
    let report = bench.run().await;
    let causes = causes(&report);
    assert_eq!((report.counts.delivered, report.counts.failed, report.exit()), (3, 4, Exit::FilesFailed));
    for said in [
        "A.txt: its path differs only in case from `a.txt`",
        "a.txt: its path differs only in case from `A.txt`",
        "Sub/x: its path differs only in case from `sub`",
        "sub/y: its path differs only in case from `Sub`",
    ] {
        assert!(
            causes.iter().any(|cause| cause.starts_with(said) && cause.contains("rename one")),
            "{causes:?}"
        );
    }
    assert_eq!(bench.stored("in/a.txt").or(bench.stored("in/A.txt")), None, "one over the other");
    assert_eq!(bench.litter(), Vec::<String>::new());
    assert_eq!(bench.remote().profile().case, Ability::No);
    // One of them goes, and the other is sent.
    std::fs::remove_file(bench.job.source.join("a.txt")).unwrap();
    std::fs::remove_dir_all(bench.job.source.join("sub")).unwrap();
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.exit()), (2, Exit::Done), "{}", cause(&report));
    bench.expect_no_connection(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_in_composition_are_refused_where_they_are_one() {
    let bench = Bench::new(Dialect::full().with(Feature::FoldsComposition), []);
    for name in ["a.txt", "A.txt", COMPOSED, DECOMPOSED] {
        bench.write(name, name);
    }
    let report = bench.run().await;
    assert_eq!((report.counts.delivered, report.counts.failed), (2, 2));
    assert!(causes(&report).iter().all(|cause| cause.contains("how Unicode composes")), "{report:?}");
    assert_eq!(bench.litter(), Vec::<String>::new());
}

/// `SIZE` may be unknown; then `RNFR` tells. Where nothing tells, nothing is risked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_of_which_nothing_can_be_found_out_are_refused() {
    for (blocked, delivered) in [(vec!["SIZE"], 3), (vec!["SIZE", "RNFR"], 0)] {
        let refused = |verb: &&str| Fault::on(verb, Action::Reply("502 no".into())).naming(".nf-");
        let more = |verb: &&str| Fault::on(verb, Action::Reply("502 no".into())).naming(".NF-");
        let faults = blocked.iter().map(refused).chain(blocked.iter().map(more));
        let mut bench = Bench::new(Dialect::full(), faults);
        bench.definition.connections = 1.try_into().unwrap();
        for name in ["a.txt", "A.txt"] {
            bench.write(name, name);
        }
        if delivered > 0 {
            bench.write("b.txt", "b");
        }
        let report = bench.run().await;
        if delivered == 0 {
            assert_eq!((report.counts.delivered, report.counts.failed), (0, 2));
            assert!(causes(&report).iter().all(|cause| cause.contains("cannot be found out")), "{report:?}");
        } else {
            assert_eq!(bench.remote().profile().case, Ability::Yes);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_names_without_twins_cost_nothing() {
    let bench = Bench::new(Dialect::full(), []);
    for name in ["a.txt", "b-2.csv", "sub/c_d"] {
        bench.write(name, name);
    }
    assert_eq!(bench.run().await.counts.delivered, 3);
    let transcript = bench.server.transcript();
    assert_eq!((transcript.count("STOR"), transcript.count("MLSD"), transcript.count("DELE")), (3, 0, 0));
    assert_eq!(bench.remote().profile().names, Ability::Unknown);
}

/// A run that dies between the look and its end leaves a file that the next one sweeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_look_leaves_is_swept() {
    let bench = Bench::new(Dialect::full(), [Fault::on("DELE", Action::Reply("450 busy".into()))]);
    bench.write("A.txt", "a");
    bench.run().await;
    assert_eq!(bench.litter().len(), 1, "{:?}", bench.litter());
    bench.server.clear_faults();
    bench.write("b.txt", "b");
    assert_eq!(bench.run().await.exit(), Exit::Done);
    assert_eq!(bench.litter(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_the_server_alters_are_refused() {
    for dialect in [Dialect::full(), Dialect::full().without(Feature::Mlsd)] {
        let bench = Bench::new(dialect.with(Feature::MangledNames), []);
        for name in ["plain.txt", "With Space.txt", "Bücher.txt", "Bäcker/x"] {
            bench.write(name, name);
        }
        let report = bench.run().await;
        let causes = causes(&report);
        assert_eq!((report.counts.delivered, report.counts.failed), (2, 2), "{causes:?}");
        assert!(
            causes.iter().all(|cause| cause.contains("__` for `.nf-") && cause.contains("`charset`")),
            "{causes:?}"
        );
        assert_eq!(bench.stored("in/B__cher.txt"), None);
        assert_eq!(bench.litter(), Vec::<String>::new());
        assert_eq!(bench.remote().profile().names, Ability::No);
        // It is looked at again in each run: the server may have been mended.
        assert_eq!(bench.run().await.counts.failed, 2);
    }
}

/// What cannot be sent is stored over nothing: only that one fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_cannot_be_sent_is_nobodys_twin() {
    let mut bench = Bench::new(Dialect::full().with(Feature::Latin1), []);
    bench.definition.charset = Charset::named("iso-8859-1").unwrap();
    // A long s is a small one in another case.
    for name in [COMPOSED, DECOMPOSED, "sub/a.txt", "\u{17f}ub/a.txt"] {
        bench.write(name, name);
    }
    let report = bench.run().await;
    let causes = causes(&report);
    assert_eq!((report.counts.delivered, report.counts.failed), (2, 2), "{causes:?}");
    assert!(causes.iter().all(|cause| cause.contains("cannot be written in windows-1252")), "{causes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_in_another_charset_gets_its_own_bytes() {
    let mut bench = Bench::new(Dialect::full().with(Feature::Latin1).with(Feature::FoldsCase), []);
    bench.definition.charset = Charset::named("iso-8859-1").unwrap();
    for name in ["Bücher/é.txt", "日本.txt", "ÿ.txt", "plain.txt", "cafe\u{301}"] {
        bench.write(name, name);
    }
    let report = bench.run().await;
    let causes = causes(&report);
    assert_eq!((report.counts.delivered, report.counts.failed), (2, 3), "{causes:?}");
    assert!(
        causes.iter().any(|c| c.starts_with("日本.txt") && c.contains("cannot be written in windows-1252")),
        "{causes:?}"
    );
    assert!(causes.iter().any(|c| c.starts_with("ÿ.txt") && c.contains("0xFF")), "{causes:?}");
    assert!(bench.stored("in/Bücher/é.txt").is_some(), "{:?}", bench.all_stored().keys());
    assert_eq!(bench.server.transcript().count("OPTS UTF8"), 0);
    assert_eq!(bench.litter(), Vec::<String>::new());
    // Files that cannot be sent are known from the start: nobody is called for them.
    let before = bench.server.counters();
    assert_eq!(bench.run().await.counts.failed, 3);
    assert_eq!(bench.server.counters(), before);
}

async fn entries(bench: &Bench, folder: &str) -> Result<Vec<Entry>, FtpsError> {
    let mut connection = bench.remote().connect().await?;
    let mut entries = Vec::new();
    connection.entries(&RemotePath::new(folder).unwrap(), &mut |entry| entries.push(entry)).await?;
    // The session goes on, where it was.
    connection.names(&RemotePath::new("in").unwrap()).await?;
    connection.quit().await;
    entries.sort_by(|a: &Entry, b| a.name.cmp(&b.name));
    Ok(entries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_server_lists_the_same() {
    let no_list = || Fault::on("LIST", Action::Reply("502 no".into()));
    let odd = || Fault::on("LIST", Action::Listing(b"README.TXT;1  13/16  [A,B]\r\n".to_vec()));
    let iis = Dialect::dos();
    // Without tickets: each attempt at a command would take one.
    let vsftpd = || Dialect::vsftpd().reuse(Reuse::Optional);
    for (dialect, faults, told) in [
        (Dialect::full(), vec![], true),
        (vsftpd(), vec![], true),
        (iis.clone(), vec![], true),
        (Dialect::full(), vec![Fault::on("MLSD", Action::Reply("500 what?".into()))], true),
        (vsftpd(), vec![no_list()], false),
        (vsftpd(), vec![odd()], false),
        (iis.with(Feature::ListsDotFiles), vec![no_list()], false),
    ] {
        let dialect = dialect.control_tickets(0).data_tickets(0);
        let said = format!("{dialect:?} {faults:?}");
        let bench = Bench::new(dialect, faults);
        for name in ["in/-a b", "in/ lead", "in/.nf-x", "in/[x]*", "in/ü.txt"] {
            bench.put(name, "four");
        }
        bench.put("in/sub/x", "");
        bench.put("in/empty/x", "");
        std::fs::remove_file(bench.server.root().join("in/empty/x")).unwrap();
        for folder in ["/in", "in"] {
            let found = entries(&bench, folder).await.unwrap();
            let names: Vec<_> = found.iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(names, [" lead", "-a b", ".nf-x", "[x]*", "empty", "sub", "ü.txt"], "{said}");
            if told {
                assert_eq!((found[1].kind, found[1].size), (EntryKind::File, Some(4)), "{said}");
                assert_eq!(found[5].kind, EntryKind::Folder, "{said}");
            }
        }
        assert_eq!(entries(&bench, "/in/empty").await.unwrap(), [], "{said}");
        // vsftpd lists a missing folder as an empty one.
        let missing = entries(&bench, "/in/missing").await;
        assert!(matches!(missing, Err(FtpsError::Refused { .. })), "{said}: {missing:?}");
    }
}

/// A listing that ends without `close_notify` may lack its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_is_cut_is_an_error() {
    for (dialect, verb) in [(Dialect::full(), "MLSD"), (Dialect::vsftpd(), "LIST")] {
        for cut in [Cut::Fin, Cut::Reset] {
            let fault = Fault::on(verb, Action::DropData { after: 40, cut });
            let claim = Fault::on(verb, Action::ReplyAfter("226 Transfer complete".into()));
            let bench = Bench::new(dialect.clone(), [fault, claim]);
            bench.put("in/a", "a");
            bench.put("in/b", "b");
            let listed = entries(&bench, "/in").await;
            assert!(listed.is_err(), "{verb} {cut:?}: {listed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_listing_leads_nowhere() {
    let evil =
        b"type=file; ../../etc/passwd\r\ntype=file; /etc/passwd\r\ntype=file; a\\b\r\ntype=file; C:x\r\n\
        type=file; \x1b[2J\r\ntype=file; nul\0\r\ntype=dir; ..\r\ntype=file; ok\r\n";
    let bench = Bench::new(Dialect::full(), [Fault::on("MLSD", Action::Listing(evil.to_vec()))]);
    bench.put("in/theirs", "");
    let names: Vec<_> = entries(&bench, "/in").await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["ok"]);
}

/// The most memory that this process has had resident.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Each of these would fill the memory of whoever keeps what he is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_listing_costs_no_memory_and_ends() {
    let long_line = vec![b'x'; 64 * 1024];
    let entry =
        b"type=file;size=1; aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    let about = [b"type=cdir; ".as_slice(), &[b'x'; 4000], b"\r\n"].concat();
    for (bytes, what) in [(long_line, "bytes in one line"), (entry.repeat(600), "entries"), (about, "bytes")]
    {
        let bench = Bench::new(Dialect::full(), [Fault::on("MLSD", Action::EndlessListing(bytes))]);
        bench.put("in/theirs", "");
        let (began, before) = (Instant::now(), peak_memory_kib());
        let mut connection = bench.remote().connect().await.unwrap();
        let mut seen = 0_u64;
        let listed = connection.entries(&RemotePath::new("/in").unwrap(), &mut |_| seen += 1).await;
        let error = listed.unwrap_err().to_string();
        assert!(error.ends_with(what), "{error} after {seen}");
        assert!(!connection.is_usable());
        let grown = peak_memory_kib() - before;
        assert!(grown < 16 * 1024, "{grown} KiB for {what}");
        println!("{what}: {seen} entries in {:?}, {grown} KiB more", began.elapsed());
    }
}

/// What a server says goes into reasons, records and lines for people: as one safe line of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_says_steers_nothing() {
    let evil =
        "550-\x1b]0;owned\x07\r\n {\"event\":\"file-delivered\"}\r\n550 \u{9b}2J\u{202e}\x08".to_owned();
    let long = format!("550 {}", "A".repeat(8_000));
    for reply in [evil, long] {
        let bench = Bench::new(Dialect::full(), [Fault::on("STOR", Action::Reply(reply))]);
        bench.write("a.txt", "a");
        let report = bench.run().await;
        let cause = cause(&report);
        assert!(!cause.contains(char::is_control) && cause.chars().count() < 1_000, "{cause:?}");
        let line = serde_json::to_string(&report).unwrap();
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    // What came back for a name does, too: here it is no name at all.
    let evil = b"type=file; .nf-\x1b[2J\r\n".to_vec();
    let bench = Bench::new(Dialect::full(), [Fault::on("MLSD", Action::Listing(evil))]);
    bench.write("A.txt", "a");
    let report = bench.run().await;
    assert_eq!(report.exit(), Exit::Done, "{}", cause(&report));
}
