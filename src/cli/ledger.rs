//! `nightferry ledger verify`.

use serde_json::json;

use super::engine::{self, LedgerFacts};
use super::error::CliError;
use super::output::{Format, Output};
use crate::config::Config;
use crate::domain::Exit;
use crate::observe::count;

pub(super) fn verify(config: &Config, output: &Output) -> Result<Exit, CliError> {
    let LedgerFacts { segments, records } = engine::verify_ledger(config)?;
    match output.format {
        Format::Json => output.json(&json!({"whole": true, "segments": segments, "records": records}))?,
        Format::Text => output.data(format_args!(
            "the ledger is whole: {} in {}",
            count(records, "record"),
            count(segments, "segment")
        ))?,
    }
    Ok(Exit::Done)
}
