//! From body bytes to typed requests, with errors that name the field.

use axum::body::{Body, to_bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Reads the body up to `limit` bytes. The content type is not looked at: plain `curl -d` claims to
/// send a form, and a body that is not JSON is refused by the parser anyway.
///
/// # Errors
/// [`ApiError::BodyTooLarge`] past the limit, also by the announced length alone;
/// [`ApiError::Invalid`] when the connection breaks inside the body.
pub(crate) async fn read_body(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|value| value.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(ApiError::BodyTooLarge { limit });
    }
    match to_bytes(body, limit).await {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) if is_length_limit(&error) => Err(ApiError::BodyTooLarge { limit }),
        Err(error) => Err(ApiError::Invalid { message: format!("cannot read the request body: {error}"), param: None }),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source = Some(error as &(dyn std::error::Error + 'static));
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Deserialises one JSON document; unknown fields are ignored.
///
/// # Errors
/// [`ApiError::Invalid`] with the path of the offending field (`messages[1].role`) as `param`, or
/// with line and column when the text is not JSON at all.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Serde would fill a struct from a list as well; a request is always an object.
    if let Some(first @ (b'[' | b'"' | b'0'..=b'9')) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        return Err(ApiError::Invalid {
            message: format!("the request body must be a JSON object, but it begins with `{}`", char::from(*first)),
            param: None,
        });
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            let param = (path != ".").then_some(path);
            let message = match &param {
                Some(path) => format!("invalid value for `{path}`: {inner}"),
                None => format!("invalid request: {inner}"),
            };
            ApiError::Invalid { message, param }
        } else {
            malformed(&inner)
        }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::Invalid { message: format!("the request body is not valid JSON: {error}"), param: None }
}

/// Refuses a number outside a closed range.
///
/// # Errors
/// [`ApiError::Invalid`] naming the field and the range.
pub(crate) fn in_range(name: &str, value: f64, range: std::ops::RangeInclusive<f64>) -> Result<(), ApiError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ApiError::invalid(name, format!("`{name}` must be between {} and {}, got {value}", range.start(), range.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only its type matters")]
        role: String,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Outer {
        #[expect(dead_code, reason = "only its type matters")]
        messages: Vec<Inner>,
    }

    fn param_of(text: &str) -> Option<String> {
        match from_json::<Outer>(text.as_bytes()).unwrap_err() {
            ApiError::Invalid { param, .. } => param,
            other => panic!("unexpected {other}"),
        }
    }

    #[test]
    fn wrong_types_name_their_path() {
        assert_eq!(param_of(r#"{"messages":[{"role":"a"},{"role":1}]}"#).as_deref(), Some("messages[1].role"));
        assert_eq!(param_of(r#"{"messages":3}"#).as_deref(), Some("messages"));
    }

    #[test]
    fn text_that_is_not_json_has_no_param() {
        for text in ["", "{", "{\"messages\":[]} x", "\u{fffd}", "[[[["] {
            assert_eq!(param_of(text), None, "{text:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{{\"x\":{}", "[".repeat(100_000));
        assert_eq!(param_of(&deep), None);
    }
}
