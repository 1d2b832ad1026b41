//! `laminar perplexity`: how well a model predicts a text.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, bail};
use laminar_kernels::Pool;
use laminar_model::perplexity::{Options, Scores, perplexity};
use laminar_model::tokenizer::{EncodeOptions, Tokenizer};
use serde::Serialize;

use crate::cli::PerplexityArgs;
use crate::{progress, setup, source};

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    file: String,
    /// Tokens of the text.
    tokens: usize,
    context: usize,
    #[serde(flatten)]
    scores: Scores,
    seconds: f64,
}

/// Scores a text.
pub fn run(args: &PerplexityArgs, quiet: bool) -> anyhow::Result<()> {
    let text = std::fs::read(&args.file).with_context(|| format!("--file {}", args.file.display()))?;
    let text = String::from_utf8(text).with_context(|| format!("--file {}: is not UTF-8", args.file.display()))?;
    let source = source::open(args.model.as_deref(), quiet)?;
    let in_model = || format!("model {}", source.name);
    let tokenizer = Tokenizer::from_checkpoint(&source.checkpoint).with_context(in_model)?;
    let context = args.context.get();
    let longest = laminar_model::arch::read_config(&source.checkpoint).with_context(in_model)?.longest_context();
    if context < 4 || context > longest {
        bail!("--context {context}: must be from 4 to {longest}, the longest context of this model");
    }
    let ids = tokenizer.encode(&text, EncodeOptions { add_special: true, parse_special: false })?;
    if ids.len() < context {
        bail!(
            "--file {}: its {} tokens do not fill a chunk of {context}; give a longer text or a shorter --context",
            args.file.display(),
            ids.len()
        );
    }
    let pool = Pool::new(setup::threads(args.threads));
    let model = setup::load(&source, &pool, setup::kv_type(args.kv_type), Some(context), None, quiet)?;
    tokenizer.check_vocab(model.vocab_size()).with_context(in_model)?;

    let began = Instant::now();
    let chunks = ids.len() / context;
    let chunks = args.chunks.map_or(chunks, |most| most.get().min(chunks));
    let bar = progress::Count::new(&format!("scoring {}", source.name), chunks, quiet);
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let options = Options { context, chunks, bos, kv: setup::kv_type(args.kv_type) };
    let scores = perplexity(&model, &pool, &ids, &options, &mut |done| bar.set(done))?;
    drop(bar);
    let seconds = began.elapsed().as_secs_f64();
    let mut stdout = io::stdout().lock();
    if args.json {
        let file = args.file.display().to_string();
        let report = Report { model: &source.name, file, tokens: ids.len(), context, scores, seconds };
        serde_json::to_writer_pretty(&mut stdout, &report).map_err(io::Error::from)?;
        writeln!(stdout)?;
    } else {
        writeln!(
            stdout,
            "perplexity {:.4} +/- {:.4} ({} tokens in {} chunks of {context}, {seconds:.1} s)",
            scores.perplexity, scores.perplexity_error, scores.scored_tokens, scores.chunks
        )?;
    }
    stdout.flush()?;
    Ok(())
}
