//! Whom the server plays: which commands it knows and how it words its replies.

use std::collections::BTreeSet;

/// Something that a server can or cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Feature {
    /// `EPSV`.
    Epsv,
    /// `EPRT`.
    Eprt,
    /// `HASH` with SHA-256, chosen from the start.
    Hash,
    /// `HASH` as ProFTPD has it: SHA-1 until `OPTS HASH SHA-256`, and a reply of two lines.
    HashAfterOpts,
    /// `XSHA256`.
    XSha256,
    /// `MLSD` and `MLST`.
    Mlsd,
    /// `MFMT`.
    Mfmt,
    /// `MDTM time path` sets the time, as on vsftpd.
    MdtmSets,
    /// `LIST` and `NLST` show names that start with a dot without being asked.
    ListsDotFiles,
    /// `OPTS UTF8 ON`.
    Utf8,
    /// Names as Windows has them: a backslash parts folders, case makes no difference, and some
    /// characters are not allowed.
    WindowsNames,
    /// `RNTO` replaces no file.
    KeepsOnRename,
    /// Data connections of uploads stay open until the client closes them, and no `close_notify`
    /// is answered.
    NeverCloses,
    /// `REST` before `STOR`, and `APPE` to an existing file.
    RestartStore,
    /// Names that differ only in case are one, as on Windows.
    FoldsCase,
    /// Names that differ only in how Unicode composes them are one, as on HFS+.
    FoldsComposition,
    /// Letters beyond ASCII are stored as `_`.
    MangledNames,
    /// Names are in Latin-1 on the wire and in UTF-8 on the disk.
    Latin1,
    /// `LIST` has the form of DOS, and takes `-a` for a name: IIS.
    DosList,
    /// An upload that ends without `close_notify` is answered with 426, not 226.
    WantsCloseNotify,
}

/// Whose texts and codes the replies take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// ProFTPD 1.3.8: names the file and the reason.
    ProFtpd,
    /// vsftpd 3.0.3: one text for every failure.
    Vsftpd,
    /// Pure-FTPd 1.0.50: greeting and 226 of several lines, 553 and 451 where others say 550.
    PureFtpd,
    /// IIS 8 to 10: the system's messages with 550.
    Iis,
    /// FileZilla Server 1.x: 550 with a few texts of its own.
    FileZilla,
}

/// Whether a data connection must resume a session of its control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// A full handshake will do.
    Optional,
    /// Else 150 and 425, with the file cut to 0 bytes and the control connection alive: ProFTPD.
    Required,
    /// Else 150 and 522, with the file cut to 0 bytes and the control connection closed: vsftpd.
    RequiredOrClose,
}

/// A server to play.
#[derive(Clone, Debug)]
pub struct Dialect {
    pub(crate) features: BTreeSet<Feature>,
    pub(crate) manner: Manner,
    pub(crate) reuse: Reuse,
    pub(crate) control_tickets: usize,
    pub(crate) data_tickets: usize,
    /// Commands that the account may not use, with the replies that they get.
    pub(crate) forbidden: Vec<(&'static str, &'static str)>,
}

impl Dialect {
    /// Everything the server can do, in ProFTPD's words; session reuse is left to the client.
    pub fn full() -> Self {
        use Feature::{Eprt, Epsv, Hash, ListsDotFiles, Mfmt, Mlsd, RestartStore, Utf8, XSha256};
        Self {
            features: [Epsv, Eprt, Hash, XSha256, Mlsd, Mfmt, ListsDotFiles, Utf8, RestartStore].into(),
            manner: Manner::ProFtpd,
            reuse: Reuse::Optional,
            control_tickets: 2,
            data_tickets: 2,
            forbidden: Vec::new(),
        }
    }

    /// Like ProFTPD 1.3.8 with `mod_tls` and `mod_digest` as they come: session reuse required, two
    /// TLS 1.3 tickets on a control connection and none on its data connections.
    pub fn proftpd() -> Self {
        Self {
            reuse: Reuse::Required,
            data_tickets: 0,
            ..Self::full()
                .without(Feature::Hash)
                .with(Feature::HashAfterOpts)
                .without(Feature::RestartStore)
                .without(Feature::ListsDotFiles)
        }
    }

    /// Like vsftpd 3.0.3 with `require_ssl_reuse`: no `MLSD`, `MFMT` or `HASH`; `MDTM` sets times;
    /// listings hide dot files; failures give no reason. (The real one takes any session of its own on
    /// a data connection; this one only those of the same control connection.)
    pub fn vsftpd() -> Self {
        use Feature::{Eprt, Epsv, MdtmSets, RestartStore, Utf8, WantsCloseNotify};
        Self {
            features: [Epsv, Eprt, MdtmSets, RestartStore, Utf8, WantsCloseNotify].into(),
            manner: Manner::Vsftpd,
            reuse: Reuse::RequiredOrClose,
            control_tickets: 2,
            data_tickets: 1,
            forbidden: Vec::new(),
        }
    }

    /// Like Pure-FTPd 1.0.50: no `HASH`, replies of several lines, no TLS 1.3 session to resume.
    pub fn pure_ftpd() -> Self {
        use Feature::{Eprt, Epsv, Mfmt, Mlsd, RestartStore};
        Self {
            features: [Epsv, Eprt, Mfmt, Mlsd, RestartStore].into(),
            manner: Manner::PureFtpd,
            reuse: Reuse::Optional,
            control_tickets: 0,
            data_tickets: 0,
            forbidden: Vec::new(),
        }
    }

    /// Like Microsoft's IIS 8 to 10, from what is publicly known of it; it was never seen here.
    /// Greeting, `AUTH`, `FEAT` and `OPTS UTF8` as in logs in the issue trackers of `FluentFTP` (179,
    /// 1541) and ftpConnect (73); `534 Policy requires SSL` without `PROT P` (publish-over-ftp-plugin
    /// 115); no answer to `close_notify` (curl 17130); `550 Cannot create a file when that file
    /// already exists.` to a rename over a file (jsftp 290, aeroftp 864); no `MLSD` and no `MFMT`;
    /// `LIST` as DOS has it. The status codes stand in Microsoft's KB 969061. Which TLS sessions it
    /// gives is not known.
    pub fn iis() -> Self {
        use Feature::{Epsv, KeepsOnRename, ListsDotFiles, NeverCloses, RestartStore, Utf8, WindowsNames};
        Self {
            features: [Epsv, KeepsOnRename, ListsDotFiles, NeverCloses, RestartStore, Utf8, WindowsNames]
                .into(),
            manner: Manner::Iis,
            reuse: Reuse::Optional,
            control_tickets: 2,
            data_tickets: 2,
            forbidden: Vec::new(),
        }
    }

    /// Like FileZilla Server 1.x, from its published source (`src/filezilla/ftp/commander.cpp`,
    /// `strresult.cpp`; libfilezilla's `rename_file` replaces an existing file, which the older
    /// 0.9 refuses) and from logs in issue trackers (`FluentFTP` 996, 1270, 1738): sessions must be
    /// resumed on data connections (425), `MLSD` and `MFMT` but no hash, 202 to `OPTS UTF8 ON`, 425
    /// to an upload without `close_notify`. How many TLS 1.3 tickets it gives is not known.
    pub fn filezilla() -> Self {
        use Feature::{Epsv, ListsDotFiles, Mfmt, Mlsd, RestartStore, Utf8, WantsCloseNotify};
        Self {
            features: [Epsv, ListsDotFiles, Mfmt, Mlsd, RestartStore, Utf8, WantsCloseNotify].into(),
            manner: Manner::FileZilla,
            reuse: Reuse::Required,
            control_tickets: 2,
            data_tickets: 1,
            forbidden: Vec::new(),
        }
    }

    /// The same as a drop box: files can be stored, renamed and deleted there, but neither read nor
    /// listed.
    #[must_use]
    pub fn write_only(self) -> Self {
        let denied = "550 Permission denied.";
        ["RETR", "HASH", "XSHA256", "MLSD", "MLST", "LIST", "NLST"]
            .into_iter()
            .fold(self, |dialect, verb| dialect.forbid(verb, denied))
    }

    /// The same with a command that the account may not use: this is the reply.
    #[must_use]
    pub fn forbid(mut self, verb: &'static str, reply: &'static str) -> Self {
        self.forbidden.push((verb, reply));
        self
    }

    /// As [`Dialect::full`] with the listings of IIS: no `MLSD`, `LIST` in the form of DOS.
    pub fn dos() -> Self {
        Self::full().without(Feature::Mlsd).with(Feature::DosList).with(Feature::FoldsCase)
    }

    /// As [`Dialect::full`], but `EPSV` is an unknown command.
    pub fn no_epsv() -> Self {
        Self::full().without(Feature::Epsv)
    }

    /// The preset of this name, as the command line gives it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "full" => Some(Self::full()),
            "proftpd" => Some(Self::proftpd()),
            "vsftpd" => Some(Self::vsftpd()),
            "pure-ftpd" => Some(Self::pure_ftpd()),
            "iis" => Some(Self::iis()),
            "filezilla" => Some(Self::filezilla()),
            "dos" => Some(Self::dos()),
            "no-epsv" => Some(Self::no_epsv()),
            _ => None,
        }
    }

    /// The same with a feature more.
    #[must_use]
    pub fn with(mut self, feature: Feature) -> Self {
        self.features.insert(feature);
        self
    }

    /// The same with a feature less.
    #[must_use]
    pub fn without(mut self, feature: Feature) -> Self {
        self.features.remove(&feature);
        self
    }

    /// The same with replies in the words of another server.
    #[must_use]
    pub fn manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    /// The same with another rule about session reuse.
    #[must_use]
    pub fn reuse(mut self, reuse: Reuse) -> Self {
        self.reuse = reuse;
        self
    }

    /// The same with another number of TLS 1.3 tickets on each control connection.
    #[must_use]
    pub fn control_tickets(mut self, tickets: usize) -> Self {
        self.control_tickets = tickets;
        self
    }

    /// The same with another number of TLS 1.3 tickets on each data connection.
    #[must_use]
    pub fn data_tickets(mut self, tickets: usize) -> Self {
        self.data_tickets = tickets;
        self
    }

    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }
}

impl Default for Dialect {
    fn default() -> Self {
        Self::full()
    }
}
