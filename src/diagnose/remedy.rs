//! What an error means to the person who runs the network: the likely cause, and what to do.

use super::finding::Check;
use crate::domain::{Exit, Server, TlsMode};
use crate::ftps::{DataFacts, FtpsError, Step, TlsError, Trouble};

/// The exit code of an error of a session.
pub fn exit_of(error: &FtpsError) -> Exit {
    match error.trouble() {
        Trouble::Passing | Trouble::Busy | Trouble::Crowded | Trouble::NotNow | Trouble::SessionsUsedUp => {
            Exit::Temporary
        }
        Trouble::Refused | Trouble::NoSpace | Trouble::Barred => Exit::Refused,
        Trouble::Trust => Exit::Trust,
        Trouble::Unsendable => Exit::Usage,
    }
}

/// The likely cause of an error in a check, and the remedy. `None` where the error says it all.
pub(super) fn help(
    check: Check,
    error: &FtpsError,
    server: &Server,
    data: Option<DataFacts>,
) -> Option<String> {
    if matches!(check, Check::Data | Check::Reuse) && is_about_data(error) {
        return Some(data_help(error, data, server.port));
    }
    let (host, port) = (&server.host, server.port);
    Some(match error {
        FtpsError::Resolve { .. } => format!(
            "is `host` spelled right? `getent hosts {host}` must find it on this machine; if it does not, \
             look at this machine's DNS, or ask for the server's full name"
        ),
        FtpsError::Connect { causes, .. } if causes.are_refusals() => format!(
            "nothing listens on port {port} there, or a firewall refuses: is the FTPS service running, and is \
             this its port? (21 is usual for `tls: explicit`, 990 for `tls: implicit`)"
        ),
        FtpsError::Connect { .. } | FtpsError::Timeout { step: Step::Connect, .. } => format!(
            "packets get lost, most likely in a firewall: TCP from this machine to {host} port {port} must be \
             allowed on both sides, and some servers take listed addresses only"
        ),
        FtpsError::Timeout { step: Step::Greeting, .. } if server.tls == TlsMode::Explicit => {
            "a server that waits in silence wants TLS from the first byte: try `tls: implicit`, usually on \
             port 990"
                .to_owned()
        }
        FtpsError::TlsRefused { .. } => {
            "TLS is switched off there (vsftpd: ssl_enable=YES, ProFTPD: TLSEngine on, Pure-FTPd: --tls=2), or \
             it has a port of its own for it: try `tls: implicit` on port 990. Nightferry never logs in \
             without TLS"
                .to_owned()
        }
        FtpsError::Tls(TlsError::NotTls) => "the server greets in clear: try `tls: explicit`, usually on port \
             21, or look whether another service has this port"
            .to_owned(),
        FtpsError::LoginRefused { .. } if error.trouble() == Trouble::Busy => {
            "the server has no room for one more: lower `connections`, and see who else logs in as this user"
                .to_owned()
        }
        FtpsError::LoginRefused { .. } => {
            "try the same user and password by hand, once: servers lock accounts after a few wrong ones; some \
             say the same when this machine's address is not on their list"
                .to_owned()
        }
        FtpsError::Closing { .. } | FtpsError::GreetingRefused { .. } => {
            "the server takes nobody now: too many connections, or this machine's address is blocked".to_owned()
        }
        FtpsError::ProtectionRefused { .. } => {
            "files would cross in clear: ask for data connections to be allowed TLS (PROT P)".to_owned()
        }
        FtpsError::Refused { .. } if error.trouble() == Trouble::NoSpace => {
            "the disk or the quota is full: make room on the server".to_owned()
        }
        FtpsError::Refused { .. } => refusal_help(check, server)?,
        _ => return None,
    })
}

/// What to do where the server says no to a file operation.
pub(super) fn refusal_help(check: Check, server: &Server) -> Option<String> {
    let user = &server.username;
    Some(match check {
        Check::Folder => format!("may {user} enter this folder? See `destination` and the rights there"),
        Check::Upload => format!(
            "may {user} write in this folder? See its owner and mode on the server, and whether it takes names \
             that begin with a dot, as all temporary ones do (vsftpd: deny_file; ProFTPD: PathDenyFilter; \
             Pure-FTPd: -x)"
        ),
        Check::Rename => {
            format!("files get their final name by a rename (RNFR, RNTO): allow {user} to rename here; where the \
                 server cannot, jobs need `publish: direct`, by which readers may see half a file")
        }
        Check::RenameOver => {
            "jobs move the old version to a temporary name and delete it once the new one has its place; for a \
             moment a reader finds neither. Allowing to overwrite spares that (ProFTPD: AllowOverwrite on; \
             FileZilla Server: 1.0 or newer, and permission to write); IIS never does it"
                .to_owned()
        }
        Check::Delete => format!("allow {user} to delete here; leftovers of cut-off uploads are deleted too"),
        _ => return None,
    })
}

/// Whether an error tells of the data connection and not of the file: 425, 426 and 522 are what
/// servers say then.
pub(super) fn is_about_data(error: &FtpsError) -> bool {
    match error {
        FtpsError::DataConnect { .. }
        | FtpsError::NotCalled { .. }
        | FtpsError::ActiveRefused { .. }
        | FtpsError::Listen { .. }
        | FtpsError::PortsInUse { .. }
        | FtpsError::OtherFamily { .. }
        | FtpsError::DataTls(_)
        | FtpsError::OtherPeer
        | FtpsError::SessionsUsedUp { .. }
        | FtpsError::Timeout {
            step: Step::DataConnect | Step::DataHandshake | Step::Transfer | Step::FinalReply,
            ..
        }
        | FtpsError::Io { step: Step::DataConnect | Step::DataHandshake | Step::Transfer, .. } => true,
        FtpsError::Refused { verb, reply } => {
            matches!(*verb, "EPSV" | "PASV" | "EPRT" | "PORT") || matches!(reply.code(), 425 | 426 | 522)
        }
        _ => false,
    }
}

fn data_help(error: &FtpsError, data: Option<DataFacts>, port: u16) -> String {
    match error {
        FtpsError::OtherPeer => {
            "something else took the data connection: a proxy, a load balancer without affinity, or somebody \
             in between"
                .to_owned()
        }
        FtpsError::DataTls(_) => {
            "the port takes connections, so that no firewall is in the way; what answers there does not speak TLS \
             as the server does on its control connection: a proxy, a load balancer, somebody in between, or a \
             fault of the server's"
                .to_owned()
        }
        FtpsError::SessionsUsedUp { .. } => {
            "no firewall is in the way: the server gives too few TLS sessions for the data connections of one \
             control connection, and jobs open a new one then; `tls_version: {max: 1.2}` may be faster"
                .to_owned()
        }
        FtpsError::Refused { reply, .. } if reply.code() == 522 => {
            "the server wants TLS sessions to be resumed on data connections and gave none to resume: look at \
             its settings for session reuse (vsftpd: require_ssl_reuse)"
                .to_owned()
        }
        FtpsError::NotCalled { .. }
        | FtpsError::ActiveRefused { .. }
        | FtpsError::Listen { .. }
        | FtpsError::PortsInUse { .. }
        | FtpsError::OtherFamily { .. } => {
            "in active mode the server connects to this machine, so that firewalls and NAT on both sides must \
             let it: give `ports`, open them for the server's address, and `announce` the address that NAT has \
             for this machine. Passive mode (take `data` out) needs none of that on this side"
                .to_owned()
        }
        _ => {
            let named = data.map_or_else(String::new, |data| {
                format!(" ({} named {} port {})", data.verb, data.address.ip(), data.address.port())
            });
            format!(
                "the server names a port for each transfer{named}, and it cannot be reached: open its range of \
                 passive ports in the firewalls on both sides, beside port {port} (vsftpd: pasv_min_port and \
                 pasv_max_port; ProFTPD: PassivePorts; Pure-FTPd: -p; pyftpdlib: passive_ports; IIS: FTP \
                 Firewall Support, data channel port range; FileZilla Server: Passive mode, port range)"
            )
        }
    }
}
