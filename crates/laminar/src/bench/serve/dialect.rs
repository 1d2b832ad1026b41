//! What a server understands, found by asking it: token ids, fields beyond OpenAI's, its own count of tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::prompts::Material;
use super::random::{Purpose, Random};
use super::record::{Answer, Clock, Failure};
use crate::cli::{EndpointName, PromptForm, ServeBenchArgs};

/// Words in the two prompts by which a server's tokens are counted.
const COUNTED_WORDS: [usize; 2] = [16, 80];

/// Requests as one server takes them.
#[derive(Debug, Clone)]
pub struct Dialect {
    /// Name of the model.
    pub model: String,
    /// Where requests go.
    pub endpoint: EndpointName,
    /// What prompts are made of.
    pub material: Material,
    /// Whether fields beyond OpenAI's are sent: `ignore_eos`, so that answers have the length that was asked for, and
    /// what keeps a server from finding the prompts of an earlier run of the same seed in its prefix cache
    /// (`cache_salt` for Laminar and vLLM, `cache_prompt` for llama.cpp).
    pub extensions: bool,
    /// Differs from run to run.
    salt: String,
    seed: u64,
    temperature: f64,
    extra: Map<String, Value>,
}

impl Dialect {
    /// Asks the server until it answers.
    ///
    /// # Errors
    /// A server that cannot be reached, or that refuses every form of request.
    pub async fn find(client: &Client, args: &ServeBenchArgs) -> anyhow::Result<Self> {
        let extra = match &args.extra {
            Some(text) => serde_json::from_str(text).context("--extra: must be a JSON object")?,
            None => Map::new(),
        };
        let model = match &args.model {
            Some(name) => name.clone(),
            None => match client.first_model().await {
                Ok(name) => name,
                Err(failure) if failure.kind == "connect" => bail!(refused(client, &failure)),
                Err(failure) => bail!("{}; name the model with --model", refused(client, &failure)),
            },
        };
        let ids = Material::Ids { low: args.token_ids.0, high: args.token_ids.1 };
        let materials = match (args.endpoint, args.prompt_form) {
            (EndpointName::Chat, PromptForm::Ids) => {
                bail!("--prompt-form ids: chat messages are text; use --endpoint completions")
            }
            (EndpointName::Chat, _) | (_, PromptForm::Text) => vec![Material::UNCOUNTED],
            (_, PromptForm::Ids) => vec![ids],
            (_, PromptForm::Auto) => vec![ids, Material::UNCOUNTED],
        };
        let mut dialect = Self {
            model,
            endpoint: args.endpoint,
            material: ids,
            extensions: true,
            salt: salt(),
            seed: args.seed,
            temperature: args.temperature,
            extra,
        };
        let mut last = anyhow!("no request was tried");
        for material in materials {
            for extensions in [true, false] {
                dialect.material = material;
                dialect.extensions = extensions;
                match dialect.try_out(client, COUNTED_WORDS[0]).await {
                    Ok(_) => return dialect.counted(client).await,
                    // It may be the field or the form that the server does not know.
                    Err(failure) if matches!(failure.kind.as_str(), "http_400" | "http_422" | "http_500") => {
                        last = refused(client, &failure);
                    }
                    Err(failure) => return Err(refused(client, &failure)),
                }
            }
        }
        Err(last)
    }

    /// Learns how many tokens a word has, if prompts are text and the server counts.
    async fn counted(mut self, client: &Client) -> anyhow::Result<Self> {
        if self.material == Material::UNCOUNTED {
            let mut tokens = [0; 2];
            for (tokens, words) in tokens.iter_mut().zip(COUNTED_WORDS) {
                let answer = self.try_out(client, words).await.map_err(|failure| refused(client, &failure))?;
                *tokens = answer.prompt_tokens.unwrap_or(0);
            }
            self.material = Material::counted(COUNTED_WORDS, tokens);
        }
        Ok(self)
    }

    /// One request outside the measurement. Its number is not used by any other.
    async fn try_out(&self, client: &Client, tokens: usize) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        let body = self.body(u64::MAX - tokens as u64, tokens, 2);
        client.ask(self.path(), body, &Clock::start(), &mut answer, || {}).await;
        match answer.failure.take() {
            // It has understood; that it had nothing to say is no matter here.
            Some(failure) if failure.kind != "empty" => Err(failure),
            _ => Ok(answer),
        }
    }

    /// The path below the server's address.
    pub fn path(&self) -> &'static str {
        match self.endpoint {
            EndpointName::Completions => "/v1/completions",
            EndpointName::Chat => "/v1/chat/completions",
        }
    }

    /// The body of request `number`.
    pub fn body(&self, number: u64, prompt_tokens: usize, output_tokens: usize) -> Vec<u8> {
        let prompt = self.material.prompt(self.seed, number, prompt_tokens);
        // Fits the signed 32 bits that some servers keep it in.
        let seed = Random::new(self.seed, Purpose::Sampling, number).bits() >> 33;
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(self.model));
        match self.endpoint {
            EndpointName::Completions => body.insert("prompt".to_owned(), prompt),
            EndpointName::Chat => body.insert("messages".to_owned(), json!([{ "role": "user", "content": prompt }])),
        };
        body.insert("max_tokens".to_owned(), json!(output_tokens));
        body.insert("temperature".to_owned(), json!(self.temperature));
        body.insert("seed".to_owned(), json!(seed));
        body.insert("stream".to_owned(), json!(true));
        body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
        if self.extensions {
            body.insert("ignore_eos".to_owned(), json!(true));
            body.insert("cache_salt".to_owned(), json!(self.salt));
            body.insert("cache_prompt".to_owned(), json!(false));
        }
        for (name, value) in &self.extra {
            match value {
                Value::Null => body.shift_remove(name),
                value => body.insert(name.clone(), value.clone()),
            };
        }
        Value::Object(body).to_string().into_bytes()
    }
}

/// The only thing that is not the same in two runs of one seed.
fn salt() -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("bench-{time:x}-{}", std::process::id())
}

fn refused(client: &Client, failure: &Failure) -> anyhow::Error {
    match failure.kind.as_str() {
        "connect" => anyhow!("{}: cannot connect: {}", client.base(), failure.message),
        kind => anyhow!("{}: {kind}: {}", client.base(), failure.message),
    }
}
