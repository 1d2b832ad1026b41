//! `laminar synth`: a GGUF of a published shape with seeded random weights.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use laminar_kernels::WeightType;
use laminar_model::synth::{self, Preset, SynthOptions};

use crate::cli::SynthArgs;
use crate::{progress, source};

/// Writes the file under a temporary name and renames it once it is complete.
pub fn synth(args: &SynthArgs, quiet: bool) -> anyhow::Result<()> {
    let options = SynthOptions {
        layers: args.layers.map(|layers| layers.get()),
        quant: weight_type(&args.quant)?,
        seed: args.seed,
        vocab: args.vocab.map(|rows| rows.get() as usize),
        ..SynthOptions::new(preset(&args.preset)?)
    };
    let folder = match args.out.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!("--out {}: there is no folder {}; create it first", args.out.display(), folder.display());
    }
    if args.out.is_dir() {
        bail!("--out {}: is a folder; give a file name", args.out.display());
    }
    // The tokenizer of the embedded model makes the result usable as it is.
    let donor = source::embedded()?;
    let bar = progress::Bytes::new(&format!("writing {}", args.out.display()), quiet);
    let partial = Partial(beside(&args.out));
    let summary = synth::write(&partial.0, &options, donor.metadata(), &|done, total| {
        bar.update(done, total);
    })?;
    std::fs::rename(&partial.0, &args.out).with_context(|| format!("rename to {}", args.out.display()))?;
    bar.finish();
    if !quiet {
        eprintln!(
            "Wrote {}: {}, {} layers, {} tensors, {:.3} billion parameters, {} bytes",
            args.out.display(),
            summary.architecture,
            summary.layers,
            summary.tensors,
            summary.parameters as f64 / 1e9,
            summary.bytes
        );
    }
    Ok(())
}

fn preset(name: &str) -> anyhow::Result<Preset> {
    let known = || Preset::ALL.map(Preset::name).join(", ");
    Preset::ALL
        .into_iter()
        .find(|preset| preset.name() == name)
        .ok_or_else(|| anyhow!("--preset {name}: unknown; use one of {}", known()))
}

/// A weight type by its name, in any case: `q8_0`, `Q4_K`.
fn weight_type(name: &str) -> anyhow::Result<WeightType> {
    let known = || WeightType::ALL.map(WeightType::name).join(", ");
    WeightType::ALL
        .into_iter()
        .find(|ty| ty.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| anyhow!("--quant {name}: unknown; use one of {}", known()))
}

/// A name in the same folder, so that the rename at the end is atomic.
fn beside(out: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(out.file_name().unwrap_or_default());
    name.push(format!(".{}.partial", std::process::id()));
    out.with_file_name(name)
}

/// An unfinished file; gone when an error ends the work.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename there is nothing left under this name.
        let _ = std::fs::remove_file(&self.0);
    }
}
