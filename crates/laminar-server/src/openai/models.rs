//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::state::AppState;

/// The one served model.
pub async fn list(State(state): State<AppState>) -> Json<Value> {
    Json(json!({"object": "list", "data": [card(&state)]}))
}

/// The served model by its name or an alias.
///
/// # Errors
/// [`ApiError::ModelNotFound`] for any other name.
pub async fn one(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    state.check_model(Some(&id))?;
    Ok(Json(card(&state)))
}

fn card(state: &AppState) -> Value {
    json!({
        "id": state.config.model_name,
        "object": "model",
        "created": state.started,
        "owned_by": "laminar",
        "max_model_len": state.engine.context(),
    })
}
