//! `laminar quantize`: a GGUF file of another type, from a GGUF file or a Hugging Face folder.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use laminar_kernels::Pool;
use laminar_model::convert::{Conversion, Recipe, Summary};
use serde::Serialize;

use crate::cli::QuantizeArgs;
use crate::{progress, setup, source};

/// What `--json` prints.
#[derive(Serialize)]
struct Written<'a> {
    file: String,
    #[serde(rename = "type")]
    ty: &'a str,
    /// Length of the file.
    bytes: u64,
    seconds: f64,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// Writes the file; it has its name only once it is complete.
pub fn quantize(args: &QuantizeArgs, quiet: bool) -> anyhow::Result<()> {
    let known = || Recipe::ALL.map(|recipe| recipe.name).join(", ");
    let recipe =
        Recipe::named(&args.ty).ok_or_else(|| anyhow!("--type {}: unknown; use one of {}", args.ty, known()))?;
    let out = &args.output;
    check_output(out, args.force)?;
    let source = source::open(Some(&args.input), quiet)?;
    let conversion = Conversion::plan(&source.checkpoint, recipe).with_context(|| format!("model {}", source.name))?;
    let summary = conversion.summary();
    if summary.requantised > 0 {
        tracing::warn!(
            "{} of {} tensors of {} are quantised already and are rounded a second time; a file from the original \
             weights is better",
            summary.requantised,
            summary.tensors,
            source.name
        );
    }
    if summary.without_tokenizer {
        tracing::warn!("{} has no tokenizer, so the file has none: it can be used by token ids alone", source.name);
    }
    let began = Instant::now();
    let bar = progress::Bytes::new(&format!("writing {}", out.display()), quiet);
    let pool = Pool::new(setup::threads(args.threads));
    let bytes = conversion.write(out, &pool, &|done, total| bar.update(done, total))?;
    bar.finish();
    let seconds = began.elapsed().as_secs_f64();
    if args.json {
        let mut stdout = io::stdout().lock();
        let written = Written { file: out.display().to_string(), ty: recipe.name, bytes, seconds, summary };
        serde_json::to_writer_pretty(&mut stdout, &written).map_err(io::Error::from)?;
        writeln!(stdout)?;
    } else if !quiet {
        let types: Vec<String> = summary.by_type.iter().map(|(ty, count)| format!("{count} {ty}")).collect();
        eprintln!(
            "Wrote {}: {}, {}, {:.3} billion parameters, {bytes} bytes ({:.2} bits a parameter), {seconds:.1} s; \
             tensors: {}",
            out.display(),
            summary.architecture,
            recipe.name,
            summary.parameters as f64 / 1e9,
            bytes as f64 * 8.0 / summary.parameters.max(1) as f64,
            types.join(", ")
        );
    }
    Ok(())
}

/// That the file may be written, before any work is done.
fn check_output(out: &Path, force: bool) -> anyhow::Result<()> {
    let folder = match out.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!("{}: there is no folder {}; create it first", out.display(), folder.display());
    }
    if out.is_dir() {
        bail!("{}: is a folder; give a file name", out.display());
    }
    if out.exists() && !force {
        bail!("{}: is there already; give another name, or --force to replace it", out.display());
    }
    Ok(())
}
