//! One session that is asked for things ahead: what a port is good for, and what may be asked while a
//! file is begun.

use std::net::TcpListener;
use std::time::Duration;

use ftps_server::{Action, Blow, Cut, Dialect, Fault, Server};
use nightferry::domain::RemotePath;
use nightferry::remote::{Along, Answer, Closing, Connection, FtpsError, Request};
use tokio::time::{advance, pause, resume, timeout};

use super::bench::Bench;

/// How long something that happens at once may take on a busy machine.
const SOON: Duration = Duration::from_mins(1);

fn path(name: &str) -> RemotePath {
    RemotePath::new(&format!("/{name}")).unwrap()
}

async fn bench(faults: impl IntoIterator<Item = Fault>) -> (Bench, Connection) {
    let bench = Bench::with(Server::builder().dialect(Dialect::full()).faults(faults)).impatient();
    let connection = bench.remote().connect().await.unwrap();
    (bench, connection)
}

/// Asks for the size of what is not there, with something along.
async fn ask(connection: &mut Connection, along: Along<'_>) -> Result<(), FtpsError> {
    let answers = connection.perform_along(&[Request::Size(path("nothing"))], 0, along).await?;
    assert!(matches!(answers.as_slice(), [Answer::Absent(_)]), "{answers:?}");
    Ok(())
}

async fn store(connection: &mut Connection, name: &str) {
    let mut upload = connection.upload(&path(name)).await.unwrap();
    upload.write(b"bytes").await.unwrap();
    upload.finish(Closing::Awaited).await.unwrap();
}

/// Waits until a line that begins so stands in the server's transcript.
async fn until(bench: &Bench, start: &str) {
    let mut again = tokio::time::interval(Duration::from_millis(10));
    let seen = async {
        while !bench.server.transcript().lines().iter().any(|line| line.text.starts_with(start)) {
            again.tick().await;
        }
    };
    timeout(SOON, seen).await.unwrap_or_else(|_| panic!("no {start}: {}", bench.server.transcript()));
}

/// Servers stop listening some time, and firewalls forget: one that was asked for too long ago is asked for
/// anew, and the file goes there.
#[tokio::test]
async fn a_port_is_good_for_ten_seconds_and_for_one_transfer() {
    for (waits, asked) in [(9, 1), (11, 2)] {
        for begun in [false, true] {
            let (bench, mut connection) = bench([]).await;
            ask(&mut connection, Along::Port).await.unwrap();
            // Only our clock is turned: the server has its own thread.
            pause();
            advance(Duration::from_secs(waits)).await;
            resume();
            assert_eq!(connection.has_port(), asked == 1, "after {waits} s");
            if begun {
                ask(&mut connection, Along::Store(&path("a"))).await.unwrap();
                assert_eq!(connection.is_storing(), asked == 1, "after {waits} s");
            }
            store(&mut connection, "a").await;
            assert!(!connection.has_port());
            let transcript = bench.server.transcript();
            assert_eq!((transcript.count("EPSV"), transcript.count("STOR")), (asked, 1), "{transcript}");
            store(&mut connection, "b").await;
            assert_eq!(bench.server.transcript().count("EPSV"), asked + 1, "a port was used twice");
            assert_eq!(
                (bench.stored("a"), bench.stored("b")),
                (Some(b"bytes".into()), Some(b"bytes".into()))
            );
        }
    }
}

/// A port that is good is asked for once, however often one is wished for.
#[tokio::test]
async fn a_port_is_not_asked_for_twice() {
    let (bench, mut connection) = bench([]).await;
    for _ in 0..3 {
        ask(&mut connection, Along::Port).await.unwrap();
    }
    store(&mut connection, "a").await;
    assert_eq!(bench.server.transcript().count("EPSV"), 1);
}

/// The server waits for the bytes of a file that was begun: no command crosses before them, and no other
/// file's bytes go there.
#[tokio::test]
async fn nothing_comes_between_a_file_that_was_begun_and_its_bytes() {
    for other in [false, true] {
        let (bench, mut connection) = bench([]).await;
        ask(&mut connection, Along::Port).await.unwrap();
        ask(&mut connection, Along::Store(&path("a"))).await.unwrap();
        assert!(connection.is_storing() && connection.is_usable());
        let refused = if other {
            connection.upload(&path("b")).await.map(drop)
        } else {
            connection.perform(&[Request::Size(path("a"))], 0).await.map(drop)
        };
        assert!(matches!(refused, Err(FtpsError::Abandoned)), "{refused:?}");
        // It is as it was, or not to be used any more.
        if connection.is_storing() {
            store(&mut connection, "a").await;
        }
        drop(connection);
        // The server has seen all that came.
        until(&bench, "ended").await;
        let transcript = bench.server.transcript();
        assert_eq!((transcript.count("SIZE"), transcript.count("STOR /a")), (2, 1), "{transcript}");
        assert_eq!((transcript.count("STOR"), bench.stored("b")), (1, None), "{transcript}");
    }
}

/// A data connection is opened while the answers to what went before it are still awaited.
#[tokio::test]
async fn the_data_connection_of_a_file_that_was_begun_does_not_wait_for_answers() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let elsewhere = ["EPSV", "PASV"].map(|verb| Fault::on(verb, Action::AdvertisePort(port)));
    let (_bench, mut connection) =
        bench(elsewhere.into_iter().chain([Fault::on("SIZE", Action::Stall).nth(2)])).await;
    ask(&mut connection, Along::Port).await.unwrap();
    // The server says nothing any more.
    let unanswered = ask(&mut connection, Along::Store(&path("a"))).await;
    assert!(matches!(unanswered, Err(FtpsError::Timeout { .. })), "{unanswered:?}");
    listener.set_nonblocking(true).unwrap();
    listener.accept().unwrap();
}

/// Where the connection was made the port can be reached: what the server says then is the reason, though it
/// was said before anybody looked, and the session goes on.
#[tokio::test]
async fn a_refusal_behind_a_connection_that_was_made_is_not_laid_to_the_port() {
    let cut = Fault::on("STOR", Action::DataAtOnce(Blow::Cut(Cut::Fin))).once();
    // Meanwhile the connection is opened.
    let late = Fault::on("SIZE", Action::Delay(Duration::from_millis(300))).nth(2);
    let (bench, mut connection) = bench([cut, late]).await;
    ask(&mut connection, Along::Port).await.unwrap();
    ask(&mut connection, Along::Store(&path("a"))).await.unwrap();
    until(&bench, "425").await;
    let refused = connection.upload(&path("a")).await.map(drop);
    assert!(matches!(refused, Err(FtpsError::Refused { verb: "STOR", .. })), "{refused:?}");
    store(&mut connection, "a").await;
    assert_eq!((bench.stored("a"), bench.server.counters().logins), (Some(b"bytes".into()), 1));
}

/// It breaks in the middle of the bytes: the server says why, and the session goes on.
#[tokio::test]
async fn a_data_connection_that_breaks_on_the_way_costs_no_session() {
    let broken = Fault::on("STOR", Action::DropData { after: 100_000, cut: Cut::Reset }).once();
    let (bench, mut connection) = bench([broken]).await;
    ask(&mut connection, Along::Port).await.unwrap();
    ask(&mut connection, Along::Store(&path("a"))).await.unwrap();
    let piece = vec![b'x'; 64 * 1024];
    let mut upload = connection.upload(&path("a")).await.unwrap();
    let mut written = Ok(());
    // More than any buffer on the way holds.
    for _ in 0..1_000 {
        written = upload.write(&piece).await;
        if written.is_err() {
            break;
        }
    }
    drop(upload);
    assert!(matches!(written, Err(FtpsError::Refused { verb: "STOR", .. })), "{written:?}");
    store(&mut connection, "a").await;
    assert_eq!((bench.stored("a"), bench.server.counters().logins), (Some(b"bytes".into()), 1));
}

/// An answer that says that all is well and cannot be one to what was asked shows that answers and questions are
/// out of step: none of them is taken, and nothing more is asked.
#[tokio::test]
async fn an_answer_to_something_else_ends_the_session() {
    for (verb, text, request) in [
        ("SIZE", "250 Rename successful", Request::Size(path("a"))),
        ("MDTM", "350 Ready for RNTO", Request::Modified(path("a"))),
        ("RNFR", "213 5", Request::RenameFrom(path("a"))),
        ("RNTO", "350 Ready for RNTO", Request::RenameTo(path("b"))),
        ("DELE", "350 Ready for RNTO", Request::Delete(path("a"))),
    ] {
        let (_bench, mut connection) = bench([Fault::on(verb, Action::Reply(text.into()))]).await;
        let asked = connection.perform(&[Request::Size(path("nothing")), request], 0).await;
        let strange = verb == "SIZE"
            || matches!(&asked, Err(FtpsError::Unexpected { verb: seen, .. }) if *seen == verb);
        assert!(strange && asked.is_err() && !connection.is_usable(), "{verb}: {asked:?}");
    }
}

/// In advance as when it is needed: the other command is asked once where one is refused for good, and for
/// now nothing is learned.
#[tokio::test]
async fn what_asks_for_a_port_is_changed_once_where_it_is_refused_for_good() {
    let refuse = |verb, text: &str| Fault::on(verb, Action::Reply(text.into()));
    for (faults, expected) in [
        (vec![refuse("EPSV", "502 no")], ["EPSV", "PASV"].as_slice()),
        (vec![refuse("EPSV", "425 busy").once()], ["EPSV", "EPSV"].as_slice()),
        // Neither, at first: it stays with the second one.
        (
            vec![refuse("EPSV", "502 no"), refuse("PASV", "502 no").once()],
            ["EPSV", "PASV", "PASV"].as_slice(),
        ),
    ] {
        let row = format!("{faults:?}");
        let (bench, mut connection) = bench(faults).await;
        for _ in 0..expected.len() {
            ask(&mut connection, Along::Port).await.unwrap();
        }
        assert!(connection.has_port(), "{row}");
        store(&mut connection, "a").await;
        let transcript = bench.server.transcript();
        let asked: Vec<_> =
            transcript.commands().into_iter().filter(|verb| ["EPSV", "PASV"].contains(verb)).collect();
        assert_eq!(asked, expected, "{row}");
    }
}
