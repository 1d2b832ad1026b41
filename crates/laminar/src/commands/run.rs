//! `laminar run`: one prompt, answered on stdout.

use std::io::{self, Read, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use laminar_engine::{Event, Finish, GenerateRequest, Generation, SamplingParams};
use laminar_model::tokenizer::EncodeOptions;
use laminar_server::markers::Markers;
use laminar_server::prompt::encode_chat;
use serde::Serialize;
use serde_json::{Map, json};

use crate::cli::{RunArgs, SamplingArgs};
use crate::exit::Internal;
use crate::setup::{self, EngineUse, Ready};

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    model: &'a str,
    text: &'a str,
    token_ids: &'a [u32],
    prompt_token_ids: &'a [u32],
    finish_reason: &'a str,
    timings: Timings,
}

/// Seconds, and what follows from them.
#[derive(Serialize)]
struct Timings {
    /// Opening the checkpoint until the engine was ready.
    load_s: f64,
    /// Submission until the prompt began to run.
    queue_s: f64,
    /// Submission until the first token.
    ttft_s: f64,
    /// Submission until the last token.
    total_s: f64,
    prompt_tokens: usize,
    completion_tokens: usize,
    /// Tokens a second after the first one; absent below two tokens.
    decode_tokens_per_s: Option<f64>,
    /// Expert matrices read while the prompt ran, counted once per layer call.
    prefill_expert_loads: u64,
}

/// Answers one prompt.
pub fn run(args: &RunArgs, quiet: bool) -> anyhow::Result<()> {
    let text = prompt_text(args)?;
    // One prompt has nothing to share.
    let ready = setup::start(&args.engine, EngineUse { max_sequences: 1, max_waiting: 1, prefix_cache: false }, quiet)?;
    let prompt = match &text {
        Some(text) => encode(&ready, text, args.raw)?,
        None => args.prompt_ids.clone(),
    };
    let request = GenerateRequest {
        prompt: prompt.clone(),
        sampling: sampling(&args.sampling),
        max_tokens: args.max_tokens.map(|tokens| tokens.get()),
        stop: args.sampling.stop.clone(),
        ignore_eos: args.ignore_eos,
        ..GenerateRequest::default()
    };
    let generation = ready.engine.submit(request)?;
    let collected = collect(generation, !args.json)?;
    let mut stdout = io::stdout().lock();
    if args.json {
        let answer = answer(&ready, &prompt, &collected);
        serde_json::to_writer(&mut stdout, &answer).map_err(io::Error::from)?;
    }
    writeln!(stdout)?;
    stdout.flush()?;
    Ok(())
}

/// The prompt from the command line or stdin; `None` when it came as ids.
fn prompt_text(args: &RunArgs) -> anyhow::Result<Option<String>> {
    match args.prompt.as_deref() {
        Some("-") => {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).context("read the prompt from stdin")?;
            let text = String::from_utf8(bytes).context("the prompt on stdin is not UTF-8")?;
            Ok(Some(text))
        }
        Some(text) => Ok(Some(text.to_owned())),
        None => Ok(None),
    }
}

/// Text to token ids, through the chat template where there is one.
fn encode(ready: &Ready, text: &str, raw: bool) -> anyhow::Result<Vec<u32>> {
    match &ready.template {
        Some(template) if !raw => {
            let markers = Markers::new(&ready.tokenizer);
            let messages = json!([{ "role": "user", "content": text }]);
            encode_chat(&ready.tokenizer, &markers, template, messages, &Map::new(), true)
                .context("apply the chat template (--raw leaves it out)")
        }
        _ => Ok(ready.tokenizer.encode(text, EncodeOptions { add_special: true, parse_special: false })?),
    }
}

fn sampling(args: &SamplingArgs) -> SamplingParams {
    SamplingParams {
        temperature: args.temperature,
        top_k: args.top_k.map(|k| k.get()),
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        seed: args.seed,
        ..SamplingParams::default()
    }
}

/// A finished generation.
struct Collected {
    text: String,
    ids: Vec<u32>,
    finish: Finish,
}

/// Waits for the end; prints the text as it comes when `stream` is set.
fn collect(mut generation: Generation, stream: bool) -> anyhow::Result<Collected> {
    let mut text = String::new();
    let mut ids = Vec::new();
    let mut take = |piece: &str| -> io::Result<()> {
        text.push_str(piece);
        if stream && !piece.is_empty() {
            let mut stdout = io::stdout().lock();
            stdout.write_all(piece.as_bytes())?;
            stdout.flush()?;
        }
        Ok(())
    };
    while let Some(event) = generation.blocking_next() {
        match event {
            Event::Token(token) => {
                ids.push(token.id);
                take(&token.text)?;
            }
            Event::Finished(finish) => {
                take(&finish.text)?;
                return Ok(Collected { text, ids, finish });
            }
            Event::Failed(error) => return Err(error.into()),
        }
    }
    bail!(Internal("the engine stopped before the answer was complete"))
}

fn answer<'a>(ready: &'a Ready, prompt: &'a [u32], collected: &'a Collected) -> Answer<'a> {
    let finish = &collected.finish;
    let decoded = finish.usage.completion_tokens.saturating_sub(1);
    let decode_time = finish.timings.total - finish.timings.ttft;
    let rate = (decoded > 0 && decode_time > 0.0).then(|| decoded as f64 / decode_time);
    Answer {
        model: &ready.name,
        text: &collected.text,
        token_ids: &collected.ids,
        prompt_token_ids: prompt,
        finish_reason: finish.reason.as_str(),
        timings: Timings {
            load_s: seconds(ready.load_time),
            queue_s: finish.timings.queue,
            ttft_s: finish.timings.ttft,
            total_s: finish.timings.total,
            prompt_tokens: finish.usage.prompt_tokens,
            completion_tokens: finish.usage.completion_tokens,
            decode_tokens_per_s: rate,
            prefill_expert_loads: finish.timings.prefill_expert_loads,
        },
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
