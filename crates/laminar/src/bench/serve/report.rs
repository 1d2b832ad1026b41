//! Everything that a run has measured, as JSON.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::mixed::Disturbance;
use super::record::{Record, Role};
use super::stats::{Slo, Summary};
use super::sweep::Point;

/// What the field `format` says.
const FORMAT: &str = "laminar-bench-serve";
/// The version of the fields below; raised when the meaning of one changes.
const VERSION: u32 = 1;

/// A run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// `laminar-bench-serve`.
    pub format: String,
    /// 1.
    pub version: u32,
    /// Version of the program that measured.
    pub laminar: String,
    /// Name of the run in charts.
    pub label: String,
    /// Name of the scenario.
    pub scenario: String,
    /// When the measurement ended, in seconds since 1970.
    pub unix_time_s: u64,
    /// The server and how it was asked.
    pub server: ServerFacts,
    /// Flags that shape the load.
    pub settings: Map<String, Value>,
    /// The targets.
    pub slo: Slo,
    /// Summaries: of all requests, or of streams and prompts apart.
    pub groups: Vec<Group>,
    /// The prompts of mixed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<Disturbance>,
    /// The rates of sweep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<Point>,
    /// How much later than planned a request was sent at worst, in seconds: if this is large, the client's machine was
    /// too busy to measure.
    pub send_lag_max_s: f64,
    /// Every request.
    pub requests: Vec<Record>,
}

/// The server and how it was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerFacts {
    /// Its address.
    pub url: String,
    /// The model.
    pub model: String,
    /// Path of the requests.
    pub path: String,
    /// `ids` or `text`.
    pub prompt_form: String,
    /// Whether answers have the length that was asked for.
    pub ignore_eos: bool,
}

/// Requests of one role.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    /// Their role.
    pub role: Role,
    /// What they amount to.
    pub summary: Summary,
}

/// What a scenario has measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// Every request, in the order of their numbers.
    pub records: Vec<Record>,
    /// The prompts of mixed.
    pub prompts: Vec<Disturbance>,
    /// The rates of sweep.
    pub rates: Vec<Point>,
}

impl Report {
    /// Puts a run together.
    pub fn new(
        label: String,
        scenario: String,
        server: ServerFacts,
        settings: Map<String, Value>,
        slo: Slo,
        measured: Measured,
    ) -> Self {
        let Measured { records, prompts, rates } = measured;
        let group = |role| {
            let mut of_role = records.iter().filter(|record| record.role == role).peekable();
            of_role.peek()?;
            Some(Group { role, summary: Summary::of(of_role, &slo) })
        };
        let groups = [Role::Request, Role::Prompt, Role::Stream].into_iter().filter_map(group).collect();
        let lags = records.iter().map(|record| record.answer.sent_s - record.planned_s);
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            laminar: env!("CARGO_PKG_VERSION").to_owned(),
            label,
            scenario,
            unix_time_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            server,
            settings,
            slo,
            groups,
            prompts,
            rates,
            send_lag_max_s: lags.fold(0.0, f64::max),
            requests: records,
        }
    }

    /// Reads an earlier run.
    ///
    /// # Errors
    /// A file that cannot be read, or is no such report.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = || format!("--compare {}", path.display());
        let bytes = std::fs::read(path).with_context(name)?;
        let value: Value = serde_json::from_slice(&bytes).with_context(name)?;
        if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
            bail!("{}: is no report of `laminar bench serve --json`", name());
        }
        if value.get("version").and_then(Value::as_u64) != Some(u64::from(VERSION)) {
            bail!("{}: has another version than {VERSION}", name());
        }
        serde_json::from_value(value).with_context(name)
    }

    /// Requests that came to their end or were stopped by ours, but for streams: what a run is made for.
    pub fn answered(&self) -> usize {
        let counted = self.groups.iter().filter(|group| group.role != Role::Stream);
        counted.map(|group| group.summary.completed).sum()
    }
}
