//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::openapi::answers::{ModelCard, ModelList};
use crate::openapi::errors::ErrorBody;
use crate::state::AppState;

/// The one served model.
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "listModels",
    tag = "OpenAI",
    responses((status = 200, description = "The models.", body = ModelList))
)]
pub async fn list(State(state): State<AppState>) -> Json<Value> {
    Json(json!({"object": "list", "data": [card(&state)]}))
}

/// The served model by its name or an alias.
///
/// # Errors
/// [`ApiError::ModelNotFound`] for any other name.
#[utoipa::path(
    get,
    path = "/v1/models/{id}",
    operation_id = "getModel",
    tag = "OpenAI",
    params(("id" = String, Path, description = "The model's name.")),
    responses(
        (status = 200, description = "The model.", body = ModelCard),
        (status = 404, description = "Another name.", body = ErrorBody),
    )
)]
pub async fn one(
    State(state): State<AppState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id?;
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
