//! `POST /v1/embeddings`: one vector for each text.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use laminar_engine::{GenerateRequest, Pooling};
use laminar_model::StatedPooling;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::caller::Caller;
use super::completions::prompts;
use super::parse::{from_json, read_body};
use crate::error::ApiError;
use crate::generation;
use crate::openapi::answers::Embeddings;
use crate::openapi::errors::Refusals;
use crate::openapi::requests::{ModelName, PromptInput, TargetHeaders};
use crate::prompt;
use crate::state::AppState;

/// A request to `/v1/embeddings`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct EmbeddingsRequest {
    /// A string, a list of strings, a list of token ids, or a list of such lists.
    #[schema(value_type = PromptInput)]
    pub input: Value,
    /// Model name.
    #[serde(default)]
    #[schema(value_type = Option<ModelName>)]
    pub model: Option<String>,
    /// `float` or `base64` (little-endian 32-bit floats, as the official clients ask for).
    #[serde(default)]
    pub encoding_format: Option<Encoding>,
    /// Only so many values of each vector.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub dimensions: Option<usize>,
    /// How the rows of a text become one vector: as the model says, or else `last`.
    #[serde(default)]
    pub pooling: Option<PoolingName>,
    /// For `ggem`: a power for each group of columns; one group with power 3 unless said otherwise.
    #[serde(default)]
    pub powers: Option<Vec<f32>>,
    /// Whether vectors are scaled to length 1; true unless said otherwise.
    #[serde(default)]
    pub normalize: Option<bool>,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A list of numbers.
    Float,
    /// Their bytes.
    Base64,
}

/// The names of the poolings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PoolingName {
    /// The last row.
    Last,
    /// The mean of all rows.
    Mean,
    /// The first row.
    Cls,
    /// The generalised mean of groups of columns.
    Ggem,
}

/// Most groups of columns, and the largest power.
const MAX_GROUPS: usize = 1024;
const MAX_POWER: f32 = 64.0;

impl EmbeddingsRequest {
    /// The pooling asked for, or else that of the model.
    fn pooling(&self, stated: Option<&StatedPooling>) -> Result<Pooling, ApiError> {
        if self.powers.is_some() && self.pooling != Some(PoolingName::Ggem) {
            return Err(ApiError::invalid("powers", "`powers` are for the pooling `ggem` alone"));
        }
        Ok(match (self.pooling, stated) {
            (Some(PoolingName::Ggem), _) => {
                let powers = self.powers.as_deref().unwrap_or(&[3.0]);
                let fits = |power: &f32| *power > 0.0 && *power <= MAX_POWER;
                if powers.is_empty() || powers.len() > MAX_GROUPS || !powers.iter().all(fits) {
                    let message = format!("`powers` must be up to {MAX_GROUPS} numbers above 0 and up to {MAX_POWER}");
                    return Err(ApiError::invalid("powers", message));
                }
                Pooling::Ggem(powers.into())
            }
            (Some(PoolingName::Last), _) => Pooling::Last,
            (Some(PoolingName::Mean), _) => Pooling::Mean,
            (Some(PoolingName::Cls), _) => Pooling::Cls,
            (None, None | Some(StatedPooling::Last)) => Pooling::Last,
            (None, Some(StatedPooling::Mean)) => Pooling::Mean,
            (None, Some(StatedPooling::Cls)) => Pooling::Cls,
            (None, Some(StatedPooling::Unsupported(how))) => {
                let message = format!("this model {how}, which we do not compute; choose a `pooling`");
                return Err(ApiError::invalid("pooling", message));
            }
        })
    }
}

/// Makes vectors of texts.
///
/// # Errors
/// No input, an empty or too long text, more texts than choices are allowed, too many dimensions.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    operation_id = "createEmbeddings",
    tag = "OpenAI",
    params(TargetHeaders),
    request_body = EmbeddingsRequest,
    responses(
        (status = 200, description = "A vector for each input.", body = Embeddings),
        Refusals,
    )
)]
pub async fn handle(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Result<Json<Value>, ApiError> {
    let bytes = read_body(&headers, body, state.config.max_body_bytes).await?;
    let request: EmbeddingsRequest = from_json(&bytes)?;
    drop(bytes);
    let Caller { tenant, .. } = Caller::new(&headers, &state.tenants)?;
    state.check_model(request.model.as_deref())?;
    let inputs = prompts(&request.input, "input")?;
    let most = state.config.max_choices;
    if inputs.len() > most {
        let message = format!("at most {most} inputs are allowed in one request, got {}", inputs.len());
        return Err(ApiError::invalid("input", message));
    }
    let pooling = request.pooling(state.config.pooling.as_ref())?;
    let mut requests = Vec::with_capacity(inputs.len());
    for input in inputs {
        let prompt = prompt::raw_for(&state, input, "input").await?;
        requests.push(GenerateRequest { prompt, tenant, pooling: Some(pooling.clone()), ..GenerateRequest::default() });
    }
    let count = requests.len();
    let updates = generation::start(&state.engine, requests).await?;
    let done = generation::collect(updates, count, false).await?;

    let mut prompt_tokens = 0;
    let mut data = Vec::with_capacity(count);
    for (index, finish) in done.into_iter().map(|choice| choice.finish).enumerate() {
        let finish = finish.ok_or_else(|| ApiError::Internal { message: "a vector is missing".to_owned() })?;
        prompt_tokens += finish.usage.prompt_tokens;
        let vector = finish.embedding.unwrap_or_default();
        if !pooling.fits(vector.len()) {
            let message = format!("the {} values of a vector cannot be cut into so many equal groups", vector.len());
            return Err(ApiError::invalid("powers", message));
        }
        let vector = shape(vector, request.dimensions, request.normalize != Some(false))?;
        let embedding = match request.encoding_format {
            Some(Encoding::Base64) => Value::from(base64(&vector)),
            _ => Value::from(vector),
        };
        data.push(json!({"object": "embedding", "index": index, "embedding": embedding}));
    }
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "model": state.config.model_name,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    })))
}

/// Cuts a vector, then scales what is left to length 1.
fn shape(mut vector: Vec<f32>, dimensions: Option<usize>, normalize: bool) -> Result<Vec<f32>, ApiError> {
    let width = vector.len();
    if let Some(dimensions) = dimensions {
        if dimensions == 0 || dimensions > width {
            let message = format!("`dimensions` must be between 1 and {width}, got {dimensions}");
            return Err(ApiError::invalid("dimensions", message));
        }
        vector.truncate(dimensions);
    }
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if normalize && length > 0.0 {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    Ok(vector)
}

/// The little-endian bytes of the values in base64 (RFC 4648), with padding.
fn base64(values: &[f32]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_little_endian_floats() {
        assert_eq!(base64(&[]), "");
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(base64(&[1.0, -2.5, 0.1]), "AACAPwAAIMDNzMw9");
    }

    #[test]
    fn vectors_are_cut_before_they_are_scaled() {
        assert_eq!(shape(vec![3.0, 4.0, 9.0], Some(2), true).unwrap(), [0.6, 0.8]);
        assert_eq!(shape(vec![3.0, 4.0], None, false).unwrap(), [3.0, 4.0]);
        assert_eq!(shape(vec![0.0], None, true).unwrap(), [0.0]);
        assert!(shape(vec![1.0], Some(2), true).is_err());
    }
}
