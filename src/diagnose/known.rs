//! What is known of a server, and what jobs make of it, for people.

use crate::domain::{Server, TlsVersion};
use crate::ftps::{Features, HashSupport};
use crate::remote::{Ability, LastingSessions, PassiveCommand, Profile};

/// Something that is known of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it is about, at most 15 columns.
    pub title: &'static str,
    /// What is known, and what jobs make of it.
    pub text: String,
}

/// Whether a server hashed the file that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashGiven {
    /// It was not asked, or it did.
    NotAsked,
    /// It refused, whatever it lists.
    Refused,
}

/// What is known: of its features only where it was asked, and nothing at all where nothing was
/// ever learned.
pub(super) fn known(
    profile: &Profile,
    features: Option<&Features>,
    hash_given: HashGiven,
    server: &Server,
) -> Vec<Known> {
    if features.is_none() && *profile == Profile::default() {
        return Vec::new();
    }
    let mut rows = vec![
        ("TLS sessions", sessions(profile.lasting_sessions, server).to_owned()),
        ("passive ports", passive(profile.passive).to_owned()),
    ];
    if let Some(features) = features {
        rows.push(("server hash", hash(features, hash_given).to_owned()));
        rows.push(("time setting", time(features).to_owned()));
    }
    rows.extend([
        (
            "rename over",
            ability(
                profile.rename_over,
                [
                    "a file takes the place of an older one",
                    "refused: jobs move the old version aside for a moment",
                ],
            ),
        ),
        ("resume", ability(profile.resume, ["uploads can go on where they stopped", "uploads begin again"])),
        (
            "pipelining",
            ability(
                profile.pipelining,
                ["jobs ask several things in one write", "jobs ask one thing after another"],
            ),
        ),
        ("names", names(profile)),
        ("connections", connections(profile.connections, server)),
        ("idle limit", idle(profile.idle_seconds)),
    ]);
    let overlap = [
        "jobs begin the next file before the last one is through",
        "lost or mixed up: jobs begin a file once the last one is through",
    ];
    if profile.overlap != Ability::Unknown {
        rows.push(("next file", ability(profile.overlap, overlap)));
    }
    if profile.crowds == Ability::No {
        let text = "sessions get lost beside each other in active mode: jobs open one at a time there";
        rows.push(("active mode", text.to_owned()));
    }
    rows.into_iter().map(|(title, text)| Known { title, text }).collect()
}

fn sessions(lasting: LastingSessions, server: &Server) -> &'static str {
    match (lasting, server.tls_versions.min) {
        (LastingSessions::Anywhere, _) => "last, as far as was seen; jobs speak the newest TLS version",
        (LastingSessions::Tls12, TlsVersion::V1_2) => "last in TLS 1.2 only; jobs speak TLS 1.2",
        (LastingSessions::Tls12, TlsVersion::V1_3) => "last in TLS 1.2 only, which `tls_version` rules out",
        (LastingSessions::Nowhere, _) => "run out; jobs open new control connections as they go",
    }
}

fn passive(command: PassiveCommand) -> &'static str {
    match command {
        PassiveCommand::Epsv => "EPSV",
        PassiveCommand::Pasv => "PASV, since EPSV does not work",
    }
}

fn hash(features: &Features, given: HashGiven) -> &'static str {
    match (features.hash(), given) {
        (HashSupport::Hash, HashGiven::NotAsked) => "HASH; jobs prove files by it",
        (HashSupport::Xsha256, HashGiven::NotAsked) => "XSHA256; jobs prove files by it",
        (HashSupport::Hash, HashGiven::Refused) => "HASH, but refused; jobs read files back",
        (HashSupport::Xsha256, HashGiven::Refused) => "XSHA256, but refused; jobs read files back",
        (HashSupport::None, _) => "none; jobs read files back",
    }
}

fn time(features: &Features) -> &'static str {
    match (features.has("MFMT"), features.has("MDTM")) {
        (true, _) => "MFMT; jobs give files their time by it",
        (false, true) => "MDTM, if any; jobs try it",
        (false, false) => "none",
    }
}

fn ability(ability: Ability, [yes, no]: [&str; 2]) -> String {
    match ability {
        Ability::Yes => yes,
        Ability::No => no,
        Ability::Unknown => "not known",
    }
    .to_owned()
}

fn names(profile: &Profile) -> String {
    let kept = match profile.names {
        Ability::Yes => "kept as sent",
        Ability::No => "not all kept as sent",
        Ability::Unknown => "not known whether they are kept",
    };
    let apart = |ability, what: &str| match ability {
        Ability::Yes => format!("{what} told apart"),
        Ability::No => format!("{what} not told apart"),
        Ability::Unknown => format!("{what} not known"),
    };
    format!("{kept}; {}; {}", apart(profile.case, "case"), apart(profile.composition, "Unicode forms"))
}

fn connections(most: Option<u16>, server: &Server) -> String {
    let configured = server.connections;
    match most {
        Some(most) if most < configured.get() => {
            format!("{most} at once, where {configured} are configured; jobs open {most}")
        }
        Some(_) | None => format!("jobs open up to {configured}, as configured"),
    }
}

fn idle(seconds: Option<u32>) -> String {
    seconds
        .map_or_else(|| "not met".to_owned(), |seconds| format!("sessions end after {seconds} s of silence"))
}
