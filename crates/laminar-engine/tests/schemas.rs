//! Finished answers fit their JSON schemas: every kind of keyword, in four places, on the built-in model at temperature 1.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::model::{embedded, engine_with};
use common::read;
use laminar_engine::{FinishReason, GenerateRequest, Grammar, GrammarCompiler, Policy, SamplingParams};
use laminar_model::tokenizer::EncodeOptions;
use serde_json::{Value, json};

/// One schema for each thing that a schema can say.
fn schemas() -> Vec<Value> {
    let node = json!({"type": "object", "properties": {"value": {"type": "integer", "minimum": 0, "maximum": 9},
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}, "required": ["value", "next"], "additionalProperties": false});
    vec![
        json!({"type": "string", "maxLength": 20}),
        json!({"type": "string", "minLength": 3, "maxLength": 5}),
        json!({"type": "string", "pattern": "^[a-c]{2,5}$"}),
        json!({"type": "string", "pattern": "^(x+y|日本|[^\"\\\\]\\d{3})$"}),
        json!({"type": "string", "format": "date"}),
        json!({"type": "string", "format": "time"}),
        json!({"type": "string", "format": "date-time"}),
        json!({"type": "string", "format": "uuid"}),
        json!({"type": "string", "format": "ipv4"}),
        json!({"enum": ["red", "gr\u{fc}n", "🙂", "with \"quotes\" and \\"]}),
        json!({"enum": ["a", 1, 2.5, null, true, ["x"], {"k": "v"}]}),
        json!({"const": "fixed"}),
        json!({"const": {"a": [1, 2], "b": null}}),
        json!({"type": "integer", "minimum": -5, "maximum": 17}),
        json!({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 4}),
        json!({"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 100}),
        json!({"type": "number", "minimum": 0, "maximum": 1}),
        json!({"type": "number", "exclusiveMinimum": -1.5, "maximum": 12.25}),
        json!({"type": "boolean"}),
        json!({"type": "null"}),
        json!({"type": ["integer", "null"], "maximum": 50, "minimum": 0}),
        json!({"type": ["boolean", "string"], "maxLength": 4}),
        json!({"type": "array", "items": {"type": "boolean"}, "maxItems": 4}),
        json!({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 2, "maxItems": 3}),
        json!({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string", "maxLength": 3}], "items": false,
            "minItems": 2}),
        json!({"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}, "maxItems": 4, "minItems": 1}),
        json!({"type": "array", "maxItems": 0}),
        json!({"type": "array", "items": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2}, "maxItems": 2}),
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
            "required": ["a", "b"], "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {"enum": [1]}, "b": {"enum": [2]}, "c": {"enum": [3]}},
            "required": ["b"], "additionalProperties": false}),
        json!({"type": "object", "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": {"type": "boolean"}, "maxProperties": 2}),
        json!({"type": "object", "patternProperties": {"^x_[a-z]{1,3}$": {"enum": [0, 1]}}, "additionalProperties": false,
            "maxProperties": 2}),
        json!({"type": "object", "properties": {"in": {"type": "object", "properties": {"deep": {"type": "array",
            "items": {"type": "string", "maxLength": 3}, "maxItems": 2}}, "required": ["deep"], "additionalProperties": false}},
            "required": ["in"], "additionalProperties": false}),
        json!({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 0, "maximum": 9}]}),
        json!({"anyOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}},
            "required": ["kind", "x"], "additionalProperties": false}, {"type": "object",
            "properties": {"kind": {"const": "b"}, "y": {"type": "boolean"}}, "required": ["kind", "y"],
            "additionalProperties": false}]}),
        json!({"oneOf": [{"type": "boolean"}, {"type": "null"}]}),
        json!({"oneOf": [{"const": "one"}, {"const": "two"}]}),
        json!({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 8}]}),
        json!({"allOf": [{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
            {"properties": {"b": {"type": "null"}}, "required": ["b"]}], "additionalProperties": false,
            "type": "object", "properties": {"a": {}, "b": {}}}),
        json!({"$ref": "#/$defs/color", "$defs": {"color": {"enum": ["red", "green"]}}}),
        json!({"$ref": "#/definitions/small", "definitions": {"small": {"type": "integer", "minimum": 1, "maximum": 3}}}),
        json!({"$ref": "#/$defs/list/anyOf/0", "$defs": {"list": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}}}),
        json!({"$ref": "#/$defs/node", "$defs": {"node": node}}),
        json!({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"children": {"type": "array",
            "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}}, "required": ["children"], "additionalProperties": false}}}),
        json!({"type": "string", "maxLength": 6, "title": "t", "description": "d", "default": "x", "examples": ["y"]}),
        json!({"type": "object", "properties": {"é \"key\"": {"type": "boolean"}}, "required": ["é \"key\""],
            "additionalProperties": false}),
        json!({"type": "array", "items": {"$ref": "#/$defs/pair"}, "maxItems": 2, "$defs": {"pair": {"type": "array",
            "prefixItems": [{"type": "boolean"}, {"type": "boolean"}], "items": false, "minItems": 2}}}),
        json!({"type": "object", "properties": {"a": {"type": "integer", "maximum": 0, "minimum": -9}}, "required": ["a"],
            "additionalProperties": false, "minProperties": 1}),
        json!({"type": "array", "minItems": 3, "maxItems": 3, "items": {"enum": ["north", "south"]}}),
    ]
}

/// A schema by itself, under a key, as an element, and as one of two possibilities. Its definitions stay at the root.
fn places(schema: &Value) -> Vec<Value> {
    let mut inner = schema.clone();
    let mut definitions = Vec::new();
    for key in ["$defs", "definitions"] {
        definitions.extend(inner.as_object_mut().unwrap().remove(key).map(|all| (key, all)));
    }
    let mut wrapped = vec![
        json!({"type": "object", "properties": {"it": inner}, "required": ["it"], "additionalProperties": false}),
        json!({"type": "array", "items": inner, "minItems": 1, "maxItems": 2}),
        json!({"anyOf": [{"const": "nothing"}, {"type": "object", "properties": {"it": inner}, "required": ["it"],
            "additionalProperties": false}]}),
    ];
    for schema in &mut wrapped {
        for (key, all) in &definitions {
            schema[*key] = all.clone();
        }
    }
    wrapped.push(schema.clone());
    wrapped
}

#[test]
fn all_finished_answers_fit_their_schemas() {
    let (model, tokenizer) = embedded();
    let compiler = GrammarCompiler::new(&tokenizer).unwrap();
    let engine = engine_with(&model, &tokenizer, Policy::Chunked { tokens: 64 }, 2);
    let prompt = tokenizer.encode("Once upon a time", EncodeOptions::default()).unwrap();
    let schemas: Vec<Value> = schemas().iter().flat_map(places).collect();
    assert_eq!(schemas.len(), 200);
    let generations: Vec<_> = (0..)
        .zip(&schemas)
        .map(|(seed, schema)| {
            let constraint = compiler.compile(&Grammar::Json(schema.clone()));
            let constraint = constraint.unwrap_or_else(|error| panic!("{schema}: {error}"));
            let request = GenerateRequest {
                prompt: prompt.clone(),
                sampling: SamplingParams { seed: Some(seed), ..SamplingParams::default() },
                max_tokens: Some(300),
                constraint: Some(constraint),
                ..GenerateRequest::default()
            };
            (schema, engine.submit(request).unwrap())
        })
        .collect();
    let mut finished = 0;
    for (schema, generation) in generations {
        let answer = read(generation);
        if answer.finish().reason != FinishReason::Stop {
            continue;
        }
        finished += 1;
        let text = answer.text();
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{schema}: {error}: {text}"));
        let validator = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
        if let Err(error) = validator.validate(&value) {
            panic!("{schema}: {text}: {error}");
        }
    }
    println!("{finished} of 200 finished");
    assert!(finished >= 180, "{finished} of 200 came to an end");
}

/// Hot, so that many tokens are drawn that no model would write, and with a liking for quotes, so that texts end.
#[test]
fn formats_are_kept_whatever_is_drawn() {
    let (model, tokenizer) = embedded();
    let compiler = GrammarCompiler::new(&tokenizer).unwrap();
    let engine = engine_with(&model, &tokenizer, Policy::Chunked { tokens: 64 }, 2);
    let prompt = tokenizer.encode("Once upon a time", EncodeOptions::default()).unwrap();
    let [quote] = tokenizer.encode("\"", EncodeOptions::default()).unwrap()[..] else {
        panic!("a quote is one token");
    };
    for format in ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"] {
        let schema = json!({"type": "string", "format": format});
        let constraint = compiler.compile(&Grammar::Json(schema.clone())).unwrap();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let request = |seed| GenerateRequest {
            prompt: prompt.clone(),
            sampling: SamplingParams {
                seed: Some(seed),
                temperature: 5.0,
                logit_bias: vec![(quote, 30.0)],
                ..SamplingParams::default()
            },
            max_tokens: Some(120),
            constraint: Some(constraint.clone()),
            ..GenerateRequest::default()
        };
        let generations: Vec<_> = (0..100).map(|seed| engine.submit(request(seed)).unwrap()).collect();
        let mut finished = 0;
        for generation in generations {
            let answer = read(generation);
            if answer.finish().reason == FinishReason::Stop {
                let value: Value = serde_json::from_str(&answer.text()).unwrap();
                assert!(validator.is_valid(&value), "{format}: {value}");
                finished += 1;
            }
        }
        assert!(finished >= 15, "{format}: {finished} of 100 came to an end");
    }
}

#[test]
fn what_cannot_be_kept_is_refused_by_name() {
    let (_, tokenizer) = embedded();
    let compiler = GrammarCompiler::new(&tokenizer).unwrap();
    for (keyword, schema) in [
        ("uniqueItems", json!({"type": "array", "uniqueItems": true})),
        ("contains", json!({"type": "array", "contains": {"type": "string"}})),
        ("not", json!({"not": {"type": "string"}})),
        ("if", json!({"if": {"type": "string"}, "then": {"maxLength": 3}})),
        ("propertyNames", json!({"type": "object", "propertyNames": {"maxLength": 3}})),
        ("dependentRequired", json!({"type": "object", "dependentRequired": {"a": ["b"]}})),
        ("dependencies", json!({"properties": {"a": {}}, "dependencies": {"a": ["b"]}})),
        ("$dynamicRef", json!({"items": {"$dynamicRef": "#node"}})),
        ("minContains", json!({"minContains": 2})),
        ("dependentSchemas", json!({"dependentSchemas": {"a": {"required": ["b"]}}})),
        ("unevaluatedItems", json!({"unevaluatedItems": false})),
        ("format", json!({"type": "string", "format": "no-such-format"})),
        ("unevaluatedProperties", json!({"type": "object", "unevaluatedProperties": false})),
        ("oneOf", json!({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 3}]})),
    ] {
        let error = compiler.compile(&Grammar::Json(schema)).unwrap_err().to_string();
        assert!(error.contains(keyword), "{keyword}: {error}");
    }
}
