//! The OpenAPI document is served, complete, and true of what endpoints take and answer.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::*;

fn bare(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path.replace("{id}", "x")).body(Body::from("{}")).unwrap()
}

async fn document() -> Value {
    server().get("/openapi.json").await.ok()
}

/// Whether a value is as the document says that a schema is.
#[track_caller]
fn check(document: &Value, name: &str, value: &Value) {
    let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": document["components"]});
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{name}: {errors:?}: {value}");
}

fn is_valid(document: &Value, name: &str, value: &Value) -> bool {
    let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": document["components"]});
    jsonschema::validator_for(&schema).unwrap().is_valid(value)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_is_in_the_document_and_every_one_of_the_document_is_there() {
    let document = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            found.push(format!("{} {path}", method.to_uppercase()));
            assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{operation}");
            let answer = server().send(bare(&method.to_uppercase(), path)).await;
            assert!(!answer.text.contains("unknown_url") && answer.status != 405, "{path}: {}", answer.text);
        }
    }
    found.sort();
    let expected = [
        "DELETE /v1/responses/{id}",
        "GET /health",
        "GET /metrics",
        "GET /v1/models",
        "GET /v1/models/{id}",
        "GET /v1/responses/{id}",
        "POST /apply-template",
        "POST /detokenize",
        "POST /tokenize",
        "POST /v1/chat/completions",
        "POST /v1/completions",
        "POST /v1/embeddings",
        "POST /v1/messages",
        "POST /v1/messages/count_tokens",
        "POST /v1/responses",
    ];
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reference_of_the_document_leads_somewhere() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                fields.values().for_each(|value| walk(document, value));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(document, item)),
            _ => {}
        }
    }
    let document = document().await;
    walk(&document, &document);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_names_this_servers_model_and_limits() {
    let document = document().await;
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["ModelName"]["enum"], json!(["tiny", "tiny-alias"]));
    assert_eq!(schemas["TokenId"]["maximum"], 278);
    assert_eq!((&schemas["ChoiceCount"]["minimum"], &schemas["ChoiceCount"]["maximum"]), (&json!(1), &json!(128)));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_the_document_says() {
    let server = server();
    let document = server.get("/openapi.json").await.ok();
    let call = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object",
        "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": false}}});
    for fields in [
        json!({}),
        json!({"n": 2, "logprobs": true, "top_logprobs": 2}),
        json!({"tools": [call], "tool_choice": "required", "max_tokens": 200, "parallel_tool_calls": false}),
    ] {
        let request = with(chat("Hello"), fields);
        check(&document, "ChatCompletionRequest", &request);
        check(&document, "ChatCompletion", &server.post(CHAT, &request).await.ok());
    }
    for fields in [json!({}), json!({"prompt": [[1, 2], [3]], "logprobs": 1}), json!({"echo": true, "logprobs": 2})] {
        let request = with(completion("Once"), fields);
        check(&document, "CompletionRequest", &request);
        check(&document, "Completion", &server.post(COMPLETIONS, &request).await.ok());
    }
    for encoding in ["float", "base64"] {
        let request = json!({"input": ["a", "bc"], "encoding_format": encoding});
        check(&document, "EmbeddingsRequest", &request);
        check(&document, "Embeddings", &server.post("/v1/embeddings", &request).await.ok());
    }
    let wanted = json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
        "max_output_tokens": 8, "model": "tiny-alias"});
    check(&document, "ResponseBody", &wanted);
    let response = server.post("/v1/responses", &wanted).await.ok();
    check(&document, "ResponseAnswer", &response);
    let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
    check(&document, "ResponseAnswer", &server.get(&path).await.ok());
    check(&document, "DeletedResponse", &server.send(bare("DELETE", &path)).await.ok());
    let request = json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8});
    check(&document, "MessagesRequest", &request);
    check(&document, "MessageAnswer", &server.post("/v1/messages", &request).await.ok());
    check(&document, "CountedTokens", &server.post("/v1/messages/count_tokens", &request).await.ok());
    check(&document, "ModelList", &server.get("/v1/models").await.ok());
    check(&document, "ModelCard", &server.get("/v1/models/tiny").await.ok());
    check(&document, "Health", &server.get("/health").await.ok());
    for request in [json!({"content": "a"}), json!({"prompt": "a", "with_pieces": true})] {
        check(&document, "TokenizeRequest", &request);
        check(&document, "Tokens", &server.post("/tokenize", &request).await.ok());
    }
    check(&document, "Detokenized", &server.post("/detokenize", &json!({"tokens": [97]})).await.ok());
    check(&document, "RenderedPrompt", &server.post("/apply-template", &chat("Hello")).await.ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_as_the_document_says() {
    let server = server();
    let document = server.get("/openapi.json").await.ok();
    for (path, body) in [
        (CHAT, json!({})),
        (CHAT, with(chat("x"), json!({"model": "other"}))),
        (COMPLETIONS, completion("x".repeat(600))),
        ("/v1/embeddings", json!({"input": []})),
        ("/v1/responses", json!({"input": "x", "previous_response_id": "none"})),
        ("/tokenize", json!({})),
    ] {
        check(&document, "ErrorBody", &server.post(path, &body).await.json());
    }
    check(&document, "ErrorBody", &server.get("/v1/models/%FF").await.json());
    check(&document, "AnthropicError", &server.post("/v1/messages", &json!({"messages": []})).await.json());
}

/// What the document calls wrong is refused.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_the_document_forbids_are_refused() {
    let server = server();
    let document = server.get("/openapi.json").await.ok();
    for fields in [
        json!({"messages": []}),
        json!({"messages": [{"role": "king", "content": "x"}]}),
        json!({"messages": [{"role": "user"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        json!({"temperature": 3}),
        json!({"top_p": -1}),
        json!({"max_tokens": 0}),
        json!({"n": 0}),
        json!({"n": 129}),
        json!({"stop_token_ids": [279]}),
        json!({"tools": [{"type": "function", "function": {}}]}),
        json!({"tools": [{"type": "function", "function": {"name": "f", "strict": 1}}]}),
        json!({"tool_choice": "maybe"}),
        json!({"response_format": {"type": "xml"}}),
        json!({"response_format": {"type": "json_schema"}}),
        json!({"structured_outputs": {"choice": [1]}}),
        json!({"logprobs": 1}),
        json!({"model": "other"}),
    ] {
        let request = with(chat("Hello"), fields);
        assert!(!is_valid(&document, "ChatCompletionRequest", &request), "{request}");
        let status = server.post(CHAT, &request).await.status;
        assert!(status.is_client_error(), "{request}: {status}");
    }
}
