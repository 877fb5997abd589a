//! Serves a folder over FTPS, for trying things by hand:
//! `ftps-server [PORT [FOLDER [USER [PASSWORD [DIALECT]]]]]`.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;

use ftps_server::{Dialect, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().as_deref().unwrap_or("0").parse()?;
    let folder = arguments.next();
    let user = arguments.next().unwrap_or_else(|| "user".to_owned());
    let password = arguments.next().unwrap_or_else(|| "password".to_owned());
    let name = arguments.next().unwrap_or_else(|| "full".to_owned());
    let dialect = Dialect::named(&name)
        .ok_or("the dialects are full, proftpd, vsftpd, pure-ftpd, iis, filezilla and no-epsv")?;

    let mut builder =
        Server::builder().listen(Ipv4Addr::LOCALHOST, port).user(&user, &password).dialect(dialect);
    if let Some(folder) = folder {
        builder = builder.root(folder);
    }
    let server = builder.start()?;
    let mut out = io::stdout();
    writeln!(out, "ftp://{user}@{} (explicit TLS, dialect {name})", server.addr())?;
    writeln!(out, "folder     {}", server.root().display())?;
    writeln!(out, "authority  {}", server.ca_file().display())?;
    writeln!(out, "Ctrl-D, or the end of standard input, stops it.")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    write!(out, "{}", server.transcript())?;
    Ok(())
}
