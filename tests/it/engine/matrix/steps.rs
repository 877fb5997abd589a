//! The steps of a session with one file, in their order.

use ftps_server::{Action, Dialect, Fault};
use nightferry::domain::VerifyPolicy;

use super::blows::Times;
use super::cell::{FINAL, TIME};

/// Where a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Greeting,
    Auth,
    Handshake,
    User,
    Pass,
    Pbsz,
    Prot,
    Type,
    OptsUtf8,
    Pwd,
    Feat,
    OptsHash,
    Mkd,
    Epsv,
    /// The data connection before its handshake.
    Data,
    /// `STOR` and its 150.
    Begin,
    Body,
    /// The 226.
    End,
    /// `MFMT` to a time long ago, which makes `ProFTPD` hash anew.
    PassingTime,
    Hash,
    /// `MFMT` to the true time.
    Time,
    ModifiedTemporary,
    /// The proof of `verify: size`.
    SizeTemporary,
    /// The proof by reading back: from here on of servers without a hash.
    EpsvBack,
    DataBack,
    BeginBack,
    BodyBack,
    EndBack,
    /// The look at the final name before the rename.
    SizeFinal,
    ModifiedFinal,
    Rnfr,
    Rnto,
    /// The looks after the rename.
    SizeGone,
    SizeThere,
    Quit,
}

/// What a step is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Greeting,
    Handshake,
    /// The n-th command of this name whose argument holds this.
    Command(&'static str, &'static str, u64),
    Preliminary(&'static str),
    /// The data connection for the command, and whether bytes have crossed.
    Data(&'static str, Reached),
}

/// How far a data connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Tcp,
    Bytes,
}

impl Step {
    pub(super) const ALL: [Self; 35] = [
        Self::Greeting,
        Self::Auth,
        Self::Handshake,
        Self::User,
        Self::Pass,
        Self::Pbsz,
        Self::Prot,
        Self::Type,
        Self::OptsUtf8,
        Self::Pwd,
        Self::Feat,
        Self::OptsHash,
        Self::Mkd,
        Self::Epsv,
        Self::Data,
        Self::Begin,
        Self::Body,
        Self::End,
        Self::PassingTime,
        Self::Hash,
        Self::Time,
        Self::ModifiedTemporary,
        Self::SizeTemporary,
        Self::EpsvBack,
        Self::DataBack,
        Self::BeginBack,
        Self::BodyBack,
        Self::EndBack,
        Self::SizeFinal,
        Self::ModifiedFinal,
        Self::Rnfr,
        Self::Rnto,
        Self::SizeGone,
        Self::SizeThere,
        Self::Quit,
    ];

    /// What it is to the server.
    pub(super) fn place(self) -> Place {
        use Place::{Command, Data, Preliminary};
        // How temporary names begin; the folder's name is in every path.
        let temporary = "/.nf-";
        match self {
            Self::Greeting => Place::Greeting,
            Self::Handshake => Place::Handshake,
            Self::Auth => Command("AUTH", "", 1),
            Self::User => Command("USER", "", 1),
            Self::Pass => Command("PASS", "", 1),
            Self::Pbsz => Command("PBSZ", "", 1),
            Self::Prot => Command("PROT", "", 1),
            Self::Type => Command("TYPE", "", 1),
            Self::OptsUtf8 => Command("OPTS", "UTF8", 1),
            Self::Pwd => Command("PWD", "", 1),
            Self::Feat => Command("FEAT", "", 1),
            Self::OptsHash => Command("OPTS", "HASH", 1),
            Self::Mkd => Command("MKD", "", 1),
            Self::Epsv => Command("EPSV", "", 1),
            Self::EpsvBack => Command("EPSV", "", 2),
            Self::Data => Data("STOR", Reached::Tcp),
            Self::DataBack => Data("RETR", Reached::Tcp),
            Self::Body => Data("STOR", Reached::Bytes),
            Self::BodyBack => Data("RETR", Reached::Bytes),
            Self::Begin => Preliminary("STOR"),
            Self::BeginBack => Preliminary("RETR"),
            Self::End => Command("STOR", "", 1),
            Self::EndBack => Command("RETR", "", 1),
            Self::PassingTime => Command("MFMT", "19800102", 1),
            Self::Hash => Command("HASH", "", 1),
            Self::Time => Command("MFMT", TIME, 1),
            Self::ModifiedTemporary => Command("MDTM", temporary, 1),
            Self::SizeTemporary => Command("SIZE", temporary, 1),
            // The first one goes with the proof.
            Self::SizeGone => Command("SIZE", temporary, 2),
            Self::SizeFinal => Command("SIZE", FINAL, 1),
            Self::SizeThere => Command("SIZE", FINAL, 2),
            Self::ModifiedFinal => Command("MDTM", FINAL, 1),
            Self::Rnfr => Command("RNFR", "", 1),
            Self::Rnto => Command("RNTO", "", 1),
            Self::Quit => Command("QUIT", "", 1),
        }
    }

    /// A fault at this step.
    pub(super) fn fault(self, action: Action, times: Times) -> Fault {
        let (fault, n) = match self.place() {
            Place::Greeting => (Fault::on_greeting(action), 1),
            Place::Handshake => (Fault::on_handshake(action), 1),
            Place::Command(verb, naming, n) => (Fault::on(verb, action).naming(naming), n),
            Place::Preliminary(verb) => (Fault::on_preliminary(verb, action), 1),
            Place::Data(verb, _) => (Fault::on(verb, action), 1),
        };
        match times {
            Times::Once => fault.nth(n),
            Times::Always => fault.from(n),
        }
    }

    /// The server and the proof with which the step occurs.
    pub(super) fn server(self) -> (Dialect, VerifyPolicy) {
        match self {
            Self::EpsvBack | Self::DataBack | Self::BeginBack | Self::BodyBack | Self::EndBack => {
                (Dialect::pure_ftpd(), VerifyPolicy::Auto)
            }
            Self::SizeTemporary => (Dialect::full(), VerifyPolicy::Size),
            _ => (Dialect::full(), VerifyPolicy::Auto),
        }
    }

    /// Whether the way a file is published, which drops have of their own, comes after or at it.
    pub(super) fn matters_to_drops(self) -> bool {
        matches!(
            self,
            Self::End
                | Self::Hash
                | Self::EndBack
                | Self::SizeFinal
                | Self::Rnfr
                | Self::Rnto
                | Self::SizeGone
                | Self::Quit
        )
    }
}
