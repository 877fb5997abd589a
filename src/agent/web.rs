//! The status page, and what monitoring asks for: a few texts over HTTP/1.1, which nobody can change
//! anything by.
//!
//! Every connection gets one answer, within limits of bytes and time. Knows of the agent what its loop
//! says when it is asked, and shows no more than `status` does.

mod page;
mod route;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::info;

use self::page::{STYLE, page};
use self::route::{Refusal, Route, route};
use super::clients;
use super::meter::{self, Meter};
use super::status::{Readiness, Status};
use super::supervisor::Asked;
use crate::clock::Clock;
use crate::config::{FileNames, StatusPage};

/// Most connections at once: a few people and monitors. One more is closed at once.
const MAX_CLIENTS: usize = 32;
/// Most bytes of a request's line and headers: what a browser sends, with room. hyper takes no less.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Most headers of a request; browsers send about twenty.
const MAX_HEADERS: usize = 64;
/// How long a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection may last, its answer read included.
const CLIENT_TIME: Duration = Duration::from_secs(20);

/// What a page may load and do: its own style, and nothing else (Content Security Policy Level 3).
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The page, open for clients.
pub(super) struct Web {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    page: StatusPage,
    requests: mpsc::Sender<Asked>,
    meter: Meter,
    clock: Arc<dyn Clock>,
}

impl Web {
    /// Listens where the configuration says.
    pub(super) async fn bind(
        page: StatusPage,
        requests: mpsc::Sender<Asked>,
        meter: Meter,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(page.address).await?;
        let address = listener.local_addr()?;
        info!(%address, "The status page is open.");
        Ok(Self { listener, shared: Arc::new(Shared { page, requests, meter, clock }) })
    }

    /// Answers until it is dropped.
    pub(super) async fn serve(self) {
        let Self { listener, shared } = self;
        clients::serve("the status page", listener, MAX_CLIENTS, |stream| {
            client(stream, Arc::clone(&shared))
        })
        .await;
    }
}

async fn client(stream: TcpStream, shared: Arc<Shared>) {
    let service =
        service_fn(async |request: Request<Incoming>| Ok::<_, Infallible>(answer(&request, &shared).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does wrong, or how slow it is, is its own affair.
    let _ended = timeout(CLIENT_TIME, connection).await;
}

async fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
    let host = match hosts.as_slice() {
        [host] => host.to_str().ok(),
        _ => None,
    };
    match route(request.method().as_str(), request.uri().path(), host, &shared.page.hosts) {
        Err(refusal) => refused(refusal),
        Ok(Route::Style) => response(StatusCode::OK, "text/css; charset=utf-8", STYLE.to_owned()),
        Ok(route) => match meter::ask(&shared.requests).await {
            Some(status) => told(route, *status, shared),
            None => response(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "the agent's loop does not answer\n".to_owned(),
            ),
        },
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
/// The format's version, as its readers expect it.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the loop's answer comes to.
fn told(route: Route, status: Status, shared: &Shared) -> Response<Full<Bytes>> {
    let status = match shared.page.file_names {
        FileNames::Shown => status,
        FileNames::Hidden => status.without_file_names(),
    };
    let now = shared.clock.now();
    match route {
        Route::Page => response(StatusCode::OK, HTML, page(&status, now)),
        Route::Status => match serde_json::to_string(&status) {
            Ok(json) => response(StatusCode::OK, JSON, json + "\n"),
            Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "not to be shown\n".to_owned()),
        },
        Route::Metrics => response(StatusCode::OK, METRICS, shared.meter.text(&status, now)),
        Route::Healthy | Route::Style => response(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Route::Ready => match status.readiness {
            Readiness::Ready => response(StatusCode::OK, TEXT, "ready\n".to_owned()),
            Readiness::Stopping => unready("stopping\n"),
            Readiness::CannotRecord => unready("nothing can be recorded: the log says why\n"),
            Readiness::NoAgent => unready("no agent runs\n"),
        },
    }
}

fn unready(why: &str) -> Response<Full<Bytes>> {
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, why.to_owned())
}

fn refused(refusal: Refusal) -> Response<Full<Bytes>> {
    match refusal {
        Refusal::Host => {
            let text = "not asked for by a name of this page; `agent.status.hosts` lists names\n";
            response(StatusCode::MISDIRECTED_REQUEST, TEXT, text.to_owned())
        }
        Refusal::Method => {
            let mut answer =
                response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only to be looked at\n".to_owned());
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer
        }
        Refusal::Path => response(StatusCode::NOT_FOUND, TEXT, "there is no such page\n".to_owned()),
    }
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}
