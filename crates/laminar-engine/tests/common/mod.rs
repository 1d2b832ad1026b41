//! What the engine's tests share: a tokenizer of bytes, an executor that echoes, a tiny model, readers of events.

// Each test file uses its own part of this, and a test says what went wrong by panicking.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod echo;
pub mod model;

use laminar_engine::{Engine, Event, Finish, GenerateRequest, Generation, SamplingParams, TokenEvent};
use laminar_model::synth::byte_tokenizer;
use laminar_model::tokenizer::Tokenizer;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Token `b` below 256 is the byte `b`; the last token ends a turn.
pub fn tokenizer() -> Arc<Tokenizer> {
    static TOKENIZER: OnceLock<Arc<Tokenizer>> = OnceLock::new();
    Arc::clone(TOKENIZER.get_or_init(|| Arc::new(Tokenizer::from_gguf(&byte_tokenizer()).unwrap())))
}

/// The token that ends a turn.
pub fn end_token() -> u32 {
    tokenizer().eos().unwrap()
}

/// The bytes of a text as tokens.
pub fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

/// A greedy request.
pub fn greedy(prompt: Vec<u32>) -> GenerateRequest {
    GenerateRequest { prompt, sampling: SamplingParams::greedy(), ..Default::default() }
}

/// A generation read to its end.
pub struct Answer {
    pub tokens: Vec<TokenEvent>,
    pub last: Event,
}

impl Answer {
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }

    pub fn finish(&self) -> &Finish {
        match &self.last {
            Event::Finished(finish) => finish,
            other => panic!("the generation ended with {other:?}"),
        }
    }

    /// The whole text.
    pub fn text(&self) -> String {
        let deltas = self.tokens.iter().map(|token| token.text.as_str());
        deltas.chain([self.finish().text.as_str()]).collect()
    }
}

/// Reads a generation to its end.
pub fn read(mut generation: Generation) -> Answer {
    let mut tokens = Vec::new();
    loop {
        match generation.blocking_next().expect("a generation has a last event") {
            Event::Token(token) => tokens.push(token),
            last => {
                assert!(generation.blocking_next().is_none(), "nothing follows the last event");
                return Answer { tokens, last };
            }
        }
    }
}

/// Submits and reads to the end.
pub fn answer(engine: &Engine, request: GenerateRequest) -> Answer {
    read(engine.submit(request).unwrap())
}

/// Waits until no request is left, and checks that nothing of any is.
pub fn assert_idle(engine: &Engine) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let stats = engine.stats();
        if stats.running + stats.prefilling + stats.waiting + stats.used_blocks == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "the engine does not come to rest: {stats:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
