//! `GET /health`: ready or not, and what the engine is doing.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::openapi::answers::Health;
use crate::state::AppState;

/// Answers from the engine's last snapshot, so it never waits for a step.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "Server",
    responses((status = 200, description = "The server is ready.", body = Health))
)]
pub async fn health(State(state): State<AppState>) -> Json<Value> {
    let stats = state.engine.stats();
    Json(json!({
        "status": "ok",
        "model": state.config.model_name,
        "running": stats.running,
        "prefilling": stats.prefilling,
        "waiting": stats.waiting,
        "kv_blocks": {"used": stats.used_blocks, "cached": stats.cached_blocks, "total": stats.total_blocks},
        "preemptions": stats.preemptions,
        "engine": stats,
    }))
}
