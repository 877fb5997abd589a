//! Which request gets which answer.

use std::net::{IpAddr, SocketAddr};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The page for people.
    Page,
    /// Its style.
    Style,
    /// The same for programs.
    Status,
    /// What Prometheus reads.
    Metrics,
    /// Whether the loop turns.
    Healthy,
    /// Whether runs can begin.
    Ready,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Asked for by a name that is not ours: another site's script may have sent its browser here
    /// under its own name (DNS rebinding).
    Host,
    /// Something that is not just looked at.
    Method,
    /// No such page.
    Path,
}

/// What a request asks for; `hosts` are the names besides `localhost` and addresses.
pub(super) fn route(
    method: &str,
    path: &str,
    host: Option<&str>,
    hosts: &[String],
) -> Result<Route, Refusal> {
    if !host.is_some_and(|host| is_ours(host, hosts)) {
        return Err(Refusal::Host);
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err(Refusal::Method);
    }
    match path {
        "/" => Ok(Route::Page),
        "/style.css" => Ok(Route::Style),
        "/status.json" => Ok(Route::Status),
        "/metrics" => Ok(Route::Metrics),
        "/healthz" => Ok(Route::Healthy),
        "/readyz" => Ok(Route::Ready),
        _ => Err(Refusal::Path),
    }
}

/// Whether a `Host` header is one by which this page is asked for. Addresses are: no name leads to
/// them.
fn is_ours(host: &str, hosts: &[String]) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) {
        return true;
    }
    let bare_v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare_v6.is_some_and(|host| host.parse::<IpAddr>().is_ok()) {
        return true;
    }
    let name = match host.split_once(':') {
        None => host,
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) => return false,
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || hosts.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_refused_and_addresses_are_not() {
        let hosts = ["backup.clinic.example".to_owned()];
        for ours in [
            "127.0.0.1:9750",
            "127.0.0.1",
            "10.0.0.7:9750",
            "[::1]:9750",
            "[::1]",
            "localhost:9750",
            "LOCALHOST",
            "localhost.",
            "Backup.Clinic.example:443",
        ] {
            assert_eq!(route("GET", "/", Some(ours), &hosts), Ok(Route::Page), "{ours}");
        }
        for other in [
            "evil.example",
            "evil.example:9750",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost:x",
            "::1",
            "",
            "clinic.example",
            "[::1",
            "127.1:9750",
            "localhost\t",
        ] {
            assert_eq!(route("GET", "/metrics", Some(other), &hosts), Err(Refusal::Host), "{other}");
        }
        assert_eq!(route("GET", "/", None, &hosts), Err(Refusal::Host));
    }

    #[test]
    fn everything_can_be_looked_at_and_nothing_changed() {
        let asked = |method, path| route(method, path, Some("localhost"), &[]);
        for (path, route) in [
            ("/", Route::Page),
            ("/style.css", Route::Style),
            ("/status.json", Route::Status),
            ("/metrics", Route::Metrics),
            ("/healthz", Route::Healthy),
            ("/readyz", Route::Ready),
        ] {
            assert_eq!((asked("GET", path), asked("HEAD", path)), (Ok(route), Ok(route)));
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"] {
                assert_eq!(asked(method, path), Err(Refusal::Method), "{method}");
            }
        }
        for path in ["//", "/index.html", "/metrics/", "/../etc/passwd", "*", ""] {
            assert_eq!(asked("GET", path), Err(Refusal::Path), "{path}");
        }
    }
}
