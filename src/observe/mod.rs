//! What people and programs see of a run: pure folds over [`Event`](crate::domain::Event)s.
//!
//! Nothing here prints, waits or knows the time: the caller hands times in and writes the texts
//! out. Names come from disks and servers, so every text that leaves here is free of control
//! characters.

mod alerts;
mod audited;
mod json;
mod line;
mod metrics;
mod nameless;
mod news;
mod planned;
mod presumed;
mod progress;
mod summary;
mod text;

pub use self::alerts::{Alert, AlertKey, Alerts, Expected, Lost};
pub use self::audited::{audit_summary, audit_trouble};
pub use self::json::Json;
pub use self::line::{Line, Weight, line};
pub use self::metrics::{Family, Kind, Metric, Metrics, Scale};
pub use self::news::{AlertKind, Cause, News, Turn};
pub use self::planned::{PlanTotals, Planned, PlannedAction};
pub use self::presumed::{presumed_how, presumed_reason};
pub use self::progress::{Progress, Snapshot};
pub use self::summary::{detailed_summary, parked, summary, trouble};
pub use self::text::{bytes, count, duration, escaped, rate};
