//! The real FTPS servers which `tests/run` starts (`tests/lab/servers`), as typed rows.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A running server of the lab.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Its name in `tests/lab/servers`.
    pub(crate) name: String,
    /// When TLS begins, as configurations write it: `explicit` or `implicit`.
    pub(crate) tls: String,
    /// Where its control connection listens.
    pub(crate) host: String,
    /// The port there.
    pub(crate) port: u16,
    /// The login that works.
    pub(crate) user: String,
    /// Its password.
    pub(crate) password: String,
    /// The folder on this machine's disk which its clients see as `/`.
    pub(crate) root: PathBuf,
    /// The folder of the whole lab.
    folder: PathBuf,
}

impl Server {
    /// The authority that signed the certificates of all servers but the self-signed one.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.join("pki/ca.pem")
    }

    /// A file of the lab's certificates, keys and lists.
    pub(crate) fn pki(&self, name: &str) -> PathBuf {
        self.folder.join("pki").join(name)
    }

    /// Kills it with all its sessions and starts it again. Only for servers that no other test uses.
    pub(crate) fn restart(&self) {
        let servers = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/servers");
        let output = Command::new(servers).arg("restart").arg(&self.folder).arg(&self.name).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Every reply that it has sent since it started; only vsftpd and `ProFTPD` keep such a log.
    pub(crate) fn replies(&self) -> String {
        let log = self.folder.join(format!("logs/{}.replies", self.name));
        String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned()
    }
}

/// The folder of the lab. None where it does not run, after saying what is needed: the test is then
/// left out. Where the lab is required (`NIGHTFERRY_REQUIRE_SERVERS`), its absence fails the test.
pub(crate) fn folder(needed: &str) -> Option<PathBuf> {
    let folder = env::var_os("NIGHTFERRY_LAB").map(PathBuf::from);
    if folder.is_none() {
        assert!(
            env::var_os("NIGHTFERRY_REQUIRE_SERVERS").is_none(),
            "NIGHTFERRY_REQUIRE_SERVERS is set, but NIGHTFERRY_LAB is not: run tests/run, which starts the lab"
        );
        println!("left out: needs {needed}, as tests/run sees to");
    }
    folder
}

/// The server of this name. None where the lab does not run: the test is then left out.
pub(crate) fn server(name: &str) -> Option<Server> {
    let folder = folder(name)?;
    let table = folder.join("servers.tsv");
    let rows = fs::read_to_string(&table).unwrap_or_else(|error| panic!("{}: {error}", table.display()));
    let row =
        find(&rows, name).unwrap_or_else(|| panic!("{} has no server {name}:\n{rows}", table.display()));
    Some(Server { folder, ..row })
}

/// The row of this name in the lab's table, whose first line names the columns.
fn find(table: &str, name: &str) -> Option<Server> {
    let mut lines = table.lines();
    let header: Vec<_> = lines.next()?.split('\t').collect();
    lines.map(|line| line.split('\t').collect::<Vec<_>>()).find_map(|row| {
        let column = |wanted: &str| header.iter().position(|column| *column == wanted).map(|at| row[at]);
        (column("name")? == name).then_some(())?;
        Some(Server {
            name: name.to_owned(),
            tls: column("mode")?.to_owned(),
            host: column("host")?.to_owned(),
            port: column("port")?.parse().ok()?,
            user: column("user")?.to_owned(),
            password: column("password")?.to_owned(),
            root: column("root")?.into(),
            folder: PathBuf::new(),
        })
    })
}

#[test]
fn rows_are_found_by_name_and_read_by_column() {
    let table = "name\tmode\thost\tport\tuser\tpassword\troot\n\
        vsftpd-tls13\texplicit\t127.0.0.1\t21029\tu\tp\t/r13\n\
        vsftpd\texplicit\t127.0.0.1\t21010\tu\tp\t/r\n";
    let server = find(table, "vsftpd").unwrap();
    assert_eq!((server.host.as_str(), server.port), ("127.0.0.1", 21010));
    assert_eq!(server.root, PathBuf::from("/r"));
    assert!(find(table, "proftpd").is_none());
}
