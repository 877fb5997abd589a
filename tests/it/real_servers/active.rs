//! Data connections that real servers open (active mode), and servers that are reached over IPv6.

use crate::lab;
use crate::support::{Agent, assert_same_tree, write_big_file, write_file};

/// Enough for several rounds over each of four connections.
const FILES: u64 = 40;

/// What the configuration says where data connections are passive.
const PASSIVE: &str = "address_family: any";

/// A tree crosses in both TLS versions.
fn a_tree_crosses(name: &str, line: &str, destination: &str) {
    let Some(server) = lab::server(name) else { return };
    for version in ["1.2", "1.3"] {
        let agent = Agent::new(&server, &format!("{destination}-{version}"));
        agent.configure_server(&format!("tls_version: {{min: {version}, max: {version}}}"));
        agent.configure_server(line);
        if name.starts_with("pyftpd") {
            // Version 2.2.0 loses active sessions beside each other now and then, and says so after 30 s
            // at the earliest. What follows is tried where it costs less, with the test server.
            agent.one_connection();
        }
        std::fs::create_dir(agent.source().join("folder")).unwrap();
        for nth in 0..FILES {
            let folder = if nth % 2 == 0 { "" } else { "folder/" };
            let size = usize::try_from(nth).unwrap() * 3_001;
            write_file(&agent.source().join(format!("{folder}report {nth}.csv")), nth, size);
        }
        write_big_file(&agent.source().join("dump.tar"), 5 << 20);
        let run = agent.sync();
        assert_eq!(run.done().counts.delivered, FILES + 1, "{name}, TLS {version}");
        assert_eq!(run.tls_versions().into_iter().collect::<Vec<_>>(), [version]);
        assert_same_tree(&agent.source(), &agent.arrivals);
    }
}

/// Ports of a range: more than there are data connections in a minute, since Pure-FTPd calls from port
/// 20 and then cannot call the same port for that long.
const PORTS: u16 = 300;

/// In active mode over both families, at any port and in a range of ports; and in passive mode over
/// IPv6.
fn both_families(name: &str, first: u16) {
    let ipv6 = format!("{name}-ipv6");
    let range = format!("data: {{mode: active, ports: {first}-{}}}", first + PORTS - 1);
    a_tree_crosses(name, "data: {mode: active}", "active");
    a_tree_crosses(name, &range, "active-range");
    a_tree_crosses(&ipv6, "data: {mode: active}", "active");
    a_tree_crosses(&ipv6, &range, "active-range");
    a_tree_crosses(&ipv6, PASSIVE, "passive");
}

#[test]
fn vsftpd_opens_data_connections_over_ipv4_and_ipv6() {
    both_families("vsftpd", 61_000);
}

#[test]
fn proftpd_opens_data_connections_over_ipv4_and_ipv6() {
    both_families("proftpd", 61_300);
}

#[test]
fn pure_ftpd_opens_data_connections_over_ipv4_and_ipv6() {
    both_families("pureftpd", 61_600);
}

#[test]
fn pyftpdlib_opens_data_connections_over_ipv4_and_ipv6() {
    both_families("pyftpd", 61_900);
}
