//! How a server is reached, from the configuration's terms and what was learned to the protocol's.

use super::profile::PassiveCommand;
use crate::domain::{AddressFamily, DataMode, PasvAddress};
use crate::ftps::{ActiveWay, DataWay, Family, NamedAddress, PassiveVerb, PassiveWay};

/// Which addresses are used.
pub fn family(family: AddressFamily) -> Family {
    match family {
        AddressFamily::Any => Family::Any,
        AddressFamily::V4 => Family::V4,
        AddressFamily::V6 => Family::V6,
    }
}

/// Who opens data connections.
pub(super) fn data_way(mode: &DataMode) -> DataWay {
    match mode {
        DataMode::Passive { address } => {
            let named = match address {
                PasvAddress::Ignore => NamedAddress::Ignored,
                PasvAddress::Trust => NamedAddress::Followed,
            };
            DataWay::Passive(PassiveWay { named, ..PassiveWay::default() })
        }
        DataMode::Active(ports) => DataWay::Active(ActiveWay {
            listen: ports.listen,
            announce: ports.announce,
            ports: ports.ports.clone(),
        }),
    }
}

/// What a server is asked for passive ports by.
pub(super) fn first_passive(learned: PassiveCommand) -> PassiveVerb {
    match learned {
        PassiveCommand::Epsv => PassiveVerb::Epsv,
        PassiveCommand::Pasv => PassiveVerb::Pasv,
    }
}

/// The command of this name, where it is one that names passive ports.
pub(super) fn passive_verb(name: &str) -> Option<PassiveVerb> {
    match name {
        "EPSV" => Some(PassiveVerb::Epsv),
        "PASV" => Some(PassiveVerb::Pasv),
        _ => None,
    }
}

/// What a session has found out about that.
pub(super) fn learned_passive(verb: PassiveVerb) -> PassiveCommand {
    match verb {
        PassiveVerb::Epsv => PassiveCommand::Epsv,
        PassiveVerb::Pasv => PassiveCommand::Pasv,
    }
}
