//! What every handler shares: the engine, the tokenizer, the template and the configuration.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use laminar_engine::Engine;
use laminar_model::StatedPooling;
use laminar_model::tokenizer::Tokenizer;
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::family::Family;
use crate::grammar::Grammars;
use crate::markers::Markers;
use crate::openai::caller::Tenants;
use crate::openai::options::Limits;
use crate::openai::responses::Store;
use crate::template::ChatTemplate;

/// Tokenising and rendering jobs that may run at once: enough to hide one long prompt behind
/// another, few enough to leave the cores to the engine.
const PROMPT_JOBS: usize = 2;

/// Settings of the HTTP server, all with usable defaults.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The model name in responses and in `/v1/models`.
    pub model_name: String,
    /// Further names that requests may use for the same model.
    pub aliases: Vec<String>,
    /// How the model says that the rows of a text become a vector; it may not say.
    pub pooling: Option<StatedPooling>,
    /// Longest request body in bytes; a longer one is answered 413.
    pub max_body_bytes: usize,
    /// Most choices (`n` times prompts) that one request may ask for.
    pub max_choices: usize,
    /// Whether browsers on any origin may call the API (permissive CORS).
    pub cors: bool,
    /// Seconds after which an idle stream gets a comment line, so that proxies keep it open.
    pub keep_alive_seconds: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            model_name: "laminar".to_owned(),
            aliases: Vec::new(),
            pooling: None,
            max_body_bytes: 32 << 20,
            max_choices: 128,
            cors: false,
            keep_alive_seconds: 10,
        }
    }
}

/// The state behind the router; a cheap clone.
#[derive(Clone)]
pub struct AppState {
    pub(crate) engine: Engine,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) template: Option<Arc<ChatTemplate>>,
    pub(crate) config: Arc<ServerConfig>,
    /// Whether the template has a `developer` role of its own.
    pub(crate) template_knows_developer: bool,
    /// How the model spells calls and reasoning.
    pub(crate) family: Arc<Family>,
    /// The grammars that answers follow.
    pub(crate) grammars: Arc<Grammars>,
    /// Responses that later ones may continue.
    pub(crate) responses: Arc<Store>,
    /// The control markers of the vocabulary.
    pub(crate) markers: Arc<Markers>,
    /// Bounds the blocking jobs that build prompts.
    pub(crate) prompt_jobs: Arc<Semaphore>,
    /// What API keys become.
    pub(crate) tenants: Tenants,
    /// Unix seconds at which the server began; the `created` of its model.
    pub(crate) started: u64,
}

impl AppState {
    /// Gathers the state; `template` is absent when the checkpoint carries none.
    pub fn new(
        engine: Engine,
        tokenizer: Arc<Tokenizer>,
        template: Option<ChatTemplate>,
        config: ServerConfig,
    ) -> AppState {
        let markers = Arc::new(Markers::new(&tokenizer));
        let template_knows_developer =
            template.as_ref().is_some_and(|template| template.source().contains("developer"));
        let family = match &template {
            Some(template) => Family::of_template(template, &tokenizer),
            None => Family::of("", &tokenizer),
        };
        AppState {
            family: Arc::new(family),
            grammars: Arc::default(),
            responses: Arc::default(),
            template_knows_developer,
            engine,
            tokenizer,
            markers,
            template: template.map(Arc::new),
            config: Arc::new(config),
            prompt_jobs: Arc::new(Semaphore::new(PROMPT_JOBS)),
            tenants: Tenants::default(),
            started: unix_seconds(),
        }
    }

    /// What requests are checked against.
    pub(crate) fn limits(&self) -> Limits {
        Limits { vocab_size: self.tokenizer.vocab_size(), max_choices: self.config.max_choices }
    }

    /// Accepts the served name, its aliases, or no name at all.
    ///
    /// # Errors
    /// [`ApiError::ModelNotFound`] for any other name.
    pub(crate) fn check_model(&self, name: Option<&str>) -> Result<(), ApiError> {
        match name {
            None => Ok(()),
            Some(name) if name == self.config.model_name => Ok(()),
            Some(name) if self.config.aliases.iter().any(|alias| alias == name) => Ok(()),
            Some(name) => {
                Err(ApiError::ModelNotFound { name: name.to_owned(), served: self.config.model_name.clone() })
            }
        }
    }
}

/// Seconds since the Unix epoch, zero on a clock set before it.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
