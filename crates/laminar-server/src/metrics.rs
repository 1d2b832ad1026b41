//! `GET /metrics`: the engine's gauges and counters in the text format of OpenMetrics, which Prometheus asks for first.
//!
//! Beside our own names stand those of vLLM that routers and dashboards look for, of the same numbers.

use std::borrow::Cow;
use std::fmt;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use laminar_engine::EngineStats;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::state::AppState;

/// What a number does: go up and down, or only up.
#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

/// A number with its names.
struct Metric {
    /// Ours, without prefix; a counter's gets `_total` behind it.
    name: &'static str,
    /// vLLM's, likewise.
    alias: Option<&'static str>,
    kind: Kind,
    help: &'static str,
    value: f64,
}

/// Answers from the engine's last snapshot, so it never waits for a step.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "Server",
    responses((status = 200, description = "The text format of OpenMetrics.", body = String,
        content_type = "application/openmetrics-text"))
)]
pub async fn metrics(State(state): State<AppState>) -> Response {
    match render(&state.engine.stats(), &state.config.model_name) {
        Ok(text) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn all(stats: &EngineStats) -> [Metric; 18] {
    use Kind::{Counter, Gauge};
    let metric = |kind, name, alias, value, help| Metric { name, alias, kind, help, value };
    let used = stats.used_blocks as f64;
    let running = stats.running + stats.prefilling;
    [
        metric(
            Gauge,
            "requests_running",
            Some("num_requests_running"),
            running as f64,
            "Requests that are being worked on",
        ),
        metric(
            Gauge,
            "requests_prefilling",
            None,
            stats.prefilling as f64,
            "Those of them whose prompts are being read",
        ),
        metric(
            Gauge,
            "requests_waiting",
            Some("num_requests_waiting"),
            stats.waiting as f64,
            "Requests that wait for admission",
        ),
        metric(
            Gauge,
            "kv_usage",
            Some("kv_cache_usage_perc"),
            used / stats.total_blocks.max(1) as f64,
            "Share of KV blocks in use, 0 to 1",
        ),
        metric(Gauge, "kv_blocks_used", None, used, "KV blocks in use"),
        metric(Gauge, "kv_blocks_cached", None, stats.cached_blocks as f64, "KV blocks that a prompt may find"),
        metric(Gauge, "kv_blocks", None, stats.total_blocks as f64, "KV blocks there are"),
        metric(
            Counter,
            "preemptions",
            Some("num_preemptions"),
            stats.preemptions as f64,
            "Times that a request lost its KV memory to others",
        ),
        metric(
            Counter,
            "prompt_tokens",
            Some("prompt_tokens"),
            stats.prompt_tokens as f64,
            "Prompt tokens that have passed all layers",
        ),
        metric(
            Counter,
            "generated_tokens",
            Some("generation_tokens"),
            stats.tokens_generated as f64,
            "Tokens generated",
        ),
        metric(
            Counter,
            "prefix_lookup_tokens",
            Some("prefix_cache_queries"),
            stats.prefix_lookup_tokens as f64,
            "Prompt tokens looked up in the prefix cache",
        ),
        metric(
            Counter,
            "prefix_hit_tokens",
            Some("prefix_cache_hits"),
            stats.prefix_hit_tokens as f64,
            "Prompt tokens found there",
        ),
        metric(Counter, "requests_finished", None, stats.requests_finished as f64, "Requests that finished"),
        metric(
            Counter,
            "requests_cancelled",
            None,
            stats.requests_cancelled as f64,
            "Requests whose client left, or that a shutdown ended",
        ),
        metric(Counter, "requests_failed", None, stats.requests_failed as f64, "Requests that ended with an error"),
        metric(Counter, "steps", None, stats.steps as f64, "Steps executed"),
        metric(Counter, "step_seconds", None, stats.step_seconds, "Time spent in steps"),
        metric(
            Counter,
            "expert_loads",
            None,
            stats.total_expert_loads as f64,
            "Distinct experts touched, summed over layers and steps",
        ),
    ]
}

/// The text, of which every number has the model's name.
///
/// # Errors
/// None: writing to a string cannot fail.
fn render(stats: &EngineStats, model: &str) -> Result<String, fmt::Error> {
    let label = (Cow::from("model_name"), Cow::from(model.to_owned()));
    let mut registry = Registry::with_labels(std::iter::once(label));
    for Metric { name, alias, kind, help, value } in all(stats) {
        let names = [Some(format!("laminar_{name}")), alias.map(|alias| format!("vllm:{alias}"))];
        for name in names.into_iter().flatten() {
            match kind {
                Kind::Gauge => registry.register(name, help, ConstGauge::new(value)),
                Kind::Counter => registry.register(name, help, ConstCounter::new(value)),
            }
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_kind_and_label() {
        let stats =
            EngineStats { running: 2, prefilling: 1, used_blocks: 3, total_blocks: 4, steps: 7, ..Default::default() };
        let text = render(&stats, "a \"b\"\\c").unwrap();
        for line in [
            "# TYPE laminar_requests_running gauge",
            "laminar_requests_running{model_name=\"a \\\"b\\\"\\\\c\"} 3.0",
            "vllm:num_requests_running{model_name=\"a \\\"b\\\"\\\\c\"} 3.0",
            "vllm:kv_cache_usage_perc{model_name=\"a \\\"b\\\"\\\\c\"} 0.75",
            "# TYPE laminar_steps counter",
            "laminar_steps_total{model_name=\"a \\\"b\\\"\\\\c\"} 7.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE ")).count(), samples);
        assert_eq!(samples, 18 + 8);
        assert!(text.ends_with("# EOF\n"));
        // A counter's samples alone have the suffix.
        let counters: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
        assert_eq!(counters.len(), 11 + 5);
        for name in counters {
            assert!(text.contains(&format!("\n{name}_total{{model_name=")), "{name} is not in {text}");
        }
    }
}
