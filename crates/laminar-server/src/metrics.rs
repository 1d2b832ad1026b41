//! `GET /metrics`: the engine's gauges and counters in Prometheus' text format.
//!
//! Beside our own names stand those of vLLM that routers and dashboards look for, of the same numbers.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use laminar_engine::EngineStats;

use crate::state::AppState;

/// What a number does: go up and down, or only up.
#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

/// A number with its names.
struct Metric {
    /// Ours, without prefix.
    name: &'static str,
    /// vLLM's, without prefix.
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
    responses((status = 200, description = "Prometheus' text format.", body = String, content_type = "text/plain"))
)]
pub async fn metrics(State(state): State<AppState>) -> Response {
    let text = render(&state.engine.stats(), &state.config.model_name);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
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
            "preemptions_total",
            Some("num_preemptions_total"),
            stats.preemptions as f64,
            "Times that a request lost its KV memory to others",
        ),
        metric(
            Counter,
            "prompt_tokens_total",
            Some("prompt_tokens_total"),
            stats.prompt_tokens as f64,
            "Prompt tokens that have passed all layers",
        ),
        metric(
            Counter,
            "generated_tokens_total",
            Some("generation_tokens_total"),
            stats.tokens_generated as f64,
            "Tokens generated",
        ),
        metric(
            Counter,
            "prefix_lookup_tokens_total",
            Some("prefix_cache_queries_total"),
            stats.prefix_lookup_tokens as f64,
            "Prompt tokens looked up in the prefix cache",
        ),
        metric(
            Counter,
            "prefix_hit_tokens_total",
            Some("prefix_cache_hits_total"),
            stats.prefix_hit_tokens as f64,
            "Prompt tokens found there",
        ),
        metric(Counter, "requests_finished_total", None, stats.requests_finished as f64, "Requests that finished"),
        metric(
            Counter,
            "requests_cancelled_total",
            None,
            stats.requests_cancelled as f64,
            "Requests whose client left, or that a shutdown ended",
        ),
        metric(
            Counter,
            "requests_failed_total",
            None,
            stats.requests_failed as f64,
            "Requests that ended with an error",
        ),
        metric(Counter, "steps_total", None, stats.steps as f64, "Steps executed"),
        metric(Counter, "step_seconds_total", None, stats.step_seconds, "Time spent in steps"),
        metric(
            Counter,
            "expert_loads_total",
            None,
            stats.total_expert_loads as f64,
            "Distinct experts touched, summed over layers and steps",
        ),
    ]
}

/// The text, of which every line has the model's name.
fn render(stats: &EngineStats, model: &str) -> String {
    let model = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let mut text = String::new();
    for Metric { name, alias, kind, help, value } in all(stats) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let names = [Some(format!("laminar_{name}")), alias.map(|alias| format!("vllm:{alias}"))];
        for name in names.into_iter().flatten() {
            // Writing to a string cannot fail.
            let _ =
                writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name}{{model_name=\"{model}\"}} {value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_kind_and_label() {
        let stats =
            EngineStats { running: 2, prefilling: 1, used_blocks: 3, total_blocks: 4, steps: 7, ..Default::default() };
        let text = render(&stats, "a \"b\"\\c");
        for line in [
            "# TYPE laminar_requests_running gauge",
            "laminar_requests_running{model_name=\"a \\\"b\\\"\\\\c\"} 3",
            "vllm:num_requests_running{model_name=\"a \\\"b\\\"\\\\c\"} 3",
            "vllm:kv_cache_usage_perc{model_name=\"a \\\"b\\\"\\\\c\"} 0.75",
            "# TYPE laminar_steps_total counter",
            "laminar_steps_total{model_name=\"a \\\"b\\\"\\\\c\"} 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE ")).count(), samples);
        assert_eq!(samples, 18 + 8);
    }
}
