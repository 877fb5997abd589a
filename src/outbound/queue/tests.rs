use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Mutex;
use std::thread;

use super::webhook::signature;
use super::*;
use crate::clock::SystemClock;
use crate::domain::{Failure, FailureClass, FileNames, Ping, RunId, RunReport, Scope, Webhook};
use crate::observe::Alerts;

/// Answers requests with these statuses in turn, and hands out what was asked.
fn receiver(statuses: &'static [u16]) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, seen) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for (status, stream) in statuses.iter().zip(listener.incoming()) {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut block = [0; 4096];
            let is_whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
                });
                body.len() >= length.unwrap_or(0)
            };
            while !is_whole(&request) {
                let read = stream.read(&mut block).unwrap();
                assert!(read > 0, "the request was cut off");
                request.extend_from_slice(&block[..read]);
            }
            let answer = format!(
                "HTTP/1.1 {status} x\r\nLocation: /other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            sender.send(String::from_utf8(request).unwrap()).unwrap();
        }
    });
    (address, seen)
}

fn outbound() -> (Outbound, Arc<Mutex<Vec<String>>>) {
    let done_with = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&done_with);
    let context = Context {
        host: "clinic-1".to_owned(),
        clock: Arc::new(SystemClock),
        secrets: Arc::new(|_| Ok(SecretString::from("hunter2"))),
        done_with: Arc::new(move |id| told.lock().unwrap().push(id.to_owned())),
    };
    (Outbound::new(context), done_with)
}

fn notify(way: Way) -> Notify {
    let on = way.default_occasions();
    Notify { way, on, names: FileNames::Withheld }
}

fn webhook(url: &str) -> Notify {
    let secret = Some(SecretRef::Env("X".to_owned()));
    notify(Way::Webhook(Webhook {
        url: format!("{url}/hook?key=s3").parse().unwrap(),
        secret,
        ca_file: None,
    }))
}

fn ping(url: &str) -> Notify {
    notify(Way::Ping(Ping { url: format!("{url}/p1").parse().unwrap(), ca_file: None }))
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// The word of the run, and that something is wrong.
fn failed() -> Vec<News> {
    let mut report = RunReport::new(RunId(3), "reports".parse().unwrap());
    report.stopped = Some(Failure::new(FailureClass::Trust, "expired"));
    Alerts::default().ended(&report, &Scope::All, now())
}

const GRACE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_webhook_gets_signed_json_and_no_redirect_is_followed() {
    let (url, seen) = receiver(&[302, 500, 204]);
    let (mut outbound, done_with) = outbound();
    let news = failed().remove(1);
    outbound.tell(news.clone(), [&webhook(&url)]);
    assert_eq!(outbound.close(GRACE).await, 0);
    assert_eq!(*done_with.lock().unwrap(), [news.id]);
    let requests: Vec<_> = seen.iter().collect();
    assert_eq!(requests.len(), 3, "the second and third are tries again");
    for request in requests {
        assert!(request.starts_with("POST /hook?key=s3 HTTP/1.1\r\n"), "{request}");
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let header =
            head.lines().find(|line| line.to_lowercase().starts_with("nightferry-signature:")).unwrap();
        let (_, value) = header.split_once(": ").unwrap();
        let seconds = value.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
        assert_eq!(value, signature(&SecretString::from("hunter2"), seconds, body));
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&json["event"], &json["job"], &json["run"]),
            (&"failure".into(), &"reports".into(), &3.into())
        );
    }
}

#[tokio::test]
async fn a_ping_is_sent_for_each_run_and_the_others_hear_of_changes() {
    let (url, seen) = receiver(&[200; 4]);
    let (mut outbound, done_with) = outbound();
    let (hook, pinged) = (webhook(&url), ping(&url));
    let job = || "reports".parse().unwrap();
    outbound.tell(News::of_run(Turn::Began, job(), now()), [&pinged]);
    for news in failed() {
        outbound.tell(news, [&pinged]);
    }
    outbound.tell(News::of_run(Turn::EndedWell, job(), now()), [&pinged, &pinged]);
    // Nobody wants that, and it is done with all the same.
    outbound.tell(News::of_run(Turn::EndedWell, job(), now()), [&hook]);
    assert_eq!(outbound.close(GRACE).await, 0);
    let asked: Vec<_> = seen.try_iter().map(|request| request.lines().next().unwrap().to_owned()).collect();
    assert_eq!(asked, ["POST /p1/start HTTP/1.1", "POST /p1/fail HTTP/1.1", "POST /p1 HTTP/1.1"]);
    assert_eq!(done_with.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn what_is_refused_for_good_is_given_up_and_holds_up_nobody() {
    let (refusing, refused) = receiver(&[404, 404, 404, 200]);
    let (fine, taken) = receiver(&[200]);
    let (mut outbound, done_with) = outbound();
    let news = failed().remove(1);
    outbound.tell(news.clone(), [&webhook(&refusing), &webhook(&fine)]);
    let first = spawn_blocking(move || taken.recv().unwrap()).await.unwrap();
    assert!(first.starts_with("POST"));
    assert_eq!(outbound.close(GRACE).await, 0);
    assert_eq!(refused.try_iter().count(), 3);
    assert_eq!(*done_with.lock().unwrap(), [news.id]);
}

#[tokio::test]
async fn an_end_waits_for_a_grace_only_and_says_what_is_left() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (mut outbound, done_with) = outbound();
    outbound.tell(failed().remove(1), [&webhook(&url)]);
    assert_eq!(outbound.close(Duration::from_millis(50)).await, 1);
    assert!(done_with.lock().unwrap().is_empty(), "it is told again after the next start");
}

#[tokio::test]
async fn a_queue_has_an_end_and_what_is_dropped_is_done_with() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (mut outbound, done_with) = outbound();
    let hook = webhook(&url);
    let all = WAITING + 3;
    for _ in 0..all {
        outbound.tell(failed().remove(1), [&hook]);
    }
    assert_eq!((outbound.left(), done_with.lock().unwrap().len()), (WAITING, 3));
    assert_eq!(outbound.close(Duration::ZERO).await, WAITING);
}

#[tokio::test]
async fn what_goes_wrong_names_no_secret() {
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let hook = Webhook {
        url: format!("http://{nobody}/hunter2?key=hunter2").parse().unwrap(),
        secret: Some(SecretRef::Env("X".to_owned())),
        ca_file: None,
    };
    let secret = SecretString::from("hunter2");
    let news = failed().remove(1);
    let error = webhook::send(&hook, Some(&secret), &news, "h", FileNames::Withheld, now()).unwrap_err();
    assert!(!format!("{error} {error:?} {hook:?}").contains("hunter2"), "{error:?}");
}
